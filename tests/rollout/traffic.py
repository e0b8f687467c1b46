"""Calls a fleet through client/python until stdin ends, from four threads: traffic.py TARGETS. Prints what traffic.cc prints."""

import itertools
import json
import sys
import threading
import time

import larder_cache

THREADS = 4
KEYS = 40
STEP = 100

lock = threading.Lock()
calls = 0
loads = 0
fresh = 0
failures = []


def load(cache, key):
    def run():
        global loads
        with lock:
            loads += 1
        return key.encode()

    global calls
    problem = None
    try:
        value = cache.get_or_load(key, run)
        if value != key.encode():
            problem = f"{key} is {value}"
    except Exception as e:  # whatever it is, a caller would see it
        problem = f"{key}: {type(e).__name__} {e}"
    with lock:
        calls += 1
        if problem:
            failures.append(problem)
        if calls % STEP == 0:
            print("calls", calls, flush=True)


def main():
    global fresh
    over = threading.Event()

    def run(thread):
        global fresh
        for i in itertools.count():
            if over.is_set():
                return
            if i % 10 == 9:  # a load that has to run, and its Set
                load(cache, f"python:fresh:{thread}:{i}")
                with lock:
                    fresh += 1
            else:
                load(cache, f"python:{(i + thread) % KEYS}")
            time.sleep(0.002)  # leaves the machine to the other programs

    with larder_cache.Cache(sys.argv[1].split(","), deadline=20) as cache:
        for i in range(KEYS):
            load(cache, f"python:{i}")
        print("ready", flush=True)
        threads = [threading.Thread(target=run, args=(i,)) for i in range(THREADS)]
        for thread in threads:
            thread.start()
        sys.stdin.read()
        over.set()
        for thread in threads:
            thread.join()
    print(json.dumps({"calls": calls, "bridged": loads - KEYS - fresh, "failures": failures}), flush=True)


main()
