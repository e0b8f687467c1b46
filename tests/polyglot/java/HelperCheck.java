// What client/java/LarderCache.java does, on a real larderd. Each method of `main` is one case.
// LARDER_SERVER is a larderd that `run` stops, freezes and starts when this program asks it on stdout and waits for its answer
// on stdin; LARDER_OTHER is a second one, alone as well; LARDER_FLAKY is flaky_cache.py. Prints a line for each case; exits 1 if
// one fails.

import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import larder.client.LarderCache;
import larder.client.LarderCache.Fill;
import larder.client.LarderCache.Options;
import larder.v1.AdminGrpc;
import larder.v1.CacheGrpc;
import larder.v1.ExplainRequest;
import larder.v1.GetRequest;
import larder.v1.GetResponse;
import larder.v1.Hit;

public final class HelperCheck {
  private interface Case {
    void run() throws Exception;
  }

  private static final String SERVER = System.getenv("LARDER_SERVER");
  private static final String OTHER = System.getenv("LARDER_OTHER");
  private static final String FLAKY = System.getenv("LARDER_FLAKY");
  private static final String NOBODY = "127.0.0.1:1";
  private static final long TIMEOUT_MILLIS = 10_000;
  private static final int CALLERS = 20;
  private static final BufferedReader STDIN = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));

  private static final class SourceAway extends Exception {
    private static final long serialVersionUID = 1;
  }

  private static void expect(boolean condition, Object what) {
    if (!condition) throw new AssertionError(what);
  }

  private static void tellRun(String word) throws Exception {
    System.out.println("@ " + word);
    expect("done".equals(STDIN.readLine()), "run did not " + word);
  }

  private static byte[] bytes(String text) {
    return text.getBytes(StandardCharsets.UTF_8);
  }

  private static String text(Optional<byte[]> value) {
    return value.map(some -> new String(some, StandardCharsets.UTF_8)).orElse(null);
  }

  private static byte[] never() {
    throw new AssertionError("the loader ran");
  }

  private static LarderCache cache(String... targets) {
    return new LarderCache(List.of(targets), Options.defaults().withDeadlineMillis(TIMEOUT_MILLIS));
  }

  private static LarderCache cache(long deadlineMillis, long restMillis, List<StatusRuntimeException> errors, String... targets) {
    Options usual = Options.defaults();
    return new LarderCache(List.of(targets), new Options("", deadlineMillis, usual.leaseTtlMillis(), restMillis, errors::add,
        usual.channels()));
  }

  /** The hit of a key, or null. */
  private static Hit storedAt(String address, String key) {
    ManagedChannel channel = ManagedChannelBuilder.forTarget(address).usePlaintext().build();
    try {
      GetResponse answer = CacheGrpc.newBlockingStub(channel).withDeadlineAfter(TIMEOUT_MILLIS, TimeUnit.MILLISECONDS)
          .get(GetRequest.newBuilder().setKey(key).build());
      return answer.hasHit() ? answer.getHit() : null;
    } finally {
      channel.shutdownNow();
    }
  }

  private static void waitForWaiters(String key, int count) {
    ManagedChannel channel = ManagedChannelBuilder.forTarget(SERVER).usePlaintext().build();
    try {
      long until = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(TIMEOUT_MILLIS);
      ExplainRequest request = ExplainRequest.newBuilder().setKey(key).build();
      while (AdminGrpc.newBlockingStub(channel).withDeadlineAfter(TIMEOUT_MILLIS, TimeUnit.MILLISECONDS).explain(request)
          .getLeaseWaiters() != count) {
        expect(System.nanoTime() < until, key + " never had " + count + " waiters");
      }
    } finally {
      channel.shutdownNow();
    }
  }

  private record Outcome(int good, int failed, int loads) {}

  /** CALLERS calls of getOrLoad at once. The first load ends when all have come. */
  private static Outcome askAtOnce(List<LarderCache> caches, String key, Fill fill, boolean failFirst) throws Exception {
    AtomicInteger loads = new AtomicInteger();
    CountDownLatch come = new CountDownLatch(CALLERS);
    LarderCache.Loader loader = () -> {
      boolean first = loads.incrementAndGet() == 1;
      if (first) expect(come.await(TIMEOUT_MILLIS, TimeUnit.MILLISECONDS), "not all callers came");
      if (first && failFirst) throw new SourceAway();
      return bytes("loaded");
    };
    ExecutorService callers = Executors.newFixedThreadPool(CALLERS);
    try {
      List<Future<Optional<byte[]>>> calls = new ArrayList<>();
      for (int i = 0; i < CALLERS; ++i) {
        LarderCache cache = caches.get(i % caches.size());
        calls.add(callers.submit(() -> {
          come.countDown();
          return cache.getOrLoad(key, fill, loader);
        }));
      }
      int good = 0;
      int failed = 0;
      for (Future<Optional<byte[]>> call : calls) {
        try {
          if ("loaded".equals(text(call.get(TIMEOUT_MILLIS, TimeUnit.MILLISECONDS)))) ++good;
        } catch (java.util.concurrent.ExecutionException problem) {
          if (problem.getCause() instanceof SourceAway) ++failed;
        }
      }
      return new Outcome(good, failed, loads.get());
    } finally {
      callers.shutdownNow();
    }
  }

  private static void loadsOnceForTwentyCallers() throws Exception {
    try (LarderCache cache = cache(SERVER)) {
      Outcome outcome = askAtOnce(List.of(cache), "java:once", new Fill(60_000, List.of("java"), ""), false);
      expect(outcome.equals(new Outcome(CALLERS, 0, 1)), outcome);
      Hit hit = storedAt(SERVER, "java:once");
      expect(hit.getValue().toStringUtf8().equals("loaded") && hit.getTagsList().equals(List.of("java")), hit);
      expect(hit.getRemainingTtl().getSeconds() <= 66, hit);
      expect("loaded".equals(text(cache.getOrLoad("java:once", Fill.byType(), HelperCheck::never))), "a hit");
    }
  }

  private static void loadsOnceForTwoProcesses() throws Exception {
    ExecutorService other = Executors.newSingleThreadExecutor();
    try (LarderCache one = cache(SERVER); LarderCache two = cache(SERVER)) {
      List<Future<Optional<byte[]>>> waiting = new ArrayList<>();
      Optional<byte[]> value = one.getOrLoad("java:two", Fill.byType(), () -> {
        waiting.add(other.submit(() -> two.getOrLoad("java:two", Fill.byType(), HelperCheck::never)));
        waitForWaiters("java:two", 1);
        return bytes("of one");
      });
      expect("of one".equals(text(value)), "the one that loads");
      expect("of one".equals(text(waiting.get(0).get(TIMEOUT_MILLIS, TimeUnit.MILLISECONDS))), "the one that waits");
    } finally {
      other.shutdownNow();
    }
  }

  private static void othersGoOnWhenALoaderFails() throws Exception {
    try (LarderCache one = cache(SERVER); LarderCache two = cache(SERVER)) {
      Outcome outcome = askAtOnce(List.of(one, two), "java:fail", Fill.byType(), true);
      expect(outcome.equals(new Outcome(CALLERS - 1, 1, 2)), outcome);
      expect(storedAt(SERVER, "java:fail").getValue().toStringUtf8().equals("loaded"), "the second load is stored");
    }
  }

  private static void remembersWhatDoesNotExist() throws Exception {
    try (LarderCache cache = cache(SERVER)) {
      expect(cache.getOrLoad("java:none", Fill.byType(), () -> null).isEmpty(), "loaded as absent");
      expect(cache.getOrLoad("java:none", Fill.byType(), HelperCheck::never).isEmpty(), "known as absent");
    }
  }

  private static void showsMistakesAndFailedOrigins() throws Exception {
    try (LarderCache cache = cache(SERVER)) {
      Map<String, List<Object>> expected = Map.of("", List.of(Status.Code.INVALID_ARGUMENT, "KEY_INVALID"),
          "dead:1", List.of(Status.Code.UNAVAILABLE, "ORIGIN_UNAVAILABLE"));
      for (Map.Entry<String, List<Object>> one : expected.entrySet()) {
        try {
          cache.getOrLoad(one.getKey(), Fill.byType(), HelperCheck::never);
          throw new AssertionError("did not fail: " + one);
        } catch (StatusRuntimeException error) {
          expect(one.getValue().equals(List.of(error.getStatus().getCode(), LarderCache.reasonOf(error))), error);
        }
      }
    }
  }

  private static void repeatsWhatIsUnavailableAndNothingElse() throws Exception {
    try (LarderCache cache = cache(TIMEOUT_MILLIS, 0, new ArrayList<>(), FLAKY)) {
      expect("at last".equals(text(cache.getOrLoad("flaky:java", Fill.byType(), HelperCheck::never))), "the third attempt");
      for (Map.Entry<String, String> one : Map.of("away:java", "3", "broken:java", "1").entrySet()) {
        String key = one.getKey();
        expect("round it".equals(text(cache.getOrLoad(key, Fill.byType(), () -> bytes("round it")))), key);
        String calls = text(cache.getOrLoad("calls:" + key, Fill.byType(), HelperCheck::never));
        expect(Objects.equals(calls, one.getValue()), key + ": " + calls + " calls");
      }
    }
  }

  private static void keepsALeaseOnTheReplicaThatGaveIt() throws Exception {
    try (LarderCache cache = cache(SERVER, OTHER)) {
      for (int i = 0; i < 10; ++i) {
        String key = "java:turn:" + i;
        cache.getOrLoad(key, Fill.byType(), () -> bytes("v"));
        boolean here = storedAt(SERVER, key) != null;
        boolean there = storedAt(OTHER, key) != null;
        expect(here == (i % 2 == 0) && there == (i % 2 == 1), key + " is here: " + here + ", there: " + there);
      }
    }
  }

  private static void usesTheReplicasThatAreThere() throws Exception {
    List<StatusRuntimeException> errors = Collections.synchronizedList(new ArrayList<>());
    try (LarderCache cache = cache(TIMEOUT_MILLIS, TIMEOUT_MILLIS, errors, NOBODY, SERVER)) {
      for (int i = 0; i < 4; ++i) {
        cache.getOrLoad("java:there:" + i, Fill.byType(), () -> bytes("v"));
        expect(storedAt(SERVER, "java:there:" + i) != null, i);
      }
    }
    expect(errors.size() == 1, "the one that is away is asked once, then it rests; " + errors);
  }

  private static long timed(LarderCache cache, String key) throws Exception {
    long began = System.nanoTime();
    String value = text(cache.getOrLoad(key, Fill.byType(), () -> bytes("by hand")));
    expect("by hand".equals(value), value);
    return TimeUnit.NANOSECONDS.toMillis(System.nanoTime() - began);
  }

  private static void goesOnWithoutLarderAndComesBack() throws Exception {
    try (LarderCache cache = cache(2_000, 100, new ArrayList<>(), SERVER)) {
      cache.getOrLoad("java:before", Fill.byType(), () -> bytes("v"));
      tellRun("stop");
      long took = timed(cache, "java:away");
      expect(took < 2_000, took);
      tellRun("start");
      long until = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(TIMEOUT_MILLIS);
      for (int i = 0; storedAt(SERVER, "java:back:" + i) == null; ) {
        expect(System.nanoTime() < until, "larder is not used again");
        Thread.sleep(20);
        String value = text(cache.getOrLoad("java:back:" + ++i, Fill.byType(), () -> bytes("v")));
        expect("v".equals(value), value);
      }
    }
  }

  private static void waitsNoLongerThanItsDeadline() throws Exception {
    try (LarderCache cache = cache(2_000, TIMEOUT_MILLIS, new ArrayList<>(), SERVER)) {
      cache.getOrLoad("java:warm", Fill.byType(), () -> bytes("v"));
      tellRun("freeze");
      long took = timed(cache, "java:frozen");
      expect(took > 1_800 && took < 8_000, took);
      took = timed(cache, "java:frozen:2");
      expect(took < 1_500, "a replica that rests is not asked, but it took " + took + " ms");
      tellRun("thaw");
    }
  }

  public static void main(String[] unused) {
    Map<String, Case> cases = new LinkedHashMap<>();
    cases.put("loadsOnceForTwentyCallers", HelperCheck::loadsOnceForTwentyCallers);
    cases.put("loadsOnceForTwoProcesses", HelperCheck::loadsOnceForTwoProcesses);
    cases.put("othersGoOnWhenALoaderFails", HelperCheck::othersGoOnWhenALoaderFails);
    cases.put("remembersWhatDoesNotExist", HelperCheck::remembersWhatDoesNotExist);
    cases.put("showsMistakesAndFailedOrigins", HelperCheck::showsMistakesAndFailedOrigins);
    cases.put("repeatsWhatIsUnavailableAndNothingElse", HelperCheck::repeatsWhatIsUnavailableAndNothingElse);
    cases.put("keepsALeaseOnTheReplicaThatGaveIt", HelperCheck::keepsALeaseOnTheReplicaThatGaveIt);
    cases.put("usesTheReplicasThatAreThere", HelperCheck::usesTheReplicasThatAreThere);
    cases.put("goesOnWithoutLarderAndComesBack", HelperCheck::goesOnWithoutLarderAndComesBack);
    cases.put("waitsNoLongerThanItsDeadline", HelperCheck::waitsNoLongerThanItsDeadline);
    boolean failed = false;
    for (Map.Entry<String, Case> one : cases.entrySet()) {
      try {
        one.getValue().run();
        System.out.println("ok      java helper " + one.getKey());
      } catch (Throwable problem) { // a case may fail in any way; the others still run
        failed = true;
        System.out.println("FAILED  java helper " + one.getKey());
        problem.printStackTrace(System.out);
      }
    }
    System.exit(failed ? 1 : 0);
  }
}
