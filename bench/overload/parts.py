"""The parts of `./dev bench overload`. The server has core 0, or a part of it, and whoever calls has core 1.

cost       Gets that memory answers, over the native lane: a server with callers that are known by tokens, whose metrics
           are read every second, beside one with neither, in turns.
goodput    a server that a cgroup holds to a part of a core is sent calls at three times what it can do, from the times
           at which they should have been sent: how many it still does, how long those take that it takes on, how soon the
           others are refused, all after a first second. Once with Sets into memory and RocksDB, which cost little more than
           to be refused, and once with GetOrLoads that memory cannot keep and that an SQLite database answers.
neighbour  a namespace asks for ten times its quota: what another one beside it notices.
memory     a container of 256 MiB and a fifth of a core under three times what it can do, with values of mixed sizes into
           memory and RocksDB: nobody is killed.
"""

import contextlib
import hashlib
import json
import os
import pathlib
import sqlite3
import statistics
import subprocess
import tempfile
import threading
import time
import urllib.request

import program
import rig

GET = "larder.v1.Cache/Get"
ROUNDS, ROUND_SECONDS = 7, 3
KEYS = 1_000
TOKEN = "bench-token"
# Of a core, by the cgroup, and how often it gets its part: it can answer nothing in between.
SHARE_OF_CORE, PERIOD_US = 0.5, 4_000
QUOTA_US_MIN = 1_000  # the kernel's
IN_TIME_MS = 200
ITEMS = 100_000  # in the database; GetOrLoads ask for them and for as many that are not
MEMORY_BYTES, MEMORY_SECONDS, MEMORY_SHARE_OF_CORE = 256 << 20, 600, 0.2
QUOTA = 1_000
QUIET_RATE = 500
SERVER_CORE, CALLER_CORE = 0, 1

BARS = {
    "cost_ratio": ">= 0.95",
    "goodput_sets_of_capacity": ">= 0.90", "goodput_sets_p99_ratio": "<= 2", "goodput_sets_refused_p99": "<= 5",
    "goodput_loads_of_capacity": ">= 0.90", "goodput_loads_p99_ratio": "<= 2", "goodput_loads_refused_p99": "<= 5",
    "neighbour_ok_ratio": ">= 0.95", "neighbour_p99_ratio": "<= 1.5", "neighbour_over_quota": "<= 1.1",
    "memory_killed": "<= 0",
}


def add(table, name, value, unit):
    table.add(name, value, unit, bar=BARS.get(name, ""))


def bin_dir():
    return pathlib.Path(program.path("larderd")).parent


@contextlib.contextmanager
def larderd(*settings, admin=False):
    """A larderd on its core, on the native lane."""
    if not admin:
        settings = (*settings, "listen.admin=off")
    with rig.larderd(bin_dir(), SERVER_CORE, ("log.format=json", *settings)) as server:
        server.wait_for_address(lambda s: rig.larderd_address(s, "native") if '"ready"' in s.stderr() else None)
        yield server


CGROUPS = pathlib.Path("/sys/fs/cgroup")


def cgroup_limits(core_share, memory_bytes):
    """{folder of a new cgroup: {file: value}}: one cgroup with v2, one for each kind of limit with v1."""
    name = f"larder-bench-{os.getpid()}"
    wanted = {}
    if core_share:
        period_us = max(PERIOD_US, int(QUOTA_US_MIN / core_share))
        quota_us = int(period_us * core_share)
    if (CGROUPS / "cgroup.controllers").exists():
        (CGROUPS / "cgroup.subtree_control").write_text("+cpu +memory", encoding="ascii")
        files = wanted[CGROUPS / name] = {}
        if core_share:
            files["cpu.max"] = f"{quota_us} {period_us}"
        if memory_bytes:
            files["memory.max"] = memory_bytes
        return wanted
    if core_share:
        wanted[CGROUPS / "cpu" / name] = {"cpu.cfs_period_us": period_us, "cpu.cfs_quota_us": quota_us}
    if memory_bytes:
        wanted[CGROUPS / "memory" / name] = {"memory.limit_in_bytes": memory_bytes}
    return wanted


@contextlib.contextmanager
def cgroup(core_share=None, memory_bytes=None):
    """Cgroups of their own (v1 or v2) with these limits; yields the files that a process joins them by."""
    made = []
    try:
        try:
            for path, files in cgroup_limits(core_share, memory_bytes).items():
                path.mkdir()
                made.append(path)
                for file, value in files.items():
                    (path / file).write_text(str(value), encoding="ascii")
        except OSError as error:
            raise rig.BenchError(f"no cgroup can be made: {error}") from error
        yield [path / "cgroup.procs" for path in made]
    finally:
        for path in made:
            for _ in range(50):
                try:
                    path.rmdir()
                    break
                except OSError:
                    time.sleep(0.1)


