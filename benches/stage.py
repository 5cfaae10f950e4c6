"""What the benchmarks stand on: a temporary folder, the processes in it, and what the kernel knows of them.

What must stay true here: whatever was started is stopped and the folder is gone when the benchmark ends, however it ends.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PEERS = ROOT / "benches" / "peers"
GATEWAY = Path(os.environ.get("GATEWAY_BINARY", ROOT / "target" / "release" / "hokusai-gateway"))
PATIENCE = 120  # seconds, for anything that has to come true
TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


class Stage:
    """A temporary folder with the processes that run in it, and the app behind all of them."""

    def __enter__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="gateway-bench-"))
        self.values = {"FOLDER": str(self.folder), "BODY": "x" * 1024, "UPSTREAM": str(free_port())}
        self.processes = []
        self.nginx("upstream", int(self.values["UPSTREAM"]))
        return self

    def __exit__(self, *_):
        for process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
            process.wait()
        shutil.rmtree(self.folder)

    def write(self, name, **values):
        """A file of benches/peers with its @PLACES@ filled."""
        text = (PEERS / name).read_text()
        for key, value in (self.values | values).items():
            text = text.replace(f"@{key}@", str(value))
        path = self.folder / name
        path.write_text(text)
        return path

    def start(self, command, port, name):
        self.processes.append(subprocess.Popen(command, cwd=self.folder, stderr=subprocess.DEVNULL))
        wait_until(lambda: listens(port), f"the start of {name}")
        return self.processes[-1]

    def nginx(self, name, port, **values):
        config = self.write(f"{name}.conf", TRAFFIC=port, **values)
        return self.start(["nginx", "-p", self.folder, "-c", config, "-g", "daemon off;"], port, name)


class Gateway:
    """The gateway by benches/peers/NAME, with its store made and one key in it."""

    def __init__(self, stage, name="gateway.toml", **values):
        self.port, self.admin = free_port(), free_port()
        config = stage.write(name, TRAFFIC=self.port, ADMIN=self.admin, **values)
        self.command = [GATEWAY, "--config", config]
        self.run("migrate", "up")
        create = ("keys", "create", "--user", "bench", "--name", "bench", "--rate-limit", "1000000000")
        self.key = self.run(*create)["key"]
        self.process = stage.start([*self.command, "serve"], self.port, "the gateway")

    def run(self, *arguments):
        """What a command of the gateway answers."""
        return json.loads(subprocess.run([*self.command, *arguments, "--json"], check=True, capture_output=True).stdout)

    def metric(self, name):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/metrics") as page:
            lines = [line.rsplit(maxsplit=1) for line in page.read().decode().splitlines()]
        return sum(float(line[1]) for line in lines if line[0] == name)

    def settle(self):
        wait_until(lambda: self.metric("gateway_usage_spooled") == 0, "the store's taking all usage")


def build():
    """The gateway as it is shipped, unless GATEWAY_BINARY names one."""
    if "GATEWAY_BINARY" not in os.environ:
        subprocess.run(["cargo", "build", "--release", "--quiet"], cwd=ROOT, check=True)


def need(packages):
    """Ends the benchmark where a program is missing; `packages` names what has each."""
    for tool, package in packages.items():
        if shutil.which(tool) is None:
            sys.exit(f"{tool} is missing: install {package}")


def cpu(pid):
    """User and system time, in seconds, of a process and its children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    times = [int(fields[11]) / TICKS, int(fields[12]) / TICKS]
    for child in children(pid):
        times = [mine + its for mine, its in zip(times, cpu(child))]
    return times


def resident(pid):
    """Bytes of memory that a process and its children hold; what they share counts for each."""
    own = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
    return own + sum(resident(child) for child in children(pid))


def children(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until(is_true, what):
    deadline = time.monotonic() + PATIENCE
    while not is_true():
        if time.monotonic() > deadline:
            sys.exit(f"{what}: not within {PATIENCE} s")
        time.sleep(0.05)


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
