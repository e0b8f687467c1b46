"""The Redis part of `./dev bench l2`: Gets of the tier against redis-benchmark, and what a batch costs on the wire.

One redis-server has core 0 for itself; larder_l2_bench and redis-benchmark have core 1 and take turns of about two
seconds, so that noise that lasts longer than a turn hits both. Both keep 64 commands under way on 2 connections, and
ask for the same names (bench/l2/redis_gets.cc). The ratio is the median over the turns.
"""

import socket
import statistics
import subprocess

import program
import redis_gets_larderd
import rig

SERVER_CORE = 0
CLIENT_CORE = 1
TURNS = 5
CONNECTIONS = 2
PIPELINE = 32
KEYS = 100_000
BENCHMARK_REQUESTS = 400_000
NAME = "larder{}:e:7:default:key:__rand_int__"

BARS = {"redis_get_ratio": ">= 0.6", "redis_batch_reads": "<= 1.1"}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ask(port, *words):
    """One command through redis-cli."""
    return rig.run(["redis-cli", "-h", "127.0.0.1", "-p", str(port), *words]).decode()


def info(port, field):
    for line in ask(port, "INFO", "stats").splitlines():
        if line.startswith(field + ":"):
            return int(line.split(":")[1])
    raise rig.BenchError(f"redis-server tells no {field}")


def answers(port):
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


class RedisServer(rig.Server):
    """A redis-server without a disk, on a free port. Use with `with`."""

    def __init__(self):
        self.port = free_port()
        super().__init__(["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "",
                          "--appendonly", "no", "--loglevel", "warning"], SERVER_CORE)
        self.wait_for_address(lambda server: f"127.0.0.1:{server.port}" if answers(server.port) else None)


def redis_benchmark(port, connections=CONNECTIONS, pipeline=PIPELINE, requests=BENCHMARK_REQUESTS):
    """Gets a second, of names and values like the tier's."""
    out = rig.run(["taskset", "-c", str(CLIENT_CORE), "redis-benchmark", "-h", "127.0.0.1", "-p", str(port),
                   "-c", str(connections), "-P", str(pipeline), "-n", str(requests), "-r", str(KEYS), "--csv",
                   "GET", NAME]).decode()
    # "test","rps",...
    return float(out.strip().splitlines()[-1].split('","')[1])


class TierProgram:
    """larder_l2_bench in a mode that measures one turn for each line that it is given."""

    def __init__(self, mode, server):
        self._process = subprocess.Popen(
            ["taskset", "-c", str(CLIENT_CORE), program.path("larder_l2_bench"), mode, server.address],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self._process.stdin.close()
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def turn(self):
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline().split()
        if len(line) < 2:
            raise rig.BenchError("larder_l2_bench ended before its turn did")
        return float(line[1])


def measure(table):
    """Adds the figures to `table` (bench/figures.py)."""
    with RedisServer() as server:
        program.report("larder_l2_bench", "redis-fill", server.address, seconds_most=120)
        with TierProgram("redis-gets", server) as tier:
            tier.turn()  # warms both sides up
            redis_benchmark(server.port)
            pairs = [(tier.turn(), redis_benchmark(server.port)) for _ in range(TURNS)]
        with TierProgram("redis-batches", server) as tier:
            tier.turn()
            before = info(server.port, "total_reads_processed")
            batches = tier.turn()
            # The question itself is one read, and the end of the connection that asked before is one.
            reads = info(server.port, "total_reads_processed") - before - 2
        redis_gets_larderd.measure(table, server, info, redis_benchmark)
    for name, value in (("redis_tier_gets", statistics.median(ours for ours, _ in pairs)),
                        ("redis_benchmark_gets", statistics.median(theirs for _, theirs in pairs))):
        table.add(name, value, "1/s")
    table.add("redis_get_ratio", statistics.median(ours / theirs for ours, theirs in pairs), "of redis-benchmark",
              BARS["redis_get_ratio"])
    table.add("redis_batch_reads", reads / batches, "reads of the server a batch of 100, of 2 connections",
              BARS["redis_batch_reads"])
