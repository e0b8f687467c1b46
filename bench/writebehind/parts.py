"""The parts of `./dev bench writebehind`, with a PostgreSQL and larderds of their own, all on both cores and one disk.

acknowledged  64 callers that write 200 bytes each and wait until they are safe, again and again: Sets of larderd (gRPC,
              fsync, deliveries going on; all callers on one thread, bench/rpc/raw_load.cc), the same callers with
              single-row upserts to PostgreSQL (synchronous commit),
              RocksDB's own sync writes on 64 threads, and larder's journal without a server round it. They take turns;
              ratios are medians over the turns. larderd's Sets with deliveries paused are told, too.
delivery      distinct rows that wait go to PostgreSQL as fast as they can, against single-row upserts: of 64 callers,
              and of one. And 100 writes to each of 1,000 keys of a type with a delay of 500 ms, within a second if
              larderd takes so many: how many rows arrive is counted by a trigger, and judged for each second that it
              took.
poison        a steady stream of writes to 1,000 keys, with and without one key whose writes PostgreSQL refuses, by
              turns: the delivery lag of the others at the 99th percentile.
reads         Gets at a steady rate while deliveries are paused and while they go as fast as they can, by turns.
recovery      a million writes wait, larderd is killed, and started again: until it is ready.
"""

import contextlib
import json
import os
import pathlib
import pwd
import re
import shutil
import socket
import statistics
import subprocess
import tempfile
import time

import program
import rig

CALLERS, TURNS, TURN_SECONDS = 64, 5, 3
SETS_KEYS = 100_000  # as the others'
ROWS = 200_000
BURST_KEYS, BURST_WRITES, BURST_SECONDS = 1_000, 100, 1
POISON_KEYS, POISON_RATE, POISON_SECONDS, POISON_TURNS = 1_000, 2_000, 8, 3
GETS_KEYS, GETS_RATE, GETS_SECONDS = 300_000, 1_000, 2
RECOVERY_WRITES = 1_000_000
PATIENCE_SECONDS = 60

BARS = {
    "sets_over_upserts": ">= 4", "sets_over_rocksdb": ">= 0.5", "sets_failed": "<= 0",
    "delivery_needed": ">= 1", "burst_rows_a_second": "<= 3000",
    "poison_lag_ratio": "<= 1.2", "poison_sets_failed": "<= 0",
    "gets_ratio": "<= 1.5", "gets_failed": "<= 0",
    "recovery_ready_after": "<= 10",
}
DELIVERY_ENOUGH = 20_000  # rows a second, or ten times single-row upserts, whichever is less

PROGRAMS = ["/usr/lib/postgresql/15/bin", "/usr/lib/postgresql/16/bin", "/usr/lib/postgresql/17/bin",
            "/usr/lib/postgresql/14/bin", "/usr/pgsql-15/bin", "/usr/bin", "/usr/local/bin"]
TABLES = """
CREATE TABLE direct (id text PRIMARY KEY, body text NOT NULL);
CREATE TABLE items (id text PRIMARY KEY, body text NOT NULL CHECK (body <> 'poison'), version bigint NOT NULL);
CREATE SEQUENCE arrived;
CREATE FUNCTION count_arrival() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN PERFORM nextval('arrived'); RETURN NULL; END $$;
"""
STORE = ("INSERT INTO items (id, body, version) VALUES ($key, $value, $version) "
         "ON CONFLICT (id) DO UPDATE SET body = excluded.body, version = excluded.version "
         "WHERE items.version < excluded.version")


def add(table, name, value, unit):
    table.add(name, value, unit, BARS.get(name, ""))


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def pg_program(name):
    for folder in PROGRAMS:
        if os.access(f"{folder}/{name}", os.X_OK):
            return f"{folder}/{name}"
    raise rig.BenchError(f"there is no {name}; install the package postgresql")


