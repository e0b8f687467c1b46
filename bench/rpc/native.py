"""The native lane's part of `./dev bench rpc`: Get and Set beside the echo server and redis-server, TLS, and memory.

As in the rest of the bench all servers have one core and the load the other, and they are measured in turns. larderd
serves both lanes in one process; it has one loop here, since it has one core.
"""

import pathlib
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time

import rig

SERVER_CORE, LOAD_CORE = 0, 1
GET, SET = "larder.v1.Cache/Get", "larder.v1.Cache/Set"
# Connections and streams on each, and what the native lane's Get must be of the empty echo server's calls.
CELLS = {(8, 1): "", (8, 10): ">= 5.0", (64, 1): ">= 1.4", (64, 10): ">= 5.0"}
IDLE_CONNECTIONS = 1_000
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
    return ours


def bench_redis(ours, table, options):
    with RedisServer() as redis:
        native, theirs = turns([ours, RedisLoad(redis.port)], (64, 1), options)
    table.add("redis_get_64x1_calls", statistics.median(theirs), "calls/s")
    table.add("native_get_64x1_ratio_redis", ratio(native, theirs), "of redis GET", ">= 1.0")


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
            store(server)
            load = TlsLoad(lane_of(server), GET, get, LOAD_CORE)
            tls, plain = turns([load, ours], (64, 10), options)
    table.add("native_tls_64x10_calls", statistics.median(tls), "calls/s")
    table.add("native_tls_ratio", ratio(tls, plain), "of plain text", ">= 0.7")


def bench(bin_dir, server, echo, get, set_request, store, table, options):
    """`server` is a larderd that has the value; `store` puts it into another one."""
    lane = lane_of(server)
    ours = bench_calls(lane, echo, get, b"", table, options)
    bench_redis(ours, table, options)
    bench_set(lane, ours, set_request, table, options)
    bench_idle(server, lane, table)
    bench_tls(bin_dir, ours, get, store, table, options)
