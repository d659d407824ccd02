-- wrk's summary as one line of JSON. Arguments after "--": post=BYTES sends a body of that size,
-- pace=LEAST-MOST waits so many milliseconds before each request of a connection.

function init(arguments)
   for _, argument in ipairs(arguments) do
      local size = argument:match("^post=(%d+)$")
      local least, most = argument:match("^pace=(%d+)-(%d+)$")
      if size then
         wrk.method = "POST"
         wrk.body = string.rep("x", tonumber(size))
         wrk.headers["Content-Type"] = "application/octet-stream"
      elseif least then
         least, most = tonumber(least), tonumber(most)
         delay = function() return math.random(least, most) end
      end
   end
end

function done(summary, latency, requests)
   local errors = summary.errors
   io.write(string.format(
      '\nRESULT {"requests": %d, "microseconds": %d, "bytes": %d, "p50": %d, "p99": %d, ' ..
      '"connect": %d, "read": %d, "write": %d, "timeout": %d, "status": %d}\n',
      summary.requests, summary.duration, summary.bytes, latency:percentile(50), latency:percentile(99),
      errors.connect, errors.read, errors.write, errors.timeout, errors.status))
end
