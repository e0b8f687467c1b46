#include "tier/envelope.h"

#include <gtest/gtest.h>

#include <limits>
#include <string>

#include "base/crc32c.h"
#include "core/key.h"
#include "policy/codec.h"

namespace larder {
namespace {

constexpr MonoNanos kNever = std::numeric_limits<MonoNanos>::max();
constexpr MonoNanos kSecond = 1'000'000'000;

class EnvelopeTest : public testing::Test {
 protected:
  // An entry that has every part there is.
  EntryFields Full() {
    EntryFields fields;
    fields.full_key = key_.view();
    fields.value = "some stored bytes";
    fields.encoding = kLz4;
    fields.plain_bytes = 1234;
    fields.version = VersionAt(clock_.Now()) + 77;
    fields.written = clock_.Mono() - 5 * kSecond;
    fields.fresh_until = clock_.Mono() + 10 * kSecond;
    fields.usable_until = clock_.Mono() + 20 * kSecond;
    fields.sliding = 30 * kSecond;
    fields.tags = {"red", "large"};
    fields.validator = "W/\"7\"";
    fields.depends_on = {"user:7"};
    return fields;
  }

  EntryFields Small(std::string_view value) {
    EntryFields fields;
    fields.full_key = key_.view();
    fields.value = value;
    fields.version = 9;
    fields.fresh_until = fields.usable_until = clock_.Mono() + kSecond;
    return fields;
  }

  absl::StatusOr<TierRead> Decode(std::string_view envelope) {
    return DecodeEnvelope(key_.view(), envelope, clock_);
  }

  ManualClock clock_;
  const FullKey key_{"shop", "user:42"};
};

TEST_F(EnvelopeTest, GivesBackEveryPart) {
  const EntryFields fields = Full();
  const auto read = Decode(EncodeEnvelope(fields, "user", clock_));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->kind, TierRead::Kind::kEntry);
  EXPECT_EQ(read->type, "user");
  EXPECT_EQ(read->entry.stored(), fields.value);
  EXPECT_EQ(read->entry.encoding, fields.encoding);
  EXPECT_EQ(read->entry.plain_bytes, fields.plain_bytes);
  EXPECT_FALSE(read->entry.negative);
  EXPECT_EQ(read->entry.version, fields.version);
  EXPECT_EQ(read->entry.sliding, fields.sliding);
  EXPECT_EQ(read->entry.tags, fields.tags);
  EXPECT_EQ(read->entry.validator, fields.validator);
  EXPECT_EQ(read->entry.depends_on, fields.depends_on);
  // Milliseconds are kept, rounded down.
  for (const auto& [got, was] : {std::pair{read->entry.written, fields.written},
                                 {read->entry.fresh_until, fields.fresh_until},
                                 {read->entry.usable_until, fields.usable_until}}) {
    EXPECT_LE(got, was);
    EXPECT_GT(got, was - 1'000'000);
  }
}

TEST_F(EnvelopeTest, GivesBackWhatHasHardlyAnyParts) {
  for (const size_t size : {size_t{0}, size_t{1}, size_t{127}, size_t{128}, size_t{1} << 20}) {
    const std::string value(size, 'v');
    const std::string envelope = EncodeEnvelope(Small(value), "", clock_);
    EXPECT_LE(envelope.size(), value.size() + 40);
    const auto read = Decode(envelope);
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_EQ(read->entry.stored(), value);
    EXPECT_EQ(read->entry.written, 0);
    EXPECT_EQ(read->entry.sliding, 0);
    EXPECT_TRUE(read->entry.tags.empty());
    EXPECT_TRUE(read->entry.validator.empty());
    EXPECT_EQ(read->type, "");
  }
}

TEST_F(EnvelopeTest, TellsWhatWasLoadedFromWhatWasWritten) {
  EntryFields fields = Small("value");
  for (const bool loaded : {false, true}) {
    fields.loaded = loaded;
    const auto read = Decode(EncodeEnvelope(fields, "user", clock_));
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_EQ(read->entry.loaded, loaded);
    EXPECT_EQ(read->entry.validator, "");
    EXPECT_EQ(read->entry.stored(), "value");
  }
}

TEST_F(EnvelopeTest, NegativeEntryIsAnEntryThatIsNotLive) {
  EntryFields fields = Small("");
  fields.negative = true;
  const std::string envelope = EncodeEnvelope(fields, "user", clock_);
  const auto read = Decode(envelope);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->kind, TierRead::Kind::kEntry);
  EXPECT_TRUE(read->entry.negative);
  const auto head = DecodeEnvelopeHead(envelope);
  ASSERT_TRUE(head.ok());
  EXPECT_FALSE(head->live(0));
}

