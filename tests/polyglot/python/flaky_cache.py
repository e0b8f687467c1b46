"""A Cache that fails on purpose, to see what clients repeat. Prints `listening on ADDRESS`; ends with its stdin.

GetOrLoad of `flaky:*` is UNAVAILABLE twice for each key, `away:*` always, `broken:*` is always INTERNAL. `calls:KEY` is a hit
whose value is how often KEY has been asked for.
"""

import collections
import concurrent.futures
import sys
import threading

import grpc
from larder.v1 import cache_pb2 as pb
from larder.v1 import cache_pb2_grpc


class FlakyCache(cache_pb2_grpc.CacheServicer):
    def __init__(self):
        self._lock = threading.Lock()
        self._calls = collections.Counter()

    def GetOrLoad(self, request, context):
        kind, _, rest = request.key.partition(":")
        with self._lock:
            if kind == "calls":
                return pb.GetOrLoadResponse(hit=pb.Hit(value=str(self._calls[rest]).encode()))
            self._calls[request.key] += 1
            calls = self._calls[request.key]
        if kind == "broken":
            context.abort(grpc.StatusCode.INTERNAL, "broken on purpose")
        if kind == "away" or calls <= 2:
            context.abort(grpc.StatusCode.UNAVAILABLE, "away on purpose")
        return pb.GetOrLoadResponse(hit=pb.Hit(value=b"at last"))


def main():
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(8))
    cache_pb2_grpc.add_CacheServicer_to_server(FlakyCache(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(f"listening on 127.0.0.1:{port}", flush=True)
    sys.stdin.read()
    server.stop(1).wait()


if __name__ == "__main__":
    main()