class Postgres:
    """A server of a fresh cluster in a folder below `where`. Use with `with`."""

    def __init__(self, where):
        self.folder = tempfile.mkdtemp(prefix="larder-postgres-", dir=where)
        self._as = {}
        if os.geteuid() == 0:  # which PostgreSQL refuses
            user = next(u for u in pwd.getpwall() if u.pw_name in ("postgres", "nobody"))
            os.chown(self.folder, user.pw_uid, user.pw_gid)
            self._as = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        self._process = None

    def __enter__(self):
        try:
            data = f"{self.folder}/data"
            rig.run([pg_program("initdb"), "-D", data, "-U", "larder", "-A", "trust", "-E", "UTF8", "--locale", "C"],
                    cwd=self.folder, **self._as)
            self.port = free_port()
            # What a server for this load would be given. Durability as it comes.
            settings = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "port": self.port,
                        "fsync": "on", "synchronous_commit": "on", "full_page_writes": "on",
                        "max_connections": 150, "shared_buffers": "512MB", "max_wal_size": "2GB"}
            with open(f"{self.folder}/log", "wb") as log:
                self._process = subprocess.Popen(
                    [pg_program("postgres"), "-D", data, *(f"--{k}={v}" for k, v in settings.items())],
                    cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **self._as)
            until = time.monotonic() + PATIENCE_SECONDS
            while subprocess.run([pg_program("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)],
                                 check=False).returncode != 0:
                if time.monotonic() > until or self._process.poll() is not None:
                    raise rig.BenchError("PostgreSQL does not start:\n" +
                                         pathlib.Path(f"{self.folder}/log").read_text(errors="replace")[-2000:])
                time.sleep(0.05)
            self.ask(TABLES)
            return self
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *unused):
        if self._process is not None:
            self._process.send_signal(3)  # SIGQUIT: nothing of it is needed any more
            self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def url(self):
        return f"postgresql://larder@127.0.0.1:{self.port}/postgres"

    def ask(self, sql):
        return rig.run([pg_program("psql"), "-qAtX", "-v", "ON_ERROR_STOP=1", self.url, "-c", sql]).decode().strip()

    def empty(self):
        self.ask("TRUNCATE items, direct; CHECKPOINT")


@contextlib.contextmanager
def folder_below(where):
    folder = tempfile.mkdtemp(prefix="larder-writebehind-", dir=where)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def start_larderd(url, folder, write=None):
    """Starts larderd with a type `item` that writes behind. Use with `with`."""
    config = {
        "memory": {"l1": "1GiB"},
        "journal": {"path": f"{folder}/journal", "max_entries": 2 * RECOVERY_WRITES},
        "origins": {"db": {"postgres": {"url": url}}},
        "types": {"item": {"match": ["item:{id}"], "ttl": {"base": "1d"}, "origin": "db",
                           "sql": {"load": "SELECT body FROM items WHERE id = $key", "store": STORE,
                                   "delete": "DELETE FROM items WHERE id = $key AND version < $version"},
                           "write": {"mode": "behind", **(write or {})}}},
    }
    path = f"{folder}/larder.yaml"
    pathlib.Path(path).write_text(json.dumps(config), encoding="utf-8")  # which YAML reads
    return rig.Server([program.path("larderd"), "--config", path, "--set", "listen.grpc=127.0.0.1:0"], "0-1")


@contextlib.contextmanager
def larderd(postgres, where, write=None):
    with folder_below(where) as folder, start_larderd(postgres.url, folder, write) as server:
        server.wait_for_address(rig.larderd_address)
        yield server


def report(name, *arguments):
    return {name: value for name, value, _ in program.report(name, *map(str, arguments), seconds_most=300)}


def bench(*arguments):
    return report("larder_writebehind_bench", *arguments)


def acknowledged(table, where):
    rates = {"sets": [], "sets_paused": [], "upserts": [], "rocksdb": [], "journal": []}
    failed, p50, p99 = 0, [], []
    with Postgres(where) as postgres:
        for _ in range(TURNS):
            postgres.empty()
            rates["upserts"].append(bench("upserts", postgres.url, CALLERS, TURN_SECONDS)["upserts"])
            for mode in ("rocksdb", "journal"):
                with folder_below(where) as folder:
                    rates[mode].append(bench(mode, f"{folder}/store", CALLERS, TURN_SECONDS)[mode])
            for name, write in (("sets", {}), ("sets_paused", {"delay": "1h"})):
                with larderd(postgres, where, write) as server:
                    found = report("larder_raw_load", server.address, "write", SETS_KEYS, CALLERS, TURN_SECONDS)
                    server.process.kill()  # what waits is nobody's
                failed += found["sets_failed"]
                rates[name].append(found["sets"])
                if name == "sets":
                    p50.append(found["sets_p50"])
                    p99.append(found["sets_p99"])

    def ratio(mine, other):
        return statistics.median(a / b for a, b in zip(rates[mine], rates[other]))

    for name, unit in (("sets", "sets/s"), ("sets_paused", "sets/s"), ("journal", "writes/s"),
                       ("upserts", "rows/s"), ("rocksdb", "writes/s")):
        add(table, name, statistics.median(rates[name]), unit)
    add(table, "sets_failed", failed, "calls")
    add(table, "sets_p50", statistics.median(p50), "ms")
    add(table, "sets_p99", statistics.median(p99), "ms")
    add(table, "sets_over_upserts", ratio("sets", "upserts"), "of upserts")
    add(table, "sets_over_rocksdb", ratio("sets", "rocksdb"), "of RocksDB")
    add(table, "sets_paused_over_upserts", ratio("sets_paused", "upserts"), "of upserts")
    add(table, "sets_paused_over_rocksdb", ratio("sets_paused", "rocksdb"), "of RocksDB")
    add(table, "journal_over_upserts", ratio("journal", "upserts"), "of upserts")
    add(table, "journal_over_rocksdb", ratio("journal", "rocksdb"), "of RocksDB")


def delivery(table, where):
    rows, upserts, lone = [], [], []
    with Postgres(where) as postgres:
        for _ in range(3):
            postgres.empty()
            upserts.append(bench("upserts", postgres.url, CALLERS, TURN_SECONDS)["upserts"])
            lone.append(bench("upserts", postgres.url, 1, TURN_SECONDS)["upserts"])
            with larderd(postgres, where) as server:
                rows.append(bench("deliver", server.address, ROWS)["delivery"])
            if int(postgres.ask("SELECT count(*) FROM items")) != ROWS:
                raise rig.BenchError("not every row arrived")
        postgres.empty()
        postgres.ask("CREATE TRIGGER count_arrival AFTER INSERT OR UPDATE ON items "
                     "FOR EACH ROW EXECUTE FUNCTION count_arrival()")
        with larderd(postgres, where, {"delay": "500ms"}) as server:
            burst = bench("burst", server.address, BURST_KEYS, BURST_WRITES, BURST_SECONDS)
        arrived = int(postgres.ask("SELECT nextval('arrived')")) - 1
    add(table, "delivery_rows", statistics.median(rows), "rows/s")
    add(table, "delivery_upserts_64", statistics.median(upserts), "rows/s")
    add(table, "delivery_upserts_1", statistics.median(lone), "rows/s")
    needed = statistics.median(a / min(DELIVERY_ENOUGH, 10 * b) for a, b in zip(rows, upserts))
    add(table, "delivery_needed", needed, "of the least needed")
    add(table, "burst_took", burst["burst_took"], "s")
    add(table, "burst_rows", arrived, "rows")
    add(table, "burst_rows_a_second", arrived / max(burst["burst_took"], BURST_SECONDS), "rows/s")


def poison(table, where):
    lags, failed, ratios = {0: [], 1: []}, 0, []
    with Postgres(where) as postgres:
        for _ in range(POISON_TURNS):
            for with_poison in (0, 1):
                postgres.empty()
                with larderd(postgres, where) as server:
                    found = bench("poison", server.address, POISON_KEYS, POISON_RATE, POISON_SECONDS, with_poison)
                failed += found["poison_sets_failed"]
                lags[with_poison].append(found["poison_lag_p99"])
            ratios.append(lags[1][-1] / lags[0][-1])
    add(table, "poison_sets_failed", failed, "calls")
    add(table, "poison_none_lag_p99", statistics.median(lags[0]), "ms")
    add(table, "poison_lag_p99", statistics.median(lags[1]), "ms")
    add(table, "poison_lag_ratio", statistics.median(ratios), "of none")


def reads(table, where):
    with Postgres(where) as postgres, larderd(postgres, where) as server:
        for name, value, unit in program.report("larder_writebehind_bench", "gets", server.address, str(GETS_KEYS),
                                                str(GETS_RATE), str(GETS_SECONDS), seconds_most=300):
            add(table, name, value, unit)


def recovery(table, where):
    # Nobody listens there: what is written waits.
    url = f"postgresql://larder@127.0.0.1:{free_port()}/postgres"
    with folder_below(where) as folder:
        with start_larderd(url, folder) as server:
            server.wait_for_address(rig.larderd_address)
            add(table, "recovery_filled", bench("fill", server.address, RECOVERY_WRITES)["filled"], "writes/s")
            memory = server.resident_bytes()
            server.process.kill()
            server.process.wait()
        add(table, "recovery_memory_before", memory / 2**20, "MiB")

        def ready(server):
            return re.search(r'"event":"ready"', server.stderr())

        with start_larderd(url, folder) as server:
            server.wait_for_address(ready, PATIENCE_SECONDS)
            add(table, "recovery_ready_after", time.monotonic() - server.started, "s")
            told = re.search(r'"event":"journal_open".*?"waiting":(\d+)', server.stderr())
            if told is None or int(told.group(1)) != RECOVERY_WRITES:
                raise rig.BenchError(f"not all that waited is there again:\n{server.stderr()[-2000:]}")
            server.process.kill()


PARTS = {"acknowledged": acknowledged, "delivery": delivery, "poison": poison, "reads": reads, "recovery": recovery}
