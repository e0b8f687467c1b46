"""What a Python program relies on when it calls larder. Each function is one case.

Needs LARDER_SERVER, and the stubs of larder.v1 importable; with LARDER_CA, a file, it speaks TLS. Prints a line for each
case; exits 1 if one fails.
"""

import concurrent.futures
import os
import sys
import time
import traceback

import grpc
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_status import rpc_status
from larder.v1 import admin_pb2, admin_pb2_grpc
from larder.v1 import cache_pb2 as pb
from larder.v1 import cache_pb2_grpc

TIMEOUT = 10


def new_channel(options=()):
    server, ca = os.environ["LARDER_SERVER"], os.environ.get("LARDER_CA")
    if ca is None:
        return grpc.insecure_channel(server, options)
    with open(ca, "rb") as file:
        return grpc.secure_channel(server, grpc.ssl_channel_credentials(file.read()), options)


channel = new_channel()
cache = cache_pb2_grpc.CacheStub(channel)
admin = admin_pb2_grpc.AdminStub(channel)


def expect(condition, what):
    if not condition:
        raise AssertionError(what)


def error_of(call):
    """Runs `call`, which must fail, and returns (status code, {type name: detail message})."""
    try:
        call()
    except grpc.RpcError as error:
        details = {}
        for any_detail in rpc_status.from_call(error).details:
            for kind in (error_details_pb2.ErrorInfo, error_details_pb2.BadRequest, error_details_pb2.RetryInfo):
                message = kind()
                if any_detail.Unpack(message):
                    details[kind.DESCRIPTOR.name] = message
        return error.code(), details
    raise AssertionError("the call did not fail")


def wait_for_waiters(key, count):
    until = time.monotonic() + TIMEOUT
    while admin.Explain(admin_pb2.ExplainRequest(key=key), timeout=TIMEOUT).lease_waiters != count:
        expect(time.monotonic() < until, f"{key} never had {count} waiters")
        time.sleep(0.005)


def stores_reads_and_deletes_bytes():
    value = bytes(range(256))
    stored = cache.Set(pb.SetRequest(key="py:ключ:🔑", value=value, ttl={"seconds": 60}, tags=["py"]),
                       timeout=TIMEOUT).stored
    hit = cache.Get(pb.GetRequest(key="py:ключ:🔑"), timeout=TIMEOUT).hit
    expect(hit.value == value and hit.version == stored.version, hit)
    expect(list(hit.tags) == ["py"] and hit.tier == pb.TIER_L1 and not hit.stale, hit)
    expect(0 < hit.remaining_ttl.ToTimedelta().total_seconds() <= 66, hit)
    deleted = cache.Delete(pb.DeleteRequest(key="py:ключ:🔑"), timeout=TIMEOUT)
    expect(deleted.existed and deleted.version > stored.version, deleted)


def misses_are_ok_with_a_reason():
    miss = cache.Get(pb.GetRequest(key="py:nobody"), timeout=TIMEOUT).miss
    expect(miss.reason == pb.MISS_REASON_ABSENT, miss)
    cache.Set(pb.SetRequest(key="py:gone", value=b"v"), timeout=TIMEOUT)
    cache.Delete(pb.DeleteRequest(key="py:gone"), timeout=TIMEOUT)
    miss = cache.Get(pb.GetRequest(key="py:gone"), timeout=TIMEOUT).miss
    expect(miss.reason == pb.MISS_REASON_INVALIDATED, miss)


def refuses_a_set_whose_version_is_old():
    first = cache.Set(pb.SetRequest(key="py:cas", value=b"1"), timeout=TIMEOUT).stored.version
    second = cache.Set(pb.SetRequest(key="py:cas", value=b"2", if_version=first), timeout=TIMEOUT).stored.version
    late = cache.Set(pb.SetRequest(key="py:cas", value=b"3", if_version=first), timeout=TIMEOUT).not_stored
    expect(late.reason == pb.NOT_STORED_REASON_CONDITION and late.current_version == second, late)


