"""The parts of `./dev bench load`, each with a larderd and an origin of its own, all on both cores.

cold    10,000 callers of one key that nobody has, at once: one call of the origin, all answered, and nobody waits much
        longer than the origin takes. larderd has been in use and holds other keys. The callers are 100 connections with
        100 calls each over the native lane, of one thread that costs a call little; judged is how long they waited. How
        long calls took in larderd is printed too, and so is what 10,000 callers through grpc++ wait over the reference
        lane, whose sending and reading of 10,000 answers comes on top.
fleet   the same over three replicas with one Redis: still one.
hot     one key with a TTL of a second at 2,000 calls a second for a minute, refreshed ahead: after the first call
        nobody waits for the origin, which is asked about once for each TTL.
outage  the origin is killed for 20 seconds under load, where stale values may be served: no call fails, the origin is
        hardly asked, and everything is fresh soon after its return. The origin is asked through gRPC, so that what it
        would have been asked is what larderd's Stats count.
refuse  the same with an origin that refuses each call in the moment it comes.
stopped the same with an origin that is stopped in its tracks, and answers nothing.
frozen  the origin is stopped in its tracks, and nothing stale may be served: errors come within the hard time-out, and
        what is under way stays bounded.
many    1,000 keys that nobody has, at once: the origin gets them in few calls.
stall   the origin stops for five seconds under calls that are tried again at once, three times: how soon as many as
        before are answered in a second.
start   an empty cache under Zipf load at full rate: the origin's bound holds, and the cache is soon at its steady rate.
"""

import contextlib
import json
import re
import signal
import statistics
import tempfile
import threading
import time

import program
import rig
from bench_origin import Origin
from redis_gets import RedisServer

CALLERS = 10_000
COLD_KEYS = 9          # one after the other; latencies are medians over them
WARM_KEYS = 1_000      # of another type, in memory before
LOAD_MS = 1_000        # of the origin, in cold and fleet: longer than it takes to make that many calls
HOT_RATE, HOT_SECONDS, HOT_TTL, HOT_LOAD_MS = 2_000, 60, 1, 50
OUTAGE_SECONDS, OUTAGE_KEYS, OUTAGE_RATE = 20, 200, 500
HARD_TIMEOUT_MS = 1_000
CONCURRENCY = 16
START_CONCURRENCY = 2  # few, so that the bound is felt
VALUE_BYTES = 200  # of the origin's values
BATCH_KEYS = 100
MANY = 1_000
STALL_RATE, STALL_BEFORE, STALL_SECONDS, STALL_AFTER = 1_000, 8, 5, 20
ZIPF_KEYS, ZIPF_CALLERS, ZIPF_SECONDS = 100_000, 64, 80

BARS = {
    "cold_origin_calls": "<= 1", "cold_failed": "<= 0", "cold_p99_over_load": "<= 50",
    "cold_grpc_origin_calls": "<= 1", "cold_grpc_failed": "<= 0",
    "fleet_origin_calls": "<= 1", "fleet_failed": "<= 0", "fleet_p99_over_load": "<= 50",
    "fleet_grpc_origin_calls": "<= 1", "fleet_grpc_failed": "<= 0",
    "hot_failed": "<= 0", "hot_waited": "<= 0", "hot_stale": "<= 0", "hot_loads_per_ttl": "<= 1.2",
    "outage_failed": "<= 0", "outage_attempts": "<= 1.2", "outage_fresh_after": "<= 2",
    "refuse_failed": "<= 0", "refuse_attempts": "<= 1.2", "refuse_fresh_after": "<= 2",
    "stopped_failed": "<= 0", "stopped_attempts": "<= 1.2", "stopped_fresh_after": "<= 2",
    "frozen_slowest_over_timeout": "<= 100", "frozen_under_way": f"<= {CONCURRENCY}",
    "many_failed": "<= 0", "many_origin_calls": "<= 12", "batch_failed": "<= 0", "batch_origin_calls": "<= 12",
    "stall_back_after": "<= 10",
    "start_failed": "<= 0", "start_origin_most": f"<= {START_CONCURRENCY}", "start_seconds_to_steady": "<= 60",
}


