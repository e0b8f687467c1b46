"""GetOrLoad over larder, for services in Python: read a key, or load it once for all who ask.

    cache = larder_cache.Cache(["larder-0:50051", "larder-1:50051"])
    profile = cache.get_or_load("user:42", lambda: read_profile(42), ttl=60)

Copy this file into your service, beside the stubs that grpcio-tools makes of larder/v1/cache.proto. It needs grpcio,
grpcio-status and googleapis-common-protos. What it does and why is in larder's docs/clients.md. Thread safety: any
method, any thread.
"""

import collections
import itertools
import json
import threading
import time
import uuid

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from larder.v1 import cache_pb2 as pb
from larder.v1 import cache_pb2_grpc

# What gRPC does by itself on each connection. Every call of this file can be repeated: a Set carries a request id.
SERVICE_CONFIG = {
    "methodConfig": [{
        "name": [{"service": "larder.v1.Cache"}],
        "retryPolicy": {"maxAttempts": 3, "initialBackoff": "0.02s", "maxBackoff": "0.2s", "backoffMultiplier": 2,
                        "retryableStatusCodes": ["UNAVAILABLE"]},
    }],
    "retryThrottling": {"maxTokens": 10, "tokenRatio": 0.1},
}

CHANNEL_OPTIONS = [
    ("grpc.service_config", json.dumps(SERVICE_CONFIG)),
    # Finds out that a replica has vanished without a word, while calls are under way. larder closes connections that
    # ping more often than every 10 s (connections.ping_interval_min).
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    # Else a replica that is back would not be noticed for up to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # Each cache has its own connections and their state of backing off.
    ("grpc.use_local_subchannel_pool", 1),
]

# The caller's own mistakes: to be seen, not to be bridged by loading.
REFUSALS = {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.PERMISSION_DENIED,
            grpc.StatusCode.UNAUTHENTICATED}


def reason_of(error):
    """The reason that larder gives for an error, such as ORIGIN_UNAVAILABLE; empty for others' errors."""
    status = rpc_status.from_call(error)
    for detail in status.details if status else ():
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            return info.reason
    return ""


_Lease = collections.namedtuple("_Lease", "stub token")


class _Replica:
    def __init__(self, target, credentials):
        options = CHANNEL_OPTIONS
        self.channel = (grpc.insecure_channel(target, options) if credentials is None
                        else grpc.secure_channel(target, credentials, options))
        self.stub = cache_pb2_grpc.CacheStub(self.channel)
        self.rests_until = 0.0


class _Flight:
    """A load that is under way in this process, and what became of it."""

    def __init__(self):
        self.landed = threading.Event()
        self.loaded = False
        self.value = None


class Cache:
    """`targets`: an address for each replica. `deadline`: seconds that the calls to larder may take before the value is
    loaded without it, the wait for another caller's load included. `lease_ttl`: longer than a load takes; 0.01 to 300
    seconds. `rest`: seconds for which a replica that failed is left alone. `on_error` is called with the errors that cost
    nobody a value: a replica that is away, a Set that failed."""

    def __init__(self, targets, *, namespace="", deadline=1.0, lease_ttl=10.0, rest=1.0, credentials=None,
                 on_error=lambda error: None):
        if not targets or deadline <= 0:
            raise ValueError("a cache needs a target and a deadline")
        self._namespace = namespace
        self._deadline = deadline
        self._lease_ttl = lease_ttl
        self._rest = rest
        self._on_error = on_error
        self._replicas = [_Replica(target, credentials) for target in targets]
        self._turn = itertools.count()
        self._lock = threading.Lock()
        self._flights = {}

    def close(self):
        for replica in self._replicas:
            replica.channel.close()

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()

    def get_or_load(self, key, load, *, ttl=None, tags=(), type=""):  # `type` is the word of larder's API
        """The value of `key` as bytes, or None when there is none. On a miss `load()` runs in one caller of all, and
        returns the value, or None for a key that does not exist. What it raises reaches the caller whose `load` it was;
        the others go on. `ttl` in seconds; by the data type unless it is given.

        Raises grpc.RpcError when larder refuses the call, and when the origin from which larder loads the key fails."""
        while True:
            with self._lock:
                flight = self._flights.get(key)
                mine = flight is None
                if mine:
                    flight = self._flights[key] = _Flight()
            if not mine:
                flight.landed.wait()
                if flight.loaded:
                    return flight.value
                continue  # it failed: this caller is as good as any
            try:
                flight.value = self._fly(key, load, ttl, tags, type)
                flight.loaded = True
                return flight.value
            finally:
                with self._lock:
                    del self._flights[key]
                flight.landed.set()

    def _fly(self, key, load, ttl, tags, type_):
        answer, stub = self._ask(key, type_)
        if answer is not None and answer.HasField("hit"):
            return answer.hit.value
        if answer is not None and answer.HasField("miss") and answer.miss.reason == pb.MISS_REASON_NEGATIVE:
            return None
        lease = _Lease(stub, answer.lease.token) if answer is not None and answer.HasField("lease") else None
        try:
            value = load()
        except BaseException:
            self._give_back(key, lease)
            raise
        self._store(key, value, lease, ttl, tags, type_)
        return value

    def _ask(self, key, type_):
        """What larder answers and the stub of the replica that did; (None, None) when none does in time."""
        until = time.monotonic() + self._deadline
        for replica in self._in_turn():
            left = until - time.monotonic()
            if left <= 0:
                break
            request = pb.GetOrLoadRequest(namespace=self._namespace, key=key, type=type_)
            request.lease_ttl.FromNanoseconds(int(self._lease_ttl * 1e9))
            # A little less than the deadline, which would look as if the replica were dead.
            request.wait.FromNanoseconds(int(left * 0.9e9))
            try:
                answer = replica.stub.GetOrLoad(request, timeout=left)
                replica.rests_until = 0.0
                return answer, replica.stub
            except grpc.RpcError as error:
                if error.code() in REFUSALS or reason_of(error).startswith("ORIGIN_"):
                    raise
                replica.rests_until = time.monotonic() + self._rest
                self._on_error(error)
        return None, None

    def _in_turn(self):
        """The replicas that do not rest, each call beginning with the next one."""
        first = next(self._turn) % len(self._replicas)
        now = time.monotonic()
        return [replica for replica in self._replicas[first:] + self._replicas[:first] if replica.rests_until <= now]

    def _store(self, key, value, lease, ttl, tags, type_):
        # Without a lease the value may be older than a change that was made meanwhile: it is not for others.
        if lease is None:
            return
        request = pb.SetRequest(namespace=self._namespace, key=key, type=type_, tags=tags, lease_token=lease.token,
                                request_id=uuid.uuid4().hex)
        if value is None:
            request.absent = True
        else:
            request.value = value
        if ttl is not None:
            request.ttl.FromNanoseconds(int(ttl * 1e9))
        try:
            lease.stub.Set(request, timeout=self._deadline)
        except grpc.RpcError as error:
            self._on_error(error)  # the caller has its value all the same
            self._give_back(key, lease)

    def _give_back(self, key, lease):
        if lease is None:
            return
        request = pb.ReleaseLeaseRequest(namespace=self._namespace, key=key, lease_token=lease.token)
        try:
            lease.stub.ReleaseLease(request, timeout=self._deadline)
        except grpc.RpcError as error:
            self._on_error(error)  # then it runs out by itself
