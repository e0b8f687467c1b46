"""What the commands for operators do: top, stat, types, explain, doctor, bench, config, support."""

import hashlib
import io
import json
import os
import re
import signal
import socket
import ssl
import sqlite3
import subprocess
import tarfile
import tempfile
import threading

from rig import LARDER, NO_VALUE, Server, Terminal, check, run, run_json, run_on_terminal

DEAD = {"LARDER_SERVER": "127.0.0.1:1", "LARDER_ADMIN": ""}


def test_usage():
    run("top", "--interval", "1ms", expect=2)
    run("top", "now", expect=2)
    run("stat", "--count", "0", expect=2)
    run("stat", "--interval", "-1s", expect=2)
    run("types", "--order", "colour", expect=2)
    run("doctor", "--idle", "1us", expect=2)
    run("bench", "--rate", "0", expect=2)
    run("bench", "--reads", "101%", expect=2)
    run("bench", "--reads", "some", expect=2)
    run("bench", "--value-bytes", "5..1", expect=2)
    run("bench", "--duration", "1ms", expect=2)
    run("bench", "--key", "user:7", expect=2)
    run("bench", "--key", "u:{n}", "--keys-from", "-", expect=2)
    run("bench", "--with-origin", expect=2)
    run("bench", "--with-origin", "--key", "u:{n}", "--reads", "50%", expect=2)
    run("bench", "--compare", "one.json", expect=2)
    run("bench", "--compare", "/no/such.json", "/no/such.json", expect=2)
    run("bench", "--worse-than", "1.5", expect=2)
    run("config", expect=2)
    run("config", "check", expect=2)
    run("config", "check", "f", "--larderd", "/no/such/program", expect=1)
    check("help has the new commands", all(word in run("--help").stdout for word in
          (b"top", b"stat ", b"types", b"doctor", b"bench", b"config", b"support")))


def test_unavailable():
    for words in (("top",), ("top", "--once"), ("stat",), ("types",), ("bench",), ("config", "diff"), ("config", "apply")):
        done = run(*words, "--deadline", "200ms", env=DEAD, expect=5)
        check(f"{words} without a server", re.match(rb"larder: (UNAVAILABLE|DEADLINE_EXCEEDED): ", done.stderr) and done.stdout == b"", repr(done))
    done = run("doctor", "--deadline", "300ms", env=DEAD, expect=5)
    check("doctor sees where it ends", re.search(rb"^bad +connect +127\.0\.0\.1:1: .*Connection refused$", done.stdout, re.M)
          and b"mend: refused: look whether larderd runs" in done.stdout, repr(done))
    done = run("doctor", "--server", "no-such-name.invalid:50051", "--deadline", "300ms", expect=5)
    check("doctor sees a name that is none", re.search(rb"^bad +dns +", done.stdout, re.M), repr(done))
    run("doctor", "--server", "nonsense", expect=5)
    shown = run_on_terminal("top", "--deadline", "200ms", env=DEAD, columns=80, press=(b"UNAVAILABLE", 1, b"q"))
    check("top waits for a server", "! UNAVAILABLE" in shown, repr(shown))


