-- What wrk measured, on one line of JSON.
function done(summary, latency, requests)
    local e = summary.errors
    io.write(string.format('\n{"requests": %d, "errors": %d, "seconds": %f, "p99_ms": %f}\n',
        summary.requests, e.connect + e.read + e.write + e.status + e.timeout,
        summary.duration / 1e6, latency:percentile(99) / 1e3))
end
