#include "policy/compressor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "policy/codec.h"
#include "tests/policy/values.h"

namespace larder {
namespace {

using Encoded = Compressor::Encoded;

class CompressorTest : public testing::Test {
 protected:
  static constexpr uint16_t kAuto = 0, kNone = 1, kLz4Only = 2, kZstdOnly = 3, kBare = 4;

  CompressorTest() {
    options_.types = {{},
                      {.codec = CodecChoice::kNone},
                      {.codec = CodecChoice::kLz4},
                      {.codec = CodecChoice::kZstd},
                      {.codec = CodecChoice::kZstd, .dictionary = false}};
    options_.sample_bytes_per_type = 200 << 10;
    options_.dictionary_bytes_max = 8 << 10;
    options_.clock = &clock_;
    options_.random = &random_;
    Restart();
  }

  void Restart() { compressor_ = Compressor::New(options_); }

  std::string Decoded(uint16_t type, const Encoded& encoded, const std::string& plain) {
    if (encoded.encoding == kPlain) return plain;
    std::string out;
    EXPECT_TRUE(
        compressor_->Decode(type, encoded.encoding, encoded.bytes, plain.size(), &out).ok());
    return out;
  }

  // Encodes records of `family` until a training is due; false when none is after 40,000.
  bool FeedUntilDue(uint16_t type, const std::string& family) {
    for (int i = 0; i < 40'000 && !compressor_->TrainingDue(); ++i) {
      compressor_->Encode(type, Record(family, &generator_));
    }
    return compressor_->TrainingDue();
  }
  void Train() {
    while (compressor_->TrainingStep()) {
    }
    EXPECT_FALSE(compressor_->TrainingDue());
  }
  // Feeds and trains; the encoding that values of the type have afterwards.
  Encoding Learn(uint16_t type, const std::string& family) {
    EXPECT_TRUE(FeedUntilDue(type, family));
    Train();
    return StatsOf(type).dictionary_encoding;
  }

  CompressionStats StatsOf(uint16_t type) { return compressor_->Stats()[type]; }

