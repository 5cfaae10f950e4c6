-- Finds a key's record. Where there is none, the asker gets the place to put it, unless somebody else has it.
-- A value is "x" (changed just now), "?" and a token (somebody reads the store), or when the store was asked (ms), a space and
-- the record.
-- KEYS: the place.  ARGV: token, how long a place is kept (ms), since when records are trusted (ms; empty: none is)
-- Returns {now (ms), whether the place is the asker's, the value if it is a record that is trusted}
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local value = redis.call('GET', KEYS[1])
if value then
    local read_at = tonumber(string.match(value, '^%d+'))
    if not read_at then return { now, 0, '' } end
    -- One from the future was written before a clock was set back.
    if ARGV[3] ~= '' and read_at >= tonumber(ARGV[3]) and read_at <= now then return { now, 0, value } end
end
redis.call('SET', KEYS[1], '?' .. ARGV[1], 'PX', ARGV[2])
return { now, 1, '' }
