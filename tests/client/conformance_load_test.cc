// Conformance: types that the server loads from their origin, batches of loads, and Warm.

#include <atomic>
#include <map>
#include <thread>

#include "tests/client/conformance.h"

namespace larder::testing {
namespace {

class ConformanceLoad : public Conformance {
 protected:
  ConformanceLoad() : Conformance(/*with_origin=*/true) {}

  static LoadOptions Items() {
    LoadOptions options;
    options.type = "item";
    return options;
  }
};
INSTANTIATE_TEST_SUITE_P(Client, ConformanceLoad, ::testing::ValuesIn(Backends()), NameOf);

// In short what a key of a batch came to.
std::string Short(const absl::StatusOr<LeaseResult>& result) {
  if (!result.ok()) return ErrorReason(result.status());
  if (result->lease.has_value()) return "lease";
  return result->hit() ? result->entry->value : std::string(Name(result->miss.reason));
}
std::string Short(const absl::StatusOr<LoadResult>& result) {
  if (!result.ok()) return std::string(result.status().message());
  const std::string value =
      result->hit() ? result->entry->value : std::string(Name(result->miss.reason));
  return value + (result->loaded ? result->stored ? ", stored" : ", not stored" : "");
}
template <typename Results>
std::vector<std::string> ShortAll(const Results& results) {
  std::vector<std::string> all;
  if (!results.ok()) return {results.status().ToString()};
  for (const auto& result : *results) all.push_back(Short(result));
  return all;
}
using Shorts = std::vector<std::string>;

std::vector<absl::StatusOr<Loaded>> LoadAll(const std::vector<LoadCall>& calls) {
  std::vector<absl::StatusOr<Loaded>> loaded;
  for (const LoadCall& call : calls) loaded.push_back(Loaded{"loaded " + call.key});
  return loaded;
}

std::vector<absl::StatusOr<Loaded>> LoadNothing(const std::vector<LoadCall>&) {
  ADD_FAILURE() << "the loader ran";
  return {};
}

TEST_P(ConformanceLoad, ServerLoadsWhatItsOriginHas) {
  const absl::StatusOr<LeaseResult> first = client()->GetOrLease("i007", Items());
  ASSERT_TRUE(first.ok()) << first.status();
  ASSERT_TRUE(first->hit());
  EXPECT_EQ(first->entry->value, "value of i007");
  EXPECT_EQ(first->entry->tier, Tier::kOrigin);
  EXPECT_FALSE(first->entry->stale);
  EXPECT_GT(first->entry->remaining_ttl, absl::ZeroDuration());
  const absl::StatusOr<LeaseResult> again = client()->GetOrLease("i007", Items());
  ASSERT_TRUE(again.ok() && again->hit());
  EXPECT_EQ(again->entry->tier, Tier::kL1);
  EXPECT_EQ(again->entry->version, first->entry->version);
}

TEST_P(ConformanceLoad, KeyThatTheOriginDoesNotHaveIsANegativeMiss) {
  EXPECT_EQ(Short(client()->GetOrLease("nothing", Items())), "NEGATIVE");
  EXPECT_EQ(ValueOf(client()->Get("nothing")), "miss: NEGATIVE");
}

TEST_P(ConformanceLoad, LoaderDoesNotRunWhereTheServerLoads) {
  const absl::StatusOr<LoadResult> result = client()->GetOrLoad(
      "i001", [](const LoadCall&) -> absl::StatusOr<Loaded> { return absl::InternalError("ran"); },
      Items());
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->entry->value, "value of i001");
  EXPECT_FALSE(result->loaded);
}

TEST_P(ConformanceLoad, OriginsErrorHasAReasonAndNoWayRoundIt) {
  EXPECT_EQ(Short(client()->GetOrLease("bad", Items())), "ORIGIN_REFUSED");
  const absl::Status status =
      client()
          ->GetOrLoad(
              "bad", [](const LoadCall&) -> absl::StatusOr<Loaded> { return Loaded{"round"}; },
              Items())
          .status();
  EXPECT_EQ(ErrorReason(status), "ORIGIN_REFUSED");
}

TEST_P(ConformanceLoad, BatchAnswersEachKeyByItself) {
  const std::vector<std::string> keys = {"i002", "nothing", "bad", "i003", "i002"};
  const Shorts expected = {"value of i002", "NEGATIVE", "ORIGIN_REFUSED", "value of i003",
                           "value of i002"};
  EXPECT_EQ(ShortAll(client()->BatchGetOrLease(keys, Items())), expected);
  const absl::StatusOr<BatchLoadResult> loaded =
      client()->BatchGetOrLoad({"i002", "i004", "nothing", "bad"}, LoadNothing, Items());
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(Short((*loaded)[0]) + ", " + Short((*loaded)[1]), "value of i002, value of i004");
  EXPECT_EQ((*loaded)[2]->miss.reason, MissReason::kNegative);
  EXPECT_EQ(ErrorReason((*loaded)[3].status()), "ORIGIN_REFUSED");
}

TEST_P(ConformanceLoad, BatchHasItsLimits) {
  EXPECT_EQ(ShortAll(client()->BatchGetOrLease({})), Shorts{});
  const std::vector<std::string> most(1000, "i000");
  EXPECT_EQ(ShortAll(client()->BatchGetOrLease(most, Items())), Shorts(1000, "value of i000"));
  std::vector<std::string> too_many;
  for (int i = 0; i <= 1000; ++i) too_many.push_back(absl::StrCat("k", i));
  EXPECT_EQ(ErrorReason(client()->BatchGetOrLease(too_many, Items()).status()), "BATCH_INVALID");
  EXPECT_EQ(ErrorReason(client()->BatchGetOrLoad(too_many, LoadNothing, Items()).status()),
            "BATCH_INVALID");
  EXPECT_EQ(ErrorReason(client()->BatchGetOrLease({"k", ""}).status()), "KEY_INVALID");
  LoadOptions options;
  options.lease_ttl = absl::Hours(1);
  EXPECT_EQ(ErrorReason(client()->BatchGetOrLease({"k"}, options).status()), "TTL_INVALID");
}

TEST_P(ConformanceLoad, BatchGivesLeasesAndDoesNotWaitWhileItHoldsOne) {
  TakeLease("theirs");
  Set("there", "v");
  const absl::StatusOr<BatchLeaseResult> results =
      client()->BatchGetOrLease({"there", "mine", "theirs", "mine"});
  EXPECT_EQ(ShortAll(results), (Shorts{"v", "lease", "LOADING", "lease"}));
  EXPECT_EQ((*results)[1]->lease->token, (*results)[3]->lease->token);
}

TEST_P(ConformanceLoad, BatchThatHoldsNoLeaseWaitsForTheOthers) {
  const Lease theirs = TakeLease("theirs");
  Answer<BatchLeaseResult> waiter;
  client()->BatchGetOrLeaseAsync({"theirs"}, {}, waiter.Done());
  WaitForWaiters("theirs", 1);
  SetOptions options;
  options.lease_token = theirs.token;
  Set("theirs", "v", options);
  EXPECT_EQ(ShortAll(waiter.Wait()), Shorts{"v"});
}

TEST_P(ConformanceLoad, LoaderOfManyRunsOnceForAllThatIsMissing) {
  Set("there", "v");
  std::vector<Shorts> runs;
  const auto loader = [&](const std::vector<LoadCall>& calls) {
    Shorts& run = runs.emplace_back();
    std::vector<absl::StatusOr<Loaded>> loaded;
    for (const LoadCall& call : calls) {
      EXPECT_TRUE(call.lease_ttl.has_value());
      run.push_back(call.key);
      if (call.key == "absent") {
        loaded.push_back(Loaded::Absent());
      } else if (call.key == "broken") {
        loaded.push_back(absl::DataLossError("disk gone"));
      } else {
        loaded.push_back(Loaded{"loaded " + call.key});
      }
    }
    return loaded;
  };
  const std::vector<std::string> keys = {"a", "there", "absent", "broken", "b", "a"};
  EXPECT_EQ(ShortAll(client()->BatchGetOrLoad(keys, loader)),
            (Shorts{"loaded a, stored", "v", "NEGATIVE, stored", "disk gone", "loaded b, stored",
                    "loaded a, stored"}));
  EXPECT_EQ(runs, (std::vector<Shorts>{{"a", "absent", "b", "broken"}}));
  EXPECT_EQ(ValueOf(client()->Get("b")), "loaded b");
  EXPECT_EQ(ValueOf(client()->Get("absent")), "miss: NEGATIVE");
  EXPECT_FALSE(client()->Explain("broken")->lease_held);
}

TEST_P(ConformanceLoad, LoaderOfManyThatMiscountsFailsItsKeysAndGivesTheLeasesBack) {
  const auto loader = [](const std::vector<LoadCall>&) {
    return std::vector<absl::StatusOr<Loaded>>{Loaded{"v"}};
  };
  const absl::StatusOr<BatchLoadResult> results = client()->BatchGetOrLoad({"a", "b"}, loader);
  ASSERT_TRUE(results.ok()) << results.status();
  for (const auto& result : *results)
    EXPECT_EQ(result.status().code(), absl::StatusCode::kInternal);
  EXPECT_FALSE(client()->Explain("a")->lease_held);
  EXPECT_FALSE(client()->Explain("b")->lease_held);
}

TEST_P(ConformanceLoad, LoaderOfManyThatThrowsGivesTheLeasesBack) {
  const auto loader = [](const std::vector<LoadCall>&) -> std::vector<absl::StatusOr<Loaded>> {
    throw 1;
  };
  EXPECT_THROW(client()->BatchGetOrLoad({"a", "b"}, loader).IgnoreError(), int);
  EXPECT_FALSE(client()->Explain("a")->lease_held);
  EXPECT_FALSE(client()->Explain("b")->lease_held);
}

TEST_P(ConformanceLoad, ValueThatTheCacheRefusesCostsTheOthersNothing) {
  const auto loader = [](const std::vector<LoadCall>& calls) {
    std::vector<absl::StatusOr<Loaded>> loaded;
    for (const LoadCall& call : calls)
      loaded.push_back(Loaded{std::string(call.key == "large" ? (1 << 20) + 1 : 1, 'x')});
    return loaded;
  };
  const absl::StatusOr<BatchLoadResult> results =
      client()->BatchGetOrLoad({"large", "small"}, loader);
  ASSERT_TRUE(results.ok()) << results.status();
  EXPECT_EQ(ErrorReason((*results)[0]->cache_status), "VALUE_TOO_LARGE");
  EXPECT_EQ((*results)[0]->entry->value.size(), (1u << 20) + 1);
  EXPECT_EQ(Short((*results)[1]), "x, stored");
  EXPECT_FALSE(client()->Explain("large")->lease_held);
  EXPECT_EQ(ValueOf(client()->Get("small")), "x");
}

TEST_P(ConformanceLoad, BatchWaitsForTheOthersAfterItHasStoredItsOwn) {
  const Lease theirs = TakeLease("theirs");
  absl::StatusOr<BatchLoadResult> results;
  std::thread caller([&] { results = client()->BatchGetOrLoad({"mine", "theirs"}, LoadAll); });
  WaitForWaiters("theirs", 1);
  EXPECT_EQ(ValueOf(client()->Get("mine")), "loaded mine");
  SetOptions options;
  options.lease_token = theirs.token;
  Set("theirs", "v", options);
  caller.join();
  EXPECT_EQ(ShortAll(results), (Shorts{"loaded mine, stored", "v"}));
}

TEST_P(ConformanceLoad, BatchLoadsWhatTheOthersCouldNot) {
  const Lease theirs = TakeLease("theirs");
  absl::StatusOr<BatchLoadResult> results;
  std::thread caller([&] { results = client()->BatchGetOrLoad({"mine", "theirs"}, LoadAll); });
  WaitForWaiters("theirs", 1);
  EXPECT_TRUE(client()->ReleaseLease("theirs", theirs.token)->released);
  caller.join();
  EXPECT_EQ(ShortAll(results), (Shorts{"loaded mine, stored", "loaded theirs, stored"}));
}

TEST_P(ConformanceLoad, BatchDoesNotWaitWhenToldSo) {
  TakeLease("theirs");
  LoadOptions options;
  options.wait = absl::ZeroDuration();
  EXPECT_EQ(ShortAll(client()->BatchGetOrLoad({"mine", "theirs"}, LoadAll, options)),
            (Shorts{"loaded mine, stored", "LOADING"}));
}

// Two callers who each hold what the other wants would wait until the leases run out.
TEST_P(ConformanceLoad, BatchesThatOverlapDoNotWaitForEachOther) {
  std::vector<std::string> keys;
  for (int i = 0; i < 40; ++i) keys.push_back(absl::StrCat("k", i));
  std::vector<std::thread> callers;
  std::vector<absl::StatusOr<BatchLoadResult>> results(4);
  std::atomic<int> loads = 0;
  for (int c = 0; c < 4; ++c) {
    std::vector<std::string> order = keys;
    std::rotate(order.begin(), order.begin() + 10 * c, order.end());
    callers.emplace_back([&, c, order] {
      results[c] = client()->BatchGetOrLoad(order, [&](const std::vector<LoadCall>& calls) {
        loads += static_cast<int>(calls.size());
        return LoadAll(calls);
      });
    });
  }
  for (std::thread& caller : callers) caller.join();
  for (const auto& result : results) {
    ASSERT_TRUE(result.ok()) << result.status();
    for (const auto& one : *result) ASSERT_TRUE(one.ok() && one->hit()) << Short(one);
  }
  EXPECT_EQ(loads, 40);
}

TEST_P(ConformanceLoad, WarmLoadsWhatTheOriginLists) {
  WarmOptions options;
  options.type = "item";
  WarmProgress last;
  const absl::StatusOr<WarmProgress> done =
      client()->Warm(options, [&](const WarmProgress& so_far) {
        last = so_far;
        return true;
      });
  ASSERT_TRUE(done.ok()) << done.status();
  EXPECT_TRUE(done->done);
  EXPECT_FALSE(done->full);
  EXPECT_EQ(done->loaded, 300u);
  EXPECT_EQ(done->failed, 1u);  // the key `bad`
  EXPECT_TRUE(last.done);
  EXPECT_EQ(last.loaded, 300u);
  GetOptions get;
  get.type = "item";
  EXPECT_EQ(client()->Get("i299", get)->entry->value, "value of i299");
}

TEST_P(ConformanceLoad, WarmStopsAtItsLimit) {
  WarmOptions options;
  options.type = "item";
  options.limit = 10;
  const absl::StatusOr<WarmProgress> done = client()->Warm(options);
  ASSERT_TRUE(done.ok()) << done.status();
  EXPECT_EQ(done->loaded + done->failed, 10u);
}

TEST_P(ConformanceLoad, WarmTakesAListOfKeys) {
  WarmOptions options;
  options.type = "item";
  options.keys = {"i001", "i002", "bad", "nothing"};
  const absl::StatusOr<WarmProgress> done = client()->Warm(options);
  ASSERT_TRUE(done.ok()) << done.status();
  EXPECT_TRUE(done->done);
  EXPECT_EQ(done->total, 4u);
  EXPECT_EQ(done->loaded, 3u);  // that there is no such key is worth knowing, too
  EXPECT_EQ(done->failed, 1u);
  EXPECT_EQ(client()->Get("i002")->entry->value, "value of i002");
}

TEST_P(ConformanceLoad, WarmFindsKeysOfTypesWithoutAnOriginWhereTheyAre) {
  Set("there", "v");
  WarmOptions options;
  options.keys = {"there", "nowhere"};
  const absl::StatusOr<WarmProgress> done = client()->Warm(options);
  ASSERT_TRUE(done.ok()) << done.status();
  EXPECT_EQ(done->loaded, 1u);
  EXPECT_EQ(done->failed, 1u);
}

TEST_P(ConformanceLoad, WarmEndsWhenItsCallbackSaysSo) {
  WarmOptions options;
  options.type = "item";
  options.rate = 100;
  std::atomic<int> calls = 0;
  const absl::StatusOr<WarmProgress> ended =
      client()->Warm(options, [&](const WarmProgress& so_far) {
        EXPECT_FALSE(so_far.done);
        ++calls;
        return false;
      });
  ASSERT_TRUE(ended.ok()) << ended.status();
  EXPECT_FALSE(ended->done);
  EXPECT_LT(ended->loaded, 300u);
  EXPECT_EQ(calls, 1);
}

TEST_P(ConformanceLoad, WarmRefusesWhatItCannotDo) {
  WarmOptions options;
  EXPECT_EQ(ErrorReason(client()->Warm(options).status()), "REQUEST_INVALID");
  options.type = "no-such-type";
  EXPECT_EQ(ErrorReason(client()->Warm(options).status()), "TYPE_UNKNOWN");
  options.type = "default";
  EXPECT_EQ(ErrorReason(client()->Warm(options).status()), "TYPE_WITHOUT_ORIGIN");
  options.keys = {"k", ""};
  EXPECT_EQ(ErrorReason(client()->Warm(options).status()), "KEY_INVALID");
  options.keys.assign(100'001, "k");
  EXPECT_EQ(ErrorReason(client()->Warm(options).status()), "BATCH_INVALID");
  options.keys = {"k"};
  options.call.deadline = absl::Hours(25);
  EXPECT_EQ(ErrorReason(client()->Warm(options).status()), "REQUEST_INVALID");
}

}  // namespace
}  // namespace larder::testing
