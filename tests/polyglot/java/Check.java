// What a Java program relies on when it calls larder. Each method of `main` is one case.
// Needs LARDER_SERVER; with LARDER_CA, a file, it speaks TLS. Prints a line for each case; exits 1 if one fails.

import com.google.common.util.concurrent.ListenableFuture;
import com.google.protobuf.Any;
import com.google.protobuf.ByteString;
import com.google.protobuf.Duration;
import com.google.protobuf.Empty;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import io.grpc.CallOptions;
import io.grpc.Context;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.TlsChannelCredentials;
import io.grpc.health.v1.HealthCheckRequest;
import io.grpc.health.v1.HealthCheckResponse.ServingStatus;
import io.grpc.health.v1.HealthGrpc;
import io.grpc.protobuf.ProtoUtils;
import io.grpc.protobuf.StatusProto;
import io.grpc.reflection.v1.ServerReflectionGrpc;
import io.grpc.reflection.v1.ServerReflectionRequest;
import io.grpc.reflection.v1.ServerReflectionResponse;
import io.grpc.reflection.v1.ServiceResponse;
import io.grpc.stub.ClientCalls;
import io.grpc.stub.StreamObserver;
import java.io.File;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CancellationException;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import larder.v1.AdminGrpc;
import larder.v1.BatchGetRequest;
import larder.v1.BatchGetResponse;
import larder.v1.BatchSetItem;
import larder.v1.BatchSetRequest;
import larder.v1.BatchSetResponse;
import larder.v1.CacheGrpc;
import larder.v1.DeleteRequest;
import larder.v1.DeleteResponse;
import larder.v1.ExplainRequest;
import larder.v1.GetOrLoadRequest;
import larder.v1.GetOrLoadResponse;
import larder.v1.GetRequest;
import larder.v1.Hit;
import larder.v1.Lease;
import larder.v1.MissReason;
import larder.v1.SetRequest;
import larder.v1.SetResponse;
import larder.v1.Tier;
import larder.v1.WarmRequest;
import larder.v1.WatchRequest;
import larder.v1.WatchResponse;

public final class Check {
  private interface Case {
    void run() throws Exception;
  }

  private static final long TIMEOUT_MILLIS = 10_000;

  private static ManagedChannel channel;

  private static ManagedChannelBuilder<?> newChannel() throws Exception {
    String ca = System.getenv("LARDER_CA");
    return Grpc.newChannelBuilder(System.getenv("LARDER_SERVER"), ca == null ? InsecureChannelCredentials.create()
        : TlsChannelCredentials.newBuilder().trustManager(new File(ca)).build());
  }

  private static CacheGrpc.CacheBlockingStub cache() {
    return CacheGrpc.newBlockingStub(channel).withDeadlineAfter(TIMEOUT_MILLIS, TimeUnit.MILLISECONDS);
  }

  private static CacheGrpc.CacheFutureStub cacheLater(long timeoutMillis) {
    return CacheGrpc.newFutureStub(channel).withDeadlineAfter(timeoutMillis, TimeUnit.MILLISECONDS);
  }

  private static AdminGrpc.AdminBlockingStub admin() {
    return AdminGrpc.newBlockingStub(channel).withDeadlineAfter(TIMEOUT_MILLIS, TimeUnit.MILLISECONDS);
  }

  private static GetRequest get(String key) {
    return GetRequest.newBuilder().setKey(key).build();
  }

  private static GetOrLoadRequest getOrLoad(String key) {
    return GetOrLoadRequest.newBuilder().setKey(key).build();
  }

  private static SetRequest.Builder set(String key, String value) {
    return SetRequest.newBuilder().setKey(key).setValue(ByteString.copyFromUtf8(value));
  }

  private static void expect(boolean condition, Object what) {
    if (!condition) throw new AssertionError(what);
  }

  /** Runs a call, which must fail. */
  private static StatusRuntimeException errorOf(Case call) throws Exception {
    try {
      call.run();
    } catch (StatusRuntimeException error) {
      return error;
    }
    throw new AssertionError("the call did not fail");
  }

