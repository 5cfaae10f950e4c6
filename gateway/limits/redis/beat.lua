-- A gateway lives. KEYS: the gateways, by when each was last heard of (ms)
-- ARGV: spool
-- Returns {the gateways of the last ten seconds, whether this one was remembered}
local SEEN_WITHIN, FORGOTTEN_AFTER = 10000, 3600000
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local is_new = redis.call('ZADD', KEYS[1], string.format('%.0f', now), ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now - FORGOTTEN_AFTER))
return { redis.call('ZRANGEBYSCORE', KEYS[1], string.format('%.0f', now - SEEN_WITHIN), '+inf'), 1 - is_new }
