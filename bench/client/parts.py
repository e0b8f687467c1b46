"""The parts of `./dev bench client`, each with larderds of its own (bench/client/main.cc).

hits    hits of the near cache by one thread on one core: by Find, and by Get, which copies the value.
batch   64 threads that get keys, by a client that gathers Gets and by one that does not.
lag     a thousand changes a second on one replica, seen by the near cache of a client of another one; Redis between.
cut     the replica of the near cache is stopped in its tracks, so that the stream says nothing and is not closed, while
        keys change on another one: no read is older than the bound. Then the same with a replica that is killed.
"""

import contextlib
import pathlib
import signal
import subprocess

import program
import rig
from redis_gets import RedisServer

LAG_SECONDS = 20
BATCH_SECONDS, BATCH_WINDOW_MICROS = 20, 100
SILENCE_MS = 500
SLACK_MS = 20  # of the reader and the clock, on a busy machine

# What was not changed, not old or not looked at proves nothing: those have bars too.
BARS = {
    "near_find_hits": ">= 8000000", "batch_ratio": ">= 3",
    "lag_changes_per_second": ">= 990", "lag_p99": "<= 20", "lag_missed": "<= 0", "lag_streams_lost": "<= 0",
    "silent_old_reads": "> 0", "silent_oldest_read": f"<= {SILENCE_MS + SLACK_MS}",
    "killed_oldest_read": f"<= {SLACK_MS}",
}


def add(table, figures):
    for name, value, unit in figures:
        table.add(name, value, unit, BARS.get(name, ""))


@contextlib.contextmanager
def replicas(count):
    """Larderds, with one Redis where there are several."""
    with contextlib.ExitStack() as stack:
        redis = stack.enter_context(RedisServer()) if count > 1 else None
        servers = []
        for number in range(count):
            settings = ["memory.l1=64MiB"]
            if redis is not None:
                settings += [f"node.name=replica-{number}", f"node.id={number}",
                             f"l2.redis.url=redis://127.0.0.1:{redis.port}/0"]
            server = stack.enter_context(rig.larderd(pathlib.Path(program.path("larderd")).parent, "0-1", settings))
            server.wait_for_address(rig.larderd_address)
            servers.append(server)
        yield servers


def hits(table):
    with replicas(1) as (server,):
        add(table, program.report("larder_client_bench", "hits", server.address, seconds_most=120))


def batch(table):
    with replicas(1) as (server,):
        add(table, program.report("larder_client_bench", "batch", server.address, str(BATCH_SECONDS),
                                  str(BATCH_WINDOW_MICROS), seconds_most=BATCH_SECONDS + 60))


def lag(table):
    with replicas(2) as (writer, reader):
        add(table, program.report("larder_client_bench", "lag", writer.address, reader.address, str(LAG_SECONDS),
                                  seconds_most=LAG_SECONDS + 60))


def cut_by(table, name, number):
    with replicas(2) as (writer, reader):
        bench = subprocess.Popen([program.path("larder_client_bench"), "cut", writer.address, reader.address,
                                  str(SILENCE_MS)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            if bench.stdout.readline() != "ready\n":
                raise rig.BenchError("larder_client_bench cut does not get ready")
            reader.process.send_signal(number)
            said, _ = bench.communicate("cut\n", timeout=60)
        finally:
            if number == signal.SIGSTOP:
                reader.process.send_signal(signal.SIGCONT)
            bench.kill()
            bench.wait()
        if bench.returncode != 0:
            raise rig.BenchError(f"larder_client_bench cut failed ({bench.returncode})")
    for line in said.splitlines():
        figure, value, unit = line.split(" ", 2)
        add(table, [(figure.replace("cut", name, 1), float(value), unit)])


def cut(table):
    cut_by(table, "silent", signal.SIGSTOP)
    cut_by(table, "killed", signal.SIGKILL)


PARTS = {"hits": hits, "batch": batch, "lag": lag, "cut": cut}
