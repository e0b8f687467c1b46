#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "base/epoch.h"
#include "policy/dictionary_set.h"
#include "policy/dictionary_trainer.h"
#include "tests/policy/values.h"

namespace larder {
namespace {

// What a full training of these samples comes to.
DictionaryTrainer::Result Train(std::vector<std::string> samples,
                                std::shared_ptr<const Dictionary> current = nullptr) {
  SeededRandom random(1);
  DictionaryTrainer trainer(std::move(samples), 8 << 10, 3, std::move(current), &random);
  while (!trainer.Step()) {
  }
  return trainer.Take();
}

std::vector<std::string> Records(const std::string& family, int count, uint64_t seed) {
  Generator generator(seed);
  std::vector<std::string> records;
  for (int i = 0; i < count; ++i) records.push_back(Record(family, &generator));
  return records;
}

TEST(SamplePoolTest, NeverHoldsMoreThanAllowed) {
  Generator generator(1);
  SeededRandom random(1);
  SamplePool pool;
  for (int i = 0; i < 10'000; ++i) {
    pool.Offer(Noise(generator() % 2000, &generator), 50'000, &random);
    ASSERT_LE(pool.bytes(), 50'000u);
  }
  EXPECT_GT(pool.bytes(), 40'000u);
  uint64_t bytes = 0;
  for (const std::string& sample : pool.Take()) bytes += sample.size();
  EXPECT_LE(bytes, 50'000u);
  EXPECT_EQ(pool.bytes(), 0u);
  EXPECT_EQ(pool.size(), 0u);
}

TEST(SamplePoolTest, TakesLateValuesInThePlaceOfEarlyOnes) {
  SeededRandom random(2);
  SamplePool pool;
  for (int i = 0; i < 20'000; ++i) {
    pool.Offer(i < 10'000 ? std::string(100, 'a') : std::string(100, 'b'), 10'000, &random);
  }
  size_t late = 0;
  for (const std::string& sample : pool.Take()) late += sample[0] == 'b' ? 1 : 0;
  EXPECT_GT(late, 90u);
}

TEST(DictionaryTrainerTest, ImprovesSmallValuesThatAreAlike) {
  const DictionaryTrainer::Result result = Train(Records("order", 1000, 1));
  ASSERT_TRUE(result.Accepted());
  EXPECT_LT(result.new_bytes * 2, result.bare_bytes);
  EXPECT_EQ(result.current_bytes, result.bare_bytes);
  EXPECT_LE(result.dictionary->content().size(), size_t{8 << 10});
}

TEST(DictionaryTrainerTest, RefusesWhatHasNothingInCommon) {
  Generator generator(2);
  std::vector<std::string> samples;
  for (int i = 0; i < 500; ++i) samples.push_back(Noise(500, &generator));
  EXPECT_FALSE(Train(std::move(samples)).Accepted());
}

TEST(DictionaryTrainerTest, RefusesWhatIsNoBetterThanTheOneInUse) {
  const std::shared_ptr<const Dictionary> current = Train(Records("order", 1000, 1)).dictionary;
  const DictionaryTrainer::Result same = Train(Records("order", 1000, 2), current);
  EXPECT_FALSE(same.Accepted());
  EXPECT_LT(same.current_bytes, same.bare_bytes);
  EXPECT_TRUE(Train(Records("invoice", 1000, 3), current).Accepted());
}

TEST(DictionaryTrainerTest, EndsWithoutADictionaryWhenSamplesHoldTooLittle) {
  for (const char* const sample : {"", "x", "abcdefgh"}) {
    const size_t samples = DictionaryTrainer::kSamplesMin;
    EXPECT_FALSE(Train(std::vector<std::string>(samples, sample)).Accepted()) << sample;
  }
}

class DictionarySetTest : public testing::Test {
 protected:
  static constexpr absl::Duration kGrace = absl::Seconds(60);

  std::shared_ptr<const TypeDictionary> Add(uint16_t type_id = 0) {
    auto added = std::make_unique<TypeDictionary>();
    added->dictionary = dictionary_;
    added->type_id = type_id;
    return set_.Add(std::move(added));
  }
  const TypeDictionary* Find(Encoding number) const {
    const Epoch::Reader reader;
    return set_.Find(number);
  }
  size_t Retire(uint64_t users = 0) {
    return set_.Retire(kGrace, [users](Encoding) { return users; });
  }

  const std::shared_ptr<const Dictionary> dictionary_ = DictionaryFor("order", 1);
  ManualClock clock_;
  DictionarySet set_{4, &clock_};
};

TEST_F(DictionarySetTest, FindsByNumber) {
  const auto a = Add(), b = Add();
  EXPECT_GE(a->number, kDictionaryFirst);
  EXPECT_NE(a->number, b->number);
  EXPECT_EQ(Find(a->number), a.get());
  EXPECT_EQ(Find(b->number), b.get());
  EXPECT_EQ(Find(static_cast<Encoding>(b->number + 1)), nullptr);
  // Numbers that share a place in the table with one that is there.
  for (int number = 0; number <= 0xffff; ++number) {
    if (number == a->number || number == b->number) continue;
    ASSERT_EQ(Find(static_cast<Encoding>(number)), nullptr) << number;
  }
}

TEST_F(DictionarySetTest, RefusesOneTooMany) {
  for (int i = 0; i < 4; ++i) EXPECT_NE(Add(), nullptr);
  EXPECT_EQ(Add(), nullptr);
  EXPECT_EQ(set_.HeldInAll().count, 4u);
}

TEST_F(DictionarySetTest, DropsAnOutdatedOneOnlyAfterNothingUsedItForAWhile) {
  const auto held = Add();
  clock_.Advance(10 * kGrace);
  EXPECT_EQ(Retire(), 0u) << "it is in use";
  set_.Outdate(*held);
  EXPECT_EQ(Retire(), 0u) << "just outdated";
  clock_.Advance(kGrace);
  EXPECT_EQ(Retire(1), 0u) << "an entry uses it";
  clock_.Advance(kGrace - absl::Nanoseconds(1));
  EXPECT_EQ(Retire(), 0u) << "an entry used it a moment ago";
  clock_.Advance(absl::Nanoseconds(1));
  EXPECT_EQ(Retire(), 1u);
  EXPECT_EQ(Find(held->number), nullptr);
  EXPECT_EQ(Retire(), 0u);
}

TEST_F(DictionarySetTest, KeepsTheMemoryWhileAReaderMayLook) {
  const uint64_t one = dictionary_->bytes();
  std::weak_ptr<const TypeDictionary> watched;
  Encoding number = 0;
  {
    const auto held = Add();
    watched = held;
    number = held->number;
    set_.Outdate(*held);
  }
  clock_.Advance(kGrace);
  {
    const Epoch::Reader reader;
    const TypeDictionary* const found = set_.Find(number);
    ASSERT_NE(found, nullptr);
    EXPECT_EQ(Retire(), 1u);
    EXPECT_EQ(Retire(), 0u);
    EXPECT_FALSE(watched.expired());
    EXPECT_EQ(found->dictionary->bytes(), one);
    EXPECT_EQ(set_.HeldInAll().bytes, one);
    EXPECT_EQ(set_.HeldInAll().count, 0u);
  }
  Retire();
  EXPECT_TRUE(watched.expired());
  EXPECT_EQ(set_.HeldInAll().bytes, 0u);
}

TEST_F(DictionarySetTest, DoesNotGiveANumberAgainBeforeAllOthers) {
  const auto kept = Add();
  std::set<Encoding> given;
  // Numbers that fall on the place of `kept` are left out: one of 16.
  for (int i = 0; i < (0x10000 - kDictionaryFirst) * 15 / 16; ++i) {
    const auto held = Add();
    ASSERT_TRUE(given.insert(held->number).second) << held->number << " came again after " << i;
    ASSERT_GE(held->number, kDictionaryFirst);
    ASSERT_NE(held->number, kept->number);
    set_.Outdate(*held);
    clock_.Advance(kGrace);
    ASSERT_EQ(Retire(), 1u);
  }
  EXPECT_EQ(Find(kept->number), kept.get());
  EXPECT_GE(Add()->number, kDictionaryFirst);
}

TEST_F(DictionarySetTest, CountsByType) {
  Add(1);
  Add(1);
  Add(7);
  const auto held = set_.HeldByType(3);
  ASSERT_EQ(held.size(), 3u);
  EXPECT_EQ(held[0].count, 0u);
  EXPECT_EQ(held[1].count, 2u);
  EXPECT_EQ(held[1].bytes, 2 * dictionary_->bytes());
  EXPECT_EQ(set_.HeldInAll().bytes, 3 * dictionary_->bytes());
}

}  // namespace
}  // namespace larder
