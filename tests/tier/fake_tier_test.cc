// That the fake keeps the contract is the suite's business; here is how it goes wrong.

#include "tests/tier/fake_tier.h"

#include <gtest/gtest.h>

#include <optional>
#include <utility>

#include "core/key.h"
#include "tests/conformance/tier_suite.h"
#include "tier/envelope.h"

namespace larder {
namespace {

// Without faults a call ends on the thread that makes it.
class FakeRig : public TierRig {
 public:
  explicit FakeRig(const FakeTier::Options& options)
      : fake_(options), handle_(fake_.NewHandle(&clock_, &executor_)) {}

  Tier& tier() override { return *handle_; }
  ManualClock& clock() override { return clock_; }
  void SetRaw(std::string_view full_key, std::string_view bytes) override {
    fake_.SetRaw(full_key, std::string(bytes));
  }
  bool RunSome() override { return executor_.RunOne(); }

 private:
  ManualClock clock_;
  ManualExecutor executor_{&clock_, 1};
  FakeTier fake_;
  std::unique_ptr<FakeTier::Handle> handle_;
};

std::unique_ptr<TierRig> NewFakeRig() {
  return std::make_unique<FakeRig>(FakeTier::Options{.content = {.envelope_bytes_max = 2 << 20}});
}

INSTANTIATE_TEST_SUITE_P(Fake, TierSuite, testing::Values(TierMaker{"Fake", &NewFakeRig, 2 << 20}),
                         TierSuite::Name);

class FakeTierTest : public testing::Test {
 protected:
  static constexpr MonoNanos kNever = std::numeric_limits<MonoNanos>::max();

  std::string Key(std::string_view key) { return std::string(FullKey("", key).view()); }

  TierPut PutOf(std::string_view key, Version version, std::string_view value) {
    TierPut put;
    put.full_key = Key(key);
    put.version = version;
    put.usable_until = MonoAfter(clock_.Mono(), absl::Minutes(1));
    EntryFields fields;
    fields.full_key = put.full_key;
    fields.value = value;
    fields.version = version;
    fields.fresh_until = fields.usable_until = put.usable_until;
    put.envelope = EncodeEnvelope(fields, "user", clock_);
    return put;
  }

  using Changes = absl::StatusOr<std::vector<TierChange>>;
  using Reads = absl::StatusOr<std::vector<TierRead>>;

  std::shared_ptr<std::optional<Changes>> Put(FakeTier::Handle& handle, TierPut put) {
    auto result = std::make_shared<std::optional<Changes>>();
    std::vector<TierPut> puts;
    puts.push_back(std::move(put));
    Spawn(handle.Put(std::move(puts), kNever),
          [result](Changes changes) { *result = std::move(changes); });
    return result;
  }

  std::shared_ptr<std::optional<Reads>> Get(FakeTier::Handle& handle, std::string_view key) {
    auto result = std::make_shared<std::optional<Reads>>();
    Spawn(handle.Get({Key(key)}, kNever), [result](Reads reads) { *result = std::move(reads); });
    return result;
  }

  std::string Value(FakeTier::Handle& handle, std::string_view key) {
    const auto reads = Get(handle, key);
    if (!reads->has_value()) return "(waits)";
    if (!(*reads)->ok()) return "(fails)";
    const TierRead& read = (**reads)->front();
    if (read.kind == TierRead::Kind::kEntry) return std::string(read.entry.stored());
    return read.kind == TierRead::Kind::kAbsent ? "(absent)" : "(tombstone)";
  }