class Traffic:
    """Calls to a server until it is told to end."""

    def __init__(self, address, keys=50):
        self.process = subprocess.Popen(
            [LARDER, "bench", "--server", address, "--rate", "200", "--duration", "10m", "--warmup", "0s", "--keys", str(keys),
             "--connections", "1", "--json"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def stop(self):
        self.process.send_signal(signal.SIGINT)
        check("Ctrl-C ends a bench", self.process.wait(60) == 130)


def test_top_and_stat():
    server = Server()
    here = {"LARDER_SERVER": server.address, "LARDER_ADMIN": server.admin}
    traffic = Traffic(server.address)
    try:
        check_stat(server, here)
        check_top(server, here)
        check_types(here)
    finally:
        traffic.stop()
        server.stop()


def check_stat(server, here):
    lines = [json.loads(line) for line in run("--json", "stat", "--interval", "500ms", "--count", "3", env=here).stdout.splitlines()]
    check("a line for each interval", len(lines) == 3 and all(0.4 < line["span_seconds"] for line in lines), str(lines))
    check("rates of the interval", any(line["calls"] > 20 and line["total"]["reads"] > 20 and line["p99_seconds"] > 0
                                       for line in lines), str(lines))
    check("types of the interval", any(row["name"] == "default" for line in lines for row in line["types"]), str(lines))
    done = run("stat", "--interval", "200ms", "--count", "25", env=here)
    rows = done.stdout.decode().splitlines()
    check("a table without repeated headers in a pipe", len(rows) == 26 and rows[0].split()[:3] == ["TIME", "CALLS/S", "ERR/S"]
          and "P99 MS" in rows[0], rows[0])
    check("all lines are as wide", len({len(row) for row in rows}) == 1, str({len(row) for row in rows}))
    # Without its own admin port the quantiles are those since the start; another server's port is not taken for it.
    other = Server()
    done = run("stat", "--count", "1", "--interval", "100ms", env={**here, "LARDER_ADMIN": other.admin}, expect=1)
    check("another server's admin port is refused", b"is the admin port of another server" in done.stderr, repr(done))
    other.stop()
    done = run("stat", "--count", "1", "--interval", "100ms", env={**here, "LARDER_ADMIN": "127.0.0.1:1"}, expect=5)
    check("an admin port that is not there", b"the admin port" in done.stderr, repr(done))
    done = run("stat", "--count", "1", "--interval", "100ms", env={"LARDER_SERVER": server.address})
    check("no admin port is needed", b"P99 ALL" in done.stdout, repr(done))
    shown = run_on_terminal("stat", "--interval", "100ms", env=here, interrupt_at=b"\n", expect=130)
    check("Ctrl-C ends stat", "TIME" in shown, repr(shown))


def check_top(server, here):
    done = run("top", "--interval", "500ms", env=here)
    text = done.stdout.decode()
    check("one page in a pipe", text.startswith(f"larder top  {server.address}  ") and "\x1b" not in text
          and text.count("larder top") == 1, text)
    for what in (r"^calls [1-9]\S*/s  errors 0/s  p99 [0-9.]+[um]?s  loads", r"^hits  \[#", r"^mem   \[", r"^TYPE ", r"^default ",
                 r"^HOT KEY ", r"^bench:", r"^CALL ", r"^Get "):
        check(f"a page has {what}", re.search(what, text, re.M), text)
    page = run_json("top", "--interval", "300ms", env=here)
    check("a page as JSON", page["calls"] > 20 and page["memory_budget_bytes"] > 0, str(page))

    shown = run_on_terminal("top", "--interval", "200ms", env=here, columns=80, lines=24, press=(b"\x1b[J", 5, b"q"))
    terminal = Terminal(80, 24)
    terminal.show(shown)
    check("pages are drawn again and again", len(terminal.pages) >= 5, str(len(terminal.pages)))
    last = terminal.pages[-1].split("\n")
    check("a screen of 80x24", len(last) == 24 and last[0].startswith("larder top") and last[1].startswith("calls ")
          and any(row.startswith("TYPE") for row in last) and any(row.startswith("bench:") for row in last), "\n".join(last))
    check("the last page is of other figures than the first", terminal.pages[0] != terminal.pages[-1])
    check("the page before comes back", not terminal.other_page and terminal.cursor)

    for columns, lines in ((30, 24), (10, 5), (1, 1), (200, 60)):
        shown = run_on_terminal("top", "--interval", "100ms", env=here, columns=columns, lines=lines, press=(b"\x1b[J", 3, b"q"))
        Terminal(columns, lines).show(shown)
    shown = run_on_terminal("top", "--interval", "100ms", env=here, columns=80, interrupt_at=b"\x1b[J")
    check("Ctrl-C ends top and gives the terminal back", shown.endswith("\x1b[?25h\x1b[?1049l"), repr(shown[-40:]))


def check_types(here):
    types = run_json("types", env=here)["types"]
    check("types as JSON", types[-1]["name"] == "default" and types[-1]["write_mode"] == "cache_only"
          and types[-1]["entries"] >= 50 and types[-1]["base_ttl_seconds"] > 0, str(types))
    done = run("types", "--order", "bytes", env=here)
    check("types as a table", re.search(rb"^TYPE +TTL +LOADS FROM .*\ndefault +5m +leases +cache_only +\d+ ", done.stdout), repr(done))


def test_explain_rules():
    server = Server()
    here = {"LARDER_SERVER": server.address}
    run("set", "user:1", "v", "--tag", "red", env=here)
    check("nothing has been invalidated", run_json("explain", "user:1", env=here)["rules"] == [])
    run("invalidate", "--prefix", "user:", env=here)
    run("set", "user:1", "v", "--tag", "red", env=here)
    run("invalidate", "--glob", "*:1", "--stale", env=here)
    run("invalidate", "--tag", "blue", env=here)
    run("invalidate", "--prefix", "order:", env=here)
    rules = run_json("explain", "user:1", env=here)["rules"]
    check("the last rules of a key, newest first", [(rule["kind"], rule["match"], rule["stale"]) for rule in rules] ==
          [("glob", "*:1", True), ("prefix", "user:", False)] and 0 <= rules[0]["age_seconds"] < 60
          and int(rules[0]["version"]) > int(rules[1]["version"]), str(rules))
    done = run("explain", "user:1", env=here)
    check("rules in a table", re.search(rb"^INVALIDATED BY +MATCHES +UP TO VERSION +AGO +WHAT +COVERS\nglob +\*:1 +\d+ +\S+ +marks stale",
                                        done.stdout, re.M), repr(done))
    server.stop()


SHOP = """
origins:
  shop:
    sqlite: {{ path: "{database}" }}
types:
  product:
    match: ["product:{{id}}"]
    origin: shop
    sql:
      load: "SELECT body AS value FROM products WHERE id = $key.id"
      store: "INSERT INTO products VALUES ($key.id, CAST($value AS TEXT), $version) ON CONFLICT (id) DO UPDATE SET body = excluded.body, version = excluded.version WHERE products.version < excluded.version"
      delete: "DELETE FROM products WHERE id = $key.id AND version < $version"
    write: {{ mode: through }}
"""


def test_bench():
    with tempfile.TemporaryDirectory() as directory:
        database = os.path.join(directory, "shop.db")
        with sqlite3.connect(database) as shop:
            shop.execute("PRAGMA journal_mode = WAL")
            shop.execute("CREATE TABLE products (id TEXT PRIMARY KEY, body TEXT, version INTEGER DEFAULT 0)")
            shop.executemany("INSERT INTO products (id, body) VALUES (?, ?)", [(str(number), f"p{number}") for number in range(100)])
        config = os.path.join(directory, "larder.yaml")
        with open(config, "w", encoding="utf-8") as file:
            file.write(SHOP.format(database=database))
        server = Server(config=config)
        here = {"LARDER_SERVER": server.address}
        try:
            check_bench(here, directory)
            check_bench_with_origin(here, config, directory, database)
        finally:
            server.stop()


def check_bench(here, directory):
    first = os.path.join(directory, "a.json")
    done = run("bench", "--rate", "500", "--duration", "1s", "--warmup", "200ms", "--keys", "200", "--value-bytes", "10..200",
               "--out", first, env=here)
    text = done.stdout.decode()
    check("bench tells both rates", re.search(r"^cache: 500 calls/s asked for, \d+/s answered, for ", text, re.M), text)
    check("bench tells of late starts", re.search(r"^  \d+ calls began more than 1.00ms late; 99% by ", text, re.M), text)
    check("bench has its percentiles", re.search(r"^LATENCY +CALLS +MEAN +P50 +P90 +P99 +P99.9 +MAX$", text, re.M) and
          re.search(r"^reads ", text, re.M) and re.search(r"^writes ", text, re.M) and
          re.search(r"^from the sending ", text, re.M), text)
    check("bench takes its keys away", run_json("get", "bench:0", env=here, expect=NO_VALUE)["miss"] == "INVALIDATED")
    result = run_json("bench", "--rate", "400", "--duration", "1s", "--warmup", "200ms", "--keys", "100", "--reads", "100%",
                      "--arrivals", "steady", "--keep", env=here)
    part = result["parts"][0]
    check("a schedule is kept", part["planned"] == 400 and part["ok"] == 400 and part["unsent"] == 0 and part["failed"] == 0, str(part))
    check("what was stored is hit", part["hit_ratio"] == 1 and part["writes"]["count"] == 0, str(part))
    check("latencies are in order", 0 < part["latency"]["p50_seconds"] <= part["latency"]["p99_seconds"] <=
          part["latency"]["max_seconds"], str(part))
    check("kept keys stay", run("get", "bench:7", env=here).stdout != b"")
    done = run("bench", "--rate", "200", "--duration", "2s", "--warmup", "0s", env=here)
    check("a line a second in a pipe", re.search(rb"^cache: \d+ of \d+, \d+/s", done.stdout, re.M), repr(done))
    shown = run_on_terminal("bench", "--rate", "200", "--duration", "1s", "--warmup", "0s", env=here, columns=80)
    check("a bar on a terminal", re.search(r"\rcache \[=+> +\] +\d+%  \d+ of \d+, \d+/s", shown) and "LATENCY" in shown, repr(shown))
    shown = run_on_terminal("bench", "--rate", "50", "--duration", "1h", env=here, interrupt_at=b"/s", expect=130)
    check("Ctrl-C ends it with what there is", "calls/s asked for" in shown, repr(shown))
    keys = b"product:1\nproduct:2\n"
    done = run("bench", "--keys-from", "-", "--reads", "50%", stdin=keys, env=here, expect=1)
    check("no writes to an origin by mistake", b"reach its origin shop" in done.stderr, repr(done))
    second = os.path.join(directory, "b.json")
    with open(first, encoding="utf-8") as file:
        slower = json.load(file)
    for name in ("mean", "p50", "p90", "p99", "p999", "max"):
        slower["parts"][0]["latency"][f"{name}_seconds"] *= 3
    slower["settings"]["rate"] = "501"
    with open(second, "w", encoding="utf-8") as file:
        json.dump(slower, file)
    done = run("bench", "--compare", first, second, env=DEAD)
    check("two results in a table", re.search(rb"^cache p99_seconds +\S+ +\S+ +3\.00$", done.stdout, re.M)
          and b"measured differently: rate: 500 / 501" in done.stdout, repr(done))
    run("bench", "--compare", first, second, "--worse-than", "4", env=DEAD)
    run("bench", "--compare", first, second, "--worse-than", "2", env=DEAD, expect=NO_VALUE)
    figures = {row["name"]: row for row in run_json("bench", "--compare", first, second, env=DEAD)["figures"]}
    check("two results as JSON", abs(figures["cache p50_seconds"]["ratio"] - 3) < 1e-6 and
          figures["cache achieved_rate"]["worse"] == 1, str(figures))


def check_bench_in_a_rollout(loads, config, directory):
    """Reads past the cache are no misses, and what a rollout makes of the hit ratio is not held against it."""
    before, now, again = (os.path.join(directory, f"{name}.json") for name in ("before", "now", "again"))
    args = ("bench", "--rate", "500", "--duration", "1s", "--warmup", "200ms", "--keys", "1000", "--out")
    judge = ("bench", "--worse-than", "1000", "--compare")
    for phase, why in ((None, None), (("10%", "0%"), b" of the reads went past the cache (rollout)\n"),
                       (("100%", "10%"), b" of what was stored (rollout)\n")):
        rollout = [f"types.{name}.rollout={{ reads: {phase[0]}, writes: {phase[1]} }}" for name in ("default", "product")] if phase else []
        server = Server(*rollout, config=config)
        here = {"LARDER_SERVER": server.address}
        try:
            part = run_json(*args, now if phase else before, env=here)["parts"][0]
            if phase is None:
                check("all is kept without a rollout", part["kept_ratio"] == 1 and part["past"] == 0 and part["hit_ratio"] == 1, str(part))
                continue
            check("a part is kept", part["kept_ratio"] < 0.2 and (part["past"] > 0) == (phase[0] == "10%"), str(part))
            done = run(*judge, before, now, env=DEAD)
            check("the hit ratio is not judged", re.search(rb"^not judged: cache hit_ratio: .*", done.stdout, re.M) and why in done.stdout,
                  repr(done))
            run(*args, again, env=here)
            done = run(*judge, now, again, env=DEAD)
            check("the hit ratio of a phase is judged", b"not judged: cache hit_ratio" not in done.stdout, repr(done))
            if phase[0] == "10%":
                cache = run_json(*loads, env=here)["parts"][0]
                reads = cache["hits"] + cache["misses"] + cache["past"]
                check("loads past the cache are told", cache["past"] > 0.5 * reads and cache["origin_loads"] >= cache["past"], str(cache))
        finally:
            server.stop()


def check_bench_with_origin(here, config, directory, database):
    run("bench", "--with-origin", "--key", "other:{n}", env=here, expect=1)
    args = ("bench", "--with-origin", "--key", "product:{n}", "--keys", "100", "--rate", "300", "--duration", "1s", "--warmup", "500ms")
    parts = {part["name"]: part for part in run_json(*args, env=here)["parts"]}
    cache, origin = parts["cache"], parts["origin"]
    check("the cache asks the origin for each key once", 0 < cache["origin_loads"] <= 100, str(cache))
    check("past the cache each read is a load", origin["origin_loads"] >= origin["ok"] > 200 and origin["failed"] == 0, str(origin))
    done = run(*args, env=here)
    check("what the cache saves", re.search(rb"^WHAT THE CACHE SAVES +WITH IT +WITHOUT +TIMES$", done.stdout, re.M)
          and re.search(rb"^keys that the origin loaded +0 +\d+ +-$", done.stdout, re.M), done.stdout.decode())
    check_bench_in_a_rollout(args, config, directory)
    with sqlite3.connect(database) as shop:
        shop.execute("ALTER TABLE products RENAME TO gone")
    parts = {part["name"]: part for part in run_json(*args, env=here, expect=NO_VALUE)["parts"]}
    check("an origin that fails is counted", parts["origin"]["failed"] > 0 and parts["origin"]["ok"] == 0
          and parts["origin"]["latency"]["count"] == 0, str(parts["origin"]))


def test_config():
    with tempfile.TemporaryDirectory() as directory:
        good, bad = os.path.join(directory, "good.yaml"), os.path.join(directory, "bad.yaml")
        with open(good, "w", encoding="utf-8") as file:
            file.write('types:\n  user:\n    match: ["user:{id}"]\n    ttl: { base: 7m }\n')
        with open(bad, "w", encoding="utf-8") as file:
            file.write('types:\n  user:\n    ttll: 5m\n    match: [7\n')
        done = run("config", "check", good, env=DEAD)
        check("a right file", b"the configuration is right: 2 types" in done.stdout, repr(done))
        done = run("config", "check", bad, env=DEAD, expect=2)
        check("a wrong file by its line", b"bad.yaml:" in done.stderr and done.stdout == b"", repr(done))
        answer = run_json("config", "check", bad, env=DEAD, expect=2)
        check("a wrong file as JSON", answer["right"] is False and len(answer["problems"]) >= 1, str(answer))
        run("config", "check", good, "--set", "log.level=loud", env=DEAD, expect=2)
        run("config", "check", os.path.join(directory, "none.yaml"), env=DEAD, expect=2)
        phase = ("--set", "types.default.rollout.reads=10%", "--set", "types.default.rollout.writes=0%")
        done = run("config", "check", good, *phase, env=DEAD, expect=NO_VALUE)
        check("a type that does not inherit the rollout", b"types.default.rollout.reads is 10%" in done.stderr
              and b"at 100%: user;" in done.stderr and b"is right" in done.stdout, repr(done))
        answer = run_json("config", "check", good, *phase, env=DEAD, expect=NO_VALUE)
        check("a warning as JSON", answer["right"] is True and "user" in answer["warning"], str(answer))
        run("config", "check", good, *phase, "--set", "types.user.rollout={ reads: 10%, writes: 0% }", env=DEAD)
        server = Server(config=good)
        here = {"LARDER_SERVER": server.address, "LARDER_ADMIN": server.admin}
        try:
            check_config_diff(here, good, bad, directory)
        finally:
            server.stop()


def check_config_diff(here, good, bad, directory):
    flags = [word for lane in ("grpc", "native", "admin") for word in ("--set", f"listen.{lane}=127.0.0.1:0")]
    answer = run_json("config", "diff", good, *flags, env=here)
    check("what runs is the file", answer == {"changes": [], "applied": False}, str(answer))
    other = os.path.join(directory, "other.yaml")
    with open(good, encoding="utf-8") as file:
        text = file.read()
    with open(other, "w", encoding="utf-8") as file:
        file.write(text.replace("7m", "9m") + "log: { level: warn }\n")
    answer = run_json("config", "diff", other, *flags, env=here, expect=NO_VALUE)
    check("what differs", sorted((change["path"], change["before"], change["after"]) for change in answer["changes"]) ==
          [("log.level", "info", "warn"), ("types.user.ttl.base", "7m", "9m")], str(answer))
    done = run("config", "diff", other, *flags, env=here, expect=NO_VALUE)
    check("what differs in a table", re.search(rb"^types\.user\.ttl\.base +7m +9m$", done.stdout, re.M), repr(done))
    done = run("config", "diff", bad, env=here, expect=2)
    check("a wrong file has no differences", b"is not right" in done.stderr, repr(done))
    run("config", "diff", good, env={**here, "LARDER_ADMIN": "127.0.0.1:1"}, expect=5)
    # A name that the server does not know as its own, such as that of a Service. This one leads to the machine itself everywhere.
    named = here["LARDER_ADMIN"].replace("127.0.0.1", "127.1")
    answer = run_json("config", "diff", good, *flags, "--admin", named, env=here)
    check("an admin port by whatever name", answer["changes"] == [], str(answer))
    check_config_apply(here, good)


def check_config_apply(here, good):
    """The server's own file, which it reads again. It may do so by itself, too: what is compared here needs a restart."""
    done = run("config", "diff", env=here)
    check("the file is what runs", done.stdout == b"no difference\n", repr(done))
    with open(good, "a", encoding="utf-8") as file:
        file.write("memory: { l1: 100MiB }\n")
    changes = run_json("config", "diff", env=here, expect=NO_VALUE)["changes"]
    check("what its file would change", changes == [{"path": "memory.l1", "before": "auto", "after": "100MiB", "needs_restart": True}],
          str(changes))
    answer = run_json("config", "apply", env=here)
    check("applied", answer["applied"] and answer["changes"] == changes, str(answer))
    done = run("config", "apply", env=here)
    check("what waits for a restart goes on waiting", re.search(rb"^memory\.l1 +auto +100MiB +after a restart$", done.stdout, re.M)
          and b"1 of 1 take effect only after a restart" in done.stdout, repr(done))
    with open(good, "w", encoding="utf-8") as file:
        file.write('types:\n  user:\n    match: ["user:{id}"]\n    ttl: { base: 9m }\n')
    run("config", "apply", env=here)
    ttl = run_json("explain", "user:1", env=here)["ttl_seconds"]
    check("an applied file is in effect", ttl == 540, str(ttl))
    with open(good, "a", encoding="utf-8") as file:
        file.write("wrong: 1\n")
    for verb in ("diff", "apply"):
        done = run("config", verb, env=here, expect=2)
        check(f"config {verb} of a wrong file", b"CONFIG_INVALID" in done.stderr and b'unknown field "wrong"' in done.stderr, repr(done))


def self_signed(directory, name, days):
    key, certificate = os.path.join(directory, "key.pem"), os.path.join(directory, "certificate.pem")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key,
                    "-out", certificate, "-days", str(days), "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name},IP:127.0.0.1"],
                   check=True, capture_output=True)
    return certificate, key


