"""The fleet part of `./dev bench l2`: three larderds over one redis-server, from outside (bench/l2/coherence.cc).

Everything shares the machine's cores, as nothing waits for anything else for long. `lag` runs undisturbed. `fleet` runs
while connections to Redis, the bus's among them, are cut at random moments.
"""

import contextlib
import pathlib
import random
import threading

import program
import rig
from redis_gets import RedisServer, ask

REPLICAS = 3
LAG_SECONDS = 20
FLEET_TRIES = 100_000
CUT_EVERY = (0.2, 1.0)  # seconds

# What was not changed, not acknowledged, not read or not cut proves nothing: those have bars too. A cut may cost the
# acknowledgements that were on their way, one of twenty at most.
BARS = {"coherence_changes_per_second": ">= 990", "coherence_p99": "< 10",
        "fleet_invalidations": f">= {FLEET_TRIES * 95 // 100}", "fleet_stale_reads": "<= 0",
        "fleet_failed_reads": "<= 0", "fleet_cuts": "> 100"}


@contextlib.contextmanager
def replicas(redis):
    with contextlib.ExitStack() as stack:
        servers = []
        for number in range(REPLICAS):
            server = stack.enter_context(rig.larderd(pathlib.Path(program.path("larderd")).parent, number % 2, [
                f"node.name=replica-{number}", f"node.id={number}", "memory.l1=64MiB",
                f"l2.redis.url=redis://127.0.0.1:{redis.port}/0"]))
            server.wait_for_address(rig.larderd_address)
            servers.append(server)
        yield [server.address for server in servers]


class Cutter:
    """Cuts connections of the redis-server, a random one at a time, while used with `with`."""

    def __init__(self, redis, seed=1):
        self.cuts = 0
        self._redis = redis
        self._random = random.Random(seed)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *unused):
        self._stop.set()
        self._thread.join()

    def _run(self):
        while not self._stop.wait(self._random.uniform(*CUT_EVERY)):
            lines = [line for line in ask(self._redis.port, "CLIENT", "LIST").splitlines() if "cmd=client" not in line]
            if lines:
                victim = self._random.choice(lines).split("id=", 1)[1].split(" ")[0]
                # Answers how many it found.
                self.cuts += int(ask(self._redis.port, "CLIENT", "KILL", "ID", victim))


def measure(table):
    with RedisServer() as redis, replicas(redis) as addresses:
        found = program.report("larder_coherence_bench", "lag", str(LAG_SECONDS), *addresses,
                               seconds_most=LAG_SECONDS + 60)
        with Cutter(redis) as cutter:
            found += program.report("larder_coherence_bench", "fleet", str(FLEET_TRIES), *addresses, seconds_most=900)
    for name, value, unit in found:
        table.add(name, value, unit, BARS.get(name, ""))
    table.add("fleet_cuts", cutter.cuts, "connections cut", BARS["fleet_cuts"])
