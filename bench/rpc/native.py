"""The native lane's part of `./dev bench rpc`: Get and Set beside the echo server and redis-server, batches, latency, TLS,
memory, and two loops.

As in the rest of the bench all servers have one core and the load the other, and they are measured in turns. larderd
serves both lanes in one process; it has one loop here, since it has one core.

Two loops: with two cores for server and load together, a server with two loops cannot be given both of them for itself.
So the server, pinned to both cores, and a load on each core share them, and what is counted is calls for each second of
processor time that the server had. A second loop that cost nothing would make twice the calls of one in twice the
processor time; what the loops cost each other is what is missing from twice.
"""

import contextlib
import os
import pathlib
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time

import program
import rig

SERVER_CORE, LOAD_CORE = 0, 1
GET, SET = "larder.v1.Cache/Get", "larder.v1.Cache/Set"
# Connections and streams on each, and what the native lane's Get must be of the empty echo server's calls.
CELLS = {(8, 1): "", (8, 10): ">= 5.0", (64, 1): ">= 1.4", (64, 10): ">= 5.0"}
IDLE_CONNECTIONS = 1_000
BATCH_KEYS, BATCH = 1_000_000, 100
# Connections, and calls under way on each.
BATCH_CELLS = [(8, 10), (64, 1)]
LATENCY_CONNECTIONS = 64
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0" + b"\0\0\0\4\1\0\0\0\0"


class Lane:
    """One lane of a server, for rig.Load and rig.call."""

    def __init__(self, address):
        self.address = address


def lane_of(server):
    address = rig.larderd_address(server, "native")
    if address is None:
        raise rig.BenchError(f"larderd has no native lane:\n{server.stderr()[-2000:]}")
    return Lane(address)


class TlsLoad(rig.Load):
    """h2load over TLS; it does not look at the certificate."""

    def __init__(self, lane, method, request, core):
        super().__init__(lane, method, request, core)
        self._url = f"https://{lane.address}/{method}"


class RedisLoad:
    """redis-benchmark's GET, unpipelined."""

    def __init__(self, port):
        self._port = port

    def run(self, connections, _streams, seconds):
        out = rig.run(["taskset", "-c", str(LOAD_CORE), "redis-benchmark", "-h", "127.0.0.1", "-p", str(self._port),
                       "-t", "get", "-d", "100", "-c", str(connections), "-n", str(60_000 * seconds), "--csv"]).decode()
        return float(re.search(r'^"GET","([0-9.]+)"', out, re.M).group(1)), 100


class BatchLoad:
    """BatchGets of random keys; keys a second."""

    def __init__(self, lane):
        self._command = ["taskset", "-c", str(LOAD_CORE), program.path("larder_raw_load"), lane.address]

    def fill(self):
        rig.run([*self._command, "fill", str(BATCH_KEYS)])

    def run(self, connections, streams, seconds):
        out = rig.run([*self._command, "get", str(BATCH_KEYS), str(connections), str(streams), str(seconds)]).decode()
        return float(re.search(r"^keys (\S+)", out, re.M).group(1)), 0


class MgetLoad:
    """redis-benchmark's MGET of random keys; keys a second."""

    def __init__(self, port):
        self._port = str(port)
        self._command = ["taskset", "-c", str(LOAD_CORE), "redis-benchmark", "-h", "127.0.0.1", "-p", self._port, "-r",
                         str(BATCH_KEYS), "--csv"]

    def fill(self):
        # Every key that MGET draws, as redis-benchmark writes the number.
        value = "v" * 100
        lines = (f"*3\r\n$3\r\nSET\r\n$16\r\nkey:{i:012}\r\n$100\r\n{value}\r\n" for i in range(BATCH_KEYS))
        rig.run(["redis-cli", "-p", self._port, "--pipe"], input="".join(lines).encode())

    def check(self):
        stats = rig.run(["redis-cli", "-p", self._port, "INFO", "stats"]).decode()
        if int(re.search(r"keyspace_misses:(\d+)", stats).group(1)) or "keyspace_hits:0\r" in stats:
            raise rig.BenchError("MGET asked for keys that are not there")

    def run(self, connections, streams, seconds):
        out = rig.run([*self._command, "-c", str(connections), "-P", str(streams), "-n", str(30_000 * seconds),
                       "MGET", *["key:__rand_int__"] * BATCH]).decode()
        return float(re.findall(r'","([0-9.]+)"', out)[0]) * BATCH, 0