TEST_F(EnvelopeTest, HeadLiesAtFixedPlacesInTheOrderOfNumbers) {
  EntryFields fields = Small("v");
  fields.version = 0x0102030405060708;
  const std::string envelope = EncodeEnvelope(fields, "user", clock_);
  EXPECT_EQ(envelope.substr(0, 4), "LRDR");
  EXPECT_EQ(envelope.substr(8, 8), std::string("\1\2\3\4\5\6\7\10", 8));
  const auto head = DecodeEnvelopeHead(envelope.substr(0, kEnvelopeHeadBytes));
  ASSERT_TRUE(head.ok());
  EXPECT_EQ(head->version, fields.version);
  EXPECT_EQ(head->usable_until_ms, absl::ToUnixMillis(clock_.Now()) + 1000);
  EXPECT_TRUE(head->live(head->usable_until_ms - 1));
  EXPECT_FALSE(head->live(head->usable_until_ms));
}

TEST_F(EnvelopeTest, TombstoneIsOneUntilItsTime) {
  const std::string envelope =
      EncodeTombstone(key_.view(), 12, clock_.Now() + absl::Milliseconds(50));
  const auto before = Decode(envelope);
  ASSERT_TRUE(before.ok()) << before.status();
  EXPECT_EQ(before->kind, TierRead::Kind::kTombstone);
  EXPECT_EQ(before->entry.version, 12u);
  clock_.Advance(absl::Milliseconds(50));
  EXPECT_EQ(Decode(envelope)->kind, TierRead::Kind::kAbsent);
  EXPECT_FALSE(DecodeEnvelopeHead(envelope)->live(0));
}

TEST_F(EnvelopeTest, EntryHasEndedFromTheMillisecondOfItsEnd) {
  const std::string envelope = EncodeEnvelope(Small("v"), "user", clock_);
  clock_.Advance(absl::Milliseconds(999));
  EXPECT_EQ(Decode(envelope)->kind, TierRead::Kind::kEntry);
  clock_.Advance(absl::Milliseconds(1));
  const auto ended = Decode(envelope);
  EXPECT_EQ(ended->kind, TierRead::Kind::kEnded);
  EXPECT_NE(ended->entry.version, kNoVersion);
  EXPECT_TRUE(ended->entry.stored().empty());
}

TEST_F(EnvelopeTest, NeverStaysNever) {
  EntryFields fields = Small("v");
  fields.fresh_until = fields.usable_until = kNever;
  const std::string envelope = EncodeEnvelope(fields, "user", clock_);
  clock_.Advance(absl::Hours(24 * 365 * 50));
  const auto read = Decode(envelope);
  ASSERT_TRUE(read.ok());
  EXPECT_EQ(read->kind, TierRead::Kind::kEntry);
  EXPECT_EQ(read->entry.usable_until, kNever);
  EXPECT_EQ(read->entry.fresh_until, kNever);
}

TEST_F(EnvelopeTest, TimesBeyondTheClocksDoNotOverflow) {
  EntryFields fields = Small("v");
  fields.usable_until = kNever - 1;
  fields.fresh_until = std::numeric_limits<MonoNanos>::min();
  fields.written = std::numeric_limits<MonoNanos>::min();
  const auto read = Decode(EncodeEnvelope(fields, "user", clock_));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->kind, TierRead::Kind::kEntry);
  EXPECT_LT(read->entry.fresh_until, clock_.Mono());
  // Nanoseconds since 1970 would end in 2262.
  EXPECT_LE(read->entry.usable_until, fields.usable_until);
  EXPECT_GT(read->entry.usable_until, fields.usable_until - 1'000'000);
}

TEST_F(EnvelopeTest, LifeFollowsTheWallClockToAnotherMachine) {
  const std::string envelope = EncodeEnvelope(Full(), "user", clock_);
  ManualClock other(clock_.Now() + absl::Seconds(4));
  other.Advance(absl::Seconds(2));  // Its monotonic clock began elsewhere.
  const auto read = DecodeEnvelope(key_.view(), envelope, other);
  ASSERT_TRUE(read.ok());
  EXPECT_NEAR(static_cast<double>(read->entry.fresh_until - other.Mono()), 4e9, 1e6);
  EXPECT_NEAR(static_cast<double>(read->entry.usable_until - other.Mono()), 14e9, 1e6);
}