  Generator generator_{42};
  ManualClock clock_;
  SeededRandom random_{42};
  Compressor::Options options_;
  std::unique_ptr<Compressor> compressor_;
};

TEST_F(CompressorTest, ValuesOfEverySizeAndTypeComeBackAsTheyWere) {
  for (const uint16_t type : {kAuto, kNone, kLz4Only, kZstdOnly, kBare}) {
    for (size_t bytes = 0; bytes <= 1 << 20; bytes = bytes < 600 ? bytes + 7 : bytes * 2) {
      const std::string plain = Prose(bytes, &generator_);
      const Encoded encoded = compressor_->Encode(type, plain);
      ASSERT_EQ(Decoded(type, encoded, plain), plain) << "type " << type << ", " << bytes;
      ASSERT_LE(encoded.bytes.size(), bytes - bytes / 10);
    }
  }
}

TEST_F(CompressorTest, SmallValuesStayPlain) {
  EXPECT_EQ(compressor_->Encode(kZstdOnly, std::string(255, 'a')).encoding, kPlain);
  EXPECT_EQ(compressor_->Encode(kZstdOnly, std::string(256, 'a')).encoding, kZstd);
  EXPECT_EQ(compressor_->Encode(kZstdOnly, "").encoding, kPlain);
  EXPECT_EQ(StatsOf(kZstdOnly).small_values, 2u);
}

TEST_F(CompressorTest, TypesTakeTheirCodec) {
  const std::string plain = Prose(5000, &generator_);
  EXPECT_EQ(compressor_->Encode(kNone, plain).encoding, kPlain);
  EXPECT_EQ(compressor_->Encode(kLz4Only, plain).encoding, kLz4);
  EXPECT_EQ(compressor_->Encode(kZstdOnly, plain).encoding, kZstd);
  EXPECT_NE(compressor_->Encode(kAuto, plain).encoding, kPlain);
  EXPECT_EQ(compressor_->Encode(1000, plain).encoding, kPlain) << "no such type";
}

TEST_F(CompressorTest, ValuesLargerThanTheLimitStayPlain) {
  options_.value_bytes_max = 10'000;
  Restart();
  EXPECT_EQ(compressor_->Encode(kZstdOnly, std::string(10'001, 'a')).encoding, kPlain);
  const Encoded encoded = compressor_->Encode(kZstdOnly, std::string(10'000, 'a'));
  EXPECT_EQ(encoded.encoding, kZstd);
  EXPECT_EQ(Decoded(kZstdOnly, encoded, std::string(10'000, 'a')), std::string(10'000, 'a'));
}

TEST_F(CompressorTest, GivesUpOnValuesThatDoNotCompressAndTriesAgainLater) {
  const auto encode = [this](const std::string& plain) {
    return compressor_->Encode(kAuto, plain).encoding;
  };
  for (int i = 0; i < 16; ++i) EXPECT_EQ(encode(Noise(2000, &generator_)), kPlain);
  EXPECT_EQ(StatsOf(kAuto).gainless_values, 16u);
  // Not even looked at now, whatever it is.
  EXPECT_EQ(encode(Prose(2000, &generator_)), kPlain);
  EXPECT_EQ(StatsOf(kAuto).resting_values, 1u);
  clock_.Advance(absl::Minutes(1));
  EXPECT_NE(encode(Prose(2000, &generator_)), kPlain);
  EXPECT_EQ(StatsOf(kAuto).resting_values, 1u);
}

TEST_F(CompressorTest, RefusesWhatCannotBeAStoredForm) {
  const std::string plain = Prose(2000, &generator_);
  for (const uint16_t type : {kLz4Only, kZstdOnly}) {
    const Encoded encoded = compressor_->Encode(type, plain);
    const auto decode = [&](Encoding encoding, std::string_view stored, uint64_t plain_bytes) {
      std::string out = "before";
      const absl::Status status = compressor_->Decode(type, encoding, stored, plain_bytes, &out);
      EXPECT_EQ(out.empty(), !status.ok());
      if (!status.ok()) {
        EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
        EXPECT_EQ(DetailsOf(status).reason, "VALUE_CORRUPT");
      }
      return status.ok();
    };
    EXPECT_TRUE(decode(encoded.encoding, encoded.bytes, plain.size()));
    EXPECT_FALSE(decode(encoded.encoding, encoded.bytes, plain.size() - 1));
    EXPECT_FALSE(decode(encoded.encoding, encoded.bytes, plain.size() + 1));
    EXPECT_FALSE(decode(encoded.encoding, encoded.bytes, 0));
    EXPECT_FALSE(decode(encoded.encoding, encoded.bytes.substr(1), plain.size()));
    EXPECT_FALSE(decode(encoded.encoding, "", plain.size()));
    for (const int unknown : {3, 15, 16, 17, 1000, 65535}) {
      EXPECT_FALSE(decode(static_cast<Encoding>(unknown), encoded.bytes, plain.size())) << unknown;
    }
  }
  EXPECT_GT(StatsOf(kZstdOnly).decodes_failed, 5u);
}

TEST_F(CompressorTest, HostileSizesTakeNoMemory) {
  options_.value_bytes_max = 1 << 20;
  Restart();
  const std::string plain = Prose(2000, &generator_);
  const Encoded encoded = compressor_->Encode(kZstdOnly, plain);
  std::string out;
  const size_t capacity = out.capacity();
  for (const uint64_t plain_bytes : {uint64_t{1} << 20 | 1, uint64_t{1} << 40, ~uint64_t{0}}) {
    EXPECT_FALSE(
        compressor_->Decode(kZstdOnly, encoded.encoding, encoded.bytes, plain_bytes, &out).ok());
    EXPECT_EQ(out.capacity(), capacity);
  }
  EXPECT_FALSE(
      compressor_->Decode(kZstdOnly, kPlain, std::string((1 << 20) + 1, 'a'), 0, &out).ok());
}

TEST_F(CompressorTest, LearnsADictionaryThatMakesSmallValuesSmaller) {
  const std::string plain = Record("order", &generator_);
  const Encoded before = compressor_->Encode(kAuto, plain);
  EXPECT_EQ(StatsOf(kAuto).dictionary_version, 0u);
  const Encoding encoding = Learn(kAuto, "order");
  ASSERT_GE(encoding, kDictionaryFirst);

  const std::string unseen = Record("order", &generator_);
  const Encoded after = compressor_->Encode(kAuto, unseen);
  EXPECT_EQ(after.encoding, encoding);
  EXPECT_EQ(Decoded(kAuto, after, unseen), unseen);
  const size_t before_bytes = before.encoding == kPlain ? plain.size() : before.bytes.size();
  EXPECT_LT(after.bytes.size() * 2, before_bytes);

  const CompressionStats stats = StatsOf(kAuto);
  EXPECT_EQ(stats.dictionary_version, 1u);
  EXPECT_EQ(stats.dictionaries, 1u);
  EXPECT_EQ(stats.trainings, 1u);
  EXPECT_EQ(stats.dictionary_trained, clock_.Now());
  EXPECT_GT(stats.dictionary_ratio, 2);
  EXPECT_GT(stats.dictionary_bytes, 1000u);
  EXPECT_LE(stats.dictionary_bytes, options_.dictionary_bytes_max);
  EXPECT_GE(stats.dictionary_values, 1u);
  EXPECT_EQ(compressor_->bytes(), stats.dictionary_memory_bytes) << "samples are given back";
}

TEST_F(CompressorTest, LearnsForATypeThatGainsNothingWithoutADictionary) {
  const auto short_record = [this] { return Record("order", &generator_).substr(0, 270); };
  options_.types[kAuto].min_bytes = 100;
  Restart();
  for (int i = 0; i < 40'000 && !compressor_->TrainingDue(); ++i) {
    compressor_->Encode(kAuto, short_record());
  }
  Train();
  EXPECT_GE(compressor_->Encode(kAuto, short_record()).encoding, kDictionaryFirst);
}

TEST_F(CompressorTest, LearnsOnlyWhereTheTypeAllowsIt) {
  for (const uint16_t type : {kNone, kLz4Only, kBare}) {
    EXPECT_FALSE(FeedUntilDue(type, "order")) << type;
    EXPECT_EQ(StatsOf(type).sample_bytes, 0u) << type;
  }
  EXPECT_TRUE(FeedUntilDue(kZstdOnly, "order"));
}

TEST_F(CompressorTest, LearnsFromFewValuesOnlyAfterAWhile) {
  for (int i = 0; i < 2'000; ++i) compressor_->Encode(kAuto, Record("order", &generator_));
  EXPECT_FALSE(compressor_->TrainingDue());
  clock_.Advance(options_.sampling_time);
  compressor_->Encode(kAuto, Record("order", &generator_));
  ASSERT_TRUE(compressor_->TrainingDue());
  Train();
  // A hundredth of what was seen.
  EXPECT_LE(StatsOf(kAuto).dictionary_bytes, 2'001u * 400 / 100);
  EXPECT_EQ(StatsOf(kAuto).dictionary_version, 1u);
}

TEST_F(CompressorTest, WaitsLongerEachTimeATrainingGivesNothing) {
  const auto due = [this] {
    for (int i = 0; i < 2'000 && !compressor_->TrainingDue(); ++i) {
      compressor_->Encode(kAuto, Noise(1000, &generator_));
    }
    return compressor_->TrainingDue();
  };
  for (const absl::Duration wait : {absl::Minutes(10), absl::Minutes(20), absl::Minutes(40)}) {
    ASSERT_TRUE(due());
    Train();
    clock_.Advance(wait - absl::Nanoseconds(1));
    EXPECT_FALSE(due()) << wait;
    clock_.Advance(absl::Nanoseconds(1));
  }
  EXPECT_EQ(StatsOf(kAuto).trainings, 0u);
  EXPECT_EQ(StatsOf(kAuto).trainings_refused, 3u);
  EXPECT_EQ(StatsOf(kAuto).dictionaries, 0u);
}

TEST_F(CompressorTest, LearnsAnewWhenValuesDriftAway) {
  const Encoding first = Learn(kAuto, "order");
  clock_.Advance(absl::Minutes(2));
  EXPECT_FALSE(FeedUntilDue(kAuto, "order")) << "nothing has changed";
  const Encoding second = Learn(kAuto, "invoice_of_another_shop");
  EXPECT_NE(second, first);
  EXPECT_EQ(StatsOf(kAuto).dictionary_version, 2u);
  EXPECT_EQ(StatsOf(kAuto).dictionaries, 2u);
}

TEST_F(CompressorTest, LooksForABetterOneAfterAnHourAndKeepsTheOldWhenThereIsNone) {
  const Encoding first = Learn(kAuto, "order");
  clock_.Advance(options_.retrain_after);
  ASSERT_TRUE(FeedUntilDue(kAuto, "order"));
  Train();
  EXPECT_EQ(StatsOf(kAuto).dictionary_encoding, first);
  EXPECT_EQ(StatsOf(kAuto).trainings_refused, 1u);
  EXPECT_EQ(StatsOf(kAuto).dictionaries, 1u);
}

TEST_F(CompressorTest, OldDictionariesDecodeUntilNothingUsesThem) {
  const Encoding first = Learn(kAuto, "order");
  const std::string plain = Record("order", &generator_);
  const Encoded old = compressor_->Encode(kAuto, plain);
  ASSERT_EQ(old.encoding, first);
  clock_.Advance(absl::Minutes(2));
  ASSERT_NE(Learn(kAuto, "invoice_of_another_shop"), first);
  EXPECT_EQ(Decoded(kAuto, old, plain), plain);

  int asked = 0;
  uint64_t entries = 1;
  const auto users_of = [&](Encoding encoding) {
    EXPECT_EQ(encoding, first) << "only the outdated one is in question";
    ++asked;
    return entries;
  };
  clock_.Advance(absl::Hours(1));
  EXPECT_EQ(compressor_->Retire(users_of), 0u) << "an entry uses it";
  entries = 0;
  clock_.Advance(options_.retire_after - absl::Nanoseconds(1));
  EXPECT_EQ(compressor_->Retire(users_of), 0u) << "an entry used it a moment ago";
  EXPECT_EQ(Decoded(kAuto, old, plain), plain);
  clock_.Advance(options_.retire_after - absl::Nanoseconds(1));
  EXPECT_EQ(compressor_->Retire(users_of), 0u) << "a reader used it a moment ago";
  clock_.Advance(absl::Nanoseconds(1));
  EXPECT_EQ(compressor_->Retire(users_of), 1u);
  EXPECT_EQ(asked, 4);
  EXPECT_EQ(StatsOf(kAuto).dictionaries, 1u);

  std::string out;
  const absl::Status status =
      compressor_->Decode(kAuto, old.encoding, old.bytes, plain.size(), &out);
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  compressor_->Retire(users_of);
  EXPECT_EQ(compressor_->bytes(),
            StatsOf(kAuto).dictionary_memory_bytes + StatsOf(kAuto).sample_bytes);
}

TEST_F(CompressorTest, HoldsNoMoreDictionariesOfATypeThanAllowed) {
  options_.dictionaries_per_type_max = 2;
  Restart();
  Learn(kAuto, "order");
  clock_.Advance(absl::Hours(2));
  Learn(kAuto, "invoice_of_another_shop");
  clock_.Advance(absl::Hours(2));
  Learn(kAuto, "delivery_note");
  EXPECT_EQ(StatsOf(kAuto).dictionary_version, 2u);
  EXPECT_EQ(StatsOf(kAuto).dictionaries, 2u);
  EXPECT_EQ(StatsOf(kAuto).trainings_refused, 1u);
  // When one has gone, there is room for the next.
  clock_.Advance(absl::Hours(2));
  EXPECT_EQ(compressor_->Retire([](Encoding) { return 0; }), 1u);
  Learn(kAuto, "delivery_note");
  EXPECT_EQ(StatsOf(kAuto).dictionary_version, 3u);
}

TEST_F(CompressorTest, TrainsNothingBeyondTheMemoryForDictionaries) {
  options_.dictionaries_bytes_max = 50'000;
  Restart();
  Learn(kAuto, "order");
  EXPECT_EQ(StatsOf(kAuto).trainings_refused, 1u);
  EXPECT_EQ(compressor_->bytes(), 0u);
}

TEST_F(CompressorTest, DictionariesFitInTheMemoryThatIsLeft) {
  options_.dictionaries_bytes_max = 110'000;
  Restart();
  Learn(kAuto, "order");
  EXPECT_EQ(StatsOf(kAuto).dictionary_version, 1u);
  EXPECT_LT(StatsOf(kAuto).dictionary_bytes, options_.dictionary_bytes_max);
  EXPECT_LE(compressor_->bytes(), 110'000u);
  Learn(kZstdOnly, "invoice");
  EXPECT_EQ(StatsOf(kZstdOnly).dictionary_version, 0u);
  EXPECT_EQ(StatsOf(kZstdOnly).trainings_refused, 1u);
  EXPECT_LE(compressor_->bytes(), 110'000u);
}

TEST_F(CompressorTest, AllTypesTogetherHoldNoMoreSamplesThanAllowed) {
  options_.types.assign(20, {});
  options_.sample_bytes_max = 500'000;
  Restart();
  for (int i = 0; i < 20'000; ++i) {
    compressor_->Encode(static_cast<uint16_t>(i % 20), Record("order", &generator_));
    ASSERT_LE(compressor_->bytes(), 500'000u);
  }
  EXPECT_GT(compressor_->bytes(), 450'000u);
}

TEST_F(CompressorTest, LargeValuesAreNeitherSampledNorUseDictionaries) {
  options_.dictionary_value_bytes_max = 1000;
  Restart();
  compressor_->Encode(kZstdOnly, Prose(1001, &generator_));
  EXPECT_EQ(StatsOf(kZstdOnly).sample_bytes, 0u);
  compressor_->Encode(kZstdOnly, Prose(1000, &generator_));
  EXPECT_EQ(StatsOf(kZstdOnly).sample_bytes, 1000u);
  Learn(kZstdOnly, "order");
  EXPECT_EQ(compressor_->Encode(kZstdOnly, Prose(1001, &generator_)).encoding, kZstd);
}

TEST_F(CompressorTest, TrainsTypesThatAreReadyTogetherOneAfterTheOther) {
  options_.types.assign(3, {});
  Restart();
  const char* const families[] = {"order", "invoice", "delivery"};
  for (int i = 0; i < 12'000; ++i) {
    compressor_->Encode(static_cast<uint16_t>(i % 3), Record(families[i % 3], &generator_));
  }
  Train();
  for (uint16_t type = 0; type < 3; ++type) {
    const std::string plain = Record(families[type], &generator_);
    const Encoded encoded = compressor_->Encode(type, plain);
    EXPECT_EQ(encoded.encoding, StatsOf(type).dictionary_encoding);
    EXPECT_EQ(Decoded(type, encoded, plain), plain);
    EXPECT_EQ(StatsOf(type).dictionary_version, 1u);
  }
}

TEST_F(CompressorTest, CountsWhatItDoes) {
  uint64_t plain_bytes = 0, stored_bytes = 0;
  for (int i = 0; i < 100; ++i) {
    const std::string plain = Prose(1000 + i, &generator_);
    const Encoded encoded = compressor_->Encode(kBare, plain);
    plain_bytes += plain.size();
    stored_bytes += encoded.bytes.size();
    EXPECT_EQ(Decoded(kBare, encoded, plain), plain);
  }
  compressor_->Encode(kBare, Noise(1000, &generator_));
  compressor_->Encode(kBare, "small");
  const CompressionStats stats = StatsOf(kBare);
  EXPECT_EQ(stats.zstd_values, 100u);
  EXPECT_EQ(stats.plain_bytes, plain_bytes);
  EXPECT_EQ(stats.stored_bytes, stored_bytes);
  EXPECT_DOUBLE_EQ(stats.ratio(),
                   static_cast<double>(plain_bytes) / static_cast<double>(stored_bytes));
  EXPECT_EQ(stats.gainless_values, 1u);
  EXPECT_EQ(stats.small_values, 1u);
  EXPECT_EQ(stats.decodes, 100u);
  EXPECT_EQ(stats.decodes_failed, 0u);
  EXPECT_EQ(StatsOf(kAuto).ratio(), 1.0);
}

}  // namespace
}  // namespace larder
