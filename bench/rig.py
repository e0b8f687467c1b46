"""What benches of whole servers share: pinned processes, single calls that are looked at, and load by h2load.

Processes are started here and stopped here, by their own process id, also when the bench fails. All traffic stays on
127.0.0.1. A single call goes through curl and protoc's text format, so that a bench needs no gRPC library of its own
and what it checks is what the wire carries.
"""

import json
import os
import pathlib
import re
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
GRPC_HEADERS = ["-H", "content-type: application/grpc", "-H", "te: trailers"]


class BenchError(Exception):
    """The bench cannot measure; the message says why."""


def run(command, **options):
    """Runs a short command to its end and returns what it wrote on stdout, as bytes."""
    done = subprocess.run(command, capture_output=True, timeout=60, check=False, **options)
    if done.returncode != 0:
        raise BenchError(f"{command[0]} failed ({done.returncode}): {done.stderr.decode(errors='replace')[-2000:]}")
    return done.stdout


def protoc(mode, message, data):
    """Encodes text format to bytes (mode "encode") or decodes bytes to text ("decode")."""
    name = message.rsplit(".", 1)[-1]
    file = "larder/v1/admin.proto" if name.startswith("ServerInfo") else "larder/v1/cache.proto"
    return run(["protoc", f"--{mode}={message}", "-I", str(ROOT / "proto"), file], input=data)


def frame(message):
    """One gRPC message, uncompressed, as it travels in DATA frames."""
    return b"\0" + len(message).to_bytes(4, "big") + message


class Server:
    """A server process pinned to one core. Use with `with`: it is stopped at the end."""

    def __init__(self, command, core):
        self.started = time.monotonic()
        self._stderr = tempfile.TemporaryFile()
        self.process = subprocess.Popen(["taskset", "-c", str(core), *command],
                                        stdout=subprocess.PIPE, stderr=self._stderr)
        self.address = None

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process.stdout.close()
        self._stderr.close()

    def stderr(self):
        # Not seek(): the child writes through the same file description, and its position must stay at the end.
        size = os.fstat(self._stderr.fileno()).st_size
        return os.pread(self._stderr.fileno(), size, 0).decode(errors="replace")

    def wait_for_address(self, find, limit_seconds=20):
        """Polls `find(self)`, which returns the address or None, and keeps what it returned."""
        until = time.monotonic() + limit_seconds
        while self.address is None:
            if self.process.poll() is not None:
                raise BenchError(f"the server ended ({self.process.returncode}):\n{self.stderr()[-2000:]}")
            if time.monotonic() > until:
                raise BenchError(f"the server said no address in {limit_seconds} s:\n{self.stderr()[-2000:]}")
            self.address = find(self)
            if self.address is None:
                time.sleep(0.001)
        return self.address

    def resident_bytes(self):
        # taskset replaces itself by the server, so the process id is the server's.
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return int(re.search(r"VmRSS:\s+(\d+) kB", status).group(1)) * 1024


def larderd(bin_dir, core, settings=()):
    """Starts larderd on a free port, without the admin port."""
    command = [str(bin_dir / "larderd"), "--set", "listen.grpc=127.0.0.1:0"]
    for setting in settings:
        command += ["--set", setting]
    return Server(command, core)


def larderd_address(server, lane=os.environ.get("LARDER_BENCH_LANE", "native")):
    """The address of one of its lanes; the environment says which where the bench does not."""
    for line in server.stderr().splitlines():
        if '"lane_listening"' in line and line.endswith("}"):
            said = json.loads(line)
            if said["lane"] == lane:
                return said["address"]
    return None


def echo_server(bin_dir, core, *arguments):
    """Starts bench/rpc's echo server on a free port."""
    server = Server([str(bin_dir / "echo_server"), "127.0.0.1:0", *arguments], core)
    said = server.process.stdout.readline().decode().split()
    if len(said) != 2 or said[0] != "listening":
        raise BenchError(f"the echo server does not listen:\n{server.stderr()}")
    server.address = said[1]
    return server


def call(server, method, request, reply_type, headers=(), tls=False):
    """One call, looked at: returns (the reply's bytes, the reply as text). Anything but grpc-status 0 is an error.
    With `tls` it does not look at the server's certificate."""
    with tempfile.TemporaryDirectory() as folder:
        body, head, reply = (os.path.join(folder, name) for name in ("body", "head", "reply"))
        pathlib.Path(body).write_bytes(frame(request))
        run(["curl", "--silent", "--show-error", *(["--http2", "-k"] if tls else ["--http2-prior-knowledge"]),
             "--max-time", "10", *GRPC_HEADERS, *headers, "--data-binary", "@" + body, "-D", head, "-o", reply, f"{'https' if tls else 'http'}://{server.address}/{method}"])
        headers = pathlib.Path(head).read_text(encoding="latin-1").lower()
        if not re.search(r"^grpc-status: *0\s*$", headers, re.M):
            raise BenchError(f"{method} was not answered with grpc-status 0:\n{headers}")
        data = pathlib.Path(reply).read_bytes()
    if data[:5] != b"\0" + (len(data) - 5).to_bytes(4, "big"):
        raise BenchError(f"{method} answered no whole message: {data[:64]!r}")
    return data[5:], protoc("decode", reply_type, data[5:]).decode() if reply_type else ""


class Load:
    """h2load against one method of one server, always with the same framed request."""

    def __init__(self, server, method, request, core, headers=()):
        self._file = tempfile.NamedTemporaryFile()
        self._file.write(frame(request))
        self._file.flush()
        self._command = ["taskset", "-c", str(core), "h2load", "-t", "1", *GRPC_HEADERS, *headers, "-d",
                         self._file.name]
        self._url = f"http://{server.address}/{method}"
        self.calls = 0  # answered, in all runs
        self.in_flight_max = 0  # calls that the ends of runs may have cut off, and that were served all the same

    def run(self, connections, streams, seconds):
        """Calls a second, and bytes of DATA per answer."""
        out = run([*self._command, "-c", str(connections), "-m", str(streams), "-D", str(seconds), self._url]).decode()
        requests = dict((what, int(n)) for n, what in
                        re.findall(r"(\d+) (\w+)", re.search(r"^requests: (.*)$", out, re.M).group(1)))
        done = requests["succeeded"]
        if not done or requests["failed"] or requests["errored"] or requests["timeout"]:
            raise BenchError(f"h2load saw failed calls:\n{out}")
        if int(re.search(r"status codes: (\d+) 2xx", out).group(1)) != done:
            raise BenchError(f"h2load saw another status than 200:\n{out}")
        # h2load does not look at grpc-status, which comes in the trailers: an error would come without DATA.
        data_bytes = int(re.search(r"\((\d+)\) data", out).group(1))
        self.calls += done
        self.in_flight_max += connections * streams
        return done / seconds, data_bytes / done
