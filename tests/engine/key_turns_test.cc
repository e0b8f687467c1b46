#include "engine/key_turns.h"

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"

namespace larder {
namespace {

class KeyTurnsTest : public testing::Test {
 protected:
  using Result = std::shared_ptr<std::optional<absl::StatusOr<KeyTurns::Turn>>>;
  Result Take(const std::string& key, absl::Duration most = absl::InfiniteDuration()) {
    auto result = std::make_shared<std::optional<absl::StatusOr<KeyTurns::Turn>>>();
    Spawn(turns_.Take(key, MonoAfter(clock_.Mono(), most)),
          [result](absl::StatusOr<KeyTurns::Turn> turn) { result->emplace(std::move(turn)); });
    executor_.RunReady();
    return result;
  }
  void End(const Result& turn) {
    turn->reset();
    executor_.RunReady();
  }
  static std::string Outcome(const Result& result) {
    if (!result->has_value()) return "waits";
    return (*result)->ok() ? "turn" : DetailsOf((*result)->status()).reason;
  }

  ManualClock clock_;
  ManualExecutor executor_{&clock_, 1};
  KeyTurns turns_{{.waiters_max = 3, .clock = &clock_, .executor = &executor_}};
};

TEST_F(KeyTurnsTest, GoInTheOrderOfTheirComing) {
  const Result a = Take("k"), b = Take("k"), c = Take("k");
  EXPECT_EQ(Outcome(a), "turn");
  EXPECT_EQ(Outcome(b), "waits");
  End(a);
  EXPECT_EQ(Outcome(b), "turn");
  EXPECT_EQ(Outcome(c), "waits");
  End(b);
  EXPECT_EQ(Outcome(c), "turn");
  End(c);
  EXPECT_EQ(Outcome(Take("k")), "turn");
}

TEST_F(KeyTurnsTest, OfDifferentKeysDoNotWait) {
  const Result a = Take("a"), b = Take("b");
  EXPECT_EQ(Outcome(a), "turn");
  EXPECT_EQ(Outcome(b), "turn");
}

TEST_F(KeyTurnsTest, PassByWhoseTimeIsOver) {
  const Result a = Take("k"), b = Take("k", absl::Seconds(1)), c = Take("k");
  executor_.Advance(absl::Seconds(2));
  EXPECT_EQ(Outcome(b), "DEADLINE_EXCEEDED");
  EXPECT_EQ(turns_.waiting(), 1u);
  End(a);
  EXPECT_EQ(Outcome(c), "turn");
}

TEST_F(KeyTurnsTest, AreRefusedWhenTooManyWait) {
  const Result a = Take("k"), b = Take("k"), c = Take("k"), d = Take("k");
  EXPECT_EQ(Outcome(Take("k")), "TOO_MANY_WAITERS");
  EXPECT_EQ(Outcome(Take("other")), "turn") << "nobody has to wait for it";
  End(a);
  EXPECT_EQ(Outcome(Take("k")), "waits");
}

TEST_F(KeyTurnsTest, EndWithTheServer) {
  const Result a = Take("k"), b = Take("k");
  turns_.Drain();
  executor_.RunReady();
  EXPECT_EQ(Outcome(b), "DRAINING");
  EXPECT_EQ(Outcome(Take("k")), "DRAINING");
  EXPECT_EQ(Outcome(Take("free")), "turn") << "what runs may finish";
}

}  // namespace
}  // namespace larder
