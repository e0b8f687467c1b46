#include "tier/rocksdb_filter.h"

#include <gtest/gtest.h>
#include <rocksdb/compaction_filter.h>
#include <rocksdb/table_properties.h>

#include <string>

#include "core/key.h"
#include "tests/tier/rocks_test.h"

namespace larder {
namespace {

using Decision = rocksdb::CompactionFilter::Decision;

class RocksFilterTest : public testing::Test {
 protected:
  bool Kept(const std::string& envelope, const std::string& key = "key") {
    std::string new_value, skip_until;
    return filter_->FilterV2(6, key, rocksdb::CompactionFilter::ValueType::kValue, envelope,
                             &new_value, &skip_until) == Decision::kKeep;
  }
  std::string Entry(Version version, absl::Duration life) {
    return PutOf(clock_, "k", version, "v", life).envelope;
  }

  ManualClock clock_;
  RocksCutoff cutoff_{&clock_};
  const std::unique_ptr<const rocksdb::CompactionFilter> filter_ = NewRocksFilter(&cutoff_);
};

TEST_F(RocksFilterTest, DropsEntriesThatHaveEnded) {
  const std::string entry = Entry(5, absl::Hours(1));
  EXPECT_TRUE(Kept(entry));
  clock_.Advance(absl::Hours(1));
  EXPECT_FALSE(Kept(entry));
  EXPECT_EQ(cutoff_.expired.load(), 1u);
}

TEST_F(RocksFilterTest, KeepsAnEntryOfAShortLifeForAsLongAsATombstone) {
  const std::string entry = Entry(VersionAt(clock_.Now()), absl::Seconds(2));
  clock_.Advance(kTombstoneTtl - absl::Milliseconds(1));
  EXPECT_TRUE(Kept(entry));
  clock_.Advance(absl::Milliseconds(1));
  EXPECT_FALSE(Kept(entry));
}

TEST_F(RocksFilterTest, DropsTombstonesAfterTheirTime) {
  const std::string tombstone = EncodeTombstone(Key("k"), 5, clock_.Now() + kTombstoneTtl);
  EXPECT_TRUE(Kept(tombstone));
  clock_.Advance(kTombstoneTtl);
  EXPECT_FALSE(Kept(tombstone));
}

TEST_F(RocksFilterTest, DropsEntriesBelowTheCutoffAndNoTombstones) {
  const std::string entry = Entry(5, absl::Hours(1));
  const std::string tombstone = EncodeTombstone(Key("k"), 4, clock_.Now() + kTombstoneTtl);
  cutoff_.Raise(5);
  EXPECT_TRUE(Kept(entry));
  cutoff_.Raise(6);
  cutoff_.Raise(1);
  EXPECT_EQ(cutoff_.version(), 6u);
  EXPECT_FALSE(Kept(entry));
  EXPECT_TRUE(Kept(tombstone));
  EXPECT_EQ(cutoff_.evicted.load(), 1u);
}

TEST_F(RocksFilterTest, KeepsWhatIsLardersOwnBelowTheCutoff) {
  const std::string own(FullKey(kOwnNamespace, "rules:7").view());
  const std::string entry = PutOf(clock_, "k", 5, "v", absl::Hours(1)).envelope;
  cutoff_.Raise(6);
  EXPECT_FALSE(Kept(entry));
  EXPECT_TRUE(Kept(entry, own));
}

// Everything of one tag, up to a version.
class CoverOfTag : public TierCover {
 public:
  CoverOfTag(std::string tag, Version version) : tag_(std::move(tag)), version_(version) {}
  Version newest(bool listed) const override { return listed ? version_ : kNoVersion; }
  bool Covers(std::string_view full_key, const TierRead& read) const override {
    EXPECT_EQ(full_key, Key("k"));
    EXPECT_EQ(read.type, "user");
    EXPECT_EQ(read.entry.stored(), "") << "nobody asks for it";
    return read.entry.version <= version_ && read.entry.tags == std::vector<std::string>{tag_};
  }

 private:
  const std::string tag_;
  const Version version_;
};

TEST_F(RocksFilterTest, DropsWhatIsCoveredAsLateAsATombstone) {
  const Version version = VersionAt(clock_.Now());
  const std::vector<std::string> tags = {"sale"};
  EntryFields fields;
  const std::string key = Key("k");
  fields.full_key = key;
  fields.value = "v";
  fields.version = version;
  fields.fresh_until = fields.usable_until =
      clock_.Mono() + absl::ToInt64Nanoseconds(absl::Hours(9));
  const std::string plain = EncodeEnvelope(fields, "user", clock_);
  fields.tags = tags;
  const std::string tagged = EncodeEnvelope(fields, "user", clock_);
  cutoff_.SetCover(std::make_shared<CoverOfTag>("sale", version));
  EXPECT_TRUE(Kept(tagged, key));
  clock_.Advance(kTombstoneTtl - absl::Milliseconds(1));
  EXPECT_TRUE(Kept(tagged, key));
  clock_.Advance(absl::Milliseconds(1));
  EXPECT_FALSE(Kept(tagged, key));
  EXPECT_TRUE(Kept(plain, key));
  // What is damaged is for readers to find, who count it.
  std::string damaged = tagged;
  damaged[damaged.size() - 1] ^= 1;
  EXPECT_TRUE(Kept(damaged, key));

  cutoff_.SetCover(std::make_shared<CoverOfTag>("other", version));
  EXPECT_TRUE(Kept(tagged, key));
  cutoff_.SetCover(std::make_shared<CoverOfTag>("sale", version - 1));
  EXPECT_TRUE(Kept(tagged, key));
  cutoff_.SetCover(nullptr);
  EXPECT_TRUE(Kept(tagged, key));
}

TEST_F(RocksFilterTest, DropsWhatIsNoEnvelope) {
  EXPECT_FALSE(Kept(""));
  EXPECT_FALSE(Kept(std::string(100, 'x')));
}

TEST_F(RocksFilterTest, SampleStandsForTheBytesOfItsFile) {
  const auto factory = NewSampleCollectorFactory();
  for (const int entries : {1, 10, 10'000, 300'000}) {
    const std::unique_ptr<rocksdb::TablePropertiesCollector> collector(
        factory->CreateTablePropertiesCollector({}));
    // The first tenth of the entries is old, and nine times as large.
    for (int i = 0; i < entries; ++i) {
      const bool old = i < entries / 10;
      std::string value = Entry(old ? 1 : 2, absl::Hours(1));
      value.resize(old ? 900 : 100, 'v');
      ASSERT_TRUE(collector->AddUserKey("", value, rocksdb::kEntryPut, 1, 0).ok());
    }
    rocksdb::UserCollectedProperties properties;
    ASSERT_TRUE(collector->Finish(&properties).ok());
    const auto sample = ReadSample(properties[kSampleProperty]);
    ASSERT_FALSE(sample.empty());
    EXPECT_LE(sample.size(), 128u);
    if (entries < 10'000) continue;
    const auto old = std::count_if(sample.begin(), sample.end(),
                                   [](const EnvelopeHead& head) { return head.version == 1; });
    EXPECT_NEAR(static_cast<double>(old) / static_cast<double>(sample.size()), 0.5, 0.1);
  }
}

TEST_F(RocksFilterTest, SampleThatCannotBeReadIsEmpty) {
  EXPECT_TRUE(ReadSample("").empty());
  EXPECT_TRUE(ReadSample(std::string(1000, 'x')).empty());
}

}  // namespace
}  // namespace larder