class RedisServer(rig.Server):
    def __init__(self):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        super().__init__(["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "",
                          "--appendonly", "no", "--loglevel", "warning"], SERVER_CORE)
        self.wait_for_address(lambda server: f"127.0.0.1:{server.port}" if self._answers() else None)
        # What redis-benchmark asks for.
        rig.run(["redis-cli", "-p", str(self.port), "SET", "key:__rand_int__", "x" * 100])

    def _answers(self):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


def turns(loads, cell, options):
    for load in loads:
        load.run(*cell, 1)
    rates = [[] for _ in loads]
    for turn in range(options.rounds):
        order = range(len(loads)) if turn % 2 == 0 else reversed(range(len(loads)))
        for i in order:
            rates[i].append(loads[i].run(*cell, options.seconds)[0])
    return rates


def ratio(ours, theirs):
    return statistics.median(a / b for a, b in zip(ours, theirs))


def bench_calls(lane, echo, get, empty, table, options):
    ours = rig.Load(lane, GET, get, LOAD_CORE)
    theirs = rig.Load(echo, "larder.bench.v1.Echo/Empty", empty, LOAD_CORE)
    for cell, bar in CELLS.items():
        native, plain = turns([ours, theirs], cell, options)
        label = f"native_get_{cell[0]}x{cell[1]}"
        table.add(f"{label}_calls", statistics.median(native), "calls/s")
        table.add(f"{label}_ratio", ratio(native, plain), "of echo", bar)
        print(f"{label}: {statistics.median(native):,.0f} calls/s, echo {statistics.median(plain):,.0f}", file=sys.stderr)
    return ours, {"half": statistics.median(native) / 2, "half_of_echo": statistics.median(plain) / 2}


def bench_redis(ours, table, options):
    with RedisServer() as redis:
        native, theirs = turns([ours, RedisLoad(redis.port)], (64, 1), options)
    table.add("redis_get_64x1_calls", statistics.median(theirs), "calls/s")
    table.add("native_get_64x1_ratio_redis", ratio(native, theirs), "of redis GET", ">= 1.0")


def bench_batches(bin_dir, table, options):
    with rig.larderd(bin_dir, SERVER_CORE, ["listen.loops=1", "memory.l1=1GiB"]) as server, RedisServer() as redis:
        server.wait_for_address(rig.larderd_address)
        loads = [BatchLoad(lane_of(server)), MgetLoad(redis.port)]
        for load in loads:
            load.fill()
        for cell in BATCH_CELLS:
            native, mget = turns(loads, cell, options)
            label = f"native_batch_get_{cell[0]}x{cell[1]}"
            table.add(f"{label}_keys", statistics.median(native), "keys/s")
            table.add(f"{label}_redis_keys", statistics.median(mget), "keys/s")
            table.add(f"{label}_ratio", ratio(native, mget), "of redis MGET", ">= 1.0")
        loads[1].check()


