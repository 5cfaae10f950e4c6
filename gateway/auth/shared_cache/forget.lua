-- A key was changed: its record goes, and with it the place of whoever reads the store now. The first to say so tells the others.
-- KEYS: the place.  ARGV: channel, what to tell, for how long nobody else need tell it (ms)
if redis.call('GET', KEYS[1]) == 'x' then return 0 end
redis.call('SET', KEYS[1], 'x', 'PX', ARGV[3])
redis.call('PUBLISH', ARGV[1], ARGV[2])
return 1
