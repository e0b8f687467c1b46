#include "client/cli/top_frame.h"

#include <gtest/gtest.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace larder::cli {
namespace {

class TopFrameTest : public ::testing::Test {
 protected:
  TopFrameTest() {
    StatsResult& stats = now_.stats;
    now_.at = absl::Seconds(1);
    stats.node = "replica-0";
    stats.since = absl::UnixEpoch();
    stats.total.hits = 900;
    stats.total.misses = 100;
    stats.memory.budget_bytes = 1'000'000;
    stats.memory.used_bytes = 250'000;
    for (int i = 0; i < 30; ++i) {
      TypeStats type;
      type.name = absl::StrCat("type", i);
      type.usage.hits = 100 - static_cast<uint64_t>(i);
      stats.types.push_back(type);
      HotKey hot;
      hot.key = absl::StrCat("key:", i, std::string(100, 'x'));
      hot.type = "type0";
      hot.hits = 5;
      hot.hit_ratio = 1;
      stats.hot_keys.push_back(hot);
    }
    LatencyStats get;
    get.rpc = "Get";
    get.count = 1'000;
    get.p99 = absl::Microseconds(250);
    stats.latencies = {get};
  }

  std::vector<std::string> Frame(size_t columns, size_t lines) {
    pulse_ = PulseOf(before_, now_);
    TopState state;
    state.server = "cache:50051";
    state.trouble = trouble_;
    state.sample = &now_;
    state.pulse = &pulse_;
    state.now = absl::UnixEpoch() + absl::Hours(2);
    return TopFrame(state, {columns, lines});
  }

  Sample before_;
  Sample now_;
  Pulse pulse_;
  std::string trouble_;
};

// What is counted is whole; rates below ten have a digit more.
TEST_F(TopFrameTest, CountsOneEntryAndNotOnePointNought) {
  now_.stats.total.entries = 1;
  const std::string all = absl::StrJoin(Frame(100, 40), "\n");
  EXPECT_TRUE(absl::StrContains(all, "  1 entries")) << all;
}

TEST_F(TopFrameTest, TellsTheMainFiguresFirst) {
  before_.stats.node = "replica-0";
  before_.stats.since = absl::UnixEpoch();
  const std::vector<std::string> page = Frame(120, 50);
  EXPECT_TRUE(absl::StartsWith(page[0], "larder top  cache:50051  replica-0  up 2h"));
  EXPECT_TRUE(absl::StartsWith(page[1], "calls 1000/s  errors 0/s  p99 250us since start"))
      << page[1];
  EXPECT_TRUE(absl::StrContains(page[2], "90.0%")) << page[2];
  EXPECT_TRUE(absl::StrContains(page[3], "25.0%")) << page[3];
  const std::string all = absl::StrJoin(page, "\n");
  EXPECT_TRUE(absl::StrContains(all, "\nTYPE "));
  EXPECT_TRUE(absl::StrContains(all, "\nHOT KEY "));
  EXPECT_TRUE(absl::StrContains(all, "\nCALL "));
}

TEST_F(TopFrameTest, FitsAnyScreen) {
  for (const size_t columns : {1, 8, 20, 40, 80, 200}) {
    for (const size_t lines : {1, 2, 5, 7, 10, 24, 100}) {
      const std::vector<std::string> page = Frame(columns, lines);
      EXPECT_LE(page.size(), lines);
      for (const std::string& line : page) EXPECT_LE(line.size(), columns);
    }
  }
}

TEST_F(TopFrameTest, TablesShareASmallScreen) {
  const std::vector<std::string> page = Frame(80, 24);
  EXPECT_EQ(page.size(), 24u);
  const std::string all = absl::StrJoin(page, "\n");
  EXPECT_TRUE(absl::StrContains(all, "type0 ")) << all;
  EXPECT_TRUE(absl::StrContains(all, "key:0x")) << all;
  EXPECT_TRUE(absl::StrContains(all, "\nGet ")) << all;
}

TEST_F(TopFrameTest, TroubleComesBeforeTables) {
  BreakerStats breaker;
  breaker.name = "l2";
  breaker.state = BreakerState::kOpen;
  breaker.reason = "9 of 10 calls failed";
  now_.stats.breakers = {breaker};
  JournalStats journal;
  journal.depth = 7;
  journal.state = "full";
  now_.stats.journal = journal;
  trouble_ = "UNAVAILABLE: gone";
  const std::vector<std::string> page = Frame(80, 9);
  const std::string all = absl::StrJoin(page, "\n");
  EXPECT_TRUE(absl::StrContains(all, "! UNAVAILABLE: gone")) << all;
  EXPECT_TRUE(absl::StrContains(all, "! breaker l2: OPEN, 9 of 10 calls failed")) << all;
  EXPECT_TRUE(absl::StrContains(all, "journal: 7 writes wait")) << all;
  EXPECT_TRUE(absl::StrContains(all, "; full")) << all;
}

TEST_F(TopFrameTest, KeysCannotSteerTheTerminal) {
  now_.stats.hot_keys[0].key = "a\x1b[31mred";
  for (const std::string& line : Frame(80, 40)) EXPECT_FALSE(absl::StrContains(line, "\x1b"));
}

TEST_F(TopFrameTest, WithoutAReadingItSaysWhyNot) {
  TopState state;
  state.server = "cache:50051";
  state.trouble = "UNAVAILABLE: nobody there";
  state.now = absl::UnixEpoch();
  const std::vector<std::string> page = TopFrame(state, {80, 24});
  ASSERT_EQ(page.size(), 2u);
  EXPECT_EQ(page[1], "! UNAVAILABLE: nobody there");
}

TEST(Clipped, CountsCharactersAndNotBytes) {
  EXPECT_EQ(Clipped("äöü", 2), "äö");
  EXPECT_EQ(Clipped("abc", 3), "abc");
  EXPECT_EQ(Clipped("abc", 0), "");
}

}  // namespace
}  // namespace larder::cli
