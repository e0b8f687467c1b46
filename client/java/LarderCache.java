package larder.client;

import com.google.protobuf.Any;
import com.google.protobuf.ByteString;
import com.google.protobuf.Duration;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.ErrorInfo;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import java.util.ArrayList;
import java.util.EnumSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.UUID;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Consumer;
import java.util.function.Function;
import larder.v1.CacheGrpc;
import larder.v1.GetOrLoadRequest;
import larder.v1.GetOrLoadResponse;
import larder.v1.MissReason;
import larder.v1.ReleaseLeaseRequest;
import larder.v1.SetRequest;

/**
 * GetOrLoad over larder, for services in Java: read a key, or load it once for all who ask.
 *
 * <pre>{@code
 * LarderCache cache = new LarderCache(List.of("larder-0:50051", "larder-1:50051"), LarderCache.Options.defaults());
 * Optional<byte[]> profile = cache.getOrLoad("user:42", LarderCache.Fill.forMillis(60_000), () -> readProfile(42));
 * }</pre>
 *
 * Copy this file into your service, beside the stubs that protoc makes of larder/v1/cache.proto. It needs grpc-stub,
 * grpc-protobuf and a transport such as grpc-netty-shaded. What it does and why is in larder's docs/clients.md. Any number of
 * threads may use one cache.
 */
public final class LarderCache implements AutoCloseable {
  /** Reads the value of one key from where the truth is; null for a key that does not exist. */
  public interface Loader {
    byte[] load() throws Exception;
  }

  /**
   * @param namespace empty is larder's namespace {@code default}
   * @param deadlineMillis what the calls to larder may take before the value is loaded without it, the wait for another
   *     caller's load included
   * @param leaseTtlMillis longer than a load takes; 10 ms to 5 minutes
   * @param restMillis how long a replica that failed is left alone
   * @param onError is told of the errors that cost nobody a value: a replica that is away, a Set that failed
   * @param channels makes the channel to a target; where credentials are said
   */
  public record Options(String namespace, long deadlineMillis, long leaseTtlMillis, long restMillis,
                        Consumer<StatusRuntimeException> onError, Function<String, ManagedChannelBuilder<?>> channels) {
    public static Options defaults() {
      return new Options("", 1_000, 10_000, 1_000, error -> {}, target -> ManagedChannelBuilder.forTarget(target).usePlaintext());
    }

    public Options withDeadlineMillis(long millis) {
      return new Options(namespace, millis, leaseTtlMillis, restMillis, onError, channels);
    }

    public Options withOnError(Consumer<StatusRuntimeException> consumer) {
      return new Options(namespace, deadlineMillis, leaseTtlMillis, restMillis, consumer, channels);
    }
  }

  /** How a loaded value is stored. {@code ttlMillis} 0 and an empty {@code type} leave it to the data type. */
  public record Fill(long ttlMillis, List<String> tags, String type) {
    public static Fill byType() {
      return forMillis(0);
    }

    public static Fill forMillis(long ttlMillis) {
      return new Fill(ttlMillis, List.of(), "");
    }
  }

  /** What gRPC does by itself on each connection. Every call of this file can be repeated: a Set carries a request id. */
  private static final Map<String, ?> SERVICE_CONFIG = Map.of(
      "methodConfig", List.of(Map.of(
          "name", List.of(Map.of("service", "larder.v1.Cache")),
          "retryPolicy", Map.of(
              "maxAttempts", 3.0, "initialBackoff", "0.02s", "maxBackoff", "0.2s", "backoffMultiplier", 2.0,
              "retryableStatusCodes", List.of("UNAVAILABLE")))),
      "retryThrottling", Map.of("maxTokens", 10.0, "tokenRatio", 0.1));

  /** The caller's own mistakes: to be seen, not to be bridged by loading. */
  private static final Set<Status.Code> REFUSALS = EnumSet.of(
      Status.Code.INVALID_ARGUMENT, Status.Code.FAILED_PRECONDITION, Status.Code.PERMISSION_DENIED,
      Status.Code.UNAUTHENTICATED);

  private static final class Replica {
    final ManagedChannel channel;
    final CacheGrpc.CacheBlockingStub stub;
    volatile long failedAt;
    volatile boolean failed;

    Replica(ManagedChannel channel) {
      this.channel = channel;
      this.stub = CacheGrpc.newBlockingStub(channel);
    }
  }

  /** What larder answered and the replica that did; both null when none did in time. */
  private record Answer(GetOrLoadResponse response, Replica from) {}

  private record Lease(Replica from, ByteString token) {}

  /** A load that is under way in this process; null in `value` until it has landed well. */
  private static final class Flight {
    final CountDownLatch landed = new CountDownLatch(1);
    volatile Optional<byte[]> value;
  }

  private final Options options;
  private final List<Replica> replicas = new ArrayList<>();
  private final AtomicInteger turn = new AtomicInteger();
  private final ConcurrentHashMap<String, Flight> flights = new ConcurrentHashMap<>();

  /** {@code targets}: an address for each replica. Does not connect: the first call does. */
  public LarderCache(List<String> targets, Options options) {
    if (targets.isEmpty() || options.deadlineMillis() <= 0) {
      throw new IllegalArgumentException("a cache needs a target and a deadline");
    }
    this.options = options;
    for (String target : targets) {
      // Keepalive finds out that a replica has vanished without a word, while calls are under way. larder closes connections
      // that ping more often than every 10 s (connections.ping_interval_min).
      replicas.add(new Replica(options.channels().apply(target)
          .defaultServiceConfig(SERVICE_CONFIG).disableServiceConfigLookUp().enableRetry()
          .keepAliveTime(30, TimeUnit.SECONDS).keepAliveTimeout(5, TimeUnit.SECONDS)
          .build()));
    }
  }