def test_doctor():
    server = Server()
    here = {"LARDER_SERVER": server.address, "LARDER_ADMIN": server.admin}
    done = run("doctor", env=here)
    check("a server that is well", re.search(rb"^\d+ checks: 0 bad, 0 warnings; --all shows", done.stdout, re.M), repr(done))
    text = run("doctor", "--all", "--idle", "200ms", env=here).stdout.decode()
    for what in ("dns", "connect", "health", "round trip", "tls", "limits", "state", "keepalive", "clock", "version", "idle"):
        check(f"doctor looks at {what}", re.search(rf"^ok +{what} ", text, re.M), text)
    check("clocks are compared", re.search(r"^ok +clock +\S+ \S+ (ahead of|behind) this machine's, to within ", text, re.M), text)
    same = {**here, "LARDER_SERVER": f"{server.address},localhost:{server.address.split(':')[1]}"}
    check("one replica by two names", b"are one and the same replica" in run("doctor", env=same).stdout)
    dead = {**here, "LARDER_SERVER": server.address + ",127.0.0.1:1"}
    found = run_json("doctor", env=dead, expect=NO_VALUE)
    check("one of two is away", found["bad"] == 1 and any(row["check"] == "connect" and row["level"] == "bad" and row["mend"]
                                                          for row in found["findings"]), str(found))
    done = run("doctor", env={**here, "http_proxy": "http://user:canary@127.0.0.1:1", "no_proxy": "127.0.0.1"})
    check("a proxy", b"http_proxy is set" in done.stdout and b"canary" not in done.stdout, repr(done))
    done = run("doctor", env={**here, "LARDER_SERVER": server.admin}, expect=5)
    check("the wrong port", b"and not its admin port" in done.stdout, repr(done))
    check_doctor_of_fleet(server)
    server.stop()
    check_certificates()