TEST_F(EnvelopeTest, FindsEveryFlippedBit) {
  for (const std::string& good :
       {EncodeEnvelope(Full(), "user", clock_), EncodeEnvelope(Small("v"), "", clock_),
        EncodeTombstone(key_.view(), 12, absl::InfiniteFuture())}) {
    ASSERT_TRUE(Decode(good).ok());
    for (size_t bit = 0; bit < good.size() * 8; ++bit) {
      std::string bad = good;
      bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << (bit % 8)));
      EXPECT_EQ(Decode(bad).status().code(), absl::StatusCode::kDataLoss) << "bit " << bit;
    }
  }
}

TEST_F(EnvelopeTest, FindsEveryTruncationAndBytesAfterTheEnd) {
  for (const std::string& good :
       {EncodeEnvelope(Full(), "user", clock_), EncodeTombstone(key_.view(), 12, clock_.Now())}) {
    for (size_t size = 0; size < good.size(); ++size) {
      EXPECT_EQ(Decode(good.substr(0, size)).status().code(), absl::StatusCode::kDataLoss) << size;
    }
    EXPECT_FALSE(Decode(good + '\0').ok());
    EXPECT_FALSE(Decode(good + good).ok());
  }
}

TEST_F(EnvelopeTest, BelongsToItsKey) {
  const std::string envelope = EncodeEnvelope(Full(), "user", clock_);
  const FullKey other("shop", "user:43");
  EXPECT_EQ(DecodeEnvelope(other.view(), envelope, clock_).status().code(),
            absl::StatusCode::kDataLoss);
}

TEST_F(EnvelopeTest, CheckKnowsWholeFromDamaged) {
  const std::string good = EncodeEnvelope(Full(), "user", clock_);
  const auto head = CheckEnvelope(key_.view(), good);
  ASSERT_TRUE(head.ok());
  EXPECT_EQ(head->version, Full().version);
  EXPECT_FALSE(CheckEnvelope(key_.view(), good.substr(0, kEnvelopeHeadBytes)).ok());
  EXPECT_FALSE(CheckEnvelope("other", good).ok());
}

// `envelope` with another body, and the checksum that belongs to it.
std::string Forged(std::string_view key, std::string envelope, std::string_view body) {
  envelope.resize(kEnvelopeHeadBytes);
  envelope += body;
  const uint32_t crc = Crc32c(Crc32c(0, key), envelope);
  for (int shift = 24; shift >= 0; shift -= 8) envelope += static_cast<char>(crc >> shift);
  return envelope;
}

TEST_F(EnvelopeTest, BelievesNoLengthThatIsNotThere) {
  constexpr char kTypeFlag = 16, kTagsFlag = 32, kDependenciesFlag = 64;
  const std::string huge = "\xff\xff\xff\xff\xff\xff\xff\xff\x7f";
  const std::string largest = "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01";
  std::string good = EncodeEnvelope(Small("v"), "", clock_);
  EXPECT_TRUE(Decode(Forged(key_.view(), good, "\1v")).ok());
  for (const char flag : {char{0}, kTypeFlag, kTagsFlag, kDependenciesFlag}) {
    good[5] = flag;
    for (const std::string& body :
         {huge, largest, huge + "vvvv", std::string("\2v"), std::string(), std::string(12, '\xff'),
          std::string("\x81\0v", 3), std::string("\3\1a\1b"), std::string("\x11") + huge,
          std::string("\1v\1")}) {
      EXPECT_EQ(Decode(Forged(key_.view(), good, body)).status().code(),
                absl::StatusCode::kDataLoss)
          << int{flag} << " " << testing::PrintToString(body);
    }
  }
}

TEST_F(EnvelopeTest, RefusesWhatOnlyALaterReleaseOrAnotherProcessCanRead) {
  const std::string good = EncodeEnvelope(Small("v"), "", clock_);
  std::string later = good;
  later[4] = 2;
  EXPECT_FALSE(Decode(Forged(key_.view(), later, "\1v")).ok());
  later = good;
  later[5] = static_cast<char>(128);
  EXPECT_FALSE(Decode(Forged(key_.view(), later, "\1v")).ok());
  later = good;
  later[7] = kDictionaryFirst;
  EXPECT_FALSE(Decode(Forged(key_.view(), later, "\1\1v")).ok());
}

}  // namespace
}  // namespace larder
