#include "memory/l1.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "core/key.h"
#include "core/version.h"

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

  // `full_key` and `value` are what the fields refer to.
  EntryFields Fields(std::string_view full_key, std::string_view value, Version version,
                     absl::Duration ttl = absl::Minutes(1)) {
    EntryFields fields;
    fields.full_key = full_key;
    fields.value = value;
    fields.version = version;
    fields.fresh_until = fields.usable_until = MonoAfter(clock_.Mono(), ttl);
    return fields;
  }
  InsertOutcome Insert(const std::string& key, const std::string& value, Version version,
                       Expect expect = {}, absl::Duration ttl = absl::Minutes(1)) {
    const std::string full_key = Full(key);
    return l1_->Insert(Fields(full_key, value, version, ttl), expect, clock_.Mono()).outcome;
  }
  InsertOutcome InsertAs(uint16_t type, const std::string& key, const std::string& value) {
    const std::string full_key = Full(key);
    EntryFields fields = Fields(full_key, value, ++version_);
    fields.type_id = type;
    return l1_->Insert(fields, {}, clock_.Mono()).outcome;
  }
  InsertOutcome Fill(const std::string& key, const std::string& value, Version version,
                     FillTicket ticket) {
    const std::string full_key = Full(key);
    return l1_->Fill(Fields(full_key, value, version), ticket, clock_.Mono()).outcome;
  }
  bool Find(const std::string& key) { return l1_->Find(Full(key), clock_.Mono(), &entry_, &why_); }
  bool Peek(const std::string& key) { return l1_->Peek(Full(key), clock_.Mono(), &entry_, &why_); }
  std::string Value(const std::string& key) {
    return Find(key) ? std::string(entry_.stored()) : "(none)";
  }
  EraseResult Erase(const std::string& key, Version version) {
    return l1_->Erase(Full(key), version, clock_.Mono());
  }
  void SetBudget(uint64_t budget) {
    for (int i = 0; i < 10'000 && !l1_->SetBudget(budget); ++i) {
    }
  }
  L1Tally TypeTally(size_t type) {
    const L1Usage usage = l1_->Usage();
    return type < usage.by_type.size() ? usage.by_type[type] : L1Tally();
  }

  ManualClock clock_;
  std::unique_ptr<L1> l1_;
  Entry entry_;
  MissReason why_ = MissReason::kAbsent;
  Version version_ = 1;
};

TEST_F(L1Test, FindsWhatWasInserted) {
  EXPECT_EQ(Insert("a", "1", 10), InsertOutcome::kStored);
  EXPECT_EQ(Value("a"), "1");
  EXPECT_EQ(Value("b"), "(none)");
  ASSERT_TRUE(Find("a"));
  EXPECT_EQ(entry_.hits, 2u);
  ASSERT_TRUE(Peek("a"));
  EXPECT_EQ(entry_.hits, 2u);
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
  EXPECT_FALSE(Peek("a"));
  EXPECT_EQ(why_, MissReason::kExpired);
  EXPECT_FALSE(Find("a"));
  EXPECT_EQ(why_, MissReason::kExpired);
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
  EXPECT_FALSE(Erase("a", 9).existed);
  EXPECT_EQ(Value("a"), "1");
  EXPECT_TRUE(Erase("a", 10).existed);
  EXPECT_FALSE(Find("a"));
  EXPECT_EQ(why_, MissReason::kInvalidated);
  EXPECT_FALSE(Erase("a", 11).existed);
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
  EXPECT_EQ(Fill("a", "loaded", 10, ticket), InsertOutcome::kStored);
  EXPECT_EQ(Value("a"), "loaded");
  EXPECT_EQ(Fill("a", "again", 11, ticket), InsertOutcome::kTicketLost);
}

TEST_F(L1Test, FillThatBeganBeforeAChangeNeverLands) {
  const FillTicket before_set = l1_->BeginFill(Full("a"));
  const std::string full_key = Full("a");
  const std::string value = "set";
  const InsertResult set =
      l1_->Insert(Fields(full_key, value, 20, absl::Seconds(1)), {}, clock_.Mono());
  EXPECT_EQ(set.cancelled, before_set);
  EXPECT_EQ(Fill("a", "stale", 10, before_set), InsertOutcome::kTicketLost);
  clock_.Advance(absl::Seconds(1));
  EXPECT_EQ(Fill("a", "stale", 10, before_set), InsertOutcome::kTicketLost);
  EXPECT_EQ(Value("a"), "(none)");

  const FillTicket before_erase = l1_->BeginFill(Full("a"));
  EXPECT_EQ(Erase("a", 30).cancelled, before_erase);
  EXPECT_EQ(Fill("a", "stale", 25, before_erase), InsertOutcome::kTicketLost);
  EXPECT_EQ(Value("a"), "(none)");
}

