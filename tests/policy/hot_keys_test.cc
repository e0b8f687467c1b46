#include "policy/hot_keys.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <random>
#include <thread>

#include "absl/strings/str_cat.h"
#include "core/key.h"

namespace larder {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;
using Event = HotKeys::Event;
using Order = HotKeys::Order;
using Window = HotKeys::Window;

constexpr uint64_t kSeed = 20'240'611;

class HotKeysTest : public testing::Test {
 protected:
  void Make(HotKeys::Options options) {
    options.clock = &clock_;
    options.random = &random_;
    hot_keys_ = std::make_unique<HotKeys>(options);
  }

  // One event, offered to the sampler as the engine does.
  void See(uint16_t type, std::string_view full_key, Event event, uint64_t value_bytes = 0) {
    if (const uint32_t weight = hot_keys_->Sampled(); weight != 0) {
      hot_keys_->Record(type, full_key, event, value_bytes, weight);
    }
  }
  void See(uint16_t type, const std::string& name_space, const std::string& key, Event event,
           uint64_t value_bytes = 0) {
    See(type, FullKey(name_space, key).view(), event, value_bytes);
  }

  // Lets the clock run so that events come at `per_second`.
  void Pace(uint64_t per_second) {
    if (++paced_ % std::max<uint64_t>(per_second / 1000, 1) == 0) {
      clock_.Advance(std::max(absl::Milliseconds(1), absl::Seconds(1) / per_second));
      if (++ticks_ % 100 == 0) hot_keys_->Tick();
    }
  }

  std::vector<std::string> Keys(const HotKeys::Query& query) {
    std::vector<std::string> keys;
    for (const HotKeys::Row& row : hot_keys_->Top(query)) keys.push_back(row.key);
    return keys;
  }

  ManualClock clock_;
  SeededRandom random_{kSeed};
  std::unique_ptr<HotKeys> hot_keys_;
  uint64_t paced_ = 0;
  uint64_t ticks_ = 0;
};

// Draws ranks 0 to n - 1 with probability proportional to 1 / (rank + 1)^s.
class Zipf {
 public:
  Zipf(size_t n, double s) : cumulative_(n) {
    double sum = 0;
    for (size_t i = 0; i < n; ++i) cumulative_[i] = sum += 1 / std::pow(i + 1, s);
  }
  size_t operator()(std::mt19937_64& random) const {
    const double draw = std::uniform_real_distribution<double>(0, cumulative_.back())(random);
    return std::lower_bound(cumulative_.begin(), cumulative_.end(), draw) - cumulative_.begin();
  }