def add(table, name, value, unit):
    table.add(name, value, unit, BARS.get(name, ""))


@contextlib.contextmanager
def larderds(origin, freshness=None, ttl="10m", batch=None, redis=None, replicas=1, concurrency=CONCURRENCY):
    """The addresses of larderds that load keys of `item` from the origin, and the servers."""
    config = {
        "memory": {"l1": "128MiB"},
        "origins": {"bench": {"grpc": {"target": origin.target, "timeout": "10s"}, "concurrency": concurrency,
                              "batch": batch or {"keys": BATCH_KEYS}}},
        "types": {"item": {"match": ["item:{id}"], "ttl": {"base": ttl, "jitter": "0%"}, "origin": "bench",
                           "freshness": freshness or {}}},
    }
    if redis is not None:
        config["l2"] = {"redis": {"url": f"redis://127.0.0.1:{redis.port}/0"}}
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(tempfile.NamedTemporaryFile("w", suffix=".yaml"))
        json.dump(config, file)  # which YAML reads
        file.flush()
        servers = []
        for number in range(replicas):
            command = [program.path("larderd"), "--config", file.name, "--set", "listen.grpc=127.0.0.1:0"]
            if redis is not None:
                command += ["--set", f"node.name=replica-{number}", "--set", f"node.id={number}"]
            server = stack.enter_context(rig.Server(command, "0-1"))
            server.wait_for_address(rig.larderd_address)
            servers.append(server)
        yield ",".join(server.address for server in servers), servers


def stats(server):
    return rig.call(server, "larder.v1.Cache/Stats", b"", "larder.v1.StatsResponse")[1]


def served_p99_ms(server):
    """How long GetOrLoad took in larderd, at the 99th percentile."""
    found = re.search(r'^latencies \{\n  rpc: "GetOrLoad"\n(.*?)^\}', stats(server), re.M | re.S)
    p99 = re.search(r"^  p99 \{\n(.*?)^  \}", found.group(1), re.M | re.S).group(1) if found else ""
    fields = {name: int(value) for name, value in re.findall(r"(seconds|nanos): (\d+)", p99)}
    if not fields:
        raise rig.BenchError("larderd does not tell how long calls took")
    return fields.get("seconds", 0) * 1e3 + fields.get("nanos", 0) / 1e6


def origin_stats(server):
    """What larderd says of its origin, by field."""
    text = stats(server)
    found = re.search(r"^origins \{\n(.*?)^\}", text, re.M | re.S)
    if found is None:
        raise rig.BenchError(f"larderd tells nothing of its origin:\n{text[:2000]}")
    return {name: int(value) for name, value in re.findall(r"^  (\w+): (\d+)$", found.group(1), re.M)}


def reported(name, *arguments, seconds_most=120):
    return {figure: value for figure, value, _ in program.report(name, *map(str, arguments), seconds_most=seconds_most)}


def bench(*arguments, seconds_most=120):
    return reported("larder_load_bench", *arguments, seconds_most=seconds_most)


def cold_key(table, name, redis=None, replicas=1):
    with Origin(LOAD_MS) as origin, larderds(origin, redis=redis, replicas=replicas) as (addresses, servers):
        lanes = [rig.larderd_address(server, "native") for server in servers]
        # A process that has been in use: what it touches for the first time the machine has to find memory for.
        for lane in lanes:
            rig.run([program.path("larder_raw_load"), lane, "fill", str(WARM_KEYS)])
        answered, loads, p99 = [], [], []
        for key in range(COLD_KEYS):
            before = origin.stats()["calls"]
            waits = reported("larder_raw_load", ",".join(lanes), "crowd", f"item:{key}", CALLERS, VALUE_BYTES)
            answered.append(waits["answered"])
            loads.append(origin.stats()["calls"] - before)
            p99.append(waits["p99"] - LOAD_MS)
        add(table, f"{name}_calls", min(answered), "calls")
        add(table, f"{name}_failed", COLD_KEYS * CALLERS - sum(answered), "calls")
        add(table, f"{name}_origin_calls", max(loads), "calls")
        add(table, f"{name}_p99_over_load", statistics.median(p99), "ms")
        add(table, f"{name}_worst_p99_over_load", max(p99), "ms")
        add(table, f"{name}_served_p99_over_load", max(map(served_p99_ms, servers)) - LOAD_MS, "ms")
        before = origin.stats()["calls"]
        grpc = bench("cold", addresses, CALLERS, "item:grpc")
        add(table, f"{name}_grpc_failed", grpc["cold_failed"], "calls")
        add(table, f"{name}_grpc_origin_calls", origin.stats()["calls"] - before, "calls")
        add(table, f"{name}_grpc_p99_over_load", grpc["cold_p99"] - LOAD_MS, "ms")


