#include <algorithm>
#include <optional>
#include <set>

#include "base/strings.h"
#include "tests/base/threads.h"
#include "tests/conformance/origin_suite.h"

// Writes, scans, deadlines, many callers, Stats.

namespace larder {
namespace {

using Fault = OriginFault;

TEST_P(OriginSuite, StoresAndRemoves) {
  EXPECT_EQ(KindName(StoreOne(Write("doc:1", "one", 10)).kind), "done");
  ASSERT_TRUE(rig_->Held("doc:1").has_value());
  EXPECT_EQ(rig_->Held("doc:1")->value, "one");
  EXPECT_EQ(rig_->Held("doc:1")->version, 10u);
  EXPECT_EQ(LoadOne("doc:1").value, "one");
  EXPECT_EQ(KindName(StoreOne(Remove("doc:1", 11)).kind), "done");
  EXPECT_EQ(KindName(LoadOne("doc:1").kind), "absent");
}

TEST_P(OriginSuite, KeepsNewerVersionWhenOlderWriteArrivesLate) {
  StoreOne(Write("doc:1", "new", 10));
  EXPECT_EQ(KindName(StoreOne(Write("doc:1", "old", 9)).kind), "done");
  EXPECT_EQ(rig_->Held("doc:1")->value, "new");
  EXPECT_EQ(KindName(StoreOne(Remove("doc:1", 9)).kind), "done");
  EXPECT_EQ(rig_->Held("doc:1")->value, "new");
  EXPECT_EQ(rig_->Held("doc:1")->version, 10u);
}

TEST_P(OriginSuite, AWriteThatComesTwiceIsTheSameAsOnce) {
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(KindName(StoreOne(Write("doc:1", "v", 7)).kind), "done");
    EXPECT_EQ(rig_->Held("doc:1")->value, "v");
    EXPECT_EQ(rig_->Held("doc:1")->version, 7u);
  }
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(KindName(StoreOne(Remove("doc:1", 8)).kind), "done");
    EXPECT_EQ(KindName(LoadOne("doc:1").kind), "absent");
  }
  // What is not there is removed already.
  EXPECT_EQ(KindName(StoreOne(Remove("doc:none", 8)).kind), "done");
}

TEST_P(OriginSuite, StoresEveryByteOfAValue) {
  std::string all;
  for (int i = 0; i < 256; ++i) all.push_back(static_cast<char>(i));
  const auto stored = Store({Write("doc:all", all, 1), Write("doc:empty", "", 1),
                             Write("doc:large", std::string(kOriginLargeBytes, '\x80'), 1),
                             Write("doc:O'\\\"Brien", "quoted", 1)});
  for (const OriginStored& each : stored) EXPECT_EQ(KindName(each.kind), "done") << each.error;
  EXPECT_EQ(rig_->Held("doc:all")->value, all);
  EXPECT_EQ(rig_->Held("doc:empty")->value, "");
  EXPECT_EQ(rig_->Held("doc:large")->value, std::string(kOriginLargeBytes, '\x80'));
  EXPECT_EQ(LoadOne("doc:O'\\\"Brien").value, "quoted");
}