def tells_errors_in_google_rpc_details():
    code, details = error_of(lambda: cache.Get(pb.GetRequest(key=""), timeout=TIMEOUT))
    expect(code == grpc.StatusCode.INVALID_ARGUMENT, code)
    expect((details["ErrorInfo"].reason, details["ErrorInfo"].domain) == ("KEY_INVALID", "larder"), details)
    expect([v.field for v in details["BadRequest"].field_violations] == ["key"], details)
    code, details = error_of(lambda: cache.BatchGet(pb.BatchGetRequest(keys=["a", "\n"]), timeout=TIMEOUT))
    expect([v.field for v in details["BadRequest"].field_violations] == ["keys[1]"], details)
    code, details = error_of(lambda: list(admin.Warm(admin_pb2.WarmRequest(), timeout=TIMEOUT)))  # a stream
    expect(code == grpc.StatusCode.INVALID_ARGUMENT, code)
    expect(details["ErrorInfo"].reason == "REQUEST_INVALID", details)
    unknown = channel.unary_unary("/larder.v1.Cache/Fetch")
    code, details = error_of(lambda: unknown(b"", timeout=TIMEOUT))
    expect(code == grpc.StatusCode.UNIMPLEMENTED, code)
    expect(details["ErrorInfo"].reason == "METHOD_UNKNOWN", details)


def gives_one_lease_and_its_value_to_the_other_caller():
    key = "py:lease"
    lease = cache.GetOrLoad(pb.GetOrLoadRequest(key=key), timeout=TIMEOUT).lease
    expect(lease.token and lease.ttl.ToTimedelta().total_seconds() == 10, lease)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        waiting = pool.submit(lambda: cache.GetOrLoad(pb.GetOrLoadRequest(key=key), timeout=TIMEOUT))
        wait_for_waiters(key, 1)
        stored = cache.Set(pb.SetRequest(key=key, value=b"loaded", lease_token=lease.token), timeout=TIMEOUT)
        expect(stored.HasField("stored"), stored)
        expect(waiting.result().hit.value == b"loaded", waiting.result())


def passes_a_released_lease_on():
    key = "py:release"
    first = cache.GetOrLoad(pb.GetOrLoadRequest(key=key), timeout=TIMEOUT).lease
    with concurrent.futures.ThreadPoolExecutor() as pool:
        waiting = pool.submit(lambda: cache.GetOrLoad(pb.GetOrLoadRequest(key=key), timeout=TIMEOUT))
        wait_for_waiters(key, 1)
        released = cache.ReleaseLease(pb.ReleaseLeaseRequest(key=key, lease_token=first.token), timeout=TIMEOUT)
        second = waiting.result().lease
        expect(released.released and second.token and second.token != first.token, second)
    late = cache.Set(pb.SetRequest(key=key, value=b"late", lease_token=first.token), timeout=TIMEOUT)
    expect(late.not_stored.reason == pb.NOT_STORED_REASON_LEASE_LOST, late)


def ends_a_wait_at_its_deadline():
    key = "py:deadline"
    cache.GetOrLoad(pb.GetOrLoadRequest(key=key), timeout=TIMEOUT)
    answer = cache.GetOrLoad(pb.GetOrLoadRequest(key=key, wait={"nanos": 20_000_000}), timeout=TIMEOUT)
    expect(answer.miss.reason == pb.MISS_REASON_LOADING, answer)
    try:
        cache.GetOrLoad(pb.GetOrLoadRequest(key=key), timeout=0.1)
        raise AssertionError("the call did not fail")
    except grpc.RpcError as error:
        expect(error.code() == grpc.StatusCode.DEADLINE_EXCEEDED, error)
    wait_for_waiters(key, 0)


def cancels_a_waiting_call():
    key = "py:cancelled"
    lease = cache.GetOrLoad(pb.GetOrLoadRequest(key=key), timeout=TIMEOUT).lease
    waiting = cache.GetOrLoad.future(pb.GetOrLoadRequest(key=key), timeout=TIMEOUT)
    wait_for_waiters(key, 1)
    waiting.cancel()
    expect(waiting.code() == grpc.StatusCode.CANCELLED, waiting.code())
    wait_for_waiters(key, 0)
    # Who holds the lease does not notice.
    stored = cache.Set(pb.SetRequest(key=key, value=b"loaded", lease_token=lease.token), timeout=TIMEOUT)
    expect(stored.HasField("stored"), stored)