def cold(table):
    cold_key(table, "cold")


def fleet(table):
    with RedisServer() as redis:
        cold_key(table, "fleet", redis, 3)


def hot(table):
    with Origin(HOT_LOAD_MS) as origin, \
            larderds(origin, {"refresh_ahead": "90%"}, f"{HOT_TTL}s") as (addresses, _):
        found = bench("hot", addresses, "item:1", HOT_RATE, HOT_SECONDS)
        add(table, "hot_calls", found["hot_calls"], "calls")
        add(table, "hot_failed", found["hot_failed"], "calls")
        add(table, "hot_waited", found["hot_loaded"], "calls")
        add(table, "hot_stale", found["hot_stale"], "calls")
        add(table, "hot_p99", found["hot_p99"], "ms")
        add(table, "hot_slowest", found["hot_slowest"], "ms")
        add(table, "hot_loads_per_ttl", origin.stats()["calls"] * HOT_TTL / HOT_SECONDS, "calls")


class Background:
    """The load of larder_load_bench on another thread, to do something to the servers meanwhile."""

    def __init__(self, *arguments, seconds_most):
        self._found, self._error = None, None
        self._thread = threading.Thread(target=self._run, args=arguments, kwargs={"seconds_most": seconds_most})
        self._thread.start()

    def _run(self, *arguments, **options):
        try:
            self._found = bench(*arguments, **options)
        except rig.BenchError as error:
            self._error = error

    def result(self):
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._found


def outage_of(table, name, away, back, attempts):
    """An outage that `away` begins and `back` ends; `attempts(server, origin)` is what was tried so far."""
    before, after = 8, 8  # seconds of load
    freshness = {"stale_if_error": "1h", "refresh_ahead": "80%"}
    with Origin(20) as origin, larderds(origin, freshness, "1s") as (addresses, servers):
        load = Background("keys", addresses, OUTAGE_KEYS, OUTAGE_RATE, before + OUTAGE_SECONDS + after, seconds_most=120)
        time.sleep(before)  # the load goes on for as long as was said
        away(origin)
        tried = attempts(servers[0], origin)
        time.sleep(OUTAGE_SECONDS)
        tried = attempts(servers[0], origin) - tried
        back(origin)
        returned = time.monotonic()
        found = load.result()
    add(table, f"{name}_calls", found["keys_calls"], "calls")
    add(table, f"{name}_stale", found["keys_stale"], "calls")
    add(table, f"{name}_failed", found["keys_failed"], "calls")
    add(table, f"{name}_slowest", found["keys_slowest"], "ms")
    add(table, f"{name}_attempts", tried / OUTAGE_SECONDS, "calls/s")
    add(table, f"{name}_fresh_after", max(0, found["keys_last_stale_at"] - returned), "s")
    if found["keys_stale"] == 0:
        raise rig.BenchError("nothing stale was served, so that no outage was measured")


def outage(table):
    outage_of(table, "outage", lambda origin: origin.kill(), lambda origin: origin.restart(),
              lambda server, origin: origin_stats(server)["load_calls"])


def refuse(table):
    outage_of(table, "refuse", lambda origin: origin.tell("refuse 1"), lambda origin: origin.tell("refuse 0"),
              lambda server, origin: origin.stats()["calls"])


def stopped(table):
    outage_of(table, "stopped", lambda origin: origin.process.send_signal(signal.SIGSTOP),
              lambda origin: origin.process.send_signal(signal.SIGCONT),
              lambda server, origin: origin_stats(server)["load_calls"])


