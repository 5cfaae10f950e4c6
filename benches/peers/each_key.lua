-- Asks with each line of the file `keys` in turn.
local keys, at = {}, 0
for line in io.lines("keys") do keys[#keys + 1] = line end
function request()
    at = at % #keys + 1
    return wrk.format("GET", nil, { Authorization = "Bearer " .. keys[at] })
end
