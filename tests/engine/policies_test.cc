// What data types ask for beyond a TTL: compression, sliding expiry, shares of memory; and what the
// engine learns about keys on the way.

#include <gtest/gtest.h>

#include <random>

#include "tests/engine/engine_fixture.h"
#include "tests/engine/fake_origin.h"

namespace larder {
namespace {

class PoliciesTest : public EngineFixture {
 protected:
  static TypePolicy Packed() {
    TypePolicy type = Type("packed", "packed:*", absl::Minutes(5));
    type.compress.codec = CodecChoice::kZstd;
    type.compress.min_bytes = 64;
    return type;
  }

  // JSON that gets smaller, and of which no two are the same.
  std::string Profile(int number) {
    return "{\"id\": " + std::to_string(number) + ", \"name\": \"user number " +
           std::to_string(random_.Next()) + "\", \"mail\": \"user" + std::to_string(number) +
           "@example.org\", \"settings\": {\"theme\": \"dark\", \"language\": \"en\", "
           "\"notifications\": true, \"newsletter\": false, \"timezone\": \"UTC\"}}";
  }

  CompressionStats Compression(const std::string& type) {
    for (const UsageRow& row : engine_->Stats().types) {
      if (row.name == type) return row.compression;
    }
    return {};
  }
};

TEST_F(PoliciesTest, CompressedValuesTakeLessAndAreReadAsTheyWereWritten) {
  Make({}, {Packed()});
  const std::string value(10'000, 'x');
  Set("packed:1", value);
  Set("unpacked:1", "short");
  EXPECT_EQ(Get("packed:1"), value);
  Entry entry;
  ASSERT_TRUE(FindHit("packed:1", &entry));
  EXPECT_EQ(entry.stored(), value);
  EXPECT_EQ(Load("packed:1")->Value(), value);
  const L1Tally tally = engine_->Stats().types[1].memory;
  EXPECT_EQ(tally.plain_bytes, value.size());
  EXPECT_LT(tally.value_bytes, value.size() / 10);
  EXPECT_EQ(tally.encoded_bytes, tally.value_bytes);
  EXPECT_EQ(Now(engine_->Explain({"", "packed:1", ""}, 0))->entry->value_bytes(), value.size());
  const auto explained = Now(engine_->Explain({"", "packed:1", ""}, 0, /*want_values=*/true));
  EXPECT_EQ(explained->entry->stored(), value);
}

TEST_F(PoliciesTest, MetadataNeedsNoDecoding) {
  Make({}, {Packed()});
  const std::string value(10'000, 'x');
  Set("packed:1", value);
  Entry entry;
  ASSERT_TRUE(engine_->FindHit(FullKey("", "packed:1"), clock_.Mono(), false, &entry));
  EXPECT_EQ(entry.value_bytes(), value.size());
  const ReadResult read = *Now(engine_->Get({"", "packed:1", ""}, false));
  EXPECT_EQ(read.entry->value_bytes(), value.size());
  EXPECT_EQ(Compression("packed").decodes, 0u);
}

TEST_F(PoliciesTest, TouchKeepsACompressedValue) {
  Make({}, {Packed()});
  const std::string value(10'000, 'x');
  Set("packed:1", value);
  const auto touched = Now(engine_->Touch({{"", "packed:1", ""}, absl::Hours(1), TouchMode::kSet}));
  EXPECT_TRUE(touched->changed);
  EXPECT_EQ(Compression("packed").decodes, 0u);
  EXPECT_EQ(Get("packed:1"), value);
}

TEST_F(PoliciesTest, CounterCanBeCompressed) {
  TypePolicy type = Packed();
  type.compress.min_bytes = 1;
  Make({}, {type});
  // No counter of 64 bits gets smaller, so this one is made of what does: leading zeros.
  Set("packed:1", std::string(500, '0') + "7");
  IncrementRequest request;
  request.key = {"", "packed:1", ""};
  request.delta = 1;
  EXPECT_EQ(Now(engine_->Increment(request))->value, 8);
  EXPECT_EQ(Get("packed:1"), "8");
}

TEST_F(PoliciesTest, ValueThatCannotBeDecodedIsAMissAndGone) {
  Make({}, {Packed()});
  const FullKey full_key("", "packed:1");
  EntryFields fields;
  fields.full_key = full_key.view();
  fields.value = "this is no block of any codec";
  fields.encoding = 2;
  fields.plain_bytes = 10'000;
  fields.type_id = 1;
  const auto damage = [&] {
    fields.version = engine_->versions().Next();
    fields.fresh_until = fields.usable_until = MonoAfter(clock_.Mono(), absl::Minutes(1));
    ASSERT_EQ(engine_->memory().Insert(fields, {}, clock_.Mono()).outcome, InsertOutcome::kStored);
  };
  damage();
  EXPECT_FALSE(FindHit("packed:1"));
  EXPECT_EQ(engine_->Stats().memory.total.entries, 0u);
  damage();
  EXPECT_EQ(Get("packed:1"), "(miss)");
  EXPECT_EQ(engine_->Stats().memory.total.entries, 0u);
  damage();
  const auto loading = Load("packed:1");
  ASSERT_TRUE(loading->HasLease());
  EXPECT_TRUE(Set("packed:1", "loaded", {}, {}, loading->Token()).stored);
  EXPECT_EQ(Get("packed:1"), "loaded");
  damage();
  IncrementRequest request;
  request.key = {"", "packed:1", ""};
  request.delta = 1;
  EXPECT_EQ(Now(engine_->Increment(request))->value, 1);
  EXPECT_EQ(Compression("packed").decodes_failed, 4u);
  const EngineStats stats = engine_->Stats();
  EXPECT_EQ(stats.total.counts[static_cast<size_t>(Usage::kHits)], 1u);
}

TEST_F(PoliciesTest, DictionariesAreTrainedBesideTheCallsAndOldOnesGo) {
  Make({.memory_bytes = 64 << 20}, {Packed()});
  engine_->Start();
  int number = 0;
  const auto set_some = [&] {
    for (int i = 0; i < 3000; ++i) {
      ++number;
      const std::string value = Profile(number);
      Set("packed:" + std::to_string(number), value, absl::Minutes(30));
      ASSERT_EQ(Get("packed:" + std::to_string(number)), value);
    }
  };
  set_some();
  for (int i = 0; i < 100 && Compression("packed").dictionary_version == 0; ++i) {
    executor_.Advance(absl::Seconds(10));
    set_some();
  }
  const CompressionStats trained = Compression("packed");
  EXPECT_EQ(trained.dictionary_version, 1u);
  EXPECT_GT(trained.dictionary_ratio, 1.5);
  set_some();
  EXPECT_GT(Compression("packed").dictionary_values, 0u);
  EXPECT_GT(engine_->Stats().dictionary_bytes, 0u);
}

TEST_F(PoliciesTest, SlidingEntriesLiveAsLongAsTheyAreRead) {
  TypePolicy session = Type("session", "session:*", absl::Minutes(10));
  session.ttl.sliding = true;
  Make({}, {session, Type("user", "user:*", absl::Minutes(10))});
  Set("session:read", "1");
  Set("session:idle", "1");
  Set("user:read", "1");
  WriteRequest absent;
  absent.key = {"", "session:absent", ""};
  absent.absent = true;
  absent.ttl = absl::Minutes(10);
  ASSERT_TRUE(Now(engine_->Set(absent))->stored);
  for (int i = 0; i < 5; ++i) {
    clock_.Advance(absl::Minutes(4));
    EXPECT_EQ(Get("session:read"), "1");
    Get("user:read");
    Get("session:absent");
  }
  EXPECT_EQ(Get("user:read"), "(miss)");
  MissReason why;
  Get("session:absent", &why);
  EXPECT_NE(why, MissReason::kNegative) << "that a key does not exist must not be kept by asking";
  EXPECT_EQ(Get("session:idle"), "(miss)");
  clock_.Advance(absl::Minutes(9));
  EXPECT_TRUE(FindHit("session:read"));
  clock_.Advance(absl::Minutes(11));
  EXPECT_EQ(Get("session:read"), "(miss)");
}

TEST_F(PoliciesTest, TypeDoesNotExceedItsShareAndAnotherKeepsItsOwn) {
  TypePolicy bulk = Type("bulk", "bulk:*", absl::Hours(1));
  TypePolicy small = Type("small", "small:*", absl::Hours(1));
  bulk.compress.codec = small.compress.codec = CodecChoice::kNone;
  small.share_min = 0.3;
  bulk.share_max = 0.6;
  Make({.memory_bytes = 8 << 20, .value_bytes_max = 64 << 10}, {bulk, small});
  const std::string value(1000, 'v');
  for (int i = 0; i < 1500; ++i) Set("small:" + std::to_string(i), value);
  for (int i = 0; i < 20'000; ++i) Set("bulk:" + std::to_string(i), value);
  const EngineStats stats = engine_->Stats();
  EXPECT_LE(stats.types[1].memory.bytes(), 0.62 * (8 << 20));
  EXPECT_GE(stats.types[2].memory.entries, 1300u);
  EXPECT_LE(stats.memory.bytes, stats.memory.budget_bytes);
}

TEST_F(PoliciesTest, MemoryBudgetMovesInStepsOnTheExecutor) {
  Make({.memory_bytes = 16 << 20, .memory_bytes_max = 32 << 20, .value_bytes_max = 64 << 10});
  std::mt19937_64 random(1);
  std::string value(1000, '\0');
  for (int i = 0; i < 20'000; ++i) {
    for (char& c : value) c = static_cast<char>(random());
    Set("k" + std::to_string(i), value);
  }
  engine_->SetMemoryBudget(4 << 20);
  engine_->SetMemoryBudget(8 << 20);
  executor_.Advance(absl::Seconds(10));
  EngineStats stats = engine_->Stats();
  EXPECT_EQ(stats.memory.budget_bytes, 8u << 20);
  EXPECT_LE(stats.memory.bytes, 8u << 20);
  EXPECT_GT(stats.memory.total.evictions[static_cast<size_t>(EvictionCause::kShrink)], 0u);
  EXPECT_GT(stats.memory.total.entries, 1000u);
  engine_->SetMemoryBudget(32 << 20);
  executor_.Advance(absl::Seconds(10));
  EXPECT_EQ(engine_->Stats().memory.budget_bytes, 32u << 20);
}

TEST_F(PoliciesTest, HotKeysSeeHitsMissesAndWrites) {
  Make({}, {Type("user", "user:{id}", absl::Minutes(3))});
  Set("user:1", std::string(100, 'x'));
  Set("user:big", std::string(50'000, 'x'));
  for (int i = 0; i < 10; ++i) Get("user:1");
  for (int i = 0; i < 5; ++i) FindHit("user:1");
  for (int i = 0; i < 7; ++i) Get("user:2");
  const HotKeys& hot_keys = engine_->hot_keys();
  const auto hits = hot_keys.Top({.type_id = 1});
  ASSERT_EQ(hits.size(), 1u);
  EXPECT_EQ(hits[0].key, "user:1");
  EXPECT_EQ(hits[0].name_space, "default");
  EXPECT_EQ(hits[0].hits, 15u);
  EXPECT_EQ(hits[0].bytes, 1500u);
  const auto misses = hot_keys.Top({.type_id = 1, .order = HotKeys::Order::kMisses});
  ASSERT_EQ(misses.size(), 1u);
  EXPECT_EQ(misses[0].key, "user:2");
  EXPECT_EQ(misses[0].misses, 7u);
  const auto big = hot_keys.Top({.type_id = 1, .order = HotKeys::Order::kValueBytes});
  ASSERT_FALSE(big.empty());
  EXPECT_EQ(big[0].key, "user:big");
  EXPECT_EQ(big[0].value_bytes_max, 50'000u);
}

// A type with an origin whose TTL follows how often loads find another value.
class LearningTest : public EngineFixture {
 protected:
  LearningTest() {
    TypePolicy type = Type("user", "user:{id}", absl::Seconds(100));
    type.origin = "shop";
    type.ttl.adapt_change = true;
    type.freshness.stale_while_revalidate = absl::Hours(1);
    Engine::Options options;
    OriginLink link;
    link.name = "shop";
    link.origin = &origin_;
    options.origins = {link};
    std::vector<TypePolicy> types;
    types.push_back(std::move(type));
    Make(options, std::move(types));
  }

  // Loads the key again and again, each time after its TTL.
  void LoadAgain(const std::string& key, int times, bool changes) {
    for (int i = 0; i < times; ++i) {
      if (changes) origin_.values[key] = {"v" + std::to_string(++values_)};
      Load(key);
      executor_.Advance(absl::Seconds(1700));
    }
  }
  TtlStep Learned(const std::string& key) {
    const absl::StatusOr<Explanation> explained = Now(engine_->Explain({"", key, ""}, 0));
    EXPECT_TRUE(explained.ok()) << explained.status();
    for (const TtlStep& step : explained->ttl) {
      if (step.name == "change") return step;
    }
    ADD_FAILURE() << "nothing is said of it";
    return {};
  }

  FakeOrigin origin_{&executor_};
  int values_ = 0;
};

TEST_F(LearningTest, ExplainTellsWhatWasLearnedOfAKeyAndOfTheOthers) {
  EXPECT_EQ(Learned("user:calm").factor, 1);
  origin_.values["user:calm"] = {"v"};
  LoadAgain("user:calm", 12, /*changes=*/false);
  const TtlStep calm = Learned("user:calm");
  EXPECT_GE(calm.factor, 4);
  EXPECT_NEAR(absl::ToDoubleSeconds(calm.ttl), 100 * calm.factor, 0.001);
  EXPECT_EQ(calm.why.rfind("learned of this key", 0), 0u) << calm.why;
  EXPECT_EQ(Learned("user:new").factor, calm.factor);
  EXPECT_EQ(Learned("user:new").why.find("learned of this key"), std::string::npos);
  LoadAgain("user:busy", 12, /*changes=*/true);
  EXPECT_LE(Learned("user:busy").factor, 0.25);
  EXPECT_EQ(Learned("user:calm").factor, calm.factor);
  EXPECT_LT(Learned("user:new").factor, calm.factor);
}

TEST_F(LearningTest, WhatWasLearnedIsTheTimeThatTheNextLoadGives) {
  origin_.values["user:calm"] = {"v"};
  LoadAgain("user:calm", 12, /*changes=*/false);
  Load("user:calm");
  executor_.RunReady();
  Entry entry;
  ASSERT_TRUE(FindHit("user:calm", &entry));
  EXPECT_EQ(absl::Nanoseconds(entry.fresh_until - clock_.Mono()), Learned("user:calm").ttl);
}

}  // namespace
}  // namespace larder
