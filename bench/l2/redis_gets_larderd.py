"""Gets that miss memory, through one larderd, against redis-benchmark on the same redis-server.

h2load keeps 64 calls under way: 8 processes with 8 streams on a connection each, and a key each, because h2load sends
one body. The entries are stored as of a data type that this larderd keeps out of its second tier's reach, so that they
are never copied into memory and each call asks Redis; Redis' own count of hits says whether it did.

What 64 calls under way are for redis-benchmark can be said in two ways, and both are told:
  -c 64 -P 1    what the callers had without larderd: a connection each, an answer before the next question. Judged.
  -c 2 -P 32    the connections and the pipelining that larderd itself uses below. Told only: what larderd adds to a Get
                of its tier is a gRPC call, and `memory` has what its lane does of those when nothing is below. The tier
                without the lane is judged against the same in redis_gets.py.

larderd has the core that redis-benchmark has when it is its turn. redis-server's core is h2load's too, which takes from
larderd's side of the ratios.
"""

import concurrent.futures
import pathlib
import statistics

import program
import rig

REDIS_CORE, LARDERD_CORE = 0, 1
TURNS = 5
SECONDS = 2
PROCESSES, STREAMS = 8, 8
VALUE = "v" * 200
GET, SET = "larder.v1.Cache/Get", "larder.v1.Cache/Set"

BARS = {"larderd_redis_get_ratio": ">= 0.6"}


def settings(redis):
    # FillRedis (redis_gets.cc) stores its entries as of type `user`; here their keys are of type `default`.
    return ["memory.l1=64MiB", f"l2.redis.url=redis://127.0.0.1:{redis.port}/0",
            'types.user.match=["nobody:*"]', "types.user.tiers.l2=false"]


def encoded(message, text):
    return rig.protoc("encode", "larder.v1." + message, text.encode())


class Loads:
    """64 Gets under way, of one key for each process."""

    def __init__(self, server, keys, tier):
        self._loads = []
        for key in keys:
            request = encoded("GetRequest", f'key: "{key}"')
            _, text = rig.call(server, GET, request, "larder.v1.GetResponse")
            if f"tier: {tier}" not in text or "value_bytes: 200" not in text:
                raise rig.BenchError(f"Get of {key} is not what is to be measured:\n{text}")
            self._loads.append(rig.Load(server, GET, request, REDIS_CORE))
        self._pool = concurrent.futures.ThreadPoolExecutor(len(self._loads))

    def turn(self):
        return sum(self._pool.map(lambda load: load.run(1, STREAMS, SECONDS)[0], self._loads))

    def calls(self):
        return sum(load.calls for load in self._loads)


def measure(table, redis, info, redis_benchmark):
    """Adds the figures to `table`. `info(port, field)` asks the server, redis_benchmark(port, c, P, n) loads it."""
    bin_dir = pathlib.Path(program.path("larderd")).parent
    with rig.larderd(bin_dir, LARDERD_CORE, settings(redis)) as server:
        server.wait_for_address(rig.larderd_address)
        hot = [f"hot:{i}" for i in range(PROCESSES)]
        for key in hot:
            rig.call(server, SET, encoded("SetRequest", f'key: "{key}" value: "{VALUE}"'), None)
        below = Loads(server, [f"key:{i:012}" for i in range(PROCESSES)], "TIER_L2")
        memory = Loads(server, hot, "TIER_L1")
        contenders = [below.turn, memory.turn, lambda: redis_benchmark(redis.port, 64, 1, 40_000),
                      lambda: redis_benchmark(redis.port, 2, 32, 200_000)]
        before = info(redis.port, "keyspace_hits")
        below.turn()  # warm-up, not a figure
        hits = info(redis.port, "keyspace_hits") - before
        # A few more are calls that h2load no longer waited for, and reads of the bus.
        if hits < below.calls():
            raise rig.BenchError(f"Redis counted {hits} hits of {below.calls()} calls that were to ask it")
        turns = []
        for turn in range(TURNS):
            # There and back, so that a drift of the machine favours nobody.
            order = range(len(contenders)) if turn % 2 == 0 else reversed(range(len(contenders)))
            rates = dict((i, contenders[i]()) for i in order)
            turns.append([rates[i] for i in range(len(contenders))])
    for at, name in enumerate(("larderd_redis_gets", "larderd_memory_gets", "redis_benchmark_c64_p1",
                               "redis_benchmark_c2_p32")):
        table.add(name, statistics.median(turn[at] for turn in turns), "1/s")
    for name, other, unit in (("larderd_redis_get_ratio", 2, "of redis-benchmark -c 64 -P 1"),
                              ("larderd_redis_get_ratio_pipelined", 3, "of redis-benchmark -c 2 -P 32"),
                              ("larderd_redis_get_ratio_memory", 1, "of the same load from memory")):
        table.add(name, statistics.median(turn[0] / turn[other] for turn in turns), unit, BARS.get(name, ""))
