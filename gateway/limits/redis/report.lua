-- Writes down what became of a lease and what was admitted without any; or, with neither, only what the gateway remembers.
-- ARGV: spool, copy of its field, number and spent of the lease (0 0: none), whether it is over, hour and requests of a debt
--       (0 0: none)
-- Returns {whether the gateway is to give the lease back, its field}

-- Who was refused asks again after a second.
local SHORT_FOR = 1500

local spool, number, spent, over = ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5] == '1'
local entries, short = load()
local own = load_own(entries, spool, ARGV[2])
local is_known = number == own.number and own.granted > 0
if is_known and over then
    end_lease(own, spent)
elseif is_known then
    own.spent = math.max(own.spent, math.min(spent, own.granted))
end
owe(own, ARGV[6], ARGV[7])
local is_wanted = not over and (not is_known or now - short < SHORT_FOR)
return { is_wanted and 1 or 0, save(spool, own) }
