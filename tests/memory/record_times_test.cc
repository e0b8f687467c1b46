// What records know of time: when they end, and that they end although they count in 32 bits.

#include <gtest/gtest.h>

#include <random>

#include "memory/record.h"
#include "tests/memory/records.h"

namespace larder {
namespace {

// A record without optional parts but for its times.
struct Timed {
  Timed(MonoNanos began, MonoNanos now, MonoNanos fresh_until, MonoNanos usable_until,
        MonoNanos sliding = 0, MonoNanos written = 0)
      : began(began), room(BytesFor(now, fresh_until, usable_until, sliding, written)) {
    Record::Context context{};
    context.began = began;
    context.now = now;
    record = Record::Write(room.at(), fields, context);
  }
  uint32_t BytesFor(MonoNanos now, MonoNanos fresh_until, MonoNanos usable_until, MonoNanos sliding,
                    MonoNanos written) {
    fields.full_key = "\1nk";
    fields.fresh_until = fresh_until;
    fields.usable_until = usable_until;
    fields.sliding = sliding;
    fields.written = written;
    return Record::BytesFor(fields, false, now);
  }
  bool LiveAt(MonoNanos now) const { return record->LiveAt(Moment(now, began)); }
  MonoNanos FreshUntil(MonoNanos now) const { return record->FreshUntil(Moment(now, began)); }
  MonoNanos UsableUntil(MonoNanos now) const { return record->UsableUntil(Moment(now, began)); }

