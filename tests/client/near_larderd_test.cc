// The near cache before a real server.

#include <gtest/gtest.h>

#include <thread>

#include "larder/near_cache.h"
#include "tests/client/conformance.h"

namespace larder::testing {
namespace {

// Runs on each server that there is: none in a build without it (LARDER_SERVER=OFF).
class NearLarderdTest : public ::testing::TestWithParam<std::string> {
 protected:
  NearLarderdTest() : server_(Larderd::Start()), other_(MustConnect()) {}

  std::unique_ptr<Client> MustConnect() {
    auto client = Connect(ClientOptions(server_->address(), absl::Seconds(20)));
    EXPECT_TRUE(client.ok()) << client.status();
    return *std::move(client);
  }
  std::unique_ptr<NearClient> MustNear(const NearCacheOptions& options = {}) {
    auto near = NewNearClient(MustConnect(), options);
    EXPECT_TRUE(near.ok()) << near.status();
    EXPECT_TRUE((*near)->AwaitLive(absl::Seconds(20)));
    return *std::move(near);
  }
  void Put(std::string_view key, std::string_view value, std::vector<std::string> tags = {}) {
    SetOptions options;
    options.tags = std::move(tags);
    const absl::StatusOr<SetResult> set = other_->Set(key, value, options);
    ASSERT_TRUE(set.ok() && set->stored) << set.status();
  }
  // Reads until the near cache has the key.
  static void Keep(NearClient* near, std::string_view key) {
    while (!near->Find(key)) ASSERT_TRUE(near->Get(key).ok());
  }
  static void AwaitGone(NearClient* near, std::string_view key) {
    while (near->Find(key)) std::this_thread::yield();
  }

  std::unique_ptr<Larderd> server_;
  std::unique_ptr<Client> other_;
};

TEST_P(NearLarderdTest, ChangesOfOthersAreSeen) {
  Put("user:1", "old", {"red"});
  Put("user:2", "old");
  Put("order:1", "old");
  const auto near = MustNear();
  for (const char* key : {"user:1", "user:2", "order:1"}) Keep(near.get(), key);
  Put("user:1", "new", {"red"});
  AwaitGone(near.get(), "user:1");
  EXPECT_EQ(ValueOf(near->Get("user:1")), "new");
  ASSERT_TRUE(other_->Delete("user:2").ok());
  AwaitGone(near.get(), "user:2");
  EXPECT_FALSE(near->Get("user:2")->hit());
  EXPECT_TRUE(near->Find("order:1"));
  // Rules of each kind.
  Put("user:2", "v", {"red"});
  for (const char* key : {"user:1", "user:2"}) Keep(near.get(), key);
  Selector red;
  red.tags = {"red"};
  ASSERT_TRUE(other_->InvalidateBy(red).ok());
  AwaitGone(near.get(), "user:1");
  AwaitGone(near.get(), "user:2");
  EXPECT_TRUE(near->Find("order:1"));
  Selector orders;
  orders.prefix = "order:";
  ASSERT_TRUE(other_->InvalidateBy(orders).ok());
  AwaitGone(near.get(), "order:1");
  EXPECT_EQ(near->Near().streams_lost, 0u);
}

// It has another TTL then, and the same version, which may be kept again.
TEST_P(NearLarderdTest, WhatIsTouchedElsewhereIsReadAgainAndKept) {
  Put("user:1", "v");
  const auto near = MustNear();
  Keep(near.get(), "user:1");
  const uint64_t version = near->Find("user:1").version();
  TouchOptions longer;
  longer.ttl = absl::Seconds(1000);
  ASSERT_TRUE(other_->Touch("user:1", longer).ok());
  AwaitGone(near.get(), "user:1");
  Keep(near.get(), "user:1");
  EXPECT_EQ(near->Find("user:1").version(), version);
}

TEST_P(NearLarderdTest, OwnInvalidationsTakeEffectAtOnce) {
  Put("user:1", "v", {"red"});
  Put("user:2", "v");
  const auto near = MustNear();
  for (const char* key : {"user:1", "user:2"}) Keep(near.get(), key);
  Selector red;
  red.tags = {"red"};
  ASSERT_TRUE(near->InvalidateBy(red).ok());
  EXPECT_FALSE(near->Find("user:1"));
  EXPECT_TRUE(near->Find("user:2"));
  ASSERT_TRUE(near->Invalidate({"user:2"}).ok());
  EXPECT_FALSE(near->Find("user:2"));
}

TEST_P(NearLarderdTest, PrefixesAreFollowedByThemselves) {
  Put("a:1", "old");
  Put("b:1", "old");
  NearCacheOptions options;
  options.prefixes = {"a:", "b:"};
  const auto near = MustNear(options);
  for (const char* key : {"a:1", "b:1"}) Keep(near.get(), key);
  Put("b:1", "new");
  AwaitGone(near.get(), "b:1");
  EXPECT_TRUE(near->Find("a:1"));
  EXPECT_EQ(ValueOf(near->Get("b:1")), "new");
}

TEST_P(NearLarderdTest, ReadersNeverGoBackWhileOthersWrite) {
  for (int k = 0; k < 8; ++k) Put("k" + std::to_string(k), "0");
  const auto near = MustNear();
  std::atomic<bool> stop{false};
  std::vector<std::thread> readers;
  for (int t = 0; t < 3; ++t) {
    readers.emplace_back([&, t] {
      std::vector<int> seen(8, 0);
      for (int i = t; !stop; ++i) {
        const int k = i % 8;
        const int value = std::stoi(ValueOf(near->Get("k" + std::to_string(k))));
        EXPECT_GE(value, seen[static_cast<size_t>(k)]) << k;
        seen[static_cast<size_t>(k)] = value;
      }
    });
  }
  for (int i = 1; i <= 2'000; ++i) Put("k" + std::to_string(i % 8), std::to_string(i));
  stop = true;
  for (std::thread& reader : readers) reader.join();
  for (int k = 0; k < 8; ++k) {
    const std::string key = "k" + std::to_string(k);
    const std::string last = ValueOf(other_->Get(key));
    while (ValueOf(near->Get(key)) != last) std::this_thread::yield();
  }
  EXPECT_GT(near->Near().hits, 0u);
  // A miss may have read the last value before anybody told of it.
  const absl::Time patience = absl::Now() + absl::Seconds(30);
  while (near->Near().changes < 2'000 && absl::Now() < patience) std::this_thread::yield();
  EXPECT_GE(near->Near().changes, 2'000u);
}

TEST_P(NearLarderdTest, ServerThatIsGoneIsNoticed) {
  Put("k", "v");
  NearCacheOptions options;
  options.silence_max = absl::Minutes(1);
  const auto near = MustNear(options);
  Keep(near.get(), "k");
  server_ = nullptr;
  AwaitGone(near.get(), "k");
  EXPECT_GE(near->Near().streams_lost, 1u);
  EXPECT_FALSE(near->Near().live);
}

std::vector<std::string> Servers() {
  if (Larderd::IsBuilt()) return {"Server"};
  return {};
}

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(NearLarderdTest);
INSTANTIATE_TEST_SUITE_P(, NearLarderdTest, ::testing::ValuesIn(Servers()), NameOf);

}  // namespace
}  // namespace larder::testing
