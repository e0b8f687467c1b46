// What the near cache may serve and keep, without a server and at times that the test says.

#include "client/src/near_table.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <thread>

namespace larder::internal {
namespace {

constexpr int64_t kSecond = 1'000'000'000;

class NearTableTest : public ::testing::Test {
 protected:
  NearTableTest() { Follow(&table_); }
  ~NearTableTest() override { table_.CheckInvariants(); }

  static void Follow(NearTable* table) {
    table->SetFollowed(0);
    table->SetTrust(0, INT64_MAX);
  }
  static Entry Version(uint64_t version, const std::string& value = "v",
                       std::vector<std::string> tags = {}) {
    Entry entry;
    entry.version = version;
    entry.value = value;
    entry.tags = std::move(tags);
    entry.remaining_ttl = absl::Seconds(60);
    return entry;
  }
  NearTable::Ticket Ask(std::string_view key, int64_t now = kSecond) {
    NearTable::Ticket ticket;
    const NearValue found(table_.Find(key, 0, now, &ticket));
    EXPECT_FALSE(found) << key;
    return ticket;
  }
  void Keep(std::string_view key, const Entry& entry, int64_t now = kSecond) {
    table_.Land(Ask(key, now), key, entry, now);
  }
  // 0 = there is none.
  uint64_t VersionOf(std::string_view key, int64_t now = kSecond) {
    const NearValue found(table_.Find(key, 0, now, nullptr));
    return found ? found.version() : 0;
  }
  NearStats Stats() {
    NearStats stats;
    table_.AddStats(&stats);
    return stats;
  }

