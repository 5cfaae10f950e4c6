-- Puts a record into the place that the asker was given, if it still has it.
-- KEYS: the place.  ARGV: token, record, when the store was asked (ms), how long a record is kept from then (ms)
if redis.call('GET', KEYS[1]) ~= '?' .. ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[3] .. ' ' .. ARGV[2])
redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', ARGV[3] + ARGV[4]))
return 1
