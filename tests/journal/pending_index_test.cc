#include "journal/pending_index.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "tests/journal/pending_rig.h"

namespace larder {
namespace {

TEST_F(PendingIndexTest, KeepsOnlyTheNewestWaitingWriteOfAKey) {
  EXPECT_FALSE(Insert("a", 5, 0));
  EXPECT_TRUE(Insert("a", 6, 0));
  EXPECT_EQ(erase_, std::vector<uint64_t>{1});
  EXPECT_EQ(index().depth(), 1u);
  EXPECT_EQ(index().NewestOf(FullKey("", "a").view())->version, 6u);
  EXPECT_EQ(index().NewestOf(FullKey("", "a").view())->seq, 2u);
}

TEST_F(PendingIndexTest, OlderWriteThatComesLateIsSuperseded) {
  Insert("a", 6, 0);
  EXPECT_TRUE(index().PlaceOf(FullKey("", "a").view(), 0, 5).superseded);
  EXPECT_TRUE(index().PlaceOf(FullKey("", "a").view(), 0, 6).superseded);
  EXPECT_TRUE(Insert("a", 5, 0));
  EXPECT_EQ(erase_, std::vector<uint64_t>{2});
  EXPECT_EQ(index().NewestOf(FullKey("", "a").view())->version, 6u);
}

TEST_F(PendingIndexTest, SupersedesByAWriteInFlightToo) {
  Insert("a", 6, 0);
  ASSERT_EQ(Keys(index().Take(0, 1'000 * kMs, true)), "a");
  EXPECT_TRUE(index().PlaceOf(FullKey("", "a").view(), 0, 5).superseded);
}

TEST_F(PendingIndexTest, DeliversEachWriteInTheOrderOfVersionsWithoutCoalescing) {
  policy().coalesce = false;
  Insert("a", 7, 0);
  Insert("a", 5, 0);
  Insert("a", 6, 0);
  EXPECT_EQ(index().depth(), 3u);
  std::vector<uint64_t> seqs;
  for (int i = 0; i < 3; ++i) {
    const auto call = index().Take(0, 1'000 * kMs, true);
    ASSERT_EQ(Keys(call), "a");
    EXPECT_EQ(Keys(index().Take(0, 1'000 * kMs, true)), "-") << "two of one key in flight";
    seqs.push_back(call->writes[0].seq);
    index().Done(call->writes[0].key, &erase_);
  }
  EXPECT_EQ(seqs, (std::vector<uint64_t>{2, 3, 1}));
  EXPECT_EQ(index().depth(), 0u);
}

TEST_F(PendingIndexTest, IsDueWhenTheDelayHasPassed) {
  policy().delay = absl::Milliseconds(50);
  Insert("a", 1, 0);
  EXPECT_FALSE(index().IsDue(0, 49 * kMs));
  EXPECT_EQ(index().NextDue(0, 10 * kMs), 50 * kMs);
  EXPECT_EQ(Keys(index().Take(0, 49 * kMs, true)), "-");
  EXPECT_TRUE(index().IsDue(0, 50 * kMs));
  EXPECT_EQ(Keys(index().Take(0, 50 * kMs, true)), "a");
}

TEST_F(PendingIndexTest, TakesThoseAlongThatAreNearlyDue) {
  policy().delay = absl::Milliseconds(40);
  Insert("a", 1, 0);
  Insert("b", 2, 10 * kMs);
  Insert("c", 3, 11 * kMs);
  EXPECT_EQ(Keys(index().Take(0, 40 * kMs, true)), "a b");
  EXPECT_EQ(index().NextDue(0, 40 * kMs), 51 * kMs);
}

TEST_F(PendingIndexTest, AFullBatchIsDueAtOnceUnlessWaitingSavesWrites) {
  policy().batch = 2;
  policy().coalesce = false;
  AddType("c", "other").batch = 2;
  Insert("a", 1, 0);
  EXPECT_FALSE(index().IsDue(0, 1));
  Insert("b", 2, 0);
  EXPECT_TRUE(index().IsDue(0, 1));
  Insert("a", 3, 0, "c");
  Insert("b", 4, 0, "c");
  EXPECT_FALSE(index().IsDue(1, 1));
}

TEST_F(PendingIndexTest, AKeyThatIsWrittenAgainKeepsItsPlaceAndItsTime) {
  Insert("a", 1, 0);
  Insert("b", 2, 1 * kMs);
  Insert("a", 3, 40 * kMs);
  EXPECT_EQ(Keys(index().Take(0, 50 * kMs, true)), "a b");
}

TEST_F(PendingIndexTest, ACallIsOfOneTypeAndNamespaceAndBounded) {
  policy().batch = 2;
  AddType("u", "db");
  Insert("a", 1, 0);
  Insert("b", 2, 0);
  Insert("c", 3, 0);
  Insert("d", 4, 0, "u");
  Insert("e", 5, 0, "t", "shop");
  std::map<std::string, int> taken;
  for (auto call = index().Take(0, 100 * kMs, true); call.has_value();
       call = index().Take(0, 100 * kMs, true)) {
    ++taken[Keys(call) + "/" + call->name_space];
  }
  const std::map<std::string, int> expected = {
      {"a b/default", 1}, {"c/default", 1}, {"d/default", 1}, {"e/shop", 1}};
  EXPECT_EQ(taken, expected);
}

TEST_F(PendingIndexTest, ACallIsBoundedByBytes) {
  options_.delivery_bytes_max = 100;
  Insert("a", 1, 0, "t", "", 300);
  Insert("b", 2, 0, "t", "", 60);
  Insert("c", 3, 0, "t", "", 40);
  Insert("d", 4, 0, "t", "", 1);
  EXPECT_EQ(Keys(index().Take(0, 100 * kMs, true)), "a");
  EXPECT_EQ(Keys(index().Take(0, 100 * kMs, true)), "b c");
  EXPECT_EQ(Keys(index().Take(0, 100 * kMs, true)), "d");
}

TEST_F(PendingIndexTest, GroupsTakeTurns) {
  policy().batch = 1;
  for (int i = 0; i < 5; ++i) Insert("a" + std::to_string(i), 1 + i, 0, "t", "big");
  Insert("b", 10, 40 * kMs, "t", "small");
  const MonoNanos now = 1'000 * kMs;
  EXPECT_EQ(Keys(index().Take(0, now, true)), "a0");
  EXPECT_EQ(Keys(index().Take(0, now, true)), "b");
  EXPECT_EQ(Keys(index().Take(0, now, true)), "a1");
}

TEST_F(PendingIndexTest, AFailedWriteComesAgainAfterAPauseThatGrowsUntilItIsDead) {
  policy().attempts = 3;
  policy().backoff = {absl::Milliseconds(100), absl::Seconds(1)};
  Insert("a", 1, 0);
  MonoNanos now = 100 * kMs;
  const absl::Time wall = absl::UnixEpoch();
  auto call = index().Take(0, now, true);
  ASSERT_EQ(Keys(call), "a");
  EXPECT_FALSE(index().Retry(call->writes[0].key, false, now, wall, &erase_));
  const MonoNanos first = index().NextDue(0, now) - now;
  EXPECT_GE(first, 50 * kMs);
  EXPECT_LE(first, 100 * kMs);
  EXPECT_EQ(Keys(index().Take(0, now + first - 1, true)), "-");
  now += first;
  call = index().Take(0, now, true);
  ASSERT_EQ(Keys(call), "a");
  EXPECT_FALSE(index().Retry(call->writes[0].key, false, now, wall + absl::Seconds(1), &erase_));
  const MonoNanos second = index().NextDue(0, now) - now;
  EXPECT_GE(second, 100 * kMs);
  now += second;
  call = index().Take(0, now, true);
  ASSERT_EQ(Keys(call), "a");
  EXPECT_TRUE(index().Retry(call->writes[0].key, false, now, wall + absl::Seconds(2), &erase_));
  const auto history = index().HistoryOf(call->writes[0].key);
  EXPECT_EQ(history.attempts, 3u);
  EXPECT_EQ(history.first, wall);
  EXPECT_EQ(history.last, wall + absl::Seconds(2));
  EXPECT_EQ(index().depth(), 1u);
  index().Buried(call->writes[0].key);
  EXPECT_EQ(index().depth(), 0u);
}

TEST_F(PendingIndexTest, ANewerWriteOfAFailedKeyBeginsItsAttemptsAnew) {
  policy().attempts = 2;
  Insert("a", 1, 0);
  auto call = index().Take(0, 100 * kMs, true);
  EXPECT_FALSE(index().Retry(call->writes[0].key, false, 0, absl::UnixEpoch(), &erase_));
  Insert("a", 2, 0);
  call = index().Take(0, 10'000 * kMs, true);
  ASSERT_EQ(Keys(call), "a");
  EXPECT_FALSE(index().Retry(call->writes[0].key, false, 0, absl::UnixEpoch(), &erase_));
}

TEST_F(PendingIndexTest, AFailedWriteIsNotTriedAgainWhenANewerOneWaits) {
  policy().attempts = 1;
  Insert("a", 1, 0);
  const auto call = index().Take(0, 100 * kMs, true);
  EXPECT_FALSE(Insert("a", 2, 0));
  EXPECT_EQ(index().depth(), 2u);
  EXPECT_FALSE(index().Retry(call->writes[0].key, false, 0, absl::UnixEpoch(), &erase_));
  EXPECT_EQ(index().depth(), 1u);
  EXPECT_EQ(erase_, std::vector<uint64_t>{1});
  EXPECT_EQ(index().NewestOf(FullKey("", "a").view())->version, 2u);
}

TEST_F(PendingIndexTest, KeysThatFailedLeaveHalfOfACallToTheOthers) {
  policy().batch = 4;
  for (const char* key : {"f", "g", "h", "i"}) Insert(key, 1, 0);
  const auto call = index().Take(0, 100 * kMs, true);
  ASSERT_EQ(call->writes.size(), 4u);
  for (const auto& taken : call->writes) {
    index().Retry(taken.key, false, 0, absl::UnixEpoch(), &erase_);
  }
  for (const char* key : {"a", "b", "c"}) Insert(key, 2, 0);
  const auto next = index().Take(0, 10'000 * kMs, true);
  ASSERT_EQ(next->writes.size(), 4u);
  EXPECT_NE(Keys(next).find("a b"), std::string::npos) << Keys(next);
}

TEST_F(PendingIndexTest, WhatIsReturnedComesFirstAndInOrder) {
  policy().batch = 2;
  for (const char* key : {"a", "b", "c"}) Insert(key, 1, 0);
  const auto call = index().Take(0, 100 * kMs, true);
  index().Return(*call, &erase_);
  EXPECT_EQ(Keys(index().Take(0, 100 * kMs, true)), "a b");
  EXPECT_TRUE(erase_.empty());
}

TEST_F(PendingIndexTest, LoneKeysGoInCallsOfTheirOwnByTurnsWithTheOthers) {
  for (const char* key : {"a", "b"}) Insert(key, 1, 0);
  const auto call = index().Take(0, 100 * kMs, true);
  for (const auto& taken : call->writes) index().GoAlone(taken.key, &erase_);
  Insert("c", 2, 0);
  EXPECT_EQ(Keys(index().Take(0, 200 * kMs, false)), "c");
  Insert("d", 2, 0);
  EXPECT_EQ(Keys(index().Take(0, 200 * kMs, true)), "a");
  EXPECT_EQ(Keys(index().Take(0, 200 * kMs, true)), "d");
  EXPECT_EQ(Keys(index().Take(0, 200 * kMs, true)), "b");
}

TEST_F(PendingIndexTest, WhatReachedTheOriginAnotherWayIsNotDelivered) {
  policy().coalesce = false;
  Insert("a", 1, 0);
  Insert("a", 2, 0);
  Insert("a", 3, 0);
  auto call = index().Take(0, 100 * kMs, true);
  EXPECT_EQ(index().Supersede(FullKey("", "a").view(), 0, 2, &erase_), 1u);
  EXPECT_EQ(erase_, std::vector<uint64_t>{2});
  // The one in flight needs no second attempt.
  EXPECT_FALSE(index().Retry(call->writes[0].key, true, 0, absl::UnixEpoch(), &erase_));
  EXPECT_EQ(index().depth(), 1u);
  EXPECT_EQ(index().NewestOf(FullKey("", "a").view())->version, 3u);
  EXPECT_EQ(index().Supersede(FullKey("", "a").view(), 0, 9, &erase_), 1u);
  EXPECT_EQ(index().depth(), 0u);
}

TEST_F(PendingIndexTest, ARecordThatItsSuccessorErasedIsNotLost) {
  Insert("a", 1, 0);
  EXPECT_EQ(index().PlaceOf(FullKey("", "a").view(), 0, 2).replaces, 1u);
  auto call = index().Take(0, 100 * kMs, true);
  // The batch is on disk, the index does not know it yet.
  EXPECT_TRUE(index().Vanished(call->writes[0].key, &erase_));
  EXPECT_TRUE(index().NewestOf(FullKey("", "a").view()).has_value()) << "reads must see a write";
  EXPECT_EQ(Keys(index().Take(0, 100 * kMs, true)), "-");
  Insert("a", 2, 0);
  EXPECT_EQ(Keys(index().Take(0, 100 * kMs, true)), "a");
  EXPECT_EQ(index().depth(), 1u);
}

TEST_F(PendingIndexTest, ARecordThatIsGoneForNoReasonIsLost) {
  Insert("a", 1, 0);
  auto call = index().Take(0, 100 * kMs, true);
  EXPECT_FALSE(index().Vanished(call->writes[0].key, &erase_));
  EXPECT_EQ(index().depth(), 0u);
}

TEST_F(PendingIndexTest, OneKeyAsTwoTypesIsTwoKeys) {
  AddType("u", "other");
  Insert("a", 1, 0);
  Insert("a", 2, 0, "u");
  EXPECT_EQ(index().depth(), 2u);
  EXPECT_EQ(index().NewestOf(FullKey("", "a").view())->version, 2u);
  EXPECT_EQ(Keys(index().Take(0, 100 * kMs, true)), "a");
  const auto call = index().Take(1, 100 * kMs, true);
  ASSERT_EQ(Keys(call), "a");
  index().Done(call->writes[0].key, &erase_);
  EXPECT_EQ(index().NewestOf(FullKey("", "a").view())->version, 1u);
}

TEST_F(PendingIndexTest, WritesOfUnknownTypesWait) {
  Insert("a", 1, 0, "gone");
  EXPECT_EQ(index().TypeOf("gone"), kNoPendingType);
  EXPECT_EQ(index().depth(), 1u);
  EXPECT_EQ(index().deliverable(), 0u);
  EXPECT_EQ(Keys(index().Take(0, 1'000'000 * kMs, true)), "-");
}

TEST_F(PendingIndexTest, AKeyTakesAboutTwoHundredBytes) {
  constexpr int kKeys = 200'000;
  std::string key(30, 'k');
  for (int i = 0; i < kKeys; ++i) {
    key.replace(0, 8, std::to_string(10'000'000 + i));
    Insert(key, 1, 0);
  }
  EXPECT_LT(index().memory_bytes() / kKeys, 230u);
}

// All operations in a random order, the books checked after each.
TEST_F(PendingIndexTest, BooksStayRightWhateverHappens) {
  policy().attempts = 3;
  policy().batch = 4;
  WritePolicy& other = AddType("u", "db");
  other.coalesce = false;
  other.attempts = 2;
  AddType("v", "other");
  std::mt19937_64 random(11);
  const auto pick = [&](uint64_t n) { return random() % n; };
  MonoNanos now = 0;
  std::vector<std::pair<PendingIndex::Call, size_t>> calls;
  std::vector<std::shared_ptr<PendingBarrier>> barriers;
  Version version = 100;
  for (int step = 0; step < 20'000; ++step) {
    now += static_cast<MonoNanos>(pick(20)) * kMs;
    const std::string key(1, static_cast<char>('a' + pick(12)));
    const std::string type(1, static_cast<char>('t' + pick(3)));
    const uint64_t what = pick(10);
    if (what < 4) {
      Insert(key, ++version - pick(6), now, type, pick(2) == 0 ? "" : "n", pick(100));
    } else if (what < 6) {
      auto call = index().Take(pick(2), now, pick(2) == 0);
      if (call.has_value()) calls.emplace_back(*std::move(call), 0);
    } else if (what == 6) {
      index().Supersede(FullKey("", key).view(), index().TypeOfStored(type), version - pick(20),
                        &erase_);
    } else if (what == 7 && pick(8) == 0) {
      if (auto barrier = index().AddBarrier(kNoPendingType, seq_)) barriers.push_back(barrier);
    } else if (!calls.empty()) {
      const size_t at = pick(calls.size());
      const PendingIndex::Call call = calls[at].first;
      calls.erase(calls.begin() + static_cast<ptrdiff_t>(at));
      const uint64_t how = pick(6);
      if (how == 0) {
        index().Return(call, &erase_);
      } else {
        for (const auto& taken : call.writes) {
          if (how == 1) {
            index().GoAlone(taken.key, &erase_);
          } else if (how == 2) {
            index().Vanished(taken.key, &erase_);
          } else if (how == 3) {
            if (index().Retry(taken.key, pick(4) == 0, now, absl::UnixEpoch(), &erase_)) {
              index().Buried(taken.key);
            }
          } else {
            index().Done(taken.key, &erase_);
          }
        }
      }
    }
    index().CheckInvariants();
  }
  for (auto& [call, unused] : calls) {
    for (const auto& taken : call.writes) index().Done(taken.key, &erase_);
  }
  for (int round = 0; round < 10'000 && index().depth() > 0; ++round) {
    now += 1'000 * kMs;
    for (size_t origin = 0; origin < 2; ++origin) {
      while (const auto call = index().Take(origin, now, true)) {
        for (const auto& taken : call->writes) index().Done(taken.key, &erase_);
      }
    }
  }
  EXPECT_EQ(index().depth(), 0u);
  index().TakeFinished();
  for (const auto& barrier : barriers) EXPECT_EQ(barrier->left, 0u);
}

}  // namespace
}  // namespace larder
