#include "engine/hot_list.h"

#include <gtest/gtest.h>

#include <set>

#include "base/strings.h"
#include "engine/hot_list_saver.h"
#include "memory/l1.h"
#include "tests/tier/rocks_rig.h"

namespace larder {
namespace {

std::string Key(const std::string& key) { return std::string(FullKey("", key).view()); }

TEST(HotListTest, APartGivesItsKeysBack) {
  HotListPart part;
  part.Add(Key("a"), 7);
  part.Add(std::string(FullKey("shop", std::string(kKeyBytesMax, 'k')).view()), UINT64_MAX);
  const std::string file = part.Finish(3);
  EXPECT_EQ(part.bytes(), 0u);
  const auto keys = DecodeHotListPart(file);
  ASSERT_TRUE(keys.ok()) << keys.status();
  ASSERT_EQ(keys->size(), 2u);
  EXPECT_EQ((*keys)[0].full_key, Key("a"));
  EXPECT_EQ((*keys)[0].version, 7u);
  EXPECT_EQ((*keys)[0].level, 3);
  EXPECT_EQ(FullKey::NamespaceOf((*keys)[1].full_key), "shop");
  EXPECT_EQ((*keys)[1].version, UINT64_MAX);
}

TEST(HotListTest, DamageOfAnyByteAndAnyLengthIsFound) {
  HotListPart part;
  part.Add(Key("a"), 7);
  part.Add(Key("some-longer-key"), 8);
  const std::string file = part.Finish(1);
  const std::string index = EncodeHotListIndex({.keys = 2, .levels = {1, 0, 5}});
  ASSERT_TRUE(DecodeHotListPart(file).ok());
  ASSERT_TRUE(DecodeHotListIndex(index).ok());
  for (size_t at = 0; at < file.size(); ++at) {
    std::string damaged = file;
    damaged[at] ^= 0x10;
    EXPECT_TRUE(absl::IsDataLoss(DecodeHotListPart(damaged).status())) << at;
    EXPECT_TRUE(absl::IsDataLoss(DecodeHotListPart(file.substr(0, at)).status())) << at;
  }
  for (size_t at = 0; at < index.size(); ++at) {
    std::string damaged = index;
    damaged[at] ^= 0x10;
    EXPECT_TRUE(absl::IsDataLoss(DecodeHotListIndex(damaged).status())) << at;
    EXPECT_TRUE(absl::IsDataLoss(DecodeHotListIndex(index.substr(0, at)).status())) << at;
  }
  EXPECT_FALSE(DecodeHotListPart(file + "x").ok());
  EXPECT_FALSE(DecodeHotListIndex(index + "x").ok());
  EXPECT_FALSE(DecodeHotListPart(index).ok());
  EXPECT_FALSE(DecodeHotListIndex(file).ok());
}

TEST(HotListTest, WhatIsNoFullKeyIsDamageAlthoughTheChecksumHolds) {
  const std::string bad[] = {"",
                             "\1",
                             "\2a",
                             std::string("\0a", 2),
                             "\1/a",
                             "\1a\x01",
                             std::string("\1a") + std::string(kKeyBytesMax + 1, 'k')};
  for (const std::string& full_key : bad) {
    HotListPart part;
    part.Add(full_key, 1);
    EXPECT_TRUE(absl::IsDataLoss(DecodeHotListPart(part.Finish(1)).status())) << full_key;
  }
}

TEST(HotListTest, TheCutTakesTheUpperLevelsAndAPartOfTheNext) {
  HotListCount count;
  // 7 bytes each, and the key's own.
  for (int i = 0; i < 10; ++i) count.Add("\1a-key1", 0);
  for (int i = 0; i < 5; ++i) count.Add("\1a-key2", 2);
  for (int i = 0; i < 3; ++i) count.Add("\1a-key3", 100);
  const uint64_t each = 7 + HotListPart::kKeyOverheadBytes;
  const auto cut = [&](uint64_t keys, uint64_t bytes) {
    const HotListCut at = count.CutAt(keys, bytes);
    return std::pair(static_cast<int>(at.least), at.of_least);
  };
  EXPECT_EQ(cut(4, 1000), std::pair(static_cast<int>(HotLevelOf(2)), uint64_t{1}));
  EXPECT_EQ(cut(2, 1000), std::pair(static_cast<int>(HotLevelOf(100)), uint64_t{2}));
  EXPECT_EQ(cut(9, 1000), std::pair(0, uint64_t{1}));
  EXPECT_EQ(cut(100, 6 * each), std::pair(static_cast<int>(HotLevelOf(2)), uint64_t{3}));
  EXPECT_EQ(cut(8, 1000), std::pair(0, uint64_t{0}));
  EXPECT_GE(count.CutAt(100, 1000).of_least, 10u);
}

class HotListSaverTest : public testing::Test {
 protected:
  HotListSaverTest()
      : dir_(*DataDir::Open(folder_.path() + "/data")),
        memory_(L1::New({.budget_bytes = 8 << 20, .clock = &clock_})) {
    TypePolicy alone;
    alone.name = "alone";
    alone.second_tier = false;
    std::vector<TypePolicy> types;
    types.push_back(std::move(alone));
    types_ = *TypeTable::Make(std::move(types));
  }