  NearTable table_{1 << 20, 256 << 10, 3600 * kSecond};
};

TEST_F(NearTableTest, ServesWhatItKept) {
  Keep("k", Version(5, "value", {"red", "blue"}));
  const NearValue found(table_.Find("k", 0, kSecond, nullptr));
  ASSERT_TRUE(found);
  EXPECT_EQ(found.value(), "value");
  const Entry entry = found.ToEntry();
  EXPECT_EQ(entry.version, 5u);
  EXPECT_EQ(entry.tags, (std::vector<std::string>{"red", "blue"}));
  EXPECT_EQ(VersionOf("other"), 0u);
}

TEST_F(NearTableTest, ACopyOutlivesItsEvictionInTheHandsOfItsReader) {
  Keep("k", Version(5, "value"));
  const NearValue found(table_.Find("k", 0, kSecond, nullptr));
  table_.Changed("k", 6);
  EXPECT_EQ(VersionOf("k"), 0u);
  const NearValue copy = found;
  EXPECT_EQ(copy.value(), "value");
}

TEST_F(NearTableTest, LivesAsLongAsTheServerSaidFromWhenItWasAsked) {
  const NearTable::Ticket asked = Ask("k", 10 * kSecond);
  table_.Land(asked, "k", Version(5), 15 * kSecond);
  EXPECT_EQ(VersionOf("k", 70 * kSecond - 1), 5u);
  EXPECT_EQ(VersionOf("k", 70 * kSecond), 0u);
  EXPECT_EQ(Stats().expired, 1u);
  // On its way for longer than it lives.
  const NearTable::Ticket slow = Ask("slow", 10 * kSecond);
  table_.Land(slow, "slow", Version(5), 70 * kSecond);
  EXPECT_EQ(VersionOf("slow", 70 * kSecond), 0u);
}

TEST_F(NearTableTest, LivesNoLongerThanItsMaximum) {
  NearTable table(1 << 20, 1 << 10, 2 * kSecond);
  Follow(&table);
  NearTable::Ticket ticket;
  EXPECT_EQ(table.Find("k", 0, kSecond, &ticket), nullptr);
  table.Land(ticket, "k", Version(5), kSecond);
  EXPECT_TRUE(NearValue(table.Find("k", 0, 3 * kSecond - 1, nullptr)));
  EXPECT_FALSE(NearValue(table.Find("k", 0, 3 * kSecond, nullptr)));
}

TEST_F(NearTableTest, OlderVersionNeverReplacesANewerOne) {
  const NearTable::Ticket early = Ask("k");
  Keep("k", Version(7));
  table_.Land(early, "k", Version(6), kSecond);
  EXPECT_EQ(VersionOf("k"), 7u);
  table_.Land(early, "k", Version(8), kSecond);
  EXPECT_EQ(VersionOf("k"), 8u);
}

TEST_F(NearTableTest, AnswerThatAChangeOvertookIsNotKept) {
  const NearTable::Ticket asked = Ask("k");
  table_.Changed("k", 6);
  table_.Land(asked, "k", Version(5), kSecond);
  EXPECT_EQ(VersionOf("k"), 0u);
  EXPECT_EQ(Stats().outdated, 1u);
  table_.Land(asked, "k", Version(6), kSecond);
  EXPECT_EQ(VersionOf("k"), 6u);
}

TEST_F(NearTableTest, AnswerOfAReplicaThatIsBehindIsNotKept) {
  table_.Changed("k", 6);
  table_.Land(Ask("k"), "k", Version(5), kSecond);
  EXPECT_EQ(VersionOf("k"), 0u);
}

TEST_F(NearTableTest, ChangeDropsOlderCopiesAndNoOthers) {
  Keep("a", Version(5));
  Keep("b", Version(5));
  table_.Changed("a", 5);  // the copy is this very version
  EXPECT_EQ(VersionOf("a"), 5u);
  table_.Changed("a", 6);
  EXPECT_EQ(VersionOf("a"), 0u);
  EXPECT_EQ(VersionOf("b"), 5u);
  EXPECT_EQ(Stats().invalidated, 1u);
}

TEST_F(NearTableTest, ChangeOfUnknownVersionSpoilsAnswersThatAreOnTheirWay) {
  Keep("k", Version(5));
  NearTable::Ticket asked = Ask("other");
  table_.ChangedUnknown("k");
  EXPECT_EQ(VersionOf("k"), 0u);
  asked = Ask("k");
  table_.ChangedUnknown("k");
  table_.Changed("k", 3);  // known, and not what was waited for
  table_.Land(asked, "k", Version(9), kSecond);
  EXPECT_EQ(VersionOf("k"), 0u);
  Keep("k", Version(9));
  EXPECT_EQ(VersionOf("k"), 9u);
}

// The table of changes holds so many; the oldest question can no longer be judged then.
TEST_F(NearTableTest, AnswersOlderThanWhatIsRememberedOfChangesAreNotKept) {
  const NearTable::Ticket asked = Ask("k");
  table_.Changed("k", 6);
  for (int i = 0; i < 100'000; ++i) table_.Changed("other" + std::to_string(i), 1);
  table_.Land(asked, "k", Version(5), kSecond);
  EXPECT_EQ(VersionOf("k"), 0u);
}

TEST_F(NearTableTest, RulesCoverWhatTheyMatchAndIsNotNewer) {
  const auto kind = [](WatchRule::Kind kind, const std::string& match) {
    return WatchRule{kind, match, false};
  };
  using Kind = WatchRule::Kind;
  const struct {
    WatchRule rule;
    std::vector<std::string> gone;
  } cases[] = {
      {kind(Kind::kTag, "red"), {"user:1"}},
      {kind(Kind::kTag, "re"), {}},
      {kind(Kind::kPrefix, "user:"), {"user:1", "user:2"}},
      {kind(Kind::kGlob, "user:*x"), {"user:1", "user:2"}},  // more than it covers, never less
      {kind(Kind::kGlob, "us\\*"), {"user:1", "user:2"}},
      {kind(Kind::kGlob, "order:[1-9]"), {"order:1"}},
      {kind(Kind::kType, "user"), {"order:1", "user:1", "user:2"}},
      {kind(Kind::kAll, ""), {"order:1", "user:1", "user:2"}},
      {kind(Kind::kUnspecified, "?"), {"order:1", "user:1", "user:2"}},
  };
  uint64_t version = 10;
  for (const auto& test : cases) {
    // Long after the rule before, which must not count any more.
    const int64_t now = static_cast<int64_t>(version) * kSecond;
    table_.DropStream(0);
    table_.SetFollowed(0);
    Keep("user:1", Version(version, "v", {"blue", "red"}), now);
    Keep("user:2", Version(version), now);
    Keep("order:1", Version(version), now);
    Keep("user:new", Version(version + 1, "v", {"red"}), now);
    table_.Ruled(test.rule, version, now);
    std::vector<std::string> gone;
    for (const char* key : {"order:1", "user:1", "user:2"}) {
      if (VersionOf(key, now) == 0) gone.push_back(key);
    }
    EXPECT_EQ(gone, test.gone) << Name(test.rule.kind) << " " << test.rule.match;
    EXPECT_EQ(VersionOf("user:new", now), version + 1);
    version += 10;
  }
}

TEST_F(NearTableTest, AnswerThatARuleOvertookIsNotKept) {
  const NearTable::Ticket asked = Ask("k");
  table_.Ruled({WatchRule::Kind::kType, "user", false}, 6, kSecond);
  table_.Land(asked, "k", Version(5), kSecond);
  EXPECT_EQ(VersionOf("k"), 0u);
  // Asked afterwards: the server has applied the rule and gave it all the same.
  Keep("k", Version(5));
  EXPECT_EQ(VersionOf("k"), 5u);
}

TEST_F(NearTableTest, RuleCountsAgainstReplicasThatAreBehindForAWhile) {
  table_.Ruled({WatchRule::Kind::kPrefix, "k", false}, 6, kSecond);
  Keep("k", Version(5), 2 * kSecond);
  EXPECT_EQ(VersionOf("k", 2 * kSecond), 0u);
  Keep("k", Version(5), 10 * kSecond);
  EXPECT_EQ(VersionOf("k", 10 * kSecond), 5u);
}

TEST_F(NearTableTest, CopyThatMissedMoreRulesThanAreRememberedGoes) {
  Keep("k", Version(5'000));
  Keep("looked-at", Version(5'000));
  for (uint64_t i = 0; i < 1'000; ++i) {
    table_.Ruled({WatchRule::Kind::kTag, "t", false}, i, kSecond);
    EXPECT_EQ(VersionOf("looked-at"), 5'000u);
  }
  EXPECT_EQ(VersionOf("k"), 0u);
}

TEST_F(NearTableTest, ServesNothingWithoutTrustAndEverythingAgainWithIt) {
  Keep("k", Version(5));
  table_.SetTrust(0, 20 * kSecond);
  EXPECT_EQ(VersionOf("k", 20 * kSecond - 1), 5u);
  EXPECT_EQ(VersionOf("k", 20 * kSecond), 0u);
  EXPECT_EQ(Stats().suspect, 1u);
  table_.SetTrust(0, 40 * kSecond);
  EXPECT_EQ(VersionOf("k", 30 * kSecond), 5u);
}

TEST_F(NearTableTest, LostChangesDropTheCopiesOfTheirStreamAndWhatIsOnItsWay) {
  table_.SetFollowed(1);
  table_.SetTrust(1, INT64_MAX);
  Keep("k", Version(5));
  NearTable::Ticket of_one;
  EXPECT_EQ(table_.Find("one", 1, kSecond, &of_one), nullptr);
  table_.Land(of_one, "one", Version(5), kSecond);
  const NearTable::Ticket asked = Ask("other");
  table_.DropStream(0);
  EXPECT_EQ(VersionOf("k"), 0u);
  EXPECT_EQ(VersionOf("one"), 5u);
  EXPECT_EQ(Stats().entries, 1u);
  // Not followed: nothing is kept, also when the answer comes after it is followed again.
  const NearTable::Ticket unfollowed = Ask("k");
  table_.SetFollowed(0);
  table_.Land(unfollowed, "k", Version(6), kSecond);
  table_.Land(asked, "other", Version(6), kSecond);
  EXPECT_EQ(VersionOf("k") + VersionOf("other"), 0u);
  Keep("k", Version(6));
  EXPECT_EQ(VersionOf("k"), 6u);
}

TEST_F(NearTableTest, KeepsNothingStaleTooLargeDependentOrWithoutAVersion) {
  Entry dependent = Version(5);
  dependent.dependent = true;
  Keep("dependent", dependent);
  Entry stale = Version(5);
  stale.stale = true;
  Keep("stale", stale);
  Keep("large", Version(5, std::string((256 << 10) + 1, 'x')));
  Keep("largest", Version(5, std::string(256 << 10, 'x')));
  Keep("unversioned", Version(0));
  EXPECT_EQ(VersionOf("stale") + VersionOf("large") + VersionOf("unversioned"), 0u);
  EXPECT_EQ(VersionOf("dependent"), 0u);
  EXPECT_EQ(VersionOf("largest"), 5u);
  EXPECT_EQ(Stats().refused, 4u);
}

TEST_F(NearTableTest, QuestionIsCurrentUntilSomethingConcernsItsKey) {
  const NearTable::Ticket asked = Ask("k");
  table_.Changed("other", 6);
  EXPECT_TRUE(table_.IsCurrent(asked));
  table_.Changed("k", 1);
  EXPECT_FALSE(table_.IsCurrent(asked));
  const NearTable::Ticket again = Ask("k");
  EXPECT_TRUE(table_.IsCurrent(again));
  table_.Ruled({WatchRule::Kind::kTag, "t", false}, 1, kSecond);
  EXPECT_FALSE(table_.IsCurrent(again));
  const NearTable::Ticket third = Ask("k");
  table_.DropStream(0);
  EXPECT_FALSE(table_.IsCurrent(third));
}

TEST_F(NearTableTest, StaysWithinItsBytesAndKeepsWhatIsUsed) {
  for (int hot = 0; hot < 100; ++hot) Keep("hot" + std::to_string(hot), Version(5, "v"));
  for (int i = 0; i < 200'000; ++i) {
    const std::string key = "scan" + std::to_string(i);
    Keep(key, Version(5, std::string(static_cast<size_t>(i % 700), 'x')));
    if (i % 20 == 0) VersionOf("hot" + std::to_string(i / 20 % 100));
    if (i % 10'000 == 0) {
      table_.CheckInvariants();
      EXPECT_LE(Stats().bytes, size_t{1} << 20);
    }
  }
  const NearStats stats = Stats();
  EXPECT_GT(stats.evicted, 100'000u);
  EXPECT_GT(stats.bytes, size_t{900} << 10);  // it is full, and not by half
  int hot_left = 0;
  for (int hot = 0; hot < 100; ++hot) hot_left += VersionOf("hot" + std::to_string(hot)) != 0;
  EXPECT_GE(hot_left, 95);
}

TEST_F(NearTableTest, AThousandTinyCopiesDoNotGrowTheIndexBeyondItsPart) {
  for (int i = 0; i < 100'000; ++i) Keep(std::to_string(i), Version(5, ""));
  EXPECT_LE(Stats().bytes, size_t{1} << 20);
  EXPECT_GT(Stats().entries, 5'000u);
}

// A model that knows the truth: whatever happens, what is served is not older than the newest
// change that was told before.
TEST_F(NearTableTest, NeverServesWhatAChangeHasMadeUntrue) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    NearTable table(1 << 20, 1 << 10, 3600 * kSecond);
    Follow(&table);
    std::mt19937_64 random(seed);
    const auto draw = [&random](uint64_t below) { return random() % below; };
    struct Question {
      NearTable::Ticket ticket;
      std::string key;
      uint64_t answer;  // what the server had when it was asked
      int64_t at;
    };
    std::map<std::string, uint64_t> truth;  // versions at the server
    std::map<std::string, uint64_t> told;   // the least version that may be served
    std::vector<Question> questions;
    uint64_t version = 1;
    int64_t now = kSecond;
    uint64_t served = 0;
    for (int step = 0; step < 20'000; ++step) {
      const std::string key = (draw(2) ? "a:" : "b:") + std::to_string(draw(40));
      now += static_cast<int64_t>(draw(kSecond / 100));
      switch (draw(10)) {
        case 0:  // a change, told at once
          truth[key] = ++version;
          table.Changed(key, version);
          told[key] = version;
          break;
        case 1: {  // a rule
          if (draw(20) != 0) break;
          const std::string prefix = draw(2) ? "a:" : "b:";
          ++version;
          table.Ruled({WatchRule::Kind::kPrefix, prefix, false}, version, now);
          for (auto& [k, v] : truth) {
            if (k.rfind(prefix, 0) == 0) told[k] = version + 1, v = 0;
          }
          break;
        }
        case 2:  // changes are lost
          if (draw(200) != 0) break;
          truth[key] = ++version;
          told[key] = version;
          table.DropStream(0);
          table.SetFollowed(0);
          break;
        case 3:
        case 4:
        case 5:  // an answer arrives
          if (questions.empty()) break;
          {
            const size_t at = draw(questions.size());
            const Question question = questions[at];
            questions.erase(questions.begin() + static_cast<std::ptrdiff_t>(at));
            if (question.answer == 0) break;
            table.Land(question.ticket, question.key, Version(question.answer), now);
          }
          break;
        default: {  // a read
          NearTable::Ticket ticket;
          const NearValue found(table.Find(key, 0, now, &ticket));
          if (found) {
            ++served;
            ASSERT_GE(found.version(), told[key]) << key << ", seed " << seed << ", step " << step;
          } else if (questions.size() < 100) {
            questions.push_back({ticket, key, truth[key], now});
          }
        }
      }
    }
    EXPECT_GT(served, 100u);
    table.CheckInvariants();
  }
}

TEST_F(NearTableTest, ThreadsShareIt) {
  std::vector<std::thread> threads;
  std::atomic<uint64_t> version{10};
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937_64 random(static_cast<uint64_t>(t));
      for (int i = 0; i < 20'000; ++i) {
        const std::string key = std::to_string(random() % 500);
        NearTable::Ticket ticket;
        const NearValue found(table_.Find(key, 0, kSecond, &ticket));
        if (found) {
          EXPECT_EQ(found.value(), key + "=" + std::to_string(found.version()));
        } else {
          const uint64_t made = ++version;
          table_.Land(ticket, key, Version(made, key + "=" + std::to_string(made)), kSecond);
        }
        if (i % 10 == 0) table_.Changed(key, ++version);
        if (i % 1'000 == 0) table_.Ruled({WatchRule::Kind::kTag, "t", false}, ++version, kSecond);
        if (t == 0 && i % 5'000 == 0) {
          table_.DropStream(0);
          table_.SetFollowed(0);
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_GT(Stats().hits, 100u);
}

}  // namespace
}  // namespace larder::internal