def check_doctor_of_fleet(server):
    with tempfile.TemporaryDirectory() as directory:
        config = os.path.join(directory, "larder.yaml")
        with open(config, "w", encoding="utf-8") as file:
            file.write('types: { user: { match: ["user:{id}"] } }\nl2: { redis: { url: "redis://127.0.0.1:1" } }\n')
        other = Server("node.id=5", config=config)
        run("set", "k", "v", env={"LARDER_SERVER": other.address})
        done = run("doctor", env={"LARDER_SERVER": f"{server.address},{other.address}", "LARDER_ADMIN": server.admin}, expect=NO_VALUE)
        text = done.stdout.decode()
        check("configurations that differ", re.search(r"^bad +types +the data types of \S+ and of \S+ differ\n +mend: ", text, re.M), text)
        check("a tier that is away", re.search(r"^bad +tier +\S+: L2: ", text, re.M), text)
        other.stop()


def check_certificates():
    with tempfile.TemporaryDirectory() as directory:
        certificate, key = self_signed(directory, "localhost", 5)
        plain = Server()
        server = Server(f"listen.tls.certificate_file={certificate}", f"listen.tls.key_file={key}")
        tls = server.native
        here = {"LARDER_SERVER": plain.address, "LARDER_ADMIN": plain.admin}
        text = run("doctor", "--certificate", f"localhost:{tls.split(':')[1]}", "--ca", certificate, "--all", env=here).stdout.decode()
        check("a certificate that ends soon", re.search(r"^warning +certificate +\S+ expires in [45] days, on \d", text, re.M), text)
        check("TLS with HTTP/2", re.search(r"^ok +tls +\S+ TLSv1\.[23]$", text, re.M), text)
        text = run("doctor", "--certificate", tls, env=here, expect=NO_VALUE).stdout.decode()
        check("a certificate that nobody trusts", re.search(r"^bad +certificate +\S+ is not trusted: self.signed", text, re.M), text)
        run("doctor", "--certificate", tls, "--ca", "/no/such/file", env=here, expect=NO_VALUE)
        text = run("doctor", "--certificate", plain.address, env=here, expect=NO_VALUE).stdout.decode()
        check("no TLS where it was expected", re.search(r"^bad +tls +\S+ .*no TLS", text, re.M), text)
        text = run("doctor", "--ca", certificate, env={**here, "LARDER_SERVER": tls}, expect=5).stdout.decode()
        check("a server that speaks TLS alone", re.search(r"^bad +grpc +\S+ speaks TLS", text, re.M), text)
        text = run("doctor", "--tls-ca", certificate, "--all", "--server", f"localhost:{tls.split(':')[1]}", "--admin", server.admin).stdout.decode()
        check("a server over TLS", re.search(r"^ok +health ", text, re.M) and re.search(r"^ok +tls +\S+ TLSv1", text, re.M)
              and re.search(r"^warning +certificate ", text, re.M), text)
        server.stop()
        plain.stop()
    with tempfile.TemporaryDirectory() as directory:
        check_foreign_certificate(directory)


