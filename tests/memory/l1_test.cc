#include "memory/l1.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "core/key.h"

namespace larder {
namespace {

std::string Full(const std::string& key) { return std::string(FullKey("", key).view()); }

class L1Test : public testing::Test {
 protected:
  L1Test() { Make(L1::kBudgetBytesMin); }
  ~L1Test() override { EXPECT_TRUE(l1_->CheckInvariants()); }

  void Make(uint64_t budget) {
    L1::Options options;
    options.budget_bytes = budget;
    options.entry_bytes_max = 64 << 10;
    options.clock = &clock_;
    l1_ = L1::New(options);
  }

  EntryPtr NewEntry(const std::string& key, const std::string& value, Version version,
                    absl::Duration ttl = absl::Minutes(1)) {
    const std::string full_key = Full(key);
    EntryFields fields;
    fields.full_key = full_key;
    fields.value = value;
    fields.version = version;
    fields.written = clock_.Mono();
    fields.fresh_until = fields.usable_until = MonoAfter(clock_.Mono(), ttl);
    return Entry::New(fields);
  }
  InsertOutcome Insert(const std::string& key, const std::string& value, Version version,
                       Expect expect = {}, absl::Duration ttl = absl::Minutes(1)) {
    return l1_->Insert(NewEntry(key, value, version, ttl), expect).outcome;
  }
  std::string Value(const std::string& key) {
    const L1Lookup found = l1_->Find(Full(key));
    return found.entry ? std::string(found.entry->value()) : "(none)";
  }