 private:
  std::vector<double> cumulative_;
};

TEST_F(HotKeysTest, CountsExactlyWhileTrafficIsLight) {
  Make({.types = 3});
  for (int i = 0; i < 3; ++i) See(1, "", "a", Event::kHit, 100);
  See(1, "", "a", Event::kMiss);
  See(1, "", "b", Event::kHit, 5000);
  See(2, "shop", "c", Event::kMiss);
  See(2, "shop", "c", Event::kMiss);

  const auto rows = hot_keys_->Top({});
  ASSERT_THAT(rows, SizeIs(2));
  EXPECT_EQ(rows[0].key, "a");
  EXPECT_EQ(rows[0].name_space, "default");
  EXPECT_EQ(rows[0].type_id, 1);
  EXPECT_EQ(rows[0].hits, 3u);
  EXPECT_EQ(rows[0].misses, 1u);
  EXPECT_EQ(rows[0].bytes, 300u);
  EXPECT_EQ(rows[0].value_bytes_max, 100u);
  EXPECT_EQ(rows[1].key, "b");
  EXPECT_THAT(Keys({.order = Order::kBytes}), ElementsAre("b", "a"));
  EXPECT_THAT(Keys({.order = Order::kMisses}), ElementsAre("c", "a"));
  EXPECT_THAT(Keys({.type_id = 2, .order = Order::kMisses}), ElementsAre("c"));
  EXPECT_THAT(Keys({.type_id = 2, .order = Order::kHits}), IsEmpty());
  EXPECT_THAT(Keys({.type_id = 0}), IsEmpty()) << "never used";
  EXPECT_THAT(Keys({.limit = 1}), ElementsAre("a"));
}

TEST_F(HotKeysTest, FindsBigValuesThatAreOnlyWritten) {
  Make({.types = 1});
  See(0, "", "small", Event::kHit, 10);
  See(0, "", "big", Event::kWrite, 900'000);
  See(0, "", "middle", Event::kWrite, 5000);
  See(0, "", "middle", Event::kWrite, 4000);
  const auto rows = hot_keys_->Top({.order = Order::kValueBytes});
  ASSERT_THAT(rows, SizeIs(3));
  EXPECT_EQ(rows[0].key, "big");
  EXPECT_EQ(rows[0].hits, 0u);
  EXPECT_EQ(rows[0].bytes, 0u) << "nothing was sent";
  EXPECT_EQ(rows[1].key, "middle");
  EXPECT_EQ(rows[1].value_bytes_max, 5000u);
  EXPECT_THAT(Keys({.order = Order::kHits}), ElementsAre("small"));
}

TEST_F(HotKeysTest, KeepsNamespacesApart) {
  Make({.types = 1});
  for (int i = 0; i < 5; ++i) See(0, "a", "k", Event::kHit, 1);
  for (int i = 0; i < 3; ++i) See(0, "b", "k", Event::kHit, 1);
  // By length, not by delimiter: these are two keys.
  See(0, "ab", "k", Event::kHit, 1);
  See(0, "a", "bk", Event::kHit, 1);
  const auto all = hot_keys_->Top({});
  ASSERT_THAT(all, SizeIs(4));
  EXPECT_EQ(all[0].name_space, "a");
  EXPECT_EQ(all[0].hits, 5u);
  const auto of_b = hot_keys_->Top({.name_space = "b"});
  ASSERT_THAT(of_b, SizeIs(1));
  EXPECT_EQ(of_b[0].hits, 3u);
  EXPECT_THAT(Keys({.name_space = "a"}), ElementsAre("k", "bk"));
  EXPECT_THAT(Keys({.name_space = ""}), IsEmpty());
}

TEST_F(HotKeysTest, KeepsTheWindowBefore) {
  Make({.types = 1, .window = absl::Seconds(10)});
  EXPECT_EQ(hot_keys_->window(), absl::Seconds(10));
  See(0, "", "first", Event::kHit);
  clock_.Advance(absl::Seconds(9));
  EXPECT_EQ(hot_keys_->window_age(), absl::Seconds(9));
  See(0, "", "first", Event::kHit);
  clock_.Advance(absl::Seconds(1));
  See(0, "", "second", Event::kHit);

  EXPECT_THAT(Keys({}), ElementsAre("second"));
  const auto previous = hot_keys_->Top({.window = Window::kPrevious});
  ASSERT_THAT(previous, SizeIs(1));
  EXPECT_EQ(previous[0].key, "first");
  EXPECT_EQ(previous[0].hits, 2u);

  // A question alone turns the window as well.
  clock_.Advance(absl::Seconds(10));
  EXPECT_THAT(Keys({}), IsEmpty());
  EXPECT_THAT(Keys({.window = Window::kPrevious}), ElementsAre("second"));
}

TEST_F(HotKeysTest, ForgetsWhatIsOlderThanTheWindowBefore) {
  Make({.types = 1, .window = absl::Seconds(10)});
  See(0, "", "old", Event::kHit);
  clock_.Advance(absl::Seconds(25));
  EXPECT_THAT(Keys({}), IsEmpty());
  EXPECT_THAT(Keys({.window = Window::kPrevious}), IsEmpty());
  See(0, "", "new", Event::kHit);
  EXPECT_THAT(Keys({.window = Window::kPrevious}), IsEmpty());
  EXPECT_THAT(Keys({}), ElementsAre("new"));
}

TEST_F(HotKeysTest, FindsTheTopOfAZipfStream) {
  SCOPED_TRACE(kSeed);
  Make({.types = 2});
  std::mt19937_64 random(kSeed);
  const Zipf zipf(100'000, 0.99);
  std::map<size_t, uint64_t> truth;
  constexpr uint64_t kPerSecond = 500'000;
  for (uint64_t i = 0; i < 6 * kPerSecond; ++i) {
    const size_t rank = zipf(random);
    ++truth[rank];
    See(1, "", absl::StrCat("k", rank), Event::kHit, 100);
    Pace(kPerSecond);
  }
  EXPECT_GT(hot_keys_->every(), 10u) << "sampled, not counted";
  const auto rows = hot_keys_->Top({.limit = 10});
  ASSERT_THAT(rows, SizeIs(10));
  double worst = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    // Neighbours may change places by chance; nobody comes from far below.
    const size_t rank = std::stoul(rows[i].key.substr(1));
    EXPECT_LT(rank, 13u) << "at " << i;
    const double error =
        std::abs(static_cast<double>(rows[i].hits) / static_cast<double>(truth[rank]) - 1);
    worst = std::max(worst, error);
    EXPECT_NEAR(rows[i].bytes, rows[i].hits * 100, 1);
  }
  EXPECT_LT(worst, 0.12);
  RecordProperty("worst_error_percent", static_cast<int>(100 * worst));
  EXPECT_EQ(rows[0].key, "k0");
}

TEST_F(HotKeysTest, FindsNothingHotInUniformTraffic) {
  SCOPED_TRACE(kSeed);
  Make({.types = 1});
  std::mt19937_64 random(kSeed);
  for (int i = 0; i < 3'000'000; ++i) {
    See(0, "", absl::StrCat("k", random() % 1'000'000), Event::kHit, 100);
    Pace(1'000'000);
  }
  EXPECT_THAT(Keys({.limit = 1000}), IsEmpty());
  EXPECT_THAT(Keys({.order = Order::kBytes, .limit = 1000}), IsEmpty());
}

TEST_F(HotKeysTest, FindsOneHotKeyInUniformTraffic) {
  SCOPED_TRACE(kSeed);
  Make({.types = 1});
  std::mt19937_64 random(kSeed);
  uint64_t truth = 0;
  for (int i = 0; i < 3'000'000; ++i) {
    const bool hot = random() % 50 == 0;
    truth += hot;
    See(0, "", hot ? "hot" : absl::StrCat("k", random() % 1'000'000), Event::kMiss);
    Pace(1'000'000);
  }
  const auto rows = hot_keys_->Top({.order = Order::kMisses});
  ASSERT_THAT(rows, SizeIs(1));
  EXPECT_EQ(rows[0].key, "hot");
  EXPECT_NEAR(rows[0].misses / static_cast<double>(truth), 1, 0.15);
}

TEST_F(HotKeysTest, TrafficWithARhythmIsSampledEvenly) {
  SCOPED_TRACE(kSeed);
  Make({.types = 1});
  // Eight keys in turn; a rate of one in 8, 16, 64, ... would see only one of them.
  for (int i = 0; i < 4'000'000; ++i) {
    See(0, "", absl::StrCat("k", i % 8), Event::kHit);
    Pace(1'000'000);
  }
  const auto rows = hot_keys_->Top({});
  ASSERT_THAT(rows, SizeIs(8));
  for (const auto& row : rows) EXPECT_NEAR(row.hits / 500'000.0, 1, 0.1) << row.key;
}

TEST_F(HotKeysTest, SampledRateStaysBoundedAndFollowsTheTraffic) {
  SCOPED_TRACE(kSeed);
  Make({.types = 1, .samples_per_second_max = 10'000});
  const auto run = [&](uint64_t per_second, absl::Duration length) {
    uint64_t samples = 0;
    const auto end = clock_.Now() + length;
    while (clock_.Now() < end) {
      samples += hot_keys_->Sampled() != 0;
      Pace(per_second);
    }
    return static_cast<double>(samples) / absl::ToDoubleSeconds(length);
  };
  run(5'000'000, absl::Seconds(1));
  EXPECT_LT(run(5'000'000, absl::Seconds(1)), 10'000);
  EXPECT_NEAR(hot_keys_->every(), 1000, 200);
  // Back to light traffic: within two seconds, every event counts again.
  run(2000, absl::Seconds(2));
  EXPECT_EQ(hot_keys_->every(), 1u);
  EXPECT_EQ(run(2000, absl::Seconds(1)), 2000);
}

TEST_F(HotKeysTest, BurstIsBoundedWithinItsInterval) {
  Make({.types = 1, .samples_per_second_max = 10'000});
  uint64_t samples = 0;
  // The clock stands: a hundred milliseconds' worth of the greatest rate there is.
  for (int i = 0; i < 3'000'000; ++i) samples += hot_keys_->Sampled() != 0;
  EXPECT_LT(samples, 8000u);
}

TEST_F(HotKeysTest, MemoryIsBoundedWhateverTheKeys) {
  SCOPED_TRACE(kSeed);
  constexpr uint64_t kBytesMax = 4 << 20;
  Make({.types = 16, .samples_per_second_max = 1'000'000, .bytes_max = kBytesMax});
  std::mt19937_64 random(kSeed);
  std::string key(kKeyBytesMax, 'x');
  uint64_t most = 0;
  for (int i = 0; i < 1'000'000; ++i) {
    const std::string number = absl::StrCat(i);
    key.replace(0, number.size(), number);
    See(i % 16, "ns", key, Event::kHit, 1 + random() % 100);
    See(i % 16, "ns", key, Event::kMiss);
    if (i % 10'000 == 0) {
      clock_.Advance(absl::Seconds(1));
      most = std::max(most, hot_keys_->bytes());
    }
  }
  EXPECT_LE(most, kBytesMax + (64 << 10));
  EXPECT_GT(most, kBytesMax / 8) << "the measure measures";
}

TEST_F(HotKeysTest, LongKeysAreTrackedWithAThousandTypes) {
  Make({.types = 1000, .bytes_max = 1});
  const std::string key(kKeyBytesMax, 'x');
  const std::string name_space(kNamespaceBytesMax, 'n');
  for (uint16_t type = 0; type < 1000; ++type) See(type, name_space, key, Event::kHit, 7);
  EXPECT_THAT(hot_keys_->Top({.limit = 5000}), SizeIs(1000));
  EXPECT_LE(hot_keys_->bytes(), 1001 * HotKeys::kTypeBytesMin);
}

TEST_F(HotKeysTest, ManyShortKeysDoNotPushOutBusyOnes) {
  SCOPED_TRACE(kSeed);
  Make({.types = 1, .samples_per_second_max = 1'000'000});
  std::mt19937_64 random(kSeed);
  // The busy keys come first and rest then, while a long tail passes.
  for (int i = 0; i < 100; ++i) {
    for (int key = 0; key < 20; ++key) See(0, "", absl::StrCat("busy", key), Event::kHit);
  }
  for (int i = 0; i < 20'000; ++i) {
    See(0, "", absl::StrCat("tail", random()), Event::kHit);
    Pace(20'000);
  }
  const auto rows = hot_keys_->Top({.limit = 20});
  ASSERT_THAT(rows, SizeIs(20));
  for (const auto& row : rows) {
    EXPECT_TRUE(row.key.starts_with("busy")) << row.key;
    EXPECT_EQ(row.hits, 100u);
  }
}

TEST_F(HotKeysTest, TypesBeyondTheTableAreIgnored) {
  Make({.types = 2});
  See(2, "", "k", Event::kHit);
  See(65'535, "", "k", Event::kHit);
  EXPECT_THAT(Keys({}), IsEmpty());
  EXPECT_THAT(Keys({.type_id = 2}), IsEmpty());
}

TEST(HotKeysThreadsTest, CountTogetherWhileOthersAsk) {
  constexpr int kThreads = 20;  // more than there are cells of their own
  constexpr int kRounds = 200'000;
  HotKeys hot_keys({.types = 4, .window = absl::Hours(1), .samples_per_second_max = 1'000'000});
  std::atomic<bool> stop{false};
  std::thread asking([&] {
    while (!stop.load()) {
      hot_keys.Tick();
      hot_keys.Top({.order = Order::kBytes});
      hot_keys.bytes();
    }
  });
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      const FullKey own("", absl::StrCat("own", t));
      const FullKey common("", "common");
      for (int i = 0; i < kRounds / kThreads; ++i) {
        for (const FullKey* const key : {&own, &common}) {
          if (const uint32_t weight = hot_keys.Sampled(); weight != 0) {
            hot_keys.Record(static_cast<uint16_t>(t % 4), key->view(), Event::kHit, 10, weight);
          }
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  stop = true;
  asking.join();
  uint64_t common = 0;
  for (const auto& row : hot_keys.Top({.limit = 1000}))
    common += row.key == "common" ? row.hits : 0;
  // Samples may be given up while another thread holds the lock.
  EXPECT_LE(common, kRounds * 1.3);
  EXPECT_GT(common + hot_keys.dropped() * hot_keys.every() * 2, kRounds * 0.5);
}

}  // namespace
}  // namespace larder
