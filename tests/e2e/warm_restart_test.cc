// A whole server that is restarted: what was hot is in memory again before it says that it is
// ready, and nothing that was changed meanwhile.

#include "tests/e2e/fleet_fixture.h"

namespace larder {
namespace {

constexpr int kEntries = 3'000;
constexpr int kHot = 300;
constexpr char kWarm[] = "warm: { before_ready: 30s, save: 1s }\n";

std::string Key(int i) { return "k:" + std::to_string(i); }
std::string ValueOf(int i) { return std::string(300, static_cast<char>('a' + i % 26)) + Key(i); }

void FillAndRead(Replica* replica) {
  for (int i = 0; i < kEntries; ++i) ASSERT_TRUE(replica->Set(Key(i), ValueOf(i)).ok());
  for (int round = 0; round < 5; ++round) {
    for (int i = 0; i < kHot; ++i) ASSERT_EQ(replica->Value(Key(i)), ValueOf(i));
  }
}

// How many of the first entries come from memory, and right.
int InMemory(Replica* replica, int from, int to) {
  int count = 0;
  for (int i = from; i < to; ++i) {
    const v1::GetResponse got = replica->Get(Key(i));
    EXPECT_EQ(got.hit().value(), ValueOf(i)) << i;
    count += got.hit().tier() == v1::TIER_L1 ? 1 : 0;
  }
  return count;
}

TEST(WarmRestartTest, HotEntriesAreBackInMemoryBeforeItIsReady) {
  const TempDir data;
  Replica replica("data: { path: \"" + data.path() +
                  "\" }\n"
                  "memory: { l1: 32MiB }\n"
                  "l2: { rocksdb: { enabled: true, max_bytes: 64MiB, memory: 8MiB }, "
                  "read_timeout: 10s, write_timeout: 10s, breaker: { slow_after: 10s } }\n" +
                  kWarm);
  FillAndRead(&replica);
  if (testing::Test::HasFatalFailure()) return;
  ASSERT_TRUE(replica.Delete(Key(0)).ok());
  EXPECT_EQ(replica.Stop().exit_code, 0);
  ASSERT_TRUE(replica.Start());
  EXPECT_EQ(replica.Stats().warm().state(), "done");
  EXPECT_TRUE(replica.Get(Key(0)).has_miss());
  EXPECT_EQ(InMemory(&replica, 1, kHot), kHot - 1);
  EXPECT_EQ(replica.Metric("larder_warm_loaded_total"), replica.Stats().warm().loaded());

  // Killed: what the list has that was written before.
  const uint64_t saves = replica.Stats().warm().saves();
  ASSERT_TRUE(Eventually([&] { return replica.Stats().warm().saves() >= saves + 2; }));
  replica.Kill();
  ASSERT_TRUE(replica.Start());
  EXPECT_EQ(replica.Stats().warm().state(), "done");
  EXPECT_GE(InMemory(&replica, 1, kHot), kHot - 1);
}

TEST(WarmRestartTest, WhatOthersChangedMeanwhileIsNotBroughtBack) {
  RedisServer redis;
  const std::string url = "redis://127.0.0.1:" + std::to_string(redis.port()) + "/0";
  const TempDir data;
  Replica a(FleetConfig(1, url, "data: { path: \"" + data.path() + "\" }\n" + kWarm));
  Replica b(FleetConfig(2, url));
  ASSERT_TRUE(Eventually([&] {
    return a.Well() && b.Well() && a.Fleet().replicas() == 1 && b.Fleet().replicas() == 1;
  }));
  v1::SetRequest tagged;
  v1::SetResponse stored;
  tagged.set_key("tagged");
  tagged.set_value("old");
  tagged.add_tags("sale");
  ASSERT_TRUE(a.Set(tagged, &stored).ok());
  FillAndRead(&a);
  if (testing::Test::HasFatalFailure()) return;
  EXPECT_EQ(a.Stop().exit_code, 0);

  ASSERT_TRUE(b.Set(Key(0), "new").ok());
  ASSERT_TRUE(b.Delete(Key(1)).ok());
  v1::InvalidateResponse response;
  ASSERT_TRUE(b.Invalidate({Key(2)}, /*fleet=*/false, &response).ok());
  v1::InvalidateRequest rule;
  rule.mutable_tags()->add_tags("sale");
  ASSERT_TRUE(b.stub().Invalidate(Replica::Within().get(), rule, &response).ok());

  ASSERT_TRUE(a.Start());
  // From the first call on.
  EXPECT_EQ(a.Value(Key(0)), "new");
  EXPECT_TRUE(a.Get(Key(1)).has_miss());
  EXPECT_TRUE(a.Get(Key(2)).has_miss());
  EXPECT_TRUE(a.Get("tagged").has_miss());
  EXPECT_EQ(a.Stats().warm().state(), "done");
  EXPECT_EQ(InMemory(&a, 3, kHot), kHot - 3);
}

}  // namespace
}  // namespace larder