  ManualClock clock_;
  std::unique_ptr<L1> l1_;
};

TEST_F(L1Test, FindsWhatWasInserted) {
  EXPECT_EQ(Insert("a", "1", 10), InsertOutcome::kStored);
  EXPECT_EQ(Value("a"), "1");
  EXPECT_EQ(Value("b"), "(none)");
  EXPECT_EQ(l1_->Find(Full("a")).entry->hits(), 2u);
  EXPECT_EQ(l1_->Peek(Full("a")).entry->hits(), 2u);
}

TEST_F(L1Test, KeepsNewerVersionWhenOlderArrivesLate) {
  Insert("a", "new", 20);
  EXPECT_EQ(Insert("a", "old", 10), InsertOutcome::kNewerExists);
  EXPECT_EQ(Value("a"), "new");
  EXPECT_EQ(Insert("a", "newer", 30), InsertOutcome::kStored);
  EXPECT_EQ(Value("a"), "newer");
}

TEST_F(L1Test, ExpiresAtItsTimeAndSaysSo) {
  Insert("a", "1", 10, {}, absl::Seconds(5));
  clock_.Advance(absl::Seconds(5) - absl::Nanoseconds(1));
  EXPECT_EQ(Value("a"), "1");
  clock_.Advance(absl::Nanoseconds(1));
  EXPECT_EQ(l1_->Peek(Full("a")).why, MissReason::kExpired);
  const L1Lookup gone = l1_->Find(Full("a"));
  EXPECT_FALSE(gone.entry);
  EXPECT_EQ(gone.why, MissReason::kExpired);
  EXPECT_EQ(l1_->Usage().total.expirations, 1u);
}

TEST_F(L1Test, WallClockJumpsChangeNothing) {
  Insert("a", "1", 10, {}, absl::Seconds(5));
  clock_.JumpWall(absl::Hours(1));
  EXPECT_EQ(Value("a"), "1");
  clock_.JumpWall(-absl::Hours(2));
  clock_.Advance(absl::Seconds(5));
  EXPECT_EQ(Value("a"), "(none)");
}

TEST_F(L1Test, ErasesUpToAVersionAndSaysInvalidated) {
  Insert("a", "1", 10);
  EXPECT_FALSE(l1_->Erase(Full("a"), 9).existed);
  EXPECT_EQ(Value("a"), "1");
  EXPECT_TRUE(l1_->Erase(Full("a"), 10).existed);
  EXPECT_EQ(l1_->Find(Full("a")).why, MissReason::kInvalidated);
  EXPECT_FALSE(l1_->Erase(Full("a"), 11).existed);
}

TEST_F(L1Test, ConditionsAreDecidedByWhatIsLive) {
  using K = Expect::Kind;
  EXPECT_EQ(Insert("a", "1", 10, {K::kPresent, 0}), InsertOutcome::kConditionFailed);
  EXPECT_EQ(Insert("a", "1", 11, {K::kVersion, 10}), InsertOutcome::kConditionFailed);
  EXPECT_EQ(Insert("a", "1", 12, {K::kAbsent, 0}), InsertOutcome::kStored);
  EXPECT_EQ(Insert("a", "2", 13, {K::kAbsent, 0}), InsertOutcome::kConditionFailed);
  EXPECT_EQ(Insert("a", "2", 14, {K::kVersion, 12}), InsertOutcome::kStored);
  EXPECT_EQ(Insert("a", "3", 15, {K::kPresent, 0}, absl::Seconds(1)), InsertOutcome::kStored);
  clock_.Advance(absl::Seconds(1));
  EXPECT_EQ(Insert("a", "4", 16, {K::kPresent, 0}), InsertOutcome::kConditionFailed);
  EXPECT_EQ(Insert("a", "4", 17, {K::kAbsent, 0}), InsertOutcome::kStored);
}

TEST_F(L1Test, VersionTakenBeforeANewerOneLeftHasToBeTakenAnew) {
  // A Set takes version 10 and is held up. Another takes 20, lands and expires. The first must not
  // land as if nothing newer had been there.
  Insert("a", "newer", 20, {}, absl::Seconds(1));
  clock_.Advance(absl::Seconds(2));
  EXPECT_EQ(Insert("a", "older", 10), InsertOutcome::kOutdated);
  EXPECT_EQ(Insert("a", "older", 21), InsertOutcome::kStored);
}

TEST_F(L1Test, FillLandsWhenNothingChanged) {
  const FillTicket ticket = l1_->BeginFill(Full("a"));
  EXPECT_EQ(l1_->Fill(NewEntry("a", "loaded", 10), ticket).outcome, InsertOutcome::kStored);
  EXPECT_EQ(Value("a"), "loaded");
  EXPECT_EQ(l1_->Fill(NewEntry("a", "again", 11), ticket).outcome, InsertOutcome::kTicketLost);
}

TEST_F(L1Test, FillThatBeganBeforeAChangeNeverLands) {
  const FillTicket before_set = l1_->BeginFill(Full("a"));
  const InsertResult set = l1_->Insert(NewEntry("a", "set", 20, absl::Seconds(1)), {});
  EXPECT_EQ(set.cancelled, before_set);
  EXPECT_EQ(l1_->Fill(NewEntry("a", "stale", 10), before_set).outcome, InsertOutcome::kTicketLost);
  clock_.Advance(absl::Seconds(1));
  EXPECT_EQ(l1_->Fill(NewEntry("a", "stale", 10), before_set).outcome, InsertOutcome::kTicketLost);
  EXPECT_EQ(Value("a"), "(none)");

  const FillTicket before_erase = l1_->BeginFill(Full("a"));
  EXPECT_EQ(l1_->Erase(Full("a"), 30).cancelled, before_erase);
  EXPECT_EQ(l1_->Fill(NewEntry("a", "stale", 25), before_erase).outcome,
            InsertOutcome::kTicketLost);
  EXPECT_EQ(Value("a"), "(none)");
}

TEST_F(L1Test, ChangesOfOtherKeysLeaveAFillAlone) {
  const FillTicket ticket = l1_->BeginFill(Full("a"));
  for (int i = 0; i < 1000; ++i) Insert("k" + std::to_string(i), "x", 100 + i);
  l1_->Erase(Full("b"), 5000);
  EXPECT_EQ(l1_->Fill(NewEntry("a", "loaded", 10), ticket).outcome, InsertOutcome::kStored);
}

TEST_F(L1Test, RefusesAnEntryTooLargeForItsShardAndTicketsBeyondTheirShare) {
  EXPECT_EQ(Insert("a", std::string(3 << 20, 'x'), 10), InsertOutcome::kTooLarge);
  size_t refused = 0;
  for (int i = 0; i < 100'000; ++i) refused += l1_->BeginFill(Full("k" + std::to_string(i))) == 0;
  EXPECT_GT(refused, 0u);
  EXPECT_LE(l1_->Usage().bytes, l1_->Usage().budget_bytes);
}

TEST_F(L1Test, NeverAboveItsBudgetWhateverComes) {
  std::mt19937_64 random(7);
  for (int i = 0; i < 30'000; ++i) {
    const size_t size = random() % 10 == 0 ? random() % 60'000 : random() % 300;
    Insert("key:" + std::to_string(random() % 5000), std::string(size, 'x'), 10 + i);
    if (i % 1000 == 0) {
      ASSERT_LE(l1_->Usage().bytes, l1_->Usage().budget_bytes);
      ASSERT_TRUE(l1_->CheckInvariants());
    }
  }
  EXPECT_GT(l1_->Usage().total.evictions, 0u);
  EXPECT_GT(l1_->Usage().bytes, l1_->Usage().budget_bytes / 2);
}

TEST_F(L1Test, KeepsWhatIsReadWhenItHasToEvict) {
  Version version = 0;
  for (int i = 0; i < 200; ++i)
    Insert("hot:" + std::to_string(i), std::string(100, 'h'), ++version);
  for (int i = 0; i < 100'000; ++i) {
    Insert("once:" + std::to_string(i), std::string(100, 'o'), ++version);
    if (i % 10 == 0) l1_->Find(Full("hot:" + std::to_string(i / 10 % 200)));
  }
  int kept = 0;
  for (int i = 0; i < 200; ++i) kept += Value("hot:" + std::to_string(i)) != "(none)";
  EXPECT_EQ(kept, 200);
}

TEST_F(L1Test, SweepFreesWhatExpiredUntouched) {
  for (int i = 0; i < 5000; ++i) Insert("k" + std::to_string(i), "x", 10 + i, {}, absl::Seconds(1));
  Insert("long", "x", 9999);
  const uint64_t before = l1_->Usage().bytes;
  clock_.Advance(absl::Seconds(2));
  for (int i = 0; i < 200; ++i) l1_->Sweep(0.02);
  EXPECT_EQ(l1_->Usage().total.entries, 1u);
  EXPECT_LT(l1_->Usage().bytes, before / 4);
  EXPECT_EQ(Value("long"), "x");
}

// A plain map with versions and expiry, which the store has to agree with as long as nothing is
// evicted.
TEST_F(L1Test, AgreesWithAPlainMapOverRandomOperations) {
  struct Model {
    std::string value;
    Version version;
    MonoNanos until;
  };
  for (const uint64_t seed : {1, 2, 3}) {
    SCOPED_TRACE(seed);
    Make(64 << 20);
    std::mt19937_64 random(seed);
    std::map<std::string, Model> model;
    Version version = 100;
    for (int step = 0; step < 200'000; ++step) {
      const std::string key = "k" + std::to_string(random() % 300);
      const auto it = model.find(key);
      const bool live = it != model.end() && it->second.until > clock_.Mono();
      switch (random() % 5) {
        case 0:
        case 1: {
          const auto ttl = absl::Milliseconds(1 + random() % 5000);
          const std::string value(random() % 200, static_cast<char>('a' + random() % 26));
          Expect expect;
          if (random() % 3 == 0) expect.kind = Expect::Kind::kAbsent;
          const InsertOutcome outcome = Insert(key, value, ++version, expect, ttl);
          if (expect.kind == Expect::Kind::kAbsent && live) {
            ASSERT_EQ(outcome, InsertOutcome::kConditionFailed);
          } else {
            ASSERT_EQ(outcome, InsertOutcome::kStored);
            model[key] = {value, version, MonoAfter(clock_.Mono(), ttl)};
          }
          break;
        }
        case 2:
          ASSERT_EQ(l1_->Erase(Full(key), ++version).existed, live);
          model.erase(key);
          break;
        case 3:
          ASSERT_EQ(Value(key), live ? it->second.value : "(none)");
          break;
        case 4:
          clock_.Advance(absl::Microseconds(random() % 3000));
          if (random() % 50 == 0) l1_->Sweep(0.1);
          break;
      }
    }
    ASSERT_TRUE(l1_->CheckInvariants());
  }
}

TEST(L1ConcurrencyTest, ReadersSeeWholeValuesWhileWritersEvict) {
  const std::unique_ptr<L1> l1 =
      L1::New({.budget_bytes = L1::kBudgetBytesMin, .entry_bytes_max = 64 << 10});
  std::atomic<Version> version{1};
  std::atomic<bool> torn{false};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937_64 random(static_cast<uint64_t>(t));
      for (int i = 0; i < 30'000; ++i) {
        const std::string key =
            std::string(FullKey("", "k" + std::to_string(random() % 2000)).view());
        if (random() % 2 == 0) {
          EntryFields fields;
          const std::string value(1 + random() % 8000, static_cast<char>('a' + random() % 26));
          fields.full_key = key;
          fields.value = value;
          fields.version = ++version;
          fields.fresh_until = fields.usable_until =
              MonoAfter(Clock::System()->Mono(), absl::Milliseconds(random() % 50));
          l1->Insert(Entry::New(fields), {});
        } else if (const EntryPtr entry = l1->Find(key).entry) {
          const std::string_view value = entry->value();
          if (value.find_first_not_of(value[0]) != std::string_view::npos) torn = true;
        }
        if (i % 1000 == 0) l1->Sweep(0.05);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_FALSE(torn);
  EXPECT_TRUE(l1->CheckInvariants());
}

}  // namespace
}  // namespace larder
