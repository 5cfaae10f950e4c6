-- Each request another key of the file, at a fixed rate: each of the connections waits this long between its requests.
local keys, at = {}, 0
for key in io.lines("flood") do keys[#keys + 1] = key end

function delay() return tonumber(os.getenv("FLOOD_DELAY")) end

function request()
    at = at % #keys + 1
    return wrk.format(nil, nil, { Authorization = "Bearer " .. keys[at] })
end
