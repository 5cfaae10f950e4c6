-- Starts the hour anew. Every lease is void: its number is past, and so is every copy of these fields.
for spool, entry in pairs(load()) do
    save(spool, { number = entry.number + 1, total = 0, granted = 0, spent = 0, named = 1 })
end
redis.call('HDEL', KEYS[1], 'short')
return 0
