-- Takes back what the gateway returns, then grants what the hour allows.
-- ARGV: spool, copy of its field, number of the question, limit, wanted, named, number and spent of the lease that it tells the
--       end of (0 0: none), hour and requests of a debt (0 0: none)
-- Returns {whether the question comes late, now in ms, used, permits, whether others hold some, the gateway's field}

-- One lease takes at most this part of what is left, so that several gateways share the last of an hour.
local LEASES_PER_REST = 10

local spool, number = ARGV[1], tonumber(ARGV[3])
local entries = load()
local own = load_own(entries, spool, ARGV[2])
if number <= own.number then return { 1, now, 0, 0, 0, write(own) } end

if tonumber(ARGV[7]) == own.number then
    end_lease(own, tonumber(ARGV[8]))
elseif own.named == 1 then
    -- The answer that granted it never arrived.
    end_lease(own, own.spent)
else
    end_lease(own, own.granted)
end
owe(own, ARGV[9], ARGV[10])
own.number = number

local used, others_hold = 0, 0
for _, entry in pairs(entries) do
    used = used + entry.total + entry.granted
    if entry.granted > entry.spent then others_hold = 1 end
end
local left = math.max(tonumber(ARGV[4]) - used, 0)
local permits = math.min(tonumber(ARGV[5]), math.max(math.floor(left / LEASES_PER_REST), 1), left)
if permits > 0 then
    own.granted, own.named, others_hold = permits, tonumber(ARGV[6]), 0
elseif others_hold == 1 and tonumber(ARGV[5]) > 0 then
    redis.call('HSET', KEYS[1], 'short', string.format('%.0f', now))
end
return { 0, now, used + permits, permits, others_hold, save(spool, own) }