def p99(lane, method, request, rate, seconds):
    """In milliseconds, of calls that are sent at this rate whether or not the others are answered."""
    with tempfile.TemporaryDirectory() as folder:
        body, log = pathlib.Path(folder) / "body", pathlib.Path(folder) / "log"
        body.write_bytes(rig.frame(request))
        rig.run(["taskset", "-c", str(LOAD_CORE), "h2load", "-t", "1", *rig.GRPC_HEADERS, "-d", str(body), "-c",
                 str(LATENCY_CONNECTIONS), "-m", "100", "-D", str(seconds), f"--rps={rate / LATENCY_CONNECTIONS:.2f}",
                 f"--log-file={log}", f"http://{lane.address}/{method}"])
        took = sorted(int(line.split("\t")[2]) for line in log.read_text(encoding="ascii").splitlines())
    if len(took) < 0.9 * rate * seconds:
        return float("inf")
    return took[len(took) * 99 // 100] / 1e3


def bench_latency(lane, echo, get, rate, table, options):
    """At half of what the native lane can do, which the echo server cannot; and at half of what that one can."""
    for name, calls in rate.items():
        ours, theirs = [], []
        for _ in range(options.rounds):
            ours.append(p99(lane, GET, get, calls, options.seconds))
            theirs.append(p99(echo, "larder.bench.v1.Echo/Empty", b"", calls, options.seconds))
        if statistics.median(ours) == float("inf"):
            raise rig.BenchError(f"larderd does not keep up with {calls:,.0f} calls a second")
        table.add(f"native_p99_{name}", statistics.median(ours), f"ms at {calls:,.0f}/s")
        theirs = statistics.median(theirs)
        if theirs == float("inf"):
            print(f"the echo server cannot answer {calls:,.0f} calls a second", file=sys.stderr)
        else:
            table.add(f"native_p99_{name}_echo", theirs, "ms")
            table.add(f"native_p99_{name}_ratio", statistics.median(ours) / theirs, "of echo", "<= 1")


def processor_seconds(server):
    fields = pathlib.Path(f"/proc/{server.process.pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def bench_loops(bin_dir, get, store, table, options):
    """Calls for each second of the server's processor time: two loops, loaded from both cores, against one."""
    command = ["h2load", "-t", "1", *rig.GRPC_HEADERS, "-c", "32", "-m", "10", "-D", str(options.seconds)]
    rates, calls = {1: [], 2: []}, {1: [], 2: []}
    with tempfile.NamedTemporaryFile() as body, contextlib.ExitStack() as servers:
        body.write(rig.frame(get))
        body.flush()
        lanes = {}
        for loops in rates:
            server = servers.enter_context(rig.larderd(bin_dir, "0,1", [f"listen.loops={loops}"]))
            server.wait_for_address(rig.larderd_address)
            store(server)
            lanes[loops] = server, lane_of(server)
        for _ in range(options.rounds):
            for loops, (server, lane) in lanes.items():
                # One loop has a core for itself, and its load the other one.
                cores = ["0", "1"] if loops == 2 else ["1"]
                subprocess.run(["taskset", "-a", "-p", "-c", "0,1" if loops == 2 else "0", str(server.process.pid)],
                               check=True, capture_output=True)
                before = processor_seconds(server)
                loads = [subprocess.Popen(["taskset", "-c", core, *command, "-d", body.name,
                                           f"http://{lane.address}/{GET}"], stdout=subprocess.PIPE) for core in cores]
                done = sum(int(re.search(r"(\d+) succeeded", load.communicate(timeout=60)[0].decode()).group(1))
                           for load in loads)
                rates[loops].append(done / (processor_seconds(server) - before))
                calls[loops].append(done / options.seconds)
    table.add("native_loop_calls", statistics.median(rates[1]), "calls/s of processor time")
    for loops, name in ((1, "one"), (2, "two")):
        table.add(f"native_{name}_loops_calls", statistics.median(calls[loops]), "calls/s beside the load")
    table.add("native_two_loops", 2 * ratio(rates[2], rates[1]), "of one loop", ">= 1.5")


def bench_set(lane, ours, request, table, options):
    sets, gets = turns([rig.Load(lane, SET, request, LOAD_CORE), ours], (64, 10), options)
    table.add("native_set_64x10_calls", statistics.median(sets), "calls/s")
    table.add("native_set_ratio", ratio(sets, gets), "of Get", ">= 0.7")


def bench_idle(server, lane, table):
    host, port = lane.address.rsplit(":", 1)
    before = server.resident_bytes()
    idle = []
    for _ in range(IDLE_CONNECTIONS):
        one = socket.create_connection((host, int(port)))
        one.sendall(PREFACE)
        idle.append(one)
    for one in idle:
        one.recv(1024)
    time.sleep(0.5)  # the server's own answer to our settings is on its way
    table.add("native_idle_connection", (server.resident_bytes() - before) / IDLE_CONNECTIONS / 1024, "KB", "< 32")
    for one in idle:
        one.close()


def bench_tls(bin_dir, ours, get, store, table, options):
    with tempfile.TemporaryDirectory() as folder:
        key, certificate = pathlib.Path(folder) / "key.pem", pathlib.Path(folder) / "certificate.pem"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                        "-days", "1", "-subj", "/CN=bench", "-keyout", str(key), "-out", str(certificate)],
                       check=True, capture_output=True)
        settings = ["listen.loops=1", f"listen.tls.certificate_file={certificate}", f"listen.tls.key_file={key}"]
        with rig.larderd(bin_dir, SERVER_CORE, settings) as server:
            server.wait_for_address(rig.larderd_address)
            store(server, tls=True)
            load = TlsLoad(lane_of(server), GET, get, LOAD_CORE)
            tls, plain = turns([load, ours], (64, 10), options)
    table.add("native_tls_64x10_calls", statistics.median(tls), "calls/s")
    table.add("native_tls_ratio", ratio(tls, plain), "of plain text", ">= 0.7")


def bench(bin_dir, server, echo, get, set_request, store, table, options):
    """`server` is a larderd that has the value; `store` puts it into another one."""
    lane = lane_of(server)
    ours, halves = bench_calls(lane, echo, get, b"", table, options)
    bench_redis(ours, table, options)
    bench_set(lane, ours, set_request, table, options)
    bench_latency(lane, echo, get, halves, table, options)
    bench_idle(server, lane, table)
    bench_tls(bin_dir, ours, get, store, table, options)
    bench_batches(bin_dir, table, options)
    bench_loops(bin_dir, get, store, table, options)
