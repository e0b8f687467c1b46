// How records count: exactly at first, then roughly, and ever less of what was long ago.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "memory/record.h"
#include "tests/memory/records.h"

namespace larder {
namespace {

struct Counted {
  explicit Counted(uint32_t hits, uint8_t epoch = 0)
      : wanted(0, 3, 3), room(Record::BytesFor(wanted.fields, false, kNow)) {
    record = wanted.WriteTo(&room, hits, epoch);
  }
  Wanted wanted;
  Room room;
  Record* record;
};

TEST(RecordHitsTest, CountsExactlyUpToAThousandAndTwentyFour) {
  Counted counted(0);
  for (uint32_t hits = 0; hits < 1024; ++hits) {
    ASSERT_EQ(counted.record->Hits(0), hits);
    ASSERT_EQ(counted.record->CountHit(0), hits + 1);
  }
  EXPECT_EQ(counted.record->Hits(0), 1024u);
}

TEST(RecordHitsTest, TakesACountOverToNineBits) {
  for (uint32_t hits = 0; hits <= 1024; ++hits) ASSERT_EQ(Counted(hits).record->Hits(0), hits);
  EXPECT_EQ(Counted(1025).record->Hits(0), 1024u);
  EXPECT_EQ(Counted(1026).record->Hits(0), 1026u);
  EXPECT_EQ(Counted(2047).record->Hits(0), 2046u);
  EXPECT_EQ(Counted(2048).record->Hits(0), 2048u);
  EXPECT_EQ(Counted(2051).record->Hits(0), 2048u);
  EXPECT_EQ(Counted(2052).record->Hits(0), 2052u);
  uint32_t before = 0;
  for (double count = 1; count < 4294967296.0; count *= 1.001) {
    const auto hits = static_cast<uint32_t>(count);
    const uint32_t held = Counted(hits).record->Hits(0);
    ASSERT_LE(held, hits);
    ASSERT_GE(held, hits - hits / 512);
    ASSERT_GE(held, before);
    before = held;
  }
  EXPECT_GE(Counted(UINT32_MAX).record->Hits(0), UINT32_MAX - (1u << 23));
}

TEST(RecordHitsTest, GoesOnCountingAroundAThousandAndTwentyFour) {
  for (const uint32_t begin : {1022, 1023, 1024, 1025}) {
    Counted counted(begin);
    uint32_t last = counted.record->Hits(0);
    for (int n = 0; n < 200; ++n) {
      counted.record->CountHit(0);
      const uint32_t now = counted.record->Hits(0);
      ASSERT_TRUE(now == last || now == last + 1 || now == last + 2) << last << " to " << now;
      last = now;
    }
    // Every other hit is counted twice, and luck decides which.
    EXPECT_NEAR(last, begin + 200, 90);
  }
}

TEST(RecordHitsTest, CountsLargeNumbersWithinAFewInAHundred) {
  constexpr int kRecords = 40;
  for (const int hits : {2'000, 20'000, 200'000}) {
    double sum = 0;
    for (int n = 0; n < kRecords; ++n) {
      Counted counted(0);
      for (int hit = 0; hit < hits; ++hit) counted.record->CountHit(0);
      const double counts = counted.record->Hits(0);
      EXPECT_NEAR(counts / hits, 1, 0.2);
      sum += counts;
    }
    EXPECT_NEAR(sum / kRecords / hits, 1, 0.03) << hits;
  }
}

TEST(RecordHitsTest, NeverFallsByAHit) {
  for (uint32_t begin = 1'000; begin <= 1u << 31; begin = begin / 2 * 3) {
    Counted counted(begin);
    uint32_t last = counted.record->Hits(0);
    for (int hit = 0; hit < 10'000; ++hit) {
      const uint32_t now = counted.record->CountHit(0);
      ASSERT_EQ(now, counted.record->Hits(0));
      ASSERT_GE(now, last);
      ASSERT_LE(now - last, std::max(last / 512, 1u));
      last = now;
    }
  }
}

TEST(RecordHitsTest, StaysAtTheLargestNumber) {
  Counted counted(UINT32_MAX);
  const uint32_t most = counted.record->Hits(0);
  EXPECT_EQ(counted.record->CountHit(0), most);
  EXPECT_EQ(counted.record->Hits(0), most);
}

TEST(RecordHitsTest, HalvesForEveryEpoch) {
  for (const uint32_t hits : {0u, 1u, 2u, 3u, 100u, 1023u, 1024u, 2048u, 1u << 20, 1u << 31}) {
    for (const uint8_t began : {0, 1, 200, 250, 255}) {
      const Counted counted(hits, began);
      for (uint32_t epochs = 0; epochs < 256; ++epochs) {
        const auto epoch = static_cast<uint8_t>(began + epochs);
        ASSERT_EQ(counted.record->Hits(epoch), epochs < 32 ? hits >> epochs : 0)
            << hits << " hits after " << epochs << " epochs";
      }
    }
  }
}

TEST(RecordHitsTest, CountsOnFromWhatIsLeft) {
  const auto after_one_more = [](uint32_t hits, uint8_t epochs) {
    Counted counted(hits, 254);
    const auto epoch = static_cast<uint8_t>(254 + epochs);
    const uint32_t now = counted.record->CountHit(epoch);
    EXPECT_EQ(counted.record->Hits(epoch), now);
    EXPECT_EQ(counted.record->Hits(static_cast<uint8_t>(epoch + 1)), now / 2);
    return now;
  };
  EXPECT_EQ(after_one_more(100, 0), 101u);
  EXPECT_EQ(after_one_more(100, 1), 51u);
  EXPECT_EQ(after_one_more(100, 3), 13u);
  EXPECT_EQ(after_one_more(100, 7), 1u);
  EXPECT_EQ(after_one_more(100, 100), 1u);
  EXPECT_EQ(after_one_more(1023, 0), 1024u);
  EXPECT_EQ(after_one_more(1024, 1), 513u);
  EXPECT_EQ(after_one_more(2046, 1), 1024u);
  // Beyond, some hits count for several.
  EXPECT_THAT(after_one_more(2048, 1), testing::AnyOf(1024, 1026));
  EXPECT_THAT(after_one_more(4096, 1), testing::AnyOf(2048, 2052));
}

TEST(RecordHitsTest, GoWithACopy) {
  Counted counted(1000, 7);
  counted.record->CountHit(7);
  Room room(counted.record->bytes());
  const Record* const copy = counted.record->CopyTo(room.at());
  EXPECT_EQ(copy->Hits(7), 1001u);
  EXPECT_EQ(copy->Hits(8), 500u);
}

}  // namespace
}  // namespace larder
