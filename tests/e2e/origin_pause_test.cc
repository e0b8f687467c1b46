// A replica that stands still (SIGSTOP) in the middle of a load, while another one deletes the key:
// what it was loading never comes to light, on no replica.

#include <mutex>
#include <set>

#include "tests/base/threads.h"
#include "tests/e2e/origin_fixture.h"
#include "tests/origin/origin_service.h"

namespace larder {
namespace {

using std::chrono::steady_clock;

constexpr int kRounds = 2;

// Reads a key at a replica, with Get and with GetOrLoad, until it is told to stop, and keeps what
// the calls got that began since it was made.
class Watcher {
 public:
  Watcher(Replica* replica, const std::string& key)
      : threads_(1, [this, replica, key](int) {
          while (!stop_) {
            v1::GetResponse got;
            if (replica->Get(key, &got).ok() && got.has_hit()) Note(got.hit().value());
            Note(Loaded(replica, key));
            ++rounds_;
          }
        }) {}
  ~Watcher() {
    stop_ = true;
    threads_.Join();
  }
  int rounds() const { return rounds_; }
  std::set<std::string> seen() const {
    const std::lock_guard lock(mu_);
    return seen_;
  }

 private:
  void Note(const std::string& value) {
    const std::lock_guard lock(mu_);
    seen_.insert(value);
  }

  std::atomic<bool> stop_{false};
  std::atomic<int> rounds_{0};
  mutable std::mutex mu_;
  std::set<std::string> seen_;
  Threads threads_;
};

class OriginPauseTest : public testing::Test {
 protected:
  OriginPauseTest() {
    service_.on_load = [this](v1::LoadResponse*) { gate_.Pass(); };
    const std::string more =
        "  item: { match: [\"item:{id}\"], origin: items, freshness: { hard_timeout: 20s } }\n"
        "origins: { items: { grpc: { target: \"" +
        service_.target() + "\", timeout: 20s } } }\n";
    const std::string url = "redis://" + redis_.address() + "/0";
    a_ = std::make_unique<Replica>(FleetConfig(1, url, more));
    b_ = std::make_unique<Replica>(FleetConfig(2, url, more));
    EXPECT_TRUE(AllWell());
  }
  void TearDown() override { gate_.Open(); }

  testing::AssertionResult AllWell() {
    return Eventually([&] {
      return a_->Well() && b_->Well() && a_->Fleet().replicas() == 1 && b_->Fleet().replicas() == 1;
    });
  }

  // A loads `key`, and is paused while the origin has its question. The answer reaches it then.
  std::unique_ptr<Crowd> PauseInTheMiddleOfALoad(const std::string& key) {
    service_.Put(key, {.value = "old"});
    gate_.Shut();
    auto crowd = std::make_unique<Crowd>(a_.get(), key, 5);
    EXPECT_TRUE(Eventually([&] { return gate_.waiting() == 1; }));
    a_->Freeze();
    service_.Put(key, {.value = "new"});
    gate_.Open();
    return crowd;
  }

  // What both replicas serve from now on, in and after the rest of A's pause, is `expected`.
  void ThawAndExpect(const std::string& key, const std::set<std::string>& expected) {
    {
      Watcher at_b(b_.get(), key);
      EXPECT_TRUE(Eventually([&] { return at_b.rounds() >= 20; }));
      Watcher at_a(a_.get(), key);
      a_->Thaw();
      EXPECT_TRUE(Eventually([&] { return at_a.rounds() >= 100; }));
      EXPECT_TRUE(AllWell());
      const int rounds = at_b.rounds();
      EXPECT_TRUE(Eventually([&] { return at_b.rounds() >= rounds + 50; }));
      EXPECT_EQ(at_a.seen(), expected) << key;
      EXPECT_EQ(at_b.seen(), expected) << key;
    }
    EXPECT_EQ(Loaded(a_.get(), key), *expected.begin());
    EXPECT_EQ(Loaded(b_.get(), key), *expected.begin());
  }

  Gate gate_;
  OriginService service_;
  RedisServer redis_;
  std::unique_ptr<Replica> a_;
  std::unique_ptr<Replica> b_;
};

TEST_F(OriginPauseTest, DeletedElsewhereMeanwhile) {
  for (int round = 0; round < kRounds; ++round) {
    const std::string key = "item:" + std::to_string(round);
    const auto crowd = PauseInTheMiddleOfALoad(key);
    ASSERT_TRUE(b_->Delete(key).ok());
    ThawAndExpect(key, {"new"});
    // Those who had asked before get one or the other, and an answer.
    for (const auto& [shown, count] : crowd->Answers())
      EXPECT_TRUE(shown == "new" || shown == "old") << shown;
  }
}

TEST_F(OriginPauseTest, SetElsewhereMeanwhile) {
  for (int round = 0; round < kRounds; ++round) {
    const std::string key = "item:" + std::to_string(round);
    const auto crowd = PauseInTheMiddleOfALoad(key);
    ASSERT_TRUE(b_->Set(key, "set").ok());
    ThawAndExpect(key, {"set"});
    for (const auto& [shown, count] : crowd->Answers())
      EXPECT_TRUE(shown == "set" || shown == "old") << shown;
  }
}

TEST_F(OriginPauseTest, InvalidatedElsewhereMeanwhile) {
  for (int round = 0; round < kRounds; ++round) {
    const std::string key = "item:" + std::to_string(round);
    const auto crowd = PauseInTheMiddleOfALoad(key);
    v1::InvalidateResponse response;
    ASSERT_TRUE(b_->Invalidate({key}, /*fleet=*/false, &response).ok());
    ThawAndExpect(key, {"new"});
    for (const auto& [shown, count] : crowd->Answers())
      EXPECT_TRUE(shown == "new" || shown == "old") << shown;
  }
}

// A type without an origin: the one who loads is a caller of the replica that stands still.
TEST_F(OriginPauseTest, TheHolderOfALeaseMeanwhile) {
  for (int round = 0; round < kRounds; ++round) {
    const std::string key = "plain:" + std::to_string(round);
    v1::GetOrLoadResponse first;
    ASSERT_TRUE(a_->GetOrLoad(key, &first).ok());
    ASSERT_TRUE(first.has_lease());
    a_->Freeze();
    // The lease of the fleet ends with its time, and not before: nobody else loads till then.
    v1::GetOrLoadResponse second;
    ASSERT_TRUE(b_->GetOrLoad(key, &second, /*seconds=*/20).ok());
    ASSERT_TRUE(second.has_lease());
    bool stored = false;
    ASSERT_TRUE(b_->Fulfil(key, "new", second.lease().token(), &stored).ok());
    EXPECT_TRUE(stored);
    a_->Thaw();
    // What the first one brings began before the second one's load, and is not kept.
    a_->Fulfil(key, "old", first.lease().token(), &stored);
    EXPECT_FALSE(stored);
    EXPECT_TRUE(AllWell());
    EXPECT_EQ(b_->Value(key), "new");
    EXPECT_EQ(a_->Value(key), "new");
  }
}

}  // namespace
}  // namespace larder