def check_foreign_certificate(directory):
    """A listener of somebody else's, valid for another name, without HTTP/2."""
    certificate, key = self_signed(directory, "elsewhere.example", 365)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        def serve():
            while True:
                try:
                    connection = listener.accept()[0]
                except OSError:
                    return
                try:
                    with context.wrap_socket(connection, server_side=True) as tls:
                        tls.recv(1)
                except OSError:
                    pass

        threading.Thread(target=serve, daemon=True).start()
        port = listener.getsockname()[1]
        text = run("doctor", "--server", f"localhost:{port}", "--ca", certificate, "--deadline", "2s", expect=5).stdout.decode()
        check("a certificate of another", re.search(r"^bad +certificate +\S+ is not valid for localhost, but for elsewhere\.example, 127",
                                                    text, re.M), text)
        check("TLS without HTTP/2", re.search(r"^bad +tls +\S+ does not offer HTTP/2", text, re.M), text)


CANARY = "canary-7f3a"


def test_support():
    """No value, no secret and no key leaves the house."""
    with tempfile.TemporaryDirectory() as directory:
        secret = os.path.join(directory, "redis-password")
        with open(secret, "w", encoding="utf-8") as file:
            file.write(f"{CANARY}-password")
        config = os.path.join(directory, "larder.yaml")
        with open(config, "w", encoding="utf-8") as file:
            json.dump({
                "origins": {"shop": {"grpc": {"target": "127.0.0.1:1", "metadata": {
                    "authorization": {"value": f"Bearer {CANARY}-token"}}}}},
                "types": {"user": {"match": ["user:{id}"], "origin": "shop"}},
            }, file)
        server = Server(config=config)
        here = {"LARDER_SERVER": server.address, "LARDER_ADMIN": server.admin, "http_proxy": f"http://u:{CANARY}-proxy@127.0.0.1:1",
                "no_proxy": "127.0.0.1"}
        for number in range(3):
            run("set", f"{CANARY}-key-{number}", f"{CANARY}-value", "--tag", f"{CANARY}-tag", env=here)
            run("get", f"{CANARY}-key-{number}", env=here)
        run("load", f"user:{CANARY}-key-9", env=here, expect=5)
        try:
            check_support(here, directory)
        finally:
            server.stop()


