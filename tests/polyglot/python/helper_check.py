"""What client/python/larder_cache.py does, on a real larderd. Each function is one case.

LARDER_SERVER is a larderd that `run` stops, freezes and starts when this program asks it on stdout and waits for its answer on
stdin; LARDER_OTHER is a second one, alone as well; LARDER_FLAKY is flaky_cache.py. Prints a line for each case; exits 1 if one
fails.
"""

import concurrent.futures
import os
import sys
import threading
import time
import traceback

import grpc
import larder_cache
from larder.v1 import admin_pb2, admin_pb2_grpc
from larder.v1 import cache_pb2 as pb
from larder.v1 import cache_pb2_grpc

SERVER, OTHER, FLAKY = (os.environ[f"LARDER_{name}"] for name in ("SERVER", "OTHER", "FLAKY"))
NOBODY = "127.0.0.1:1"
TIMEOUT = 10
CALLERS = 20


def expect(condition, what):
    if not condition:
        raise AssertionError(what)


def tell_run(word):
    print(f"@ {word}", flush=True)
    expect(sys.stdin.readline() == "done\n", f"run did not {word}")


def stored_at(address, key):
    """The hit of a key, or None."""
    with grpc.insecure_channel(address) as channel:
        answer = cache_pb2_grpc.CacheStub(channel).Get(pb.GetRequest(key=key), timeout=TIMEOUT)
    return answer.hit if answer.HasField("hit") else None


def wait_for_waiters(key, count):
    until = time.monotonic() + TIMEOUT
    with grpc.insecure_channel(SERVER) as channel:
        admin = admin_pb2_grpc.AdminStub(channel)
        while admin.Explain(admin_pb2.ExplainRequest(key=key), timeout=TIMEOUT).lease_waiters != count:
            expect(time.monotonic() < until, f"{key} never had {count} waiters")
            time.sleep(0.005)


class Source:
    """A loader that counts, and whose first load ends when all callers have arrived."""

    def __init__(self, fail_first=False):
        self._arrived = threading.Semaphore(0)
        self._lock = threading.Lock()
        self._fail_first = fail_first
        self.loads = 0

    def arrive(self):
        self._arrived.release()

    def load(self):
        with self._lock:
            self.loads += 1
            first = self.loads == 1
        for _ in range(CALLERS if first else 0):
            expect(self._arrived.acquire(timeout=TIMEOUT), "not all callers came")
        if first and self._fail_first:
            raise OSError("the source is away")
        return b"loaded"


def ask_at_once(caches, key, source, **options):
    """CALLERS calls of get_or_load at once, their values, and what they raised."""
    def one(number):
        source.arrive()
        try:
            return caches[number % len(caches)].get_or_load(key, source.load, **options)
        except OSError as error:
            return error

    with concurrent.futures.ThreadPoolExecutor(CALLERS) as pool:
        return list(pool.map(one, range(CALLERS)))


def never():
    raise AssertionError("the loader ran")


def loads_once_for_twenty_callers():
    source = Source()
    with larder_cache.Cache([SERVER], deadline=TIMEOUT) as cache:
        values = ask_at_once([cache], "py:once", source, ttl=60, tags=["py"])
        expect(values == [b"loaded"] * CALLERS and source.loads == 1, (values, source.loads))
        hit = stored_at(SERVER, "py:once")
        expect(hit.value == b"loaded" and list(hit.tags) == ["py"] and 0 < hit.remaining_ttl.seconds <= 66, hit)
        expect(cache.get_or_load("py:once", never) == b"loaded", "a hit")


def loads_once_for_two_processes():
    with larder_cache.Cache([SERVER], deadline=TIMEOUT) as one, larder_cache.Cache([SERVER], deadline=TIMEOUT) as two, \
            concurrent.futures.ThreadPoolExecutor() as pool:
        other = []

        def load():
            other.append(pool.submit(two.get_or_load, "py:two", never))
            wait_for_waiters("py:two", 1)
            return b"of one"

        expect(one.get_or_load("py:two", load) == b"of one", "the one that loads")
        expect(other[0].result(TIMEOUT) == b"of one", "the one that waits")


def others_go_on_when_a_loader_fails():
    source = Source(fail_first=True)
    with larder_cache.Cache([SERVER], deadline=TIMEOUT) as one, larder_cache.Cache([SERVER], deadline=TIMEOUT) as two:
        values = ask_at_once([one, two], "py:fail", source)
        failed = [value for value in values if isinstance(value, OSError)]
        expect(len(failed) == 1 and values.count(b"loaded") == CALLERS - 1 and source.loads == 2, (values, source.loads))
        expect(stored_at(SERVER, "py:fail").value == b"loaded", "the second load is stored")