def bench(server, *arguments, seconds, core=CALLER_CORE):
    """What `larder bench` measured of one server."""
    command = ["taskset", "-c", str(core), program.path("larder"), "--server", server.address, "bench", "--json",
               "--duration", f"{seconds}s", "--warmup", "1s", *arguments]
    done = subprocess.run(command, capture_output=True, timeout=seconds + 120, check=False)
    try:
        return json.loads(done.stdout)["parts"][0]
    except (ValueError, KeyError, IndexError) as error:
        raise rig.BenchError(f"larder bench: {done.stderr.decode()[-2000:]}") from error


def fill(server, key="k:1", headers=()):
    request = rig.protoc("encode", "larder.v1.SetRequest", f'key: "{key}" value: "{"v" * 100}"'.encode())
    rig.call(server, "larder.v1.Cache/Set", request, None, headers=headers)


def cost(table):
    bearer = ("-H", f"authorization: Bearer {TOKEN}")
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    auth = ('auth.roles={ app: { namespaces: ["*"], prefixes: ["k:"], allow: [read, write] } }',
            f"auth.callers={{ bench: {{ roles: [app], token_sha256: [{digest}] }} }}")
    request = rig.protoc("encode", "larder.v1.GetRequest", b'key: "k:1"')
    with larderd() as plain, larderd(*auth, "listen.admin=127.0.0.1:0", admin=True) as guarded:
        fill(plain)
        fill(guarded, headers=bearer)
        admin = next(json.loads(line)["address"] for line in guarded.stderr().splitlines()
                     if '"admin_listening"' in line)
        done = threading.Event()

        def scrape():
            while not done.wait(1):
                urllib.request.urlopen(f"http://{admin}/metrics", timeout=5).read()

        scraper = threading.Thread(target=scrape)
        scraper.start()
        try:
            loads = {"plain": rig.Load(plain, GET, request, CALLER_CORE),
                     "guarded": rig.Load(guarded, GET, request, CALLER_CORE, headers=bearer)}
            ratios, rates = [], {"plain": [], "guarded": []}
            for round_number in range(ROUNDS):
                order = ("plain", "guarded") if round_number % 2 == 0 else ("guarded", "plain")
                for name in order:
                    rates[name].append(loads[name].run(8, 32, ROUND_SECONDS)[0])
                ratios.append(rates["guarded"][-1] / rates["plain"][-1])
        finally:
            done.set()
            scraper.join()
    add(table, "cost_plain", statistics.median(rates["plain"]), "Gets/s")
    add(table, "cost_guarded", statistics.median(rates["guarded"]), "Gets/s")
    add(table, "cost_ratio", statistics.median(ratios), "of without")


def flood(server, what, rate, seconds):
    """What became of calls that were sent at this rate, by name, after a second. `set`: Sets of few keys. `load`:
    GetOrLoads of items, half of which do not exist."""
    keys = KEYS if what == "set" else 2 * ITEMS
    return {name: value for name, value, _ in program.report(
        "larder_raw_load", server.address, what, str(keys), "8", str(int(rate)), str(seconds), "1",
        seconds_most=seconds + 60)}


def capacity_of(in_time, rate):
    """The highest rate at which a server does everything, and in time; from one that it can do for sure."""
    capacity, late = 0, 0
    while late < 2:
        if in_time(rate):
            capacity, late = rate, 0
        else:
            late += 1
        rate *= 1.2
    if capacity == 0:
        raise rig.BenchError("it does nothing in time")
    return capacity


def goodput_of(table, what, server, rate):
    """Of a server that a cgroup holds to a part of its core, from a rate that it can do for sure."""
    name = f"goodput_{what}s"
    with cgroup(core_share=SHARE_OF_CORE) as joined_by:
        for file in joined_by:
            file.write_text(str(server.process.pid), encoding="ascii")

        def in_time(tried):
            found = flood(server, what, tried, 4)
            return found["done"] >= 0.95 * tried and found["done_p99"] < IN_TIME_MS

        capacity = capacity_of(in_time, rate)
        calm = flood(server, what, 0.8 * capacity, 10)
        found = flood(server, what, 3 * capacity, 15)
        server.process.terminate()  # what is in the group keeps it
        server.process.wait(timeout=60)
    if found["failed"] or calm["failed"]:
        raise rig.BenchError(f"calls failed that should be done or refused: {calm}, {found}")
    add(table, f"{name}_capacity", capacity, "calls/s")
    add(table, f"{name}_of_capacity", found["done"] / capacity, "of capacity")
    add(table, f"{name}_calm_p99", calm["done_p99"], "ms")
    add(table, f"{name}_p99", found["done_p99"], "ms")
    add(table, f"{name}_p99_ratio", found["done_p99"] / calm["done_p99"], "of calm")
    add(table, f"{name}_refused", found["refused"], "calls/s")
    add(table, f"{name}_refused_p99", found["refused_p99"], "ms")
    add(table, f"{name}_unanswered", found["unanswered"], "calls")


