#include "core/suggest.h"

#include <gtest/gtest.h>

namespace larder {
namespace {

const std::vector<std::string_view> kFields = {"base", "multiplier", "jitter",           "min",
                                               "max",  "ttl",        "ping_interval_min"};

TEST(SuggestTest, FindsTheNameBehindEachKindOfTypingError) {
  EXPECT_EQ(Suggest("ttll", kFields), "ttl");                // inserted
  EXPECT_EQ(Suggest("jiter", kFields), "jitter");            // left out
  EXPECT_EQ(Suggest("baze", kFields), "base");               // replaced
  EXPECT_EQ(Suggest("bsae", kFields), "base");               // swapped
  EXPECT_EQ(Suggest("multpilieer", kFields), "multiplier");  // two at once
}

TEST(SuggestTest, TakesCaseAndTheKindOfHyphenForFree) {
  EXPECT_EQ(Suggest("PING-INTERVAL-MIN", kFields), "ping_interval_min");
  EXPECT_EQ(Suggest("Ping-Intervl-Min", kFields), "ping_interval_min");
}

TEST(SuggestTest, SaysNothingWhenNothingIsNear) {
  EXPECT_EQ(Suggest("origin", kFields), std::nullopt);
  EXPECT_EQ(Suggest("mix", {"max", "mxi"}), "max");
  EXPECT_EQ(Suggest("mab", {"min", "xyz"}), std::nullopt)
      << "two edits are too many for three letters";
  EXPECT_EQ(Suggest("", kFields), std::nullopt);
  EXPECT_EQ(Suggest("ttl", {}), std::nullopt);
  EXPECT_EQ(Suggest("a", {""}), std::nullopt);
}

TEST(SuggestTest, PrefersTheNearestAndThenTheFirst) {
  EXPECT_EQ(Suggest("sessions", {"sission", "session"}), "session");
  EXPECT_EQ(Suggest("car", {"cat", "cap"}), "cat");
}

TEST(SuggestTest, DoesNotCompareNamesOfVeryDifferentLengths) {
  const std::string hostile(10'000'000, 'u');
  const std::vector<std::string_view> known(1000, "user");
  EXPECT_EQ(Suggest(hostile, known), std::nullopt);
}

}  // namespace
}  // namespace larder
