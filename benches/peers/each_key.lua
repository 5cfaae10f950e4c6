-- Asks with each line of the file `keys` in turn; each connection waits for PAUSE milliseconds between its requests, if that is set.
local keys, at, pause = {}, 0, tonumber(os.getenv("PAUSE"))
for line in io.lines("keys") do keys[#keys + 1] = line end

function request()
    at = at % #keys + 1
    return wrk.format("GET", nil, { Authorization = "Bearer " .. keys[at] })
end

if pause then
    function delay() return pause end
end