  /** The code of a call that must fail, the reason that larder gives, and the fields that it does not like. */
  private static List<Object> detailsOf(Case call) throws Exception {
    StatusRuntimeException error = errorOf(call);
    String reason = "";
    List<String> fields = new ArrayList<>();
    for (Any detail : StatusProto.fromThrowable(error).getDetailsList()) {
      if (detail.is(ErrorInfo.class)) {
        ErrorInfo info = detail.unpack(ErrorInfo.class);
        expect(info.getDomain().equals("larder"), info);
        reason = info.getReason();
      } else if (detail.is(BadRequest.class)) {
        for (BadRequest.FieldViolation one : detail.unpack(BadRequest.class).getFieldViolationsList()) fields.add(one.getField());
      }
    }
    return List.of(error.getStatus().getCode(), reason, fields);
  }

  private static void waitForWaiters(String key, int count) {
    long until = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(TIMEOUT_MILLIS);
    while (admin().explain(ExplainRequest.newBuilder().setKey(key).build()).getLeaseWaiters() != count) {
      expect(System.nanoTime() < until, key + " never had " + count + " waiters");
    }
  }

  private static void storesReadsAndDeletesBytes() {
    String key = "java:ключ:🔑";
    byte[] value = new byte[256];
    for (int i = 0; i < value.length; ++i) value[i] = (byte) i;
    SetResponse stored = cache().set(SetRequest.newBuilder().setKey(key).setValue(ByteString.copyFrom(value))
        .setTtl(Duration.newBuilder().setSeconds(60)).addTags("java").build());
    Hit hit = cache().get(get(key)).getHit();
    expect(hit.getValue().equals(ByteString.copyFrom(value)) && hit.getVersion() == stored.getStored().getVersion(), hit);
    expect(hit.getTagsList().equals(List.of("java")) && hit.getTier() == Tier.TIER_L1 && !hit.getStale(), hit);
    DeleteResponse deleted = cache().delete(DeleteRequest.newBuilder().setKey(key).build());
    expect(deleted.getExisted() && Long.compareUnsigned(deleted.getVersion(), hit.getVersion()) > 0, deleted);
  }

  private static void missesAreOkWithAReason() {
    MissReason reason = cache().get(get("java:nobody")).getMiss().getReason();
    expect(reason == MissReason.MISS_REASON_ABSENT, reason);
    cache().set(set("java:gone", "v").build());
    cache().delete(DeleteRequest.newBuilder().setKey("java:gone").build());
    reason = cache().get(get("java:gone")).getMiss().getReason();
    expect(reason == MissReason.MISS_REASON_INVALIDATED, reason);
  }

  private static void tellsErrorsInGoogleRpcDetails() throws Exception {
    List<Object> details = detailsOf(() -> cache().get(get("")));
    expect(details.equals(List.of(Status.Code.INVALID_ARGUMENT, "KEY_INVALID", List.of("key"))), details);
    details = detailsOf(() -> cache().batchGet(BatchGetRequest.newBuilder().addKeys("a").addKeys("\n").build()));
    expect(details.equals(List.of(Status.Code.INVALID_ARGUMENT, "KEY_INVALID", List.of("keys[1]"))), details);
    details = detailsOf(() -> admin().warm(WarmRequest.getDefaultInstance()).next()); // a stream
    expect(details.subList(0, 2).equals(List.of(Status.Code.INVALID_ARGUMENT, "REQUEST_INVALID")), details);
    MethodDescriptor.Marshaller<Empty> empty = ProtoUtils.marshaller(Empty.getDefaultInstance());
    MethodDescriptor<Empty, Empty> unknown = MethodDescriptor.newBuilder(empty, empty).setType(MethodDescriptor.MethodType.UNARY)
        .setFullMethodName("larder.v1.Cache/Fetch").build();
    CallOptions options = CallOptions.DEFAULT.withDeadlineAfter(TIMEOUT_MILLIS, TimeUnit.MILLISECONDS);
    details = detailsOf(() -> ClientCalls.blockingUnaryCall(channel, unknown, options, Empty.getDefaultInstance()));
    expect(details.subList(0, 2).equals(List.of(Status.Code.UNIMPLEMENTED, "METHOD_UNKNOWN")), details);
  }

  private static void givesOneLeaseAndItsValueToTheOtherCaller() throws Exception {
    String key = "java:lease";
    Lease lease = cache().getOrLoad(getOrLoad(key)).getLease();
    expect(!lease.getToken().isEmpty() && lease.getTtl().getSeconds() == 10, lease);
    ListenableFuture<GetOrLoadResponse> waiting = cacheLater(TIMEOUT_MILLIS).getOrLoad(getOrLoad(key));
    waitForWaiters(key, 1);
    SetResponse stored = cache().set(set(key, "loaded").setLeaseToken(lease.getToken()).build());
    expect(stored.hasStored(), stored);
    expect(waiting.get().getHit().getValue().toStringUtf8().equals("loaded"), waiting.get());
  }