def goodput(table):
    os.sched_setaffinity(0, {CALLER_CORE})  # and so the loads' and the origin's, which inherit it
    with tempfile.TemporaryDirectory() as data, larderd(f"data.path={data}") as server:
        goodput_of(table, "set", server, 8_000)
    with tempfile.TemporaryDirectory() as data:
        database = pathlib.Path(data) / "shop.db"
        with contextlib.closing(sqlite3.connect(database)) as shop:
            shop.execute("CREATE TABLE items (id TEXT PRIMARY KEY, body TEXT)")
            shop.executemany("INSERT INTO items VALUES (?, ?)", ((f"item:{i}", "v" * 100) for i in range(ITEMS)))
            shop.commit()
        with larderd(f"origins={{ shop: {{ sqlite: {{ path: {database} }} }} }}",
                     "types={ item: { match: ['item:{id}'], ttl: { base: 1ms, absent: 1ms, jitter: 0% }, origin: shop, sql: {"
                     "load: 'SELECT body FROM items WHERE id = $key' } } }") as server:
            goodput_of(table, "load", server, 1_000)


def neighbour(table):
    quota = f"quotas=[{{ namespace: noisy, keys_per_second: {QUOTA} }}]"
    with larderd(quota) as server:
        quiet = ("--rate", str(QUIET_RATE), "--keys", str(KEYS))
        alone = bench(server, *quiet, seconds=8)
        noisy = {}

        def shout():
            noisy.update(bench_in(server, "noisy", 10 * QUOTA, 12))

        shouter = threading.Thread(target=shout)
        shouter.start()
        time.sleep(2)
        beside = bench(server, *quiet, seconds=8)
        shouter.join()
    if not noisy:
        raise rig.BenchError("the noisy namespace was not measured")
    add(table, "neighbour_ok_ratio", beside["ok"] / max(alone["ok"], 1), "of alone")
    add(table, "neighbour_p99", beside["latency"]["p99_seconds"] * 1e3, "ms")
    add(table, "neighbour_p99_ratio", beside["latency"]["p99_seconds"] / alone["latency"]["p99_seconds"], "of alone")
    add(table, "neighbour_over_quota", noisy["ok"] / noisy["span_seconds"] / QUOTA, "of its quota")
    add(table, "neighbour_refused", noisy["failed"] / max(noisy["planned"], 1), "of all")


def bench_in(server, namespace, rate, seconds):
    command = ["taskset", "-c", str(CALLER_CORE), program.path("larder"), "--server", server.address, "--namespace",
               namespace, "bench", "--json", "--duration", f"{seconds}s", "--warmup", "1s", "--rate", str(rate),
               "--keys", str(KEYS), "--no-fill"]
    done = subprocess.run(command, capture_output=True, timeout=seconds + 120, check=False)
    return json.loads(done.stdout)["parts"][0]


def memory(table):
    """The container has little of a core as well, so that the callers can ask for three times what it can do."""
    load = ("--reads", "50%", "--keys", "200000", "--value-bytes", "100..20000", "--zipf", "0.7", "--no-fill")
    with tempfile.TemporaryDirectory() as data, \
            cgroup(core_share=MEMORY_SHARE_OF_CORE, memory_bytes=MEMORY_BYTES) as joined_by:
        join = "".join(f"echo $$ > {file} && " for file in joined_by)
        command = ["sh", "-c", f"{join} exec \"$@\"", "sh", program.path("larderd"), "--set", "listen.grpc=127.0.0.1:0",
                   "--set", "listen.admin=off", "--set", "log.format=json", "--set", f"data.path={data}"]
        with rig.Server(command, SERVER_CORE) as server:
            server.wait_for_address(lambda s: rig.larderd_address(s, "native") if '"ready"' in s.stderr() else None)

            def in_time(tried):
                found = bench(server, "--rate", str(int(tried)), *load, seconds=5)
                return found["ok"] >= 0.95 * found["planned"] and found["latency"]["p99_seconds"] * 1e3 < IN_TIME_MS

            capacity = capacity_of(in_time, 500)
            measured = bench(server, "--rate", str(int(3 * capacity)), *load, seconds=MEMORY_SECONDS)
            killed = int(server.process.poll() is not None)
            resident = 0 if killed else anonymous_bytes(server.process.pid)
    add(table, "memory_capacity", capacity, "calls/s")
    add(table, "memory_killed", killed, "times")
    add(table, "memory_anonymous", resident / 2**20, "MiB")
    add(table, "memory_of_capacity", measured["ok"] / measured["span_seconds"] / capacity, "of capacity")


def anonymous_bytes(pid):
    """Resident memory but for pages of files, which the system can take back."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("RssAnon:"))


PARTS = {"cost": cost, "goodput": goodput, "neighbour": neighbour, "memory": memory}