TEST_F(L1Test, ChangesOfOtherKeysLeaveAFillAlone) {
  const FillTicket ticket = l1_->BeginFill(Full("a"));
  for (int i = 0; i < 1000; ++i) Insert("k" + std::to_string(i), "x", 100 + i);
  Erase("b", 5000);
  EXPECT_EQ(Fill("a", "loaded", 10, ticket), InsertOutcome::kStored);
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
  EXPECT_GT(l1_->Usage().total.evicted(), 0u);
  EXPECT_GT(l1_->Usage().bytes, l1_->Usage().budget_bytes / 2);
}

TEST_F(L1Test, KeepsWhatIsReadWhenItHasToEvict) {
  Version version = 0;
  for (int i = 0; i < 200; ++i)
    Insert("hot:" + std::to_string(i), std::string(100, 'h'), ++version);
  for (int i = 0; i < 100'000; ++i) {
    Insert("once:" + std::to_string(i), std::string(100, 'o'), ++version);
    if (i % 10 == 0) Find("hot:" + std::to_string(i / 10 % 200));
  }
  int kept = 0;
  for (int i = 0; i < 200; ++i) kept += Value("hot:" + std::to_string(i)) != "(none)";
  EXPECT_GE(kept, 190);
}

TEST_F(L1Test, SweepFreesWhatExpiredUntouched) {
  for (int i = 0; i < 5000; ++i) Insert("k" + std::to_string(i), "x", 10 + i, {}, absl::Seconds(1));
  Insert("long", "x", 9999);
  const uint64_t before = l1_->Usage().bytes;
  clock_.Advance(absl::Seconds(2));
  while (l1_->Sweep(clock_.Mono())) {
  }
  EXPECT_EQ(l1_->Usage().total.entries, 1u);
  EXPECT_EQ(l1_->Usage().total.expirations, 5000u);
  EXPECT_LT(l1_->Usage().dead_bytes, before / 20);
  EXPECT_EQ(Value("long"), "x");
}

TEST_F(L1Test, HitsFadeByHalfEachHalfLifeAndLiveOnInTheNextVersion) {
  Insert("a", "1", 10, {}, absl::Hours(5));
  for (int i = 0; i < 40; ++i) Find("a");
  Peek("a");
  EXPECT_EQ(entry_.hits, 40u);
  clock_.Advance(absl::Minutes(10));
  while (l1_->Sweep(clock_.Mono())) {
  }
  Peek("a");
  EXPECT_EQ(entry_.hits, 20u);
  EXPECT_EQ(Insert("a", "2", 11, {}, absl::Minutes(15)), InsertOutcome::kStored);
  Peek("a");
  EXPECT_EQ(entry_.hits, 20u);
  clock_.Advance(absl::Minutes(10));
  while (l1_->Sweep(clock_.Mono())) {
  }
  Find("a");
  EXPECT_EQ(entry_.hits, 11u);
  // Also after it expired, while it is remembered.
  clock_.Advance(absl::Minutes(5));
  EXPECT_FALSE(Peek("a"));
  EXPECT_EQ(entry_.hits, 11u);
  EXPECT_EQ(Insert("a", "3", 12), InsertOutcome::kStored);
  Peek("a");
  EXPECT_EQ(entry_.hits, 11u);
}