TEST_P(OriginSuite, KeepsEveryVersionThatClocksMake) {
  const Version version = VersionAt(absl::FromUnixSeconds(1'800'000'000)) + 12345;
  StoreOne(Write("doc:1", "v", version));
  EXPECT_EQ(rig_->Held("doc:1")->version, version);
  StoreOne(Write("doc:1", "late", version - 1));
  EXPECT_EQ(rig_->Held("doc:1")->value, "v");
}

TEST_P(OriginSuite, StoresAThousandWritesInOneCall) {
  std::vector<OriginStore::Write> writes;
  std::vector<std::string> keys;
  for (size_t i = kOriginItemsMax; i > 0; --i) {
    keys.push_back(StrCat("doc:", i));
    writes.push_back(Write(keys.back(), StrCat("value ", i), i));
  }
  for (const OriginStored& each : Store(std::move(writes))) {
    EXPECT_EQ(KindName(each.kind), "done") << each.error;
  }
  const auto loaded = Load(keys);
  for (size_t i = 0; i < keys.size(); ++i) {
    EXPECT_EQ(loaded[i].value, StrCat("value ", kOriginItemsMax - i));
  }
}

TEST_P(OriginSuite, OneWriteThatIsRefusedLeavesTheOthersDone) {
  const bool retries = Can(Fault::kStoreRetries);
  rig_->SetFault("doc:b", Fault::kStoreRejects);
  if (retries) rig_->SetFault("doc:d", Fault::kStoreRetries);
  const auto stored = Store({Write("doc:a", "a", 5), Write("doc:b", "b", 5), Write("doc:c", "c", 5),
                             Write("doc:d", "d", 5), Write("doc:e", "e", 5)});
  EXPECT_EQ(KindName(stored[0].kind), "done") << stored[0].error;
  EXPECT_EQ(KindName(stored[1].kind), "reject");
  EXPECT_FALSE(stored[1].error.ok());
  EXPECT_EQ(KindName(stored[2].kind), "done") << stored[2].error;
  EXPECT_EQ(KindName(stored[3].kind), retries ? "retry" : "done");
  EXPECT_EQ(stored[3].error.ok(), !retries) << stored[3].error;
  EXPECT_EQ(KindName(stored[4].kind), "done") << stored[4].error;
  EXPECT_EQ(rig_->Held("doc:a")->value, "a");
  EXPECT_FALSE(rig_->Held("doc:b").has_value());
  EXPECT_EQ(rig_->Held("doc:e")->value, "e");
  EXPECT_EQ(origin().Stats().item_errors, retries ? 2u : 1u);
  if (!retries) return;
  rig_->SetFault("doc:d", Fault::kNone);
  EXPECT_EQ(KindName(StoreOne(Write("doc:d", "d", 5)).kind), "done");
  EXPECT_EQ(rig_->Held("doc:d")->value, "d");
}

TEST_P(OriginSuite, ScansPageByPageToTheEnd) {
  std::vector<std::pair<std::string, OriginHeld>> held;
  std::set<std::string> expected;
  for (int i = 0; i < 1'234; ++i) {
    held.push_back({StrCat("doc:", i), {.value = StrCat("value ", i)}});
    expected.insert(held.back().first);
  }
  rig_->PutAll(held);
  for (const uint32_t limit : {100u, 1'234u, 10'000u}) {
    std::set<std::string> seen;
    for (const OriginPage::Item& item : ScanAll(limit, false)) {
      EXPECT_TRUE(seen.insert(item.key).second) << item.key << " comes twice";
      EXPECT_EQ(KindName(item.loaded.kind), "found");
      EXPECT_EQ(item.loaded.value, "value " + item.key.substr(4));
    }
    EXPECT_EQ(seen, expected) << limit;
  }
}

TEST_P(OriginSuite, ScansTheKeysAlone) {
  rig_->Put("doc:1", {.value = "one", .tags = {"red"}});
  rig_->Put("doc:2", {.value = "two"});
  const auto items = ScanAll(1, true);
  ASSERT_EQ(items.size(), 2u);
  for (const OriginPage::Item& item : items) EXPECT_EQ(item.loaded.value, "");
  EXPECT_NE(items[0].key, items[1].key);
}

TEST_P(OriginSuite, CountsWhatThereIsToScanWhenAskedTo) {
  for (int i = 0; i < 25; ++i) rig_->Put(StrCat("doc:", i), {.value = "v"});
  const auto total = [this](OriginScan scan) -> std::optional<uint64_t> {
    const auto page = AwaitTask(origin().Scan(std::move(scan), Soon()));
    EXPECT_TRUE(page.ok()) << page.status();
    if (!page.ok()) return std::nullopt;
    EXPECT_EQ(page->items.size(), 10u);
    return page->total;
  };
  EXPECT_EQ(total({.call = Call(), .limit = 10}), std::nullopt);
  EXPECT_EQ(total({.call = Call(), .limit = 10, .keys_only = true, .count_to = 1'000}), 25u);
  EXPECT_EQ(total({.call = Call(), .limit = 10, .count_to = uint64_t{1} << 40}), 25u);
  // Whether it counts on is the origin's own affair.
  EXPECT_GE(total({.call = Call(), .limit = 10, .count_to = 20}), 20u);
}

TEST_P(OriginSuite, ScansWithAllThatIsSaidOfAnEntry) {
  rig_->Put("doc:1", {.value = "v",
                      .ttl = absl::Seconds(90),
                      .tags = {"red"},
                      .depends_on = {"doc:2"},
                      .validator = "v1"});
  const auto items = ScanAll(10, false);
  ASSERT_EQ(items.size(), 1u);
  EXPECT_EQ(items[0].key, "doc:1");
  EXPECT_EQ(items[0].loaded.ttl, absl::Seconds(90));
  EXPECT_EQ(items[0].loaded.tags, std::vector<std::string>{"red"});
  EXPECT_EQ(items[0].loaded.depends_on, std::vector<std::string>{"doc:2"});
  EXPECT_EQ(items[0].loaded.validator, "v1");
}

TEST_P(OriginSuite, AScanOfNothingIsAtItsEnd) { EXPECT_TRUE(ScanAll(10, false).empty()); }

TEST_P(OriginSuite, SaysWhatATypeCannotDo) {
  rig_->Put("doc:1", {.value = "v"});
  const auto loaded = AwaitTask(origin().Load(LoadOf({"doc:1"}, "sealed"), Soon()));
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->front().value, "v");
  const auto stored =
      AwaitTask(origin().Store(StoreOf({Write("doc:1", "w", 9)}, "sealed"), Soon()));
  EXPECT_EQ(stored.status().code(), absl::StatusCode::kFailedPrecondition) << stored.status();
  const auto page = AwaitTask(origin().Scan({Call("sealed"), 10, "", false}, Soon()));
  EXPECT_EQ(page.status().code(), absl::StatusCode::kFailedPrecondition) << page.status();
  EXPECT_EQ(rig_->Held("doc:1")->value, "v");
}

TEST_P(OriginSuite, DoesNothingWhoseDeadlineIsPast) {
  rig_->Put("doc:1", {.value = "v"});
  const MonoNanos past = Clock::System()->Mono() - 1;
  const auto loaded = AwaitTask(origin().Load(LoadOf({"doc:1"}), past));
  EXPECT_EQ(loaded.status().code(), absl::StatusCode::kDeadlineExceeded) << loaded.status();
  const auto stored = AwaitTask(origin().Store(StoreOf({Write("doc:2", "w", 9)}), past));
  EXPECT_EQ(stored.status().code(), absl::StatusCode::kDeadlineExceeded) << stored.status();
  const auto page = AwaitTask(origin().Scan({Call(), 10, "", false}, past));
  EXPECT_EQ(page.status().code(), absl::StatusCode::kDeadlineExceeded) << page.status();
  EXPECT_FALSE(rig_->Held("doc:2").has_value());
}

TEST_P(OriginSuite, GivesACallUpAtItsDeadlineAndWorksOn) {
  if (!Can(Fault::kHangs)) return;
  rig_->Put("doc:1", {.value = "v"});
  rig_->Put("doc:2", {.value = "w"});
  rig_->SetFault("doc:1", Fault::kHangs);
  const MonoNanos begin = Clock::System()->Mono();
  const auto loaded = AwaitTask(origin().Load(LoadOf({"doc:1"}), In(absl::Milliseconds(200))));
  const absl::Duration took = absl::Nanoseconds(Clock::System()->Mono() - begin);
  EXPECT_EQ(loaded.status().code(), absl::StatusCode::kDeadlineExceeded) << loaded.status();
  EXPECT_GE(took, absl::Milliseconds(200));
  EXPECT_LT(took, absl::Seconds(5));
  EXPECT_EQ(origin().Stats().errors, 1u);
  EXPECT_EQ(LoadOne("doc:2").value, "w");
  rig_->SetFault("doc:1", Fault::kNone);
  EXPECT_EQ(LoadOne("doc:1").value, "v");
}

TEST_P(OriginSuite, AnswersManyCallersAtOnce) {
  constexpr int kThreads = 8;
  constexpr int kCalls = 50;
  std::vector<std::pair<std::string, OriginHeld>> held;
  for (int i = 0; i < 100; ++i) held.push_back({StrCat("doc:", i), {.value = StrCat("v", i)}});
  rig_->PutAll(held);
  std::atomic<int> right = 0;
  Threads(kThreads, [&](int thread) {
    for (int call = 0; call < kCalls; ++call) {
      const int i = (thread * 31 + call * 7) % 100;
      const std::string own = StrCat("doc:own-", thread);
      const auto loaded =
          AwaitTask(origin().Load(LoadOf({StrCat("doc:", i), StrCat("doc:none-", i)}), Soon()));
      const auto stored = AwaitTask(origin().Store(
          StoreOf({Write(own, StrCat(call), static_cast<Version>(call) + 1)}), Soon()));
      const auto again = AwaitTask(origin().Load(LoadOf({own}), Soon()));
      if (loaded.ok() && (*loaded)[0].value == StrCat("v", i) &&
          (*loaded)[1].kind == Kind::kAbsent && stored.ok() && (*stored)[0].kind == Stored::kDone &&
          again.ok() && (*again)[0].value == StrCat(call)) {
        ++right;
      }
    }
  }).Join();
  EXPECT_EQ(right.load(), kThreads * kCalls);
}

TEST_P(OriginSuite, CountsWhatItDoes) {
  rig_->Put("doc:1", {.value = "v"});
  Load({"doc:1", "doc:2"});
  LoadOne("doc:1");
  Store({Write("doc:3", "a", 1), Write("doc:4", "b", 1), Remove("doc:5", 1)});
  ScanAll(10'000, true);
  const OriginStats stats = origin().Stats();
  EXPECT_EQ(stats.kind, GetParam().kind);
  EXPECT_FALSE(stats.name.empty());
  EXPECT_EQ(stats.state, "ok");
  EXPECT_EQ(stats.load_calls, 2u);
  EXPECT_EQ(stats.load_items, 3u);
  EXPECT_EQ(stats.store_calls, 1u);
  EXPECT_EQ(stats.store_items, 3u);
  EXPECT_EQ(stats.scan_calls, 1u);
  EXPECT_EQ(stats.errors, 0u);
  EXPECT_EQ(stats.item_errors, 0u);
  EXPECT_EQ(stats.bad_answers, 0u);
}

}  // namespace
}  // namespace larder