  @Override
  public void close() {
    for (Replica replica : replicas) replica.channel.shutdownNow();
  }

  /**
   * The value of {@code key}; empty when there is none. On a miss {@code loader} runs in one caller of all. What it throws
   * reaches the caller whose loader it was; the others go on.
   *
   * @throws StatusRuntimeException when larder refuses the call, and when the origin from which larder loads the key fails
   */
  public Optional<byte[]> getOrLoad(String key, Fill fill, Loader loader) throws Exception {
    Flight own = new Flight();
    for (Flight other; (other = flights.putIfAbsent(key, own)) != null; ) {
      other.landed.await();
      if (other.value != null) return other.value;
      // It failed: this caller is as good as any.
    }
    try {
      own.value = fly(key, fill, loader);
      return own.value;
    } finally {
      flights.remove(key);
      own.landed.countDown();
    }
  }

  private Optional<byte[]> fly(String key, Fill fill, Loader loader) throws Exception {
    Answer answer = ask(key, fill.type());
    GetOrLoadResponse response = answer.response();
    if (response != null && response.hasHit()) return Optional.of(response.getHit().getValue().toByteArray());
    if (response != null && response.getMiss().getReason() == MissReason.MISS_REASON_NEGATIVE) return Optional.empty();
    Lease lease = response != null && response.hasLease() ? new Lease(answer.from(), response.getLease().getToken()) : null;
    byte[] value;
    try {
      value = loader.load();
    } catch (Throwable problem) {
      giveBack(key, lease);
      throw problem;
    }
    store(key, value, lease, fill);
    return Optional.ofNullable(value);
  }

  private Answer ask(String key, String type) {
    long until = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(options.deadlineMillis());
    for (Replica replica : inTurn()) {
      long left = until - System.nanoTime();
      if (left <= 0) break;
      // It waits a little less than the deadline, which would look as if the replica were dead.
      GetOrLoadRequest request = GetOrLoadRequest.newBuilder().setNamespace(options.namespace()).setKey(key).setType(type)
          .setLeaseTtl(duration(TimeUnit.MILLISECONDS.toNanos(options.leaseTtlMillis()))).setWait(duration(left / 10 * 9)).build();
      try {
        GetOrLoadResponse response = replica.stub.withDeadlineAfter(left, TimeUnit.NANOSECONDS).getOrLoad(request);
        replica.failed = false;
        return new Answer(response, replica);
      } catch (StatusRuntimeException error) {
        if (REFUSALS.contains(error.getStatus().getCode()) || reasonOf(error).startsWith("ORIGIN_")) throw error;
        replica.failedAt = System.nanoTime();
        replica.failed = true;
        options.onError().accept(error);
      }
    }
    return new Answer(null, null);
  }

  /** The replicas that do not rest, each call beginning with the next one. */
  private List<Replica> inTurn() {
    int first = Math.floorMod(turn.getAndIncrement(), replicas.size());
    long rest = TimeUnit.MILLISECONDS.toNanos(options.restMillis());
    List<Replica> awake = new ArrayList<>();
    for (int i = 0; i < replicas.size(); ++i) {
      Replica replica = replicas.get((first + i) % replicas.size());
      if (replica.failed && System.nanoTime() - replica.failedAt < rest) continue;
      // Else one that is back would not be noticed for up to two minutes.
      if (replica.failed) replica.channel.resetConnectBackoff();
      awake.add(replica);
    }
    return awake;
  }

  private void store(String key, byte[] value, Lease lease, Fill fill) {
    // Without a lease the value may be older than a change that was made meanwhile: it is not for others.
    if (lease == null) return;
    SetRequest.Builder request = SetRequest.newBuilder().setNamespace(options.namespace()).setKey(key).setType(fill.type())
        .addAllTags(fill.tags()).setLeaseToken(lease.token()).setRequestId(UUID.randomUUID().toString());
    if (value == null) request.setAbsent(true);
    else request.setValue(ByteString.copyFrom(value));
    if (fill.ttlMillis() > 0) request.setTtl(duration(TimeUnit.MILLISECONDS.toNanos(fill.ttlMillis())));
    try {
      within(lease.from()).set(request.build());
    } catch (StatusRuntimeException error) {
      options.onError().accept(error); // the caller has its value all the same
      giveBack(key, lease);
    }
  }

  private void giveBack(String key, Lease lease) {
    if (lease == null) return;
    try {
      within(lease.from()).releaseLease(ReleaseLeaseRequest.newBuilder()
          .setNamespace(options.namespace()).setKey(key).setLeaseToken(lease.token()).build());
    } catch (StatusRuntimeException error) {
      options.onError().accept(error); // then it runs out by itself
    }
  }

  private CacheGrpc.CacheBlockingStub within(Replica replica) {
    return replica.stub.withDeadlineAfter(options.deadlineMillis(), TimeUnit.MILLISECONDS);
  }

  /** The reason that larder gives for an error, such as ORIGIN_UNAVAILABLE; empty for others' errors. */
  public static String reasonOf(StatusRuntimeException error) {
    com.google.rpc.Status status = StatusProto.fromThrowable(error);
    if (status == null) return "";
    for (Any detail : status.getDetailsList()) {
      try {
        if (detail.is(ErrorInfo.class)) return detail.unpack(ErrorInfo.class).getReason();
      } catch (InvalidProtocolBufferException notLarders) {
        return "";
      }
    }
    return "";
  }

  private static Duration duration(long nanos) {
    return Duration.newBuilder().setSeconds(nanos / 1_000_000_000).setNanos((int) (nanos % 1_000_000_000)).build();
  }
}
