-- Returns {now in ms, requests admitted in this hour, as far as gateways have told}
local used = 0
for _, entry in pairs(load()) do used = used + entry.total + entry.spent end
return { now, used }
