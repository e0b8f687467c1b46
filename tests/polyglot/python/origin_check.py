"""What a service gets that reads through larder from the example of an origin in Python.

LARDER_SERVER is a larderd whose type `item` is loaded from LARDER_ORIGIN, which is examples/origin_python/origin.py.
"""

import os

import grpc
from larder.v1 import cache_pb2, cache_pb2_grpc, origin_pb2, origin_pb2_grpc


def main():
    cache = cache_pb2_grpc.CacheStub(grpc.insecure_channel(os.environ["LARDER_SERVER"]))
    origin = origin_pb2_grpc.OriginStub(grpc.insecure_channel(os.environ["LARDER_ORIGIN"]))
    items = [origin_pb2.StoreItem(key=f"item:{i}", value=f"value {i}".encode(), version=1) for i in range(100)]
    stored = origin.Store(origin_pb2.StoreRequest(namespace="default", type="item", items=items), timeout=10)
    assert all(result.outcome == origin_pb2.STORE_OUTCOME_OK for result in stored.results)

    def get_or_load(key):
        return cache.GetOrLoad(cache_pb2.GetOrLoadRequest(key=key), timeout=10)

    first = get_or_load("item:7")
    assert (first.hit.value, first.hit.tier) == (b"value 7", cache_pb2.TIER_ORIGIN), first
    again = get_or_load("item:7")
    assert (again.hit.value, again.hit.tier) == (b"value 7", cache_pb2.TIER_L1), again
    print("ok      loads a value once")

    batch = cache.BatchGetOrLoad(cache_pb2.BatchGetOrLoadRequest(keys=[f"item:{i}" for i in range(100)]), timeout=10)
    assert [result.hit.value for result in batch.results] == [f"value {i}".encode() for i in range(100)]
    print("ok      loads a batch in the order of its keys")

    for _ in range(2):
        absent = get_or_load("item:none")
        assert absent.miss.reason == cache_pb2.MISS_REASON_NEGATIVE, absent
    print("ok      remembers what the origin does not have")

    # Only the first and the batch's others were loads; who was answered from memory cost the origin nothing.
    stats = cache.Stats(cache_pb2.StatsRequest(), timeout=10).origins[0]
    assert (stats.name, stats.kind, stats.load_items, stats.errors) == ("items", "grpc", 101, 0), stats
    print("ok      asks for each key once")


if __name__ == "__main__":
    main()