def frozen(table):
    seconds = 10
    with Origin(5) as origin, larderds(origin, {"hard_timeout": f"{HARD_TIMEOUT_MS}ms"}) as (addresses, servers):
        load = Background("keys", addresses, 0, OUTAGE_RATE, seconds, seconds_most=60)
        time.sleep(2)  # the load goes on for as long as was said
        origin.process.send_signal(signal.SIGSTOP)
        under_way = 0
        until = time.monotonic() + seconds - 2
        while time.monotonic() < until:
            under_way = max(under_way, origin_stats(servers[0]).get("under_way", 0))
            time.sleep(0.2)  # what is looked at changes all the time
        found = load.result()
        origin.process.send_signal(signal.SIGCONT)
    add(table, "frozen_calls", found["keys_calls"], "calls")
    add(table, "frozen_failed", found["keys_failed"], "calls")
    add(table, "frozen_slowest_over_timeout", found["keys_slowest"] - HARD_TIMEOUT_MS, "ms")
    add(table, "frozen_under_way", under_way, "calls of the origin")
    add(table, "frozen_callers_under_way", found["keys_most_under_way"], "calls")
    if found["keys_failed"] == 0:
        raise rig.BenchError("no call failed, so that no outage was measured")


def many(table):
    with Origin(50) as origin, larderds(origin, batch={"keys": BATCH_KEYS, "delay": "20ms"}) as (addresses, _):
        found = bench("each", addresses, MANY, "item:each-")
        add(table, "many_failed", found["each_failed"], "calls")
        add(table, "many_origin_calls", origin.stats()["calls"], "calls")
        add(table, "many_slowest", found["each_slowest"], "ms")
        origin.tell("reset")
        found = bench("batch", addresses, MANY, "item:batch-")
        add(table, "batch_failed", found["batch_failed"], "calls")
        add(table, "batch_origin_calls", origin.stats()["calls"], "calls")
        add(table, "batch_took", found["batch_slowest"], "ms")


def stall(table):
    seconds = STALL_BEFORE + STALL_SECONDS + STALL_AFTER
    with Origin(20) as origin, larderds(origin) as (_, (server,)):
        address = rig.larderd_address(server, "native")
        load = Background("retry", address, STALL_RATE, seconds, seconds_most=seconds + 60)
        time.sleep(STALL_BEFORE)  # the load goes on for as long as was said
        origin.process.send_signal(signal.SIGSTOP)
        time.sleep(STALL_SECONDS)
        origin.process.send_signal(signal.SIGCONT)
        back = time.monotonic()
        found = load.result()
    answered = [found[f"retry_second_{i}"] for i in range(seconds)]
    # The first seconds are those of the first connections.
    before = statistics.mean(answered[2:STALL_BEFORE - 1])
    first = int(back - found["retry_began_at"])
    well = [i for i in range(first, seconds) if all(n >= 0.95 * before for n in answered[i:i + 3])]
    if min(answered[STALL_BEFORE:first]) > 0.5 * before:
        raise rig.BenchError("the origin's stall was not noticed")
    add(table, "stall_before", before, "calls/s")
    add(table, "stall_least", min(answered[STALL_BEFORE:first + 1]), "calls/s")
    add(table, "stall_back_after", well[0] + 1 - (back - found["retry_began_at"]) if well else 999, "s")


def start(table):
    with Origin(20) as origin, larderds(origin, concurrency=START_CONCURRENCY) as (addresses, _):
        found = bench("zipf", addresses, ZIPF_KEYS, ZIPF_CALLERS, ZIPF_SECONDS, seconds_most=ZIPF_SECONDS + 60)
        add(table, "start_first_second", found["zipf_first_second"], "calls/s")
        add(table, "start_steady", found["zipf_steady"], "calls/s")
        add(table, "start_seconds_to_steady", found["zipf_seconds_to_steady"], "s")
        add(table, "start_failed", found["zipf_failed"], "calls")
        asked = origin.stats()
        add(table, "start_origin_most", asked["most"], "calls at a time")
        add(table, "start_origin_calls", asked["calls"], "calls")


PARTS = {"cold": cold, "fleet": fleet, "hot": hot, "outage": outage, "refuse": refuse, "stopped": stopped,
         "frozen": frozen, "many": many, "stall": stall, "start": start}