def unpacked(path):
    with tarfile.open(path, "r:gz") as bundle:
        check("a bundle is its owner's alone", all(member.mode == 0o600 for member in bundle))
        return {member.name.removeprefix("larder-support/"): bundle.extractfile(member).read() for member in bundle}


def check_support(here, directory):
    path = os.path.join(directory, "bundle.tar.gz")
    done = run("support", "--out", path, env=here)
    check("support says what is in it", re.search(rb"^with    replica-0/stats\.json$", done.stdout, re.M)
          and b"keys hashed" in done.stdout and oct(os.stat(path).st_mode)[-3:] == "600", repr(done))
    files = unpacked(path)
    check("all parts are there", set(files) == {"manifest.json", "client.json", "doctor.json", "doctor.txt"} |
          {f"replica-0/{name}" for name in ("info.json", "stats.json", "hotkeys.json", "config.json", "metrics.txt")}, str(set(files)))
    for name, content in files.items():
        check(f"no canary in {name}", CANARY.encode() not in content, name)
        if name.endswith(".json"):
            json.loads(content)
    hot = json.loads(files["replica-0/hotkeys.json"])["keys"]
    check("keys are hashed, one as another", len({row["key"] for row in hot}) == len(hot) >= 3 and
          all(re.fullmatch(r"key#[0-9a-f]{16}", row["key"]) for row in hot), str(hot))
    settings = {row["path"]: row["value"] for row in json.loads(files["replica-0/config.json"])["settings"]}
    check("settings are there", any(path.startswith("types.user.") for path in settings) and len(settings) > 50, str(len(settings)))
    check("metrics are there", b"larder_rpc_calls_total" in files["replica-0/metrics.txt"])
    again = os.path.join(directory, "again.tar.gz")
    run("support", "--out", again, env=here)
    hashed = {row["key"] for row in hot}
    check("hashes of two bundles have nothing in common", hashed.isdisjoint(
        row["key"] for row in json.loads(unpacked(again)["replica-0/hotkeys.json"])["keys"]))
    run("support", "--with-keys", "--out", again, env=here)
    files = unpacked(again)
    keys = json.loads(files["replica-0/hotkeys.json"])["keys"]
    check("keys when they are asked for", any(row["key"] == f"{CANARY}-key-0" for row in keys), str(keys))
    for name, content in files.items():
        for secret in ("value", "token", "password", "proxy"):
            check(f"no {secret} in {name} even then", f"{CANARY}-{secret}".encode() not in content, name)
    done = subprocess.run([LARDER, "support", "--out", "-"], capture_output=True, env={**os.environ, **here}, timeout=60)
    check("a bundle to stdout", done.returncode == 0 and "larder-support/manifest.json" in
          tarfile.open(fileobj=io.BytesIO(done.stdout), mode="r:gz").getnames(), repr(done.stderr))
    done = subprocess.run([LARDER, "--json", "support"], capture_output=True, env={**os.environ, **here, "LARDER_ADMIN": "127.0.0.1:1"},
                          cwd=directory, timeout=60)
    answer = json.loads(done.stdout)
    check("a name with node and time", re.fullmatch(r"larder-support-\S+-\d{8}T\d{6}Z\.tar\.gz", answer["file"])
          and os.path.getsize(os.path.join(directory, answer["file"])) == answer["bytes"], str(answer))
    check("what could not be had is told", {row["name"]: row["there"] for row in answer["parts"]}["replica-0/metrics.txt"] is False
          and all("why_not" in row for row in answer["parts"] if not row["there"]), str(answer))
    run("support", "--out", os.path.join(directory, "none.tar.gz"), "--deadline", "300ms", env=DEAD, expect=5)
    check("a bundle without a server has the doctor's report", b"Connection refused" in
          unpacked(os.path.join(directory, "none.tar.gz"))["doctor.txt"])
    run("support", "--out", "/no/such/folder/x", env=here, expect=1)