def follows_changes_until_it_cancels():
    watching = cache.Watch(pb.WatchRequest(prefix="py:watched", values=True, heartbeat={"nanos": 100_000_000}),
                           timeout=TIMEOUT)
    # From the first word on every change is told.
    next(watching)
    cache.Set(pb.SetRequest(key="py:watched", value=b"v"), timeout=TIMEOUT)
    put = next(change.put for change in watching if change.HasField("put"))
    expect((put.key, put.value) == ("py:watched", b"v"), put)
    watching.cancel()
    try:
        next(watching)
        raise AssertionError("the stream goes on")
    except grpc.RpcError as error:
        expect(error.code() == grpc.StatusCode.CANCELLED, error)


def takes_and_gives_batches_of_many_megabytes():
    large = new_channel([("grpc.max_receive_message_length", 64 << 20)])
    stub = cache_pb2_grpc.CacheStub(large)
    keys = [f"py:large:{i}" for i in range(12)]
    value = b"x" * 1_000_000
    stored = stub.BatchSet(pb.BatchSetRequest(items=[{"key": key, "value": value} for key in keys]), timeout=TIMEOUT)
    expect(all(result.HasField("stored") for result in stored.results), len(stored.results))
    found = stub.BatchGet(pb.BatchGetRequest(keys=keys), timeout=TIMEOUT)
    expect(all(result.hit.value == value for result in found.results), len(found.results))


def waits_in_thousands_of_streams_at_once():
    key = "py:crowd"
    lease = cache.GetOrLoad(pb.GetOrLoadRequest(key=key), timeout=TIMEOUT).lease
    waiting = [cache.GetOrLoad.future(pb.GetOrLoadRequest(key=key), timeout=60) for _ in range(2_000)]
    wait_for_waiters(key, len(waiting))
    cache.Set(pb.SetRequest(key=key, value=b"loaded", lease_token=lease.token), timeout=TIMEOUT)
    expect({call.result().hit.value for call in waiting} == {b"loaded"}, "not all have got it")


def describes_itself_by_reflection_v1alpha():
    database = ProtoReflectionDescriptorDatabase(channel)
    services = set(database.get_services())
    expect({"larder.v1.Cache", "larder.v1.Admin", "grpc.health.v1.Health"} <= services, services)
    file = database.FindFileContainingSymbol("larder.v1.Cache")
    expect(file.name == "larder/v1/cache.proto", file.name)


def describes_itself_by_reflection_v1():
    # The messages of v1 are those of v1alpha; only the service has another name.
    call = channel.stream_stream(
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString)
    asked = [reflection_pb2.ServerReflectionRequest(list_services=""),
             reflection_pb2.ServerReflectionRequest(file_containing_symbol="larder.v1.GetRequest"),
             reflection_pb2.ServerReflectionRequest(file_containing_symbol="no.such.Symbol")]
    listed, file, unknown = list(call(iter(asked), timeout=TIMEOUT))
    expect("larder.v1.Cache" in [s.name for s in listed.list_services_response.service], listed)
    expect(file.file_descriptor_response.file_descriptor_proto, file)
    expect(unknown.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0], unknown)


def tells_its_health():
    health = health_pb2_grpc.HealthStub(channel)
    for service in ("", "liveness", "readiness"):
        answer = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=TIMEOUT)
        expect(answer.status == health_pb2.HealthCheckResponse.SERVING, (service, answer))
    try:
        health.Check(health_pb2.HealthCheckRequest(service="nobody"), timeout=TIMEOUT)
        raise AssertionError("the call did not fail")
    except grpc.RpcError as error:
        expect(error.code() == grpc.StatusCode.NOT_FOUND, error)


CASES = [
    stores_reads_and_deletes_bytes,
    misses_are_ok_with_a_reason,
    refuses_a_set_whose_version_is_old,
    tells_errors_in_google_rpc_details,
    gives_one_lease_and_its_value_to_the_other_caller,
    passes_a_released_lease_on,
    ends_a_wait_at_its_deadline,
    cancels_a_waiting_call,
    follows_changes_until_it_cancels,
    takes_and_gives_batches_of_many_megabytes,
    waits_in_thousands_of_streams_at_once,
    describes_itself_by_reflection_v1alpha,
    describes_itself_by_reflection_v1,
    tells_its_health,
]


def main():
    failed = 0
    for case in CASES:
        try:
            case()
            print(f"ok      python {case.__name__}")
        except Exception:  # a case may fail in any way; the others still run
            failed += 1
            print(f"FAILED  python {case.__name__}\n{traceback.format_exc()}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