  private static void endsAWaitAtItsDeadline() throws Exception {
    String key = "java:deadline";
    cache().getOrLoad(getOrLoad(key));
    Duration wait = Duration.newBuilder().setNanos(20_000_000).build();
    MissReason reason = cache().getOrLoad(getOrLoad(key).toBuilder().setWait(wait).build()).getMiss().getReason();
    expect(reason == MissReason.MISS_REASON_LOADING, reason);
    StatusRuntimeException error = errorOf(
        () -> cache().withDeadlineAfter(100, TimeUnit.MILLISECONDS).getOrLoad(getOrLoad(key)));
    expect(error.getStatus().getCode() == Status.Code.DEADLINE_EXCEEDED, error);
    waitForWaiters(key, 0);
  }

  private static void cancelsAWaitingCall() throws Exception {
    String key = "java:cancelled";
    Lease lease = cache().getOrLoad(getOrLoad(key)).getLease();
    ListenableFuture<GetOrLoadResponse> waiting = cacheLater(TIMEOUT_MILLIS).getOrLoad(getOrLoad(key));
    waitForWaiters(key, 1);
    waiting.cancel(true);
    try {
      throw new AssertionError(waiting.get());
    } catch (CancellationException expected) {
      waitForWaiters(key, 0);
    }
    // Who holds the lease does not notice.
    SetResponse stored = cache().set(set(key, "loaded").setLeaseToken(lease.getToken()).build());
    expect(stored.hasStored(), stored);
  }

  private static void followsChangesUntilItCancels() throws Exception {
    String key = "java:watched";
    WatchRequest request = WatchRequest.newBuilder().setPrefix(key).setValues(true)
        .setHeartbeat(Duration.newBuilder().setNanos(100_000_000)).build();
    Context.CancellableContext cancellable = Context.current().withCancellation();
    Iterator<WatchResponse> watching = cancellable.call(() -> cache().watch(request));
    try {
      // From the first word on every change is told.
      watching.next();
      cache().set(set(key, "v").build());
      WatchResponse change = watching.next();
      while (!change.hasPut()) change = watching.next();
      expect(change.getPut().getKey().equals(key) && change.getPut().getValue().toStringUtf8().equals("v"), change);
    } finally {
      cancellable.cancel(null);
    }
    StatusRuntimeException error = errorOf(() -> {
      while (watching.hasNext()) watching.next();
    });
    expect(error.getStatus().getCode() == Status.Code.CANCELLED, error);
  }

  private static void takesAndGivesBatchesOfManyMegabytes() throws Exception {
    ManagedChannel large = newChannel().maxInboundMessageSize(64 << 20).build();
    try {
      ByteString value = ByteString.copyFrom(new byte[1_000_000]);
      BatchSetRequest.Builder items = BatchSetRequest.newBuilder();
      BatchGetRequest.Builder keys = BatchGetRequest.newBuilder();
      for (int i = 0; i < 12; ++i) {
        items.addItems(BatchSetItem.newBuilder().setKey("java:large:" + i).setValue(value));
        keys.addKeys("java:large:" + i);
      }
      CacheGrpc.CacheBlockingStub stub = CacheGrpc.newBlockingStub(large).withDeadlineAfter(TIMEOUT_MILLIS, TimeUnit.MILLISECONDS);
      BatchSetResponse stored = stub.batchSet(items.build());
      expect(stored.getResultsList().stream().filter(result -> result.hasStored()).count() == 12, stored);
      BatchGetResponse found = stub.batchGet(keys.build());
      expect(found.getResultsList().stream().filter(result -> result.getHit().getValue().equals(value)).count() == 12,
          found.getResultsCount());
    } finally {
      large.shutdownNow();
    }
  }

  private static void waitsInThousandsOfStreamsAtOnce() throws Exception {
    String key = "java:crowd";
    Lease lease = cache().getOrLoad(getOrLoad(key)).getLease();
    List<ListenableFuture<GetOrLoadResponse>> waiting = new ArrayList<>();
    for (int i = 0; i < 2_000; ++i) waiting.add(cacheLater(60_000).getOrLoad(getOrLoad(key)));
    waitForWaiters(key, waiting.size());
    cache().set(set(key, "loaded").setLeaseToken(lease.getToken()).build());
    for (ListenableFuture<GetOrLoadResponse> one : waiting) {
      expect(one.get().getHit().getValue().toStringUtf8().equals("loaded"), one.get());
    }
  }