READER = "a-readers-token-of-some-32-bytes"


def test_who_asks():
    """Where callers are known the lanes and the admin port want to hear who asks."""
    with tempfile.TemporaryDirectory() as directory:
        token, config = os.path.join(directory, "token"), os.path.join(directory, "larder.yaml")
        with open(token, "w", encoding="utf-8") as file:
            file.write(f"{CANARY}-operators-token-of-32-bytes\n")
        known = hashlib.sha256(f"{CANARY}-operators-token-of-32-bytes".encode()).hexdigest()
        with open(config, "w", encoding="utf-8") as file:
            json.dump({"auth": {"roles": {"operator": {"namespaces": ["*"], "allow": ["read", "write", "invalidate", "admin"]},
                                          "reader": {"namespaces": ["*"], "allow": ["read"]}},
                                "callers": {"oncall": {"roles": ["operator"], "token_sha256": [known]},
                                            "app": {"roles": ["reader"], "token_sha256": [
                                                hashlib.sha256(READER.encode()).hexdigest()]}}}}, file)
        server = Server(config=config)
        here = {"LARDER_SERVER": server.address, "LARDER_ADMIN": server.admin}
        for words in (("top",), ("stat", "--count", "1"), ("types",), ("bench",), ("config", "apply")):
            run(*words, env=here, expect=4)
        told = {**here, "LARDER_TOKEN_FILE": token}
        done = run("doctor", env=here, expect=3)
        check("doctor says what to show, in words alone", b"NOT_AUTHENTICATED: the call shows neither" in done.stdout
              and b"say who asks: --token-file FILE" in done.stdout and b"google.rpc" not in done.stdout, repr(done))
        reader = os.path.join(directory, "reader")
        with open(reader, "w", encoding="utf-8") as file:
            file.write(READER)
        done = run("doctor", env={**here, "LARDER_TOKEN_FILE": reader})
        check("doctor tells a port that is denied from one that is elsewhere", b"the admin port: HTTP 403" in done.stdout
              and b"the right `admin`" in done.stdout and b"name it by --admin" not in done.stdout, repr(done))
        done = run("get", "x", env={**told, "LARDER_SERVER": "127.0.0.1:1"}, expect=5)
        check("who reaches nobody is led on", b"`larder doctor` with the same flags" in done.stderr, repr(done))
        page = run_json("top", "--interval", "200ms", env=told)
        check("top shows its token to both ports", page["memory_budget_bytes"] > 0, str(page))
        run("config", "diff", config, *(word for lane in ("grpc", "native", "admin") for word in
                                        ("--set", f"listen.{lane}=127.0.0.1:0")), env=told)
        check("doctor reads the settings", b"keepalive" in run("doctor", "--all", env=told).stdout)
        path = os.path.join(directory, "bundle.tar.gz")
        run("support", "--out", path, env=told)
        files = unpacked(path)
        check("a bundle has the settings", "replica-0/config.json" in files and "replica-0/metrics.txt" in files, str(set(files)))
        check("a bundle tells neither a token nor its sum", all(CANARY.encode() not in content and known.encode() not in content
                                                                for content in files.values()))
        server.stop()


def run_all():
    for test in (test_top_and_stat, test_explain_rules, test_bench, test_config, test_doctor, test_support, test_who_asks):
        test()