  ManualClock clock_;
  ManualExecutor executor_{&clock_, 1};
  SeededRandom random_{1};
  FakeTier fake_;
  std::unique_ptr<FakeTier::Handle> a_ = fake_.NewHandle(&clock_, &executor_, &random_);
  std::unique_ptr<FakeTier::Handle> b_ = fake_.NewHandle(&clock_, &executor_, &random_);
};

TEST_F(FakeTierTest, HandlesShareOneTierAndHaveFaultsOfTheirOwn) {
  a_->SetFaults({.fail_next = 1});
  EXPECT_EQ(Value(*a_, "k"), "(fails)");
  ASSERT_TRUE((*Put(*b_, PutOf("k", 1, "one")))->ok());
  EXPECT_EQ(Value(*a_, "k"), "one");
  EXPECT_EQ(a_->Stats().errors, 1u);
  EXPECT_EQ(b_->Stats().errors, 0u);
  EXPECT_EQ(a_->calls(), 2u);
}

TEST_F(FakeTierTest, HandlesOfReplicasWhoseClocksDifferAgreeOnTheWallTime) {
  ManualClock other;
  other.Advance(absl::Hours(1));
  other.JumpWall(-absl::Hours(1));
  const auto far = fake_.NewHandle(&other, &executor_);
  ASSERT_TRUE((*Put(*a_, PutOf("k", 1, "one")))->ok());
  EXPECT_EQ(Value(*far, "k"), "one");
  other.Advance(absl::Seconds(61));
  EXPECT_EQ(Value(*far, "k"), "(absent)");
}

TEST_F(FakeTierTest, LostAnswerLeavesTheChangeBehind) {
  a_->SetFaults({.lose_next = 1});
  EXPECT_FALSE((*Put(*a_, PutOf("k", 1, "one")))->ok());
  EXPECT_EQ(Value(*b_, "k"), "one");
}

TEST_F(FakeTierTest, FailedCallLeavesNothing) {
  a_->SetFaults({.fail_next = 1});
  EXPECT_FALSE((*Put(*a_, PutOf("k", 1, "one")))->ok());
  EXPECT_EQ(Value(*b_, "k"), "(absent)");
}

TEST_F(FakeTierTest, HangingCallTakesEffectWhenItIsReleased) {
  a_->SetFaults({.hang = true});
  const auto put = Put(*a_, PutOf("k", 1, "one"));
  executor_.Advance(absl::Hours(1));
  EXPECT_FALSE(put->has_value());
  EXPECT_EQ(a_->waiting(), 1u);
  EXPECT_EQ(Value(*b_, "k"), "(absent)");
  a_->Release();
  executor_.RunReady();
  EXPECT_TRUE((*put)->ok());
  EXPECT_EQ(a_->waiting(), 0u);
}

TEST_F(FakeTierTest, DroppedCallFailsWithoutEffect) {
  a_->SetFaults({.hang = true});
  const auto put = Put(*a_, PutOf("k", 1, "one"));
  a_->Drop();
  executor_.RunReady();
  EXPECT_FALSE((*put)->ok());
  EXPECT_EQ(Value(*b_, "k"), "(absent)");
}

TEST_F(FakeTierTest, HandleThatGoesEndsWhatWaitsInIt) {
  a_->SetFaults({.hang = true});
  const auto hanging = Put(*a_, PutOf("k", 1, "one"));
  a_->SetFaults({.delay_min = absl::Seconds(1), .delay_max = absl::Seconds(1)});
  const auto travelling = Put(*a_, PutOf("k", 1, "one"));
  a_.reset();
  executor_.RunReady();
  EXPECT_FALSE((*hanging)->ok());
  EXPECT_FALSE((*travelling)->ok());
  EXPECT_EQ(Value(*b_, "k"), "(absent)");
}

TEST_F(FakeTierTest, RequestsAndAnswersTakeTheirTime) {
  a_->SetFaults({.delay_min = absl::Milliseconds(10), .delay_max = absl::Milliseconds(10)});
  const auto put = Put(*a_, PutOf("k", 1, "one"));
  executor_.Advance(absl::Milliseconds(9));
  EXPECT_EQ(Value(*b_, "k"), "(absent)");
  executor_.Advance(absl::Milliseconds(1));
  EXPECT_EQ(Value(*b_, "k"), "one");
  EXPECT_FALSE(put->has_value());
  executor_.Advance(absl::Milliseconds(10));
  EXPECT_TRUE((*put)->ok());
}

TEST_F(FakeTierTest, ChanceRepeatsWithItsSeed) {
  const auto run = [&] {
    ManualExecutor executor(&clock_, 1);
    SeededRandom random(99);
    const auto handle = fake_.NewHandle(&clock_, &executor, &random);
    handle->SetFaults({.fail_ratio = 0.3, .lose_ratio = 0.3});
    std::string outcomes;
    for (int i = 0; i < 200; ++i) outcomes += Value(*handle, "k") == "(fails)" ? 'f' : '.';
    return outcomes;
  };
  const std::string first = run();
  EXPECT_EQ(run(), first);
  EXPECT_NE(first.find('f'), std::string::npos);
  EXPECT_NE(first.find('.'), std::string::npos);
}

TEST_F(FakeTierTest, FailsOverToAnOlderCopy) {
  Put(*a_, PutOf("old", 1, "old"));
  fake_.TakeCopy();
  Put(*a_, PutOf("old", 2, "changed"));
  Put(*a_, PutOf("new", 3, "new"));
  a_->SetFaults({.stale_reads = true});
  EXPECT_EQ(Value(*a_, "old"), "old");
  EXPECT_EQ(Value(*a_, "new"), "(absent)");
  EXPECT_EQ(Value(*b_, "old"), "changed");
  fake_.FailOver();
  EXPECT_EQ(Value(*b_, "old"), "old");
  EXPECT_EQ(Value(*b_, "new"), "(absent)");
}

TEST_F(FakeTierTest, ForgetsWhenItIsToldTo) {
  Put(*a_, PutOf("k", 1, "one"));
  Put(*a_, PutOf("l", 1, "one"));
  EXPECT_TRUE(fake_.Evict(Key("k")));
  EXPECT_FALSE(fake_.Evict(Key("k")));
  EXPECT_EQ(Value(*a_, "k"), "(absent)");
  EXPECT_EQ(Value(*a_, "l"), "one");
  fake_.Clear();
  EXPECT_EQ(fake_.size(), 0u);
}

TEST_F(FakeTierTest, SkipsWhatLivesTooShort) {
  FakeTier brief(FakeTier::Options{.content = {.life_min = absl::Minutes(2)}});
  const auto handle = brief.NewHandle(&clock_, &executor_);
  const auto put = Put(*handle, PutOf("k", 1, "one"));
  EXPECT_EQ((**put)->front().outcome, TierChange::Outcome::kSkipped);
  EXPECT_EQ(Value(*handle, "k"), "(tombstone)");
}

TEST_F(FakeTierTest, CallWithoutTimeLeftIsNotMade) {
  std::optional<Reads> result;
  Spawn(a_->Get({Key("k")}, clock_.Mono()), [&](Reads reads) { result = std::move(reads); });
  EXPECT_TRUE(absl::IsDeadlineExceeded(result->status()));
}

}  // namespace
}  // namespace larder