  private static void describesItselfByReflection() throws Exception {
    BlockingQueue<Object> told = new LinkedBlockingQueue<>();
    StreamObserver<ServerReflectionRequest> ask = ServerReflectionGrpc.newStub(channel)
        .withDeadlineAfter(TIMEOUT_MILLIS, TimeUnit.MILLISECONDS).serverReflectionInfo(new StreamObserver<>() {
          @Override
          public void onNext(ServerReflectionResponse response) {
            told.add(response);
          }

          @Override
          public void onError(Throwable problem) {
            told.add(problem);
          }

          @Override
          public void onCompleted() {
            told.add("completed");
          }
        });
    ask.onNext(ServerReflectionRequest.newBuilder().setListServices("").build());
    ask.onNext(ServerReflectionRequest.newBuilder().setFileContainingSymbol("larder.v1.GetRequest").build());
    ask.onCompleted();
    Object listed = told.poll(TIMEOUT_MILLIS, TimeUnit.MILLISECONDS);
    Object file = told.poll(TIMEOUT_MILLIS, TimeUnit.MILLISECONDS);
    Object end = told.poll(TIMEOUT_MILLIS, TimeUnit.MILLISECONDS);
    expect(listed instanceof ServerReflectionResponse && file instanceof ServerReflectionResponse, listed + " " + file);
    List<String> names = ((ServerReflectionResponse) listed).getListServicesResponse().getServiceList().stream()
        .map(ServiceResponse::getName).toList();
    expect(names.containsAll(List.of("larder.v1.Cache", "larder.v1.Admin", "grpc.health.v1.Health")), names);
    expect(((ServerReflectionResponse) file).getFileDescriptorResponse().getFileDescriptorProtoCount() > 0, file);
    expect("completed".equals(end), end);
  }

  private static void tellsItsHealth() throws Exception {
    HealthGrpc.HealthBlockingStub health = HealthGrpc.newBlockingStub(channel)
        .withDeadlineAfter(TIMEOUT_MILLIS, TimeUnit.MILLISECONDS);
    for (String service : List.of("", "liveness", "readiness")) {
      ServingStatus status = health.check(HealthCheckRequest.newBuilder().setService(service).build()).getStatus();
      expect(status == ServingStatus.SERVING, service + " is " + status);
    }
    StatusRuntimeException error = errorOf(() -> health.check(HealthCheckRequest.newBuilder().setService("nobody").build()));
    expect(error.getStatus().getCode() == Status.Code.NOT_FOUND, error);
  }

  public static void main(String[] unused) throws Exception {
    channel = newChannel().build();
    Map<String, Case> cases = new LinkedHashMap<>();
    cases.put("storesReadsAndDeletesBytes", Check::storesReadsAndDeletesBytes);
    cases.put("missesAreOkWithAReason", Check::missesAreOkWithAReason);
    cases.put("tellsErrorsInGoogleRpcDetails", Check::tellsErrorsInGoogleRpcDetails);
    cases.put("givesOneLeaseAndItsValueToTheOtherCaller", Check::givesOneLeaseAndItsValueToTheOtherCaller);
    cases.put("endsAWaitAtItsDeadline", Check::endsAWaitAtItsDeadline);
    cases.put("cancelsAWaitingCall", Check::cancelsAWaitingCall);
    cases.put("followsChangesUntilItCancels", Check::followsChangesUntilItCancels);
    cases.put("takesAndGivesBatchesOfManyMegabytes", Check::takesAndGivesBatchesOfManyMegabytes);
    cases.put("waitsInThousandsOfStreamsAtOnce", Check::waitsInThousandsOfStreamsAtOnce);
    cases.put("describesItselfByReflection", Check::describesItselfByReflection);
    cases.put("tellsItsHealth", Check::tellsItsHealth);
    boolean failed = false;
    for (Map.Entry<String, Case> one : cases.entrySet()) {
      try {
        one.getValue().run();
        System.out.println("ok      java " + one.getKey());
      } catch (Throwable problem) { // a case may fail in any way; the others still run
        failed = true;
        System.out.println("FAILED  java " + one.getKey());
        problem.printStackTrace(System.out);
      }
    }
    System.exit(failed ? 1 : 0);
  }
}
