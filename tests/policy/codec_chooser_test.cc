#include "policy/codec_chooser.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace larder {
namespace {

using Plan = CodecChooser::Plan;

// Values that each codec makes so many times smaller.
struct Data {
  double lz4, zstd;
};

// Lets `count` values of one size go by and returns what was tried for the last.
Plan Pass(CodecChooser* chooser, int count, size_t bytes, Data data, MonoNanos now = 1) {
  Plan last = Plan::kNone;
  for (int i = 0; i < count; ++i) {
    last = chooser->Choose(bytes, now);
    if (last == Plan::kNone) continue;
    const auto form = [bytes](double ratio) {
      const auto stored = static_cast<size_t>(static_cast<double>(bytes) / ratio);
      return stored <= StoredBytesMax(bytes) ? stored : bytes;
    };
    chooser->Record({last, bytes, form(data.lz4), form(data.zstd)}, now);
  }
  return last;
}

TEST(CodecChooserTest, ComparesBothAtFirstAndThenNowAndThen) {
  CodecChooser chooser(CodecChoice::kAuto);
  for (uint32_t i = 0; i < CodecChooser::kRound; ++i) {
    EXPECT_EQ(Pass(&chooser, 1, 1000, {2, 3}), Plan::kBoth) << i;
  }
  int both = 0;
  for (int i = 0; i < 320; ++i) both += Pass(&chooser, 1, 1000, {2, 3}) == Plan::kBoth ? 1 : 0;
  EXPECT_EQ(both, 10);
}

TEST(CodecChooserTest, TakesZstdWhereItSavesMoreAndLz4WhereItSavesAsMuch) {
  CodecChooser saves_more(CodecChoice::kAuto);
  EXPECT_EQ(Pass(&saves_more, 20, 1000, {2, 3}), Plan::kZstd);
  CodecChooser saves_the_same(CodecChoice::kAuto);
  EXPECT_EQ(Pass(&saves_the_same, 20, 1000, {3, 3}), Plan::kLz4);
}

TEST(CodecChooserTest, ZstdHasToSaveMoreTheLargerTheValueIs) {
  const Data data{2.5, 3};
  CodecChooser chooser(CodecChoice::kAuto);
  EXPECT_EQ(Pass(&chooser, 20, 1000, data), Plan::kZstd);
  EXPECT_EQ(Pass(&chooser, 20, 10'000, data), Plan::kZstd);
  EXPECT_EQ(Pass(&chooser, 20, 1'000'000, data), Plan::kLz4);
}

TEST(CodecChooserTest, FollowsValuesThatChange) {
  CodecChooser chooser(CodecChoice::kAuto);
  EXPECT_EQ(Pass(&chooser, 100, 1000, {3, 3}), Plan::kLz4);
  EXPECT_EQ(Pass(&chooser, 3000, 1000, {2, 3}), Plan::kZstd);
  EXPECT_EQ(Pass(&chooser, 3000, 1000, {3, 3}), Plan::kLz4);
}

TEST(CodecChooserTest, TakesTheConfiguredCodecOnly) {
  CodecChooser lz4(CodecChoice::kLz4);
  CodecChooser zstd(CodecChoice::kZstd);
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(Pass(&lz4, 1, 1000, {2, 3}), Plan::kLz4);
    EXPECT_EQ(Pass(&zstd, 1, 1000, {3, 2}), Plan::kZstd);
  }
}

TEST(CodecChooserTest, RestsWhenARoundGainsNothing) {
  for (const CodecChoice codec : {CodecChoice::kAuto, CodecChoice::kLz4, CodecChoice::kZstd}) {
    CodecChooser chooser(codec);
    EXPECT_NE(Pass(&chooser, CodecChooser::kRound, 1000, {1, 1.05}), Plan::kNone);
    EXPECT_EQ(Pass(&chooser, 1, 1000, {1, 1.05}), Plan::kNone);
  }
}

TEST(CodecChooserTest, TriesAgainAfterManyValues) {
  CodecChooser chooser(CodecChoice::kAuto);
  Pass(&chooser, CodecChooser::kRound, 1000, {1, 1});
  EXPECT_EQ(Pass(&chooser, CodecChooser::kRestValues - 1, 1000, {1, 1}), Plan::kNone);
  EXPECT_EQ(Pass(&chooser, 1, 1000, {2, 3}), Plan::kBoth);
  // What it gains now is not averaged with what it did not gain then.
  EXPECT_EQ(Pass(&chooser, 20, 1000, {2, 3}), Plan::kZstd);
}

TEST(CodecChooserTest, TriesAgainAfterAMinute) {
  CodecChooser chooser(CodecChoice::kAuto);
  Pass(&chooser, CodecChooser::kRound, 1000, {1, 1}, 1);
  EXPECT_EQ(Pass(&chooser, 1, 1000, {1, 1}, CodecChooser::kRestNanos), Plan::kNone);
  EXPECT_EQ(Pass(&chooser, 1, 1000, {1, 1}, CodecChooser::kRestNanos + 1), Plan::kBoth);
  // One round, then it rests again.
  EXPECT_EQ(Pass(&chooser, 15, 1000, {1, 1}, CodecChooser::kRestNanos + 1), Plan::kBoth);
  EXPECT_EQ(Pass(&chooser, 1, 1000, {1, 1}, CodecChooser::kRestNanos + 1), Plan::kNone);
}

TEST(CodecChooserTest, SizesRestByThemselves) {
  CodecChooser chooser(CodecChoice::kAuto);
  Pass(&chooser, 20, 1'000'000, {1, 1});
  EXPECT_EQ(Pass(&chooser, 1, 1'000'000, {1, 1}), Plan::kNone);
  EXPECT_EQ(Pass(&chooser, 20, 1000, {2, 3}), Plan::kZstd);
}

TEST(CodecChooserTest, ForgetsOnReset) {
  CodecChooser chooser(CodecChoice::kAuto);
  Pass(&chooser, 20, 1000, {1, 1});
  EXPECT_EQ(Pass(&chooser, 1, 1000, {1, 1}), Plan::kNone);
  chooser.Reset();
  EXPECT_EQ(Pass(&chooser, 1, 1000, {1, 1}), Plan::kBoth);
}

TEST(CodecChooserTest, KeepsTheFormOnlyWhenItGained) {
  CodecChooser chooser(CodecChoice::kAuto);
  EXPECT_EQ(chooser.Record({Plan::kBoth, 1000, 1000, 1000}, 1), Plan::kNone);
  EXPECT_EQ(chooser.Record({Plan::kBoth, 1000, 1000, 890}, 1), Plan::kZstd);
  EXPECT_EQ(chooser.Record({Plan::kBoth, 1000, 890, 1000}, 1), Plan::kLz4);
  // Near enough to zstd to be taken, but no gain of its own.
  EXPECT_EQ(chooser.Record({Plan::kBoth, 1'000'000, 1'000'000, 890'000}, 1), Plan::kZstd);
}

TEST(CodecChooserTest, AStoredFormTakesAtLeastATenthLess) {
  EXPECT_EQ(StoredBytesMax(1000), 900u);
  EXPECT_EQ(StoredBytesMax(1001), 900u);
  EXPECT_EQ(StoredBytesMax(1), 0u);
}

}  // namespace
}  // namespace larder