  void Insert(const std::string& key, const std::string& type, int hits) {
    EntryFields fields;
    const std::string full_key = Key(key);
    fields.full_key = full_key;
    fields.value = "v";
    fields.version = ++version_;
    fields.type_id = types_->Find(type)->id;
    fields.fresh_until = fields.usable_until = MonoAfter(clock_.Mono(), absl::Hours(1));
    ASSERT_EQ(memory_->Insert(fields, {}, clock_.Mono()).outcome, InsertOutcome::kStored);
    Entry entry;
    MissReason why;
    for (int i = 0; i < hits; ++i) memory_->Find(full_key, clock_.Mono(), &entry, &why);
  }

  HotListSaver::Options Options() {
    return {
        .memory = memory_.get(), .types = types_.get(), .data_dir = dir_.get(), .clock = &clock_};
  }

  absl::Status Save(HotListSaver& saver) {
    while (saver.next() != HotListSaver::Next::kDone) {
      if (saver.next() == HotListSaver::Next::kWalk) {
        saver.Walk();
      } else if (absl::Status status = saver.Write(); !status.ok()) {
        return status;
      }
    }
    return absl::OkStatus();
  }

  // The keys without their namespace, hottest parts first.
  std::vector<std::string> Saved() {
    std::vector<std::string> keys;
    const auto index = DecodeHotListIndex(*dir_->ReadFile(kHotListFile));
    EXPECT_TRUE(index.ok()) << index.status();
    for (int level = kHotLevels - 1; level >= 0; --level) {
      for (uint32_t number = 0; number < index->levels.size(); ++number) {
        if (index->levels[number] != level) continue;
        const auto part = DecodeHotListPart(*dir_->ReadFile(HotListPartFile(number)));
        EXPECT_TRUE(part.ok()) << part.status();
        for (const HotKey& key : *part) keys.emplace_back(FullKey::KeyOf(key.full_key));
      }
    }
    EXPECT_EQ(keys.size(), index->keys);
    return keys;
  }

  TemporaryFolder folder_;
  ManualClock clock_;
  std::unique_ptr<DataDir> dir_;
  std::unique_ptr<L1> memory_;
  std::shared_ptr<const TypeTable> types_;
  Version version_ = 0;
};

TEST_F(HotListSaverTest, WritesHottestFirstAndOnlyWhatALowerTierHas) {
  Insert("cold", "default", 0);
  Insert("hot", "default", 50);
  Insert("warm", "default", 5);
  Insert("of-memory-alone", "alone", 500);
  HotListSaver saver(Options());
  ASSERT_TRUE(Save(saver).ok());
  EXPECT_EQ(saver.keys(), 3u);
  EXPECT_EQ(Saved(), (std::vector<std::string>{"hot", "warm", "cold"}));
}

TEST_F(HotListSaverTest, TakesTheHottestWhenThereAreTooMany) {
  for (int i = 0; i < 5000; ++i) Insert(StrCat("cold", i), "default", 0);
  for (int i = 0; i < 100; ++i) Insert(StrCat("hot", i), "default", 3);
  HotListSaver::Options options = Options();
  options.keys_max = 150;
  HotListSaver saver(options);
  ASSERT_TRUE(Save(saver).ok());
  const std::vector<std::string> saved = Saved();
  ASSERT_EQ(saved.size(), 150u);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(saved[i].substr(0, 3), "hot");
  EXPECT_EQ(std::set<std::string>(saved.begin(), saved.end()).size(), 150u);
}

TEST_F(HotListSaverTest, StaysWithinItsBytes) {
  for (int i = 0; i < 5000; ++i) Insert(StrCat("key", i), "default", i % 4);
  HotListSaver::Options options = Options();
  options.bytes_max = 20'000;
  options.part_bytes = 1 << 10;
  HotListSaver saver(options);
  ASSERT_TRUE(Save(saver).ok());
  EXPECT_GT(saver.keys(), 600u);
  uint64_t bytes = 0;
  const auto index = DecodeHotListIndex(*dir_->ReadFile(kHotListFile));
  for (uint32_t number = 0; number < index->levels.size(); ++number) {
    const size_t size = dir_->ReadFile(HotListPartFile(number))->size();
    EXPECT_LE(size, 2u << 10);
    bytes += size - HotListPart::kFrameBytes;
  }
  EXPECT_LE(bytes, options.bytes_max);
}

TEST_F(HotListSaverTest, AnEmptyMemoryLeavesAnEmptyList) {
  HotListSaver saver(Options());
  ASSERT_TRUE(Save(saver).ok());
  EXPECT_TRUE(Saved().empty());
}

TEST_F(HotListSaverTest, AnUnwritableFolderIsAnError) {
  Insert("a", "default", 0);
  std::filesystem::create_directory(folder_.path() + "/data/hot_keys.0");
  HotListSaver saver(Options());
  EXPECT_FALSE(Save(saver).ok());
}

}  // namespace
}  // namespace larder