def remembers_what_does_not_exist():
    with larder_cache.Cache([SERVER], deadline=TIMEOUT) as cache:
        expect(cache.get_or_load("py:none", lambda: None) is None, "loaded as absent")
        expect(cache.get_or_load("py:none", never) is None, "known as absent")


def shows_mistakes_and_failed_origins():
    with larder_cache.Cache([SERVER], deadline=TIMEOUT) as cache:
        for key, code, reason in (("", grpc.StatusCode.INVALID_ARGUMENT, "KEY_INVALID"),
                                  ("dead:1", grpc.StatusCode.UNAVAILABLE, "ORIGIN_UNAVAILABLE")):
            try:
                cache.get_or_load(key, never)
                raise AssertionError(f"{key!r} did not fail")
            except grpc.RpcError as error:
                expect((error.code(), larder_cache.reason_of(error)) == (code, reason), error)


def repeats_what_is_unavailable_and_nothing_else():
    with larder_cache.Cache([FLAKY], deadline=TIMEOUT, rest=0) as cache:
        expect(cache.get_or_load("flaky:py", never) == b"at last", "the third attempt")
        for key, calls in (("away:py", b"3"), ("broken:py", b"1")):
            expect(cache.get_or_load(key, lambda: b"round it") == b"round it", key)
            counted = cache.get_or_load(f"calls:{key}", never)
            expect(counted == calls, (key, counted))


def keeps_a_lease_on_the_replica_that_gave_it():
    keys = [f"py:turn:{number}" for number in range(10)]
    with larder_cache.Cache([SERVER, OTHER], deadline=TIMEOUT) as cache:
        for key in keys:
            cache.get_or_load(key, lambda: b"v")
    places = [(stored_at(SERVER, key) is not None, stored_at(OTHER, key) is not None) for key in keys]
    expect(places == [(True, False), (False, True)] * 5, places)


def uses_the_replicas_that_are_there():
    errors = []
    with larder_cache.Cache([NOBODY, SERVER], deadline=TIMEOUT, rest=TIMEOUT, on_error=errors.append) as cache:
        for number in range(4):
            cache.get_or_load(f"py:there:{number}", lambda: b"v")
            expect(stored_at(SERVER, f"py:there:{number}") is not None, number)
    expect(len(errors) == 1, "the one that is away is asked once, then it rests")


def timed(cache, key):
    began = time.monotonic()
    value = cache.get_or_load(key, lambda: b"by hand")
    return value, time.monotonic() - began


def goes_on_without_larder_and_comes_back():
    with larder_cache.Cache([SERVER], deadline=2, rest=0.1) as cache:
        cache.get_or_load("py:before", lambda: b"v")
        tell_run("stop")
        value, took = timed(cache, "py:away")
        expect(value == b"by hand" and took < 2, took)
        tell_run("start")
        until = time.monotonic() + TIMEOUT
        number = 0
        while stored_at(SERVER, f"py:back:{number}") is None:
            expect(time.monotonic() < until, "larder is not used again")
            time.sleep(0.02)
            number += 1
            expect(cache.get_or_load(f"py:back:{number}", lambda: b"v") == b"v", number)


def waits_no_longer_than_its_deadline():
    with larder_cache.Cache([SERVER], deadline=2, rest=TIMEOUT) as cache:
        cache.get_or_load("py:warm", lambda: b"v")
        tell_run("freeze")
        value, took = timed(cache, "py:frozen")
        expect(value == b"by hand" and 1.8 < took < 8, took)
        value, took = timed(cache, "py:frozen:2")
        expect(value == b"by hand" and took < 1.5, f"a replica that rests is not asked, but it took {took}")
        tell_run("thaw")


CASES = [
    loads_once_for_twenty_callers,
    loads_once_for_two_processes,
    others_go_on_when_a_loader_fails,
    remembers_what_does_not_exist,
    shows_mistakes_and_failed_origins,
    repeats_what_is_unavailable_and_nothing_else,
    keeps_a_lease_on_the_replica_that_gave_it,
    uses_the_replicas_that_are_there,
    goes_on_without_larder_and_comes_back,
    waits_no_longer_than_its_deadline,
]


def main():
    failed = 0
    for case in CASES:
        try:
            case()
            print(f"ok      python helper {case.__name__}", flush=True)
        except Exception:  # a case may fail in any way; the others still run
            failed += 1
            print(f"FAILED  python helper {case.__name__}\n{traceback.format_exc()}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