  const MonoNanos began;
  EntryFields fields;
  Room room;
  Record* record;
};

TEST(RecordTimesTest, SpendsMemoryOnFullTimesOnlyWhereTheyAreNeeded) {
  const MonoNanos until = kNow + kHour;
  EXPECT_FALSE(Timed(kBegan, kNow, until, until).record->Has(Record::kTimes));
  EXPECT_TRUE(Timed(kBegan, kNow, until, until + 1).record->Has(Record::kTimes));
  EXPECT_TRUE(Timed(kBegan, kNow, until, until, 0, kNow - 1).record->Has(Record::kTimes));
  const MonoNanos soon = kNow + 19 * kDay;
  EXPECT_FALSE(Timed(kBegan, kNow, soon, soon).record->Has(Record::kTimes));
  const MonoNanos late = kNow + 24 * kDay;
  EXPECT_TRUE(Timed(kBegan, kNow, late, late).record->Has(Record::kTimes));
}

TEST(RecordTimesTest, EndsWhenItShouldAlsoAfterTheCountOfMillisecondsWrapped) {
  constexpr MonoNanos kWrap = (int64_t{1} << 32) * kMs;
  for (const int64_t wraps : {0, 1, 2, 7, 100}) {
    for (const MonoNanos before : {kDay, kHour, kMs, MonoNanos{0}, -kMs, -kHour}) {
      const MonoNanos now = kBegan + wraps * kWrap - before;
      if (now < kBegan) continue;
      for (const MonoNanos ttl : {kMs, 2 * kMs, 999 * kMs, kHour, 2 * kDay, 19 * kDay, 21 * kDay,
                                  30 * kDay, 60 * kDay, 3650 * kDay}) {
        SCOPED_TRACE(testing::Message() << wraps << " wraps, " << before << " before, TTL " << ttl);
        const MonoNanos until = now + ttl;
        const Timed timed(kBegan, now, until, until);
        EXPECT_TRUE(timed.LiveAt(now));
        EXPECT_TRUE(timed.LiveAt(now + ttl / 2));
        EXPECT_TRUE(timed.LiveAt(until - kMs));
        EXPECT_FALSE(timed.LiveAt(until));
        EXPECT_FALSE(timed.LiveAt(until + kMs));
        // The sweeper comes by long before this.
        EXPECT_FALSE(timed.LiveAt(until + 20 * kDay));
        for (const MonoNanos then : {now, now + ttl / 2, until - kMs}) {
          EXPECT_EQ(timed.FreshUntil(then), until);
          EXPECT_EQ(timed.UsableUntil(then), until);
        }
      }
    }
  }
}

TEST(RecordTimesTest, NeverOutlivesATimeOfAnyNanosecondAndEndsLessThanAMillisecondEarly) {
  std::mt19937_64 random(1);
  for (int n = 0; n < 20'000; ++n) {
    const auto began = static_cast<MonoNanos>(random() % (uint64_t{1} << 40));
    const auto now = static_cast<MonoNanos>(began + random() % (uint64_t{1} << (20 + n % 40)));
    const auto ttl = static_cast<MonoNanos>(2 * kMs + random() % (uint64_t{1} << (10 + n % 41)));
    const Timed timed(began, now, now + ttl, now + ttl);
    ASSERT_TRUE(timed.LiveAt(now)) << ttl;
    ASSERT_TRUE(timed.LiveAt(now + ttl - kMs)) << ttl;
    ASSERT_FALSE(timed.LiveAt(now + ttl)) << ttl;
    ASSERT_FALSE(timed.LiveAt(now + ttl + static_cast<MonoNanos>(random() % kDay))) << ttl;
    const MonoNanos fresh_until = timed.FreshUntil(now);
    ASSERT_LE(fresh_until, now + ttl);
    ASSERT_GT(fresh_until, now + ttl - kMs);
  }
}

TEST(RecordTimesTest, NeverEndsWithAnInfiniteTime) {
  const Timed timed(kBegan, kNow, INT64_MAX, INT64_MAX);
  EXPECT_TRUE(timed.LiveAt(kNow));
  EXPECT_TRUE(timed.LiveAt(INT64_MAX - 1));
  EXPECT_EQ(timed.FreshUntil(kNow + kDay), INT64_MAX);
}

TEST(RecordTimesTest, IsUsableLongerThanItIsFresh) {
  const Timed timed(kBegan, kNow, kNow + kHour, kNow + kDay);
  EXPECT_TRUE(timed.LiveAt(kNow + kHour));
  EXPECT_TRUE(timed.LiveAt(kNow + kDay - 1));
  EXPECT_FALSE(timed.LiveAt(kNow + kDay));
  EXPECT_EQ(timed.FreshUntil(kNow + 2 * kHour), kNow + kHour);
  EXPECT_EQ(timed.UsableUntil(kNow + 2 * kHour), kNow + kDay);
}

TEST(RecordTimesTest, SlidesOn) {
  const MonoNanos began = kNow - kNow % kMs;
  const Timed timed(began, began, began + kHour, began + kHour, kHour);
  timed.record->Extend(began + 3 * kHour, began);
  EXPECT_TRUE(timed.LiveAt(began + 3 * kHour - kMs));
  EXPECT_FALSE(timed.LiveAt(began + 3 * kHour));
  EXPECT_EQ(timed.FreshUntil(began + 2 * kHour), began + 3 * kHour);
}

TEST(RecordTimesTest, SlidesOnWithFullTimesAndNeverCutsHowLongItIsUsable) {
  const Timed timed(kBegan, kNow, kNow + kHour, kNow + kDay, kHour, kNow - 7);
  timed.record->Extend(kNow + 2 * kHour, kBegan);
  EXPECT_EQ(timed.FreshUntil(kNow), kNow + 2 * kHour);
  EXPECT_EQ(timed.UsableUntil(kNow), kNow + kDay);
  timed.record->Extend(kNow + 2 * kDay, kBegan);
  EXPECT_EQ(timed.FreshUntil(kNow), kNow + 2 * kDay);
  EXPECT_EQ(timed.UsableUntil(kNow), kNow + 2 * kDay);
  EXPECT_EQ(timed.record->WrittenExplicitly(), kNow - 7);
}

// A counter keeps what is left of its time when it is counted up, here an hour, and the first hit
// starts the 30 days of its type again. Milliseconds modulo 2^32 are not enough for that.
TEST(RecordTimesTest, SlidesOnForWeeksAlsoWhenItBeganWithAnHour) {
  for (const int days : {19, 21, 24, 25, 30, 60, 365}) {
    SCOPED_TRACE(days);
    const Timed timed(kBegan, kNow, kNow + kHour, kNow + kHour, days * kDay);
    timed.record->Extend(kNow + days * kDay, kBegan);
    EXPECT_TRUE(timed.LiveAt(kNow));
    EXPECT_TRUE(timed.LiveAt(kNow + days * kDay - kMs));
    EXPECT_FALSE(timed.LiveAt(kNow + days * kDay));
  }
}

}  // namespace
}  // namespace larder
