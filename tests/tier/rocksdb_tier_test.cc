#include "tier/rocksdb_tier.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/conformance/tier_suite.h"
#include "tests/tier/rocks_rig.h"
#include "tests/tier/rocks_test.h"

namespace larder {
namespace {

INSTANTIATE_TEST_SUITE_P(Rocks, TierSuite,
                         testing::Values(TierMaker{
                             "Rocks", [] { return std::make_unique<RocksRig>(); }, 4 << 20}),
                         TierSuite::Name);

using Outcome = TierChange::Outcome;

class RocksTierTest : public RocksTest {};

TEST_F(RocksTierTest, KeepsEverythingOverARestart) {
  for (int i = 0; i < 500; ++i) Put(absl::StrCat("k", i), 10 + i, absl::StrCat("v", i));
  for (int i = 0; i < 500; i += 5) Erase(absl::StrCat("k", i), 1000);
  rig_.Reopen();
  for (int i = 0; i < 500; ++i) {
    EXPECT_EQ(Value(absl::StrCat("k", i)), i % 5 == 0 ? "(tombstone 1000)" : absl::StrCat("v", i));
  }
  EXPECT_EQ(Put("k5", 999, "late"), Outcome::kNewerExists);
  EXPECT_EQ(rig_.rocks().drops().damaged, 0u);
}

TEST_F(RocksTierTest, SkipsWhatIsAboutToEndAndWhatItWouldHaveReplacedIsGone) {
  Put("k", 10, "ten");
  EXPECT_EQ(Put("k", 12, "twelve", {}, absl::Milliseconds(999)), Outcome::kSkipped);
  EXPECT_EQ(Value("k"), "(tombstone 12)");
  EXPECT_EQ(Put("k", 11, "late"), Outcome::kNewerExists);
  EXPECT_EQ(Put("other", 12, "twelve", {}, absl::Milliseconds(999)), Outcome::kSkipped);
  EXPECT_EQ(Put("other", 11, "late"), Outcome::kNewerExists);
  EXPECT_EQ(rig_.tier().Stats().skipped, 2u);
}

TEST_F(RocksTierTest, TakesWhatIsAboutToEndWhenThePutHasACondition) {
  EXPECT_EQ(Put("k", 10, "ten", {Expect::Kind::kAbsent, 0}, absl::Milliseconds(500)),
            Outcome::kDone);
  EXPECT_EQ(Value("k"), "ten");
}

TEST_F(RocksTierTest, SkipsWhatIsTooSmallWhenToldTo) {
  RocksTierOptions options = rig_.options();
  options.entry_bytes_min = 200;
  rig_.Reopen(options);
  EXPECT_EQ(Put("k", 10, std::string(100, 'v')), Outcome::kSkipped);
  EXPECT_EQ(Put("k", 11, std::string(200, 'v')), Outcome::kDone);
}

TEST_F(RocksTierTest, TakesWhatIsLardersOwnWhateverItsSize) {
  RocksTierOptions options = rig_.options();
  options.entry_bytes_min = 4096;
  options.entry_bytes_max = 64 << 10;
  rig_.Reopen(options);
  const std::string own(FullKey(kOwnNamespace, "rules:7").view());
  Version version = 10;
  for (const size_t size : {size_t{1}, size_t{100} << 10}) {
    EntryFields fields;
    const std::string value(size, 'r');
    fields.full_key = own;
    fields.value = value;
    fields.version = ++version;
    fields.fresh_until = fields.usable_until = MonoAfter(rig_.clock().Mono(), absl::Hours(1));
    std::vector<TierPut> puts(1);
    puts[0].full_key = own;
    puts[0].version = fields.version;
    puts[0].usable_until = fields.usable_until;
    puts[0].envelope = EncodeEnvelope(fields, "", rig_.clock());
    const auto changes = AwaitTask(rig_.tier().Put(std::move(puts), kNever));
    ASSERT_TRUE(changes.ok());
    EXPECT_EQ((*changes)[0].outcome, Outcome::kDone) << size;
    const auto reads = AwaitTask(rig_.tier().Get({own}, kNever));
    ASSERT_TRUE(reads.ok());
    EXPECT_EQ((*reads)[0].entry.version, version) << size;
  }
}

TEST_F(RocksTierTest, AnswersAnErrorAndDoesNothingWhenTimeIsOver) {
  Put("k", 10, "ten");
  const MonoNanos past = rig_.clock().Mono();
  EXPECT_EQ(AwaitTask(rig_.tier().Get({Key("k")}, past)).status().code(),
            absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(AwaitTask(rig_.tier().Erase({{Key("k"), 11}}, past)).status().code(),
            absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(AwaitTask(rig_.tier().Scan({Key(""), "", "", 10}, past)).status().code(),
            absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(Value("k"), "ten");
  EXPECT_EQ(rig_.tier().Stats().errors, 3u);
}

TEST_F(RocksTierTest, RefusesABadGlob) {
  EXPECT_EQ(AwaitTask(rig_.tier().Scan({Key(""), "[", "", 10}, kNever)).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(RocksTierTest, ScanLooksAtABoundedNumberOfKeysForAPage) {
  for (int i = 0; i < 12'000; i += 1000) {
    std::vector<TierPut> puts;
    for (int k = i; k < i + 1000; ++k) puts.push_back(NewPut(absl::StrCat("k", k), 10, "v"));
    ASSERT_TRUE(AwaitTask(rig_.tier().Put(std::move(puts), kNever)).ok());
  }
  const auto page = AwaitTask(rig_.tier().Scan({Key(""), "nothing", "", 10}, kNever));
  ASSERT_TRUE(page.ok());
  EXPECT_TRUE(page->items.empty());
  EXPECT_FALSE(page->cursor.empty());
}

TEST_F(RocksTierTest, RefusesAFolderThatIsInUse) {
  const auto second = NewRocksTier(rig_.options());
  EXPECT_EQ(second.status().code(), absl::StatusCode::kFailedPrecondition) << second.status();
}

TEST_F(RocksTierTest, ChecksItsOptions) {
  const auto refuses = [&](auto change) {
    RocksTierOptions options = rig_.options();
    options.path += "-other";
    change(options);
    EXPECT_EQ(NewRocksTier(options).status().code(), absl::StatusCode::kInvalidArgument);
  };
  refuses([](auto& o) { o.max_bytes = (32 << 20) - 1; });
  refuses([](auto& o) { o.max_bytes = (uint64_t{16384} << 30) + 1; });
  refuses([](auto& o) { o.memory_bytes = (8 << 20) - 1; });
  refuses([](auto& o) { o.threads = 0; });
  refuses([](auto& o) { o.threads = 65; });
  refuses([](auto& o) { o.reads_max = 0; });
  refuses([](auto& o) { o.write_queue_bytes_max = (64 << 10) - 1; });
  refuses([](auto& o) { o.write_queue_bytes_max = o.memory_bytes / 2 + 1; });
  refuses([](auto& o) { o.entry_bytes_min = (1 << 20) + 1; });
  refuses([](auto& o) { o.entry_bytes_max = (64 << 10) - 1; });
  refuses([](auto& o) { o.entry_bytes_max = (256 << 20) + 1; });
  refuses([](auto& o) { o.life_min = absl::Hours(2); });
  refuses([](auto& o) { o.sweep_period = absl::ZeroDuration(); });
  refuses([](auto& o) { o.executor = nullptr; });
}

TEST_F(RocksTierTest, SpeaksAsOneNodesTier) {
  EXPECT_FALSE(rig_.tier().shared());
  EXPECT_EQ(rig_.tier().Stats().name, "rocksdb");
}

}  // namespace
}  // namespace larder
