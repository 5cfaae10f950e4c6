"""What the benchmarks stand on: a temporary folder, the processes in it, and what the kernel knows of them.

What must stay true here: whatever was started is stopped and the folder is gone when the benchmark ends, however it ends.
"""

import json
import os
import random
import shutil
import signal
import socket
import string
import subprocess
import sys
import tempfile
import time
import urllib.request
import zlib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PEERS = ROOT / "benches" / "peers"
GATEWAY = Path(os.environ.get("GATEWAY_BINARY", ROOT / "target" / "release" / "hokusai-gateway"))
DIGITS = string.digits + string.ascii_uppercase + string.ascii_lowercase
PATIENCE = 120  # seconds, for anything that has to come true
TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


class Stage:
    """A temporary folder with the processes that run in it, and the app behind all of them."""

    def __enter__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="gateway-bench-"))
        self.folder.chmod(0o755)
        self.values = {"FOLDER": str(self.folder), "BODY": "x" * 1024, "UPSTREAM": str(free_port())}
        self.values["FORWARDING"] = PEERS / "forwarding.conf"
        self.processes = []
        self.certify()
        self.nginx("upstream", port=int(self.values["UPSTREAM"]))
        return self

    def __exit__(self, *_):
        for process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
            process.wait()
        shutil.rmtree(self.folder)

    def certify(self):
        """A certificate for whoever speaks TLS here."""
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=bench"]
        files = {name: self.folder / name for name in ("cert.pem", "key.pem", "both.pem")}
        subprocess.run([*command, "-out", files["cert.pem"], "-keyout", files["key.pem"]], check=True, stderr=subprocess.DEVNULL)
        files["both.pem"].write_text(files["cert.pem"].read_text() + files["key.pem"].read_text())

    def write(self, name, folder=".", **values):
        """A file of benches/peers with its @PLACES@ filled, in a folder of the stage."""
        text = (PEERS / name).read_text()
        for key, value in (self.values | values).items():
            text = text.replace(f"@{key}@", str(value))
        path = self.folder / folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    def start(self, command, port, name, **options):
        log = self.folder / "stderr"
        with log.open("w") as stderr:
            process = subprocess.Popen(command, cwd=self.folder, stderr=stderr, **options)
        self.processes.append(process)
        wait_until(lambda: listens(port) or process.poll() is not None, f"the start of {name}")
        if process.poll() is not None:
            sys.exit(f"{name} does not start: {log.read_text()}")
        return process

    def nginx(self, name, port, **values):
        config = self.write(f"{name}.conf", TRAFFIC=port, **values)
        return self.start(["nginx", "-p", self.folder, "-c", config, "-g", "daemon off;"], port, name)

    def redis(self):
        """The port of a Redis that keeps nothing on disk, and its process."""
        port = free_port()
        command = ["redis-server", "--port", str(port), "--save", "", "--appendonly", "no", "--bind", "127.0.0.1"]
        return port, self.start(command, port, "Redis", stdout=subprocess.DEVNULL)

    def postgres(self):
        """The URL of an empty database of a new server, with PostgreSQL's own defaults."""
        port, data = free_port(), self.folder / "postgres"
        data.mkdir()
        as_user = []
        if os.getuid() == 0:
            # PostgreSQL refuses to run as root.
            shutil.chown(data, "postgres", "postgres")
            as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"]
        binaries = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
        initialise = [*as_user, binaries / "initdb", "-D", data, "-U", "postgres", "--auth=trust", "--locale=C", "-E", "UTF8"]
        subprocess.run(initialise, check=True, stdout=subprocess.DEVNULL)
        self.start([*as_user, binaries / "postgres", "-D", data, "-p", str(port), "-k", data], port, "PostgreSQL", stdout=subprocess.DEVNULL)
        return f"postgres://postgres@127.0.0.1:{port}/postgres"


class Gateway:
    """The gateway by benches/peers/gateway.toml, with its store made and one key in it. `environment` names another store than SQLite."""

    def __init__(self, stage, **environment):
        self.port, self.tls_port, self.admin = free_port(), free_port(), free_port()
        folder = f"gateway-{self.port}"  # for its store and its journal, too
        config = stage.write("gateway.toml", folder, TRAFFIC=self.port, TLS=self.tls_port, ADMIN=self.admin)
        self.command, self.environment = [GATEWAY, "--config", config], os.environ | environment
        self.run("migrate", "up")
        create = ("keys", "create", "--user", "bench", "--name", "bench", "--rate-limit", "1000000000")
        self.key = self.run(*create)["key"]
        self.process = stage.start([*self.command, "serve"], self.port, "the gateway", env=self.environment)

    def run(self, *arguments):
        """What a command of the gateway answers."""
        command = [*self.command, *arguments, "--json"]
        return json.loads(subprocess.run(command, check=True, capture_output=True, env=self.environment).stdout)

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


def make_key():
    """One that is built like a real one, its checksum right."""
    body = "hk_live_" + "".join(random.choices(DIGITS, k=34))
    checksum, digits = zlib.crc32(body.encode()), ""
    for _ in range(6):
        checksum, digit = divmod(checksum, 62)
        digits = DIGITS[digit] + digits
    return body + digits


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
