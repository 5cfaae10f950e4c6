"""The clients of the benchmarks: wrk for HTTP/1.1 as fast as it goes, h2load for HTTP/2 and for a fixed rate."""

import json
import os
import re
import subprocess
import sys
import tempfile

from stage import PEERS

CONNECTIONS = 64
# Of HTTP/2: as many requests at once as the connections of HTTP/1.1 carry.
H2_CONNECTIONS, H2_STREAMS = 16, 4


def over_http1(url, seconds, key, may_fail=False):
    """wrk's report; the benchmark ends where a request failed that must not."""
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", PEERS / "report.lua"]
    command += ["-H", f"Authorization: Bearer {key}", url]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    report = json.loads(output.strip().splitlines()[-1])
    if report["errors"] and not may_fail:
        sys.exit(f"{url}: {report['errors']} of {report['requests']} requests failed")
    return report


def each_key(folder, url, keys, connections, seconds, rate=None):
    """Begins requests with one key after the other, from the first again after the last; not faster than `rate` a second."""
    (folder / "keys").write_text("\n".join(keys) + "\n")
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", PEERS / "each_key.lua", url]
    environment = os.environ | ({"PAUSE": str(connections * 1000 // rate)} if rate else {})
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL)


def over_http2(url, seconds, key, rate=None, http2=True):
    """The same of h2load, which speaks HTTP/1.1 too and can keep to a rate: then p99 says what a client waits, not how long its queue is."""
    connections, streams = (H2_CONNECTIONS, H2_STREAMS) if http2 else (CONNECTIONS, 1)
    with tempfile.NamedTemporaryFile("r") as log:
        command = ["h2load", "-t1", f"-c{connections}", f"-m{streams}", "-D", str(seconds), "--log-file", log.name]
        command += ["-H", f"authorization: Bearer {key}"]
        command += [] if http2 else ["--h1"]
        command += [f"--rps={max(1, rate // connections)}"] if rate else []
        output = subprocess.run([*command, url], check=True, capture_output=True, text=True).stdout
        statuses, times = zip(*((int(line.split()[1]), int(line.split()[2])) for line in log))
    failed = sum(not 200 <= status < 300 for status in statuses) + int(re.search(r"(\d+) errored", output)[1])
    if failed:
        sys.exit(f"{url}: {failed} of {len(statuses)} requests failed")
    # The seconds that it was told to measure; the requests that were under way at their end are cut, and neither counted nor failed.
    return {"requests": len(times), "errors": 0, "seconds": seconds, "p99_ms": sorted(times)[len(times) * 99 // 100] / 1e3}