TEST_F(L1Test, CountsManyHitsWithinAFewPercent) {
  Insert("a", "1", 10);
  for (int i = 0; i < 200'000; ++i) Find("a");
  Peek("a");
  EXPECT_GT(entry_.hits, 180'000u);
  EXPECT_LT(entry_.hits, 220'000u);
}

TEST_F(L1Test, SlidingEntriesLiveOnWithEachHitAndEndWithoutOne) {
  const std::string full_key = Full("s");
  for (const absl::Duration ttl : {absl::Hours(2), absl::Hours(24 * 100)}) {
    EntryFields fields = Fields(full_key, "session", ++version_, ttl);
    fields.sliding = absl::ToInt64Nanoseconds(ttl);
    ASSERT_EQ(l1_->Insert(fields, {}, clock_.Mono()).outcome, InsertOutcome::kStored);
    for (int i = 0; i < 10; ++i) {
      clock_.Advance(ttl * 0.9);
      while (l1_->Sweep(clock_.Mono())) {
      }
      ASSERT_EQ(Value("s"), "session");
      EXPECT_EQ(entry_.usable_until, clock_.Mono() + fields.sliding);
    }
    clock_.Advance(ttl * 0.9);
    EXPECT_TRUE(Peek("s"));  // leaves no trace
    clock_.Advance(ttl * 0.1);
    EXPECT_EQ(Value("s"), "(none)");
  }
}

TEST_F(L1Test, HoldsValuesOfEverySizeWithTagsAndEncodings) {
  Make(64 << 20);
  std::mt19937_64 random(3);
  for (uint32_t size = 1; size <= 1 << 20; size = size * 3 / 2 + 1) {
    const std::string key = "size:" + std::to_string(size);
    const std::string full_key = Full(key);
    std::string value(size, '\0');
    for (char& byte : value) byte = static_cast<char>(random());
    EntryFields fields = Fields(full_key, value, ++version_);
    fields.tags = {"tag:" + std::to_string(size), "b"};
    fields.depends_on = {"parent"};
    fields.encoding = 7;
    fields.plain_bytes = 3 * size;
    ASSERT_EQ(l1_->Insert(fields, {}, clock_.Mono()).outcome, InsertOutcome::kStored);
    ASSERT_TRUE(Find(key));
    EXPECT_EQ(entry_.stored(), value);
    EXPECT_EQ(entry_.tags, fields.tags);
    EXPECT_EQ(entry_.depends_on, fields.depends_on);
    EXPECT_EQ(entry_.encoding, 7);
    EXPECT_EQ(entry_.value_bytes(), 3 * size);
  }
  EXPECT_EQ(l1_->EntriesEncoded(7), l1_->Usage().total.entries);
  EXPECT_EQ(l1_->Usage().total.encoded_bytes, l1_->Usage().total.value_bytes);
  Erase("size:1", ++version_);
  EXPECT_EQ(l1_->EntriesEncoded(7), l1_->Usage().total.entries);
}

TEST_F(L1Test, LargeValuesStayValidWhileTheyAreHeldWhateverIsEvicted) {
  const std::string value(50'000, 'v');
  ASSERT_EQ(Insert("a", value, 10), InsertOutcome::kStored);
  ASSERT_TRUE(Find("a"));
  ASSERT_TRUE(entry_.shared);  // handed out without a copy
  const Entry held = entry_;
  Erase("a", 11);
  for (int i = 0; i < 1000; ++i) Insert("k" + std::to_string(i), std::string(50'000, 'x'), 100 + i);
  EXPECT_EQ(held.stored(), value);
}

TEST_F(L1Test, TypesHaveSharesThatOthersCannotTakeAndCannotExceed) {
  L1::Options options;
  options.budget_bytes = 8 << 20;
  options.entry_bytes_max = 64 << 10;
  options.clock = &clock_;
  options.types.resize(3);
  options.types[1].share_min = 0.2;
  options.types[2].share_max = 0.03;
  l1_ = L1::New(options);
  const auto budget = static_cast<double>(options.budget_bytes);
  const std::string value(200, 'x');
  for (int i = 0; i < 20'000; ++i) InsertAs(1, "minimum:" + std::to_string(i), value);
  // A flood of one type, which is even read, leaves another its minimum.
  for (int i = 0; i < 200'000; ++i) {
    InsertAs(0, "flood:" + std::to_string(i), value);
    Find("flood:" + std::to_string(i));
    Find("flood:" + std::to_string(i - 10));
  }
  EXPECT_GT(static_cast<double>(TypeTally(1).bytes()), 0.18 * budget);
  EXPECT_GT(static_cast<double>(TypeTally(0).bytes()), 0.6 * budget);
  for (int i = 0; i < 50'000; ++i) {
    InsertAs(2, "maximum:" + std::to_string(i), value);
    Find("maximum:" + std::to_string(i));
    ASSERT_LE(static_cast<double>(TypeTally(2).bytes()), 0.03 * budget);
  }
  EXPECT_GT(static_cast<double>(TypeTally(2).bytes()), 0.02 * budget);
  EXPECT_GT(TypeTally(2).evictions[static_cast<size_t>(EvictionCause::kTypeFull)], 0u);
}

// What a type keeps within its maximum share is as well chosen as in a cache of its own.
TEST_F(L1Test, WithinItsMaximumShareATypeKeepsWhatIsReadMost) {
  const auto hits_of = [&](uint64_t budget, double share_max) {
    L1::Options options;
    options.budget_bytes = budget;
    options.entry_bytes_max = 64 << 10;
    options.clock = &clock_;
    options.types.resize(3);
    options.types[2].share_max = share_max;
    l1_ = L1::New(options);
    std::mt19937_64 random(7);
    const std::string value(200, 'x');
    int hits = 0;
    for (int i = 0; i < 600'000; ++i) {
      // Few keys are read again and again, most once or twice.
      const double drawn = std::generate_canonical<double, 53>(random);
      const auto key = static_cast<uint64_t>(std::pow(2e6, drawn));
      const std::string name = "k" + std::to_string(key);
      const bool hit = Find(name);
      if (i >= 200'000) hits += hit ? 1 : 0;
      if (!hit) InsertAs(2, name, value);
    }
    return hits;
  };
  const int alone = hits_of(2 << 20, 1);
  const int within = hits_of(32 << 20, 1.0 / 16);
  EXPECT_GT(alone, 200'000);
  EXPECT_GE(within, alone * 95 / 100);
}

// Whatever was moved meanwhile because it was read.
TEST_F(L1Test, AgesOfWhatIsEvictedCountFromWhenItWasWritten) {
  Make(16 << 20);
  VersionClock versions(&clock_, 1);
  for (int i = 0; i < 40'000; ++i)
    Insert("k" + std::to_string(i), std::string(300, 'x'), versions.Next(), {}, absl::Hours(1));
  for (int i = 0; i < 40'000; i += 2) Find("k" + std::to_string(i));
  const L1Tally before = l1_->Usage().total;
  clock_.Advance(absl::Minutes(1));
  SetBudget(2 << 20);
  const L1Tally after = l1_->Usage().total;
  const uint64_t evicted = after.evicted() - before.evicted();
  ASSERT_GT(evicted, 20'000u);
  EXPECT_NEAR(static_cast<double>(after.evicted_age_ms - before.evicted_age_ms),
              static_cast<double>(60'000 * evicted), static_cast<double>(100 * evicted));
}

TEST_F(L1Test, AgesOfWhatIsHeldCountFromWhenItWasWritten) {
  Make(16 << 20);
  VersionClock versions(&clock_, 1);
  const auto mean_age = [&] {
    const L1Usage usage = l1_->Usage();
    EXPECT_EQ(usage.total.ages_ms, usage.by_namespace.at(0).ages_ms);
    return usage.total.ages_ms / static_cast<int64_t>(std::max<uint64_t>(usage.total.entries, 1));
  };
  for (int i = 0; i < 100; ++i)
    Insert("old" + std::to_string(i), "v", versions.Next(), {}, absl::Hours(1));
  clock_.Advance(absl::Seconds(30));
  for (int i = 0; i < 100; ++i)
    Insert("new" + std::to_string(i), "v", versions.Next(), {}, absl::Hours(1));
  clock_.Advance(absl::Seconds(10));
  EXPECT_NEAR(mean_age(), 25'000, 2);
  // What is replaced is young again, and what has gone counts no more.
  for (int i = 0; i < 100; ++i)
    Insert("old" + std::to_string(i), "w", versions.Next(), {}, absl::Hours(1));
  EXPECT_NEAR(mean_age(), 5'000, 2);
  for (int i = 0; i < 100; ++i)
    Erase("new" + std::to_string(i), versions.Next());
  EXPECT_NEAR(mean_age(), 0, 2);
}

TEST_F(L1Test, SmallEntriesStayLongerThanLargeOnesOfAsManyHits) {
  Make(8 << 20);
  std::mt19937_64 random(5);
  const std::string small(100, 's');
  const std::string large(4000, 'l');
  int small_hits = 0;
  int large_hits = 0;
  for (int i = 0; i < 400'000; ++i) {
    const std::string number = std::to_string(random() % 20'000);
    const bool is_small = random() % 2 == 0;
    const std::string key = (is_small ? "small:" : "large:") + number;
    if (Find(key)) {
      ++(is_small ? small_hits : large_hits);
    } else {
      InsertAs(is_small ? 1 : 2, key, is_small ? small : large);
    }
  }
  // All of the small ones fit, and one of them costs a fortieth of a large one.
  EXPECT_GT(small_hits, 120'000);
  EXPECT_LT(large_hits, small_hits / 2);
}

TEST_F(L1Test, ShrinksInBoundedStepsAndGrowsAgain) {
  L1::Options options;
  options.budget_bytes = 16 << 20;
  options.budget_bytes_max = 64 << 20;
  options.entry_bytes_max = 64 << 10;
  options.clock = &clock_;
  l1_ = L1::New(options);
  for (int i = 0; i < 100'000; ++i) Insert("k" + std::to_string(i), std::string(300, 'x'), 10 + i);
  const uint64_t evicted = l1_->Usage().total.evicted();
  EXPECT_FALSE(l1_->SetBudget(2 << 20));  // more than one step
  EXPECT_LT(l1_->Usage().total.evicted() - evicted, 2000u);
  Insert("new", "x", 1'000'000);
  EXPECT_EQ(Value("new"), "x");
  SetBudget(2 << 20);
  EXPECT_LE(l1_->Usage().bytes, 2u << 20);
  EXPECT_TRUE(l1_->CheckInvariants());
  EXPECT_GT(l1_->Usage().total.evictions[static_cast<size_t>(EvictionCause::kShrink)], 0u);
  SetBudget(64 << 20);
  for (int i = 0; i < 150'000; ++i)
    Insert("m" + std::to_string(i), std::string(300, 'x'), 2'000'000 + i);
  EXPECT_GT(l1_->Usage().bytes, 48u << 20);
  EXPECT_LE(l1_->Usage().bytes, 64u << 20);
}

TEST_F(L1Test, KeysChosenToCollideElsewhereAreSpreadHere) {
  // Keys that differ in single bits and characters, as an attacker without the secret would try
  // them: every lookup stays short, which the time for all of them shows by ending at all.
  Make(32 << 20);
  for (int i = 0; i < 100'000; ++i) {
    std::string key(20, 'a');
    for (int bit = 0; bit < 17; ++bit) key[bit] = static_cast<char>('a' + ((i >> bit) & 1));
    ASSERT_EQ(Insert(key, "x", 10 + i), InsertOutcome::kStored);
  }
  EXPECT_EQ(l1_->Usage().total.entries, 100'000u);
  // Evenly filled tables are what the index needs 9 bytes an entry for; chains of collisions would
  // need more.
  EXPECT_LT(l1_->Usage().index_bytes, 1'600'000u);
}

// Live bytes as a part of the budget after a flood of `types` types, each with TTLs of its own.
double LiveShare(uint64_t budget, int types, size_t value_bytes) {
  ManualClock clock;
  L1::Options options;
  options.budget_bytes = budget;
  options.entry_bytes_max = 64 << 10;
  options.clock = &clock;
  const std::unique_ptr<L1> l1 = L1::New(options);
  std::mt19937_64 random(11);
  const std::string value(value_bytes, 'x');
  const uint64_t entries = 3 * budget / (value_bytes + 60);
  for (uint64_t i = 0; i < entries; ++i) {
    const uint64_t type = random() % static_cast<uint64_t>(types);
    const std::string full_key = Full("k" + std::to_string(i));
    EntryFields fields;
    fields.full_key = full_key;
    fields.value = value;
    fields.version = i + 1;
    fields.type_id = static_cast<uint16_t>(type);
    const absl::Duration ttl =
        absl::Minutes(1 + 7 * (type % 57)) * (0.9 + 0.002 * (random() % 100));
    fields.fresh_until = fields.usable_until = MonoAfter(clock.Mono(), ttl);
    EXPECT_EQ(l1->Insert(fields, {}, clock.Mono()).outcome, InsertOutcome::kStored);
  }
  EXPECT_TRUE(l1->CheckInvariants());
  return static_cast<double>(l1->Usage().total.bytes()) / static_cast<double>(budget);
}

TEST(L1FillTest, ManyTypesAndTtlsLeaveMostOfTheBudgetToEntries) {
  for (const uint64_t budget : {uint64_t{1} << 20, uint64_t{4} << 20, uint64_t{64} << 20}) {
    for (const int types : {1, 16, 40, 300}) {
      EXPECT_GT(LiveShare(budget, types, 300), 0.65) << budget << " bytes, " << types << " types";
    }
  }
}

TEST_F(L1Test, ServesOnAfterADeepShrink) {
  Make(64 << 20);
  const std::string value(8, 'x');
  for (int i = 0; i < 1'500'000; ++i) Insert("k" + std::to_string(i), value, 10 + i);
  SetBudget(4 << 20);
  EXPECT_LE(l1_->Usage().bytes, l1_->Usage().budget_bytes);
  for (int i = 0; i < 2000; ++i)
    ASSERT_EQ(Insert("after" + std::to_string(i), value, 2'000'000 + i), InsertOutcome::kStored);
  EXPECT_GT(l1_->Usage().total.entries, 10'000u);
}

TEST_F(L1Test, MinimumSharesThatTakeEverythingStillEvict) {
  L1::Options options;
  options.budget_bytes = 4 << 20;
  options.entry_bytes_max = 64 << 10;
  options.clock = &clock_;
  options.types.resize(2);
  options.types[0].share_min = 0.5;
  options.types[1].share_min = 0.5;
  l1_ = L1::New(options);
  const std::string value(100, 'x');
  for (int i = 0; i < 200'000; ++i)
    ASSERT_EQ(InsertAs(i % 2, "k" + std::to_string(i), value), InsertOutcome::kStored);
  EXPECT_GT(TypeTally(0).bytes(), 1u << 20);
  EXPECT_GT(TypeTally(1).bytes(), 1u << 20);
}

TEST_F(L1Test, AValueTooLargeToKeepTakesTheOneItReplacesWithIt) {
  Insert("a", "old", 10);
  const FillTicket ticket = l1_->BeginFill(Full("a"));
  EXPECT_EQ(Insert("a", std::string(3 << 20, 'x'), 11), InsertOutcome::kTooLarge);
  EXPECT_EQ(Value("a"), "(none)");
  EXPECT_EQ(Fill("a", "stale", 9, ticket), InsertOutcome::kTicketLost);
}

TEST_F(L1Test, TryBeginFillLeavesAFillThatIsUnderWayAlone) {
  const FillTicket load = l1_->BeginFill(Full("a"));
  EXPECT_EQ(l1_->TryBeginFill(Full("a")), 0u);
  EXPECT_TRUE(l1_->HasFill(Full("a"), load));
  l1_->EndFill(Full("a"), load);

  const FillTicket copy = l1_->TryBeginFill(Full("a"));
  EXPECT_NE(copy, 0u);
  EXPECT_NE(l1_->BeginFill(Full("a")), 0u) << "a load takes the place of a copy";
  EXPECT_EQ(Fill("a", "copy", 1, copy), InsertOutcome::kTicketLost);
}

TEST_F(L1Test, UnchangedHoldsForNothingAndForExactlyThatVersion) {
  const Expect unchanged{Expect::Kind::kUnchanged, 5};
  EXPECT_EQ(Insert("a", "v", 6, unchanged), InsertOutcome::kStored);
  EXPECT_EQ(Insert("a", "v", 7, unchanged), InsertOutcome::kConditionFailed);
  EXPECT_EQ(Insert("a", "v", 7, {Expect::Kind::kUnchanged, 6}), InsertOutcome::kStored);
}

TEST_F(L1Test, ListsEveryLiveEntryOnce) {
  Make(8 << 20);
  constexpr int kEntries = 20'000;
  for (int i = 0; i < kEntries; ++i) {
    const auto ttl = i % 4 == 0 ? absl::Milliseconds(1) : absl::Minutes(1);
    ASSERT_EQ(Insert("k" + std::to_string(i), "value", static_cast<Version>(i + 1), {}, ttl),
              InsertOutcome::kStored);
  }
  EXPECT_TRUE(Find("k1"));
  clock_.Advance(absl::Milliseconds(10));

  std::vector<L1::Listed> listed;
  uint64_t cursor = 0;
  int parts = 0;
  do {
    cursor = l1_->List(cursor, clock_.Mono(), &listed);
    ++parts;
  } while (cursor != 0);
  EXPECT_GT(parts, 1);
  std::set<std::string> keys;
  for (const L1::Listed& at : listed) {
    keys.insert(at.full_key);
    EXPECT_EQ(at.full_key, Full("k" + std::to_string(at.version - 1)));
    EXPECT_EQ(at.hits, at.version == 2 ? 1u : 0u);
  }
  EXPECT_EQ(keys.size(), listed.size());
  EXPECT_EQ(listed.size(), kEntries * 3 / 4);
}

}  // namespace
}  // namespace larder
