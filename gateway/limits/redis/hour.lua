-- The hour of one key, before each of the scripts beside this file: a hash with a field for each gateway, named by its spool.
--
-- A field is "hour number total granted spent named":
--   hour     that it counts, since the epoch
--   number   of the gateway's last question, and the name of the lease that it brought
--   total    admitted by the gateway under leases that are over, and without any
--   granted  permits of its lease; 0 for none
--   spent    of them, as last told
--   named    1 when a killed gateway finds the lease again and settles it, else 0
-- Only the gateway itself changes its field, so of two copies of it the later is right. The field "short" says when somebody was
-- last refused while others held permits, in ms.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local hour = math.floor(time[1] / 3600)

local function read(text)
    local of, number, total, granted, spent, named = string.match(text or '', '^(%d+) (%d+) (%d+) (%d+) (%d+) (%d)$')
    if tonumber(of) == hour then
        return {
            number = tonumber(number), total = tonumber(total),
            granted = tonumber(granted), spent = tonumber(spent), named = tonumber(named),
        }
    end
    return { number = tonumber(number) or 0, total = 0, granted = 0, spent = 0, named = 1 }
end

local function write(entry)
    return string.format('%.0f %.0f %.0f %.0f %.0f %.0f',
        hour, entry.number, entry.total, entry.granted, entry.spent, entry.named)
end

-- Whether a is the later copy: a lease that is over has joined the total.
local function is_later(a, b)
    if a.number ~= b.number then return a.number > b.number end
    if a.total ~= b.total then return a.total > b.total end
    if a.granted ~= b.granted then return a.granted < b.granted end
    return a.spent > b.spent
end

-- The fields of this hour; those of others go.
local function load()
    local entries, short = {}, 0
    local fields = redis.call('HGETALL', KEYS[1])
    for i = 1, #fields, 2 do
        if fields[i] == 'short' then
            short = tonumber(fields[i + 1])
        elseif tonumber(string.match(fields[i + 1], '^%d+')) == hour then
            entries[fields[i]] = read(fields[i + 1])
        else
            redis.call('HDEL', KEYS[1], fields[i])
        end
    end
    return entries, short
end

-- The gateway's own field, from what Redis remembers and the copy that the gateway has.
local function load_own(entries, spool, copy)
    local own, theirs = entries[spool] or read(nil), read(copy)
    if is_later(theirs, own) then own = theirs end
    entries[spool] = own
    return own
end

local function save(spool, own)
    local text = write(own)
    redis.call('HSET', KEYS[1], spool, text)
    redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', (hour + 1) * 3600000))
    return text
end

local function end_lease(own, spent)
    own.total = own.total + math.min(spent, own.granted)
    own.granted, own.spent = 0, 0
end

local function owe(own, debt_hour, requests)
    if tonumber(debt_hour) == hour then own.total = own.total + tonumber(requests) end
end
