// Gets of several callers that go out as one call.

#include <gtest/gtest.h>

#include <functional>
#include <thread>

#include "larder/metrics.h"
#include "tests/client/conformance.h"
#include "tests/client/watch_server.h"

namespace larder::testing {
namespace {

class BatchSizes : public ClientMetrics {
 public:
  void OnBatch(size_t keys) override {
    std::lock_guard lock(mu_);
    sizes_.push_back(keys);
  }
  std::vector<size_t> sizes() const {
    std::lock_guard lock(mu_);
    return sizes_;
  }

 private:
  mutable std::mutex mu_;
  std::vector<size_t> sizes_;
};

class BatchingTest : public ::testing::Test {
 protected:
  std::unique_ptr<Client> Batching(absl::Duration window, int keys_max) {
    ClientOptions options(server_.address(), absl::Seconds(20));
    options.batch.window = window;
    options.batch.keys_max = keys_max;
    options.metrics = sizes_;
    auto client = Connect(options);
    EXPECT_TRUE(client.ok()) << client.status();
    return *std::move(client);
  }

  // Runs `gets`, which go out as `sizes`, and as so many batches. A window is 10 ms at most, and a
  // busy machine may stop whoever fills it for longer: so it is up to ten runs, with a client each,
  // of which one has to go out like that.
  void ExpectTogether(const std::vector<size_t>& sizes, size_t batches, int keys_max,
                      const std::function<void(Client*)>& gets) {
    size_t made = 0;
    for (int run = 0; run < 10; ++run) {
      sizes_ = std::make_shared<BatchSizes>();
      const size_t before = server_.batches();
      gets(Batching(absl::Milliseconds(10), keys_max).get());
      made = server_.batches() - before;
      if (sizes_->sizes() == sizes && made == batches) break;
    }
    EXPECT_EQ(sizes_->sizes(), sizes);
    EXPECT_EQ(made, batches);
  }

  WatchServer server_;
  std::shared_ptr<BatchSizes> sizes_ = std::make_shared<BatchSizes>();
};

TEST_F(BatchingTest, GetsOfManyGoAsOneAndEachHasItsAnswer) {
  for (int i = 0; i < 5; ++i) server_.Put("k" + std::to_string(i), "v" + std::to_string(i));
  ExpectTogether({6}, 1, 6, [](Client* client) {
    std::vector<Answer<GetResult>> answers(6);
    for (int i = 0; i < 6; ++i)
      client->GetAsync("k" + std::to_string(i), {}, answers[static_cast<size_t>(i)].Done());
    for (int i = 0; i < 5; ++i)
      EXPECT_EQ(ValueOf(answers[static_cast<size_t>(i)].Wait()), "v" + std::to_string(i));
    EXPECT_EQ(ValueOf(answers[5].Wait()), "miss: ABSENT");
  });
}

TEST_F(BatchingTest, WindowSendsWhatThereIs) {
  server_.Put("k", "v");
  const auto client = Batching(absl::Microseconds(50), 1000);
  EXPECT_EQ(ValueOf(client->Get("k")), "v");
  EXPECT_EQ(server_.batches(), 0u);  // one alone is a plain Get
  EXPECT_EQ(sizes_->sizes(), std::vector<size_t>{1});
}

TEST_F(BatchingTest, ReachesAtMostItsLimit) {
  ExpectTogether({4, 4, 4}, 3, 4, [](Client* client) {
    std::vector<Answer<GetResult>> answers(12);
    for (auto& answer : answers) client->GetAsync("k", {}, answer.Done());
    for (auto& answer : answers) EXPECT_TRUE(answer.Wait().ok());
  });
}

TEST_F(BatchingTest, OnlyGetsOfOneKindGoTogether) {
  GetOptions typed, exists, elsewhere, traced;
  typed.type = "t";
  exists.metadata_only = true;
  elsewhere.call.ns = "other";
  traced.call.traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  ExpectTogether({2, 2, 2, 2}, 4, 2, [&](Client* client) {
    std::vector<Answer<GetResult>> answers(10);
    size_t next = 0;
    for (const GetOptions& options : {GetOptions(), typed, exists, elsewhere, traced}) {
      for (int i = 0; i < 2; ++i) client->GetAsync("k", options, answers[next++].Done());
    }
    for (auto& answer : answers) EXPECT_TRUE(answer.Wait().ok());
  });
}

TEST_F(BatchingTest, OneBadKeyFailsNobodyElse) {
  server_.Put("k", "v");
  const auto client = Batching(absl::Milliseconds(10), 3);
  std::vector<Answer<GetResult>> answers(3);
  client->GetAsync("k", {}, answers[0].Done());
  client->GetAsync("invalid", {}, answers[1].Done());
  client->GetAsync("\xFF", {}, answers[2].Done());
  EXPECT_EQ(ValueOf(answers[0].Wait()), "v");
  EXPECT_EQ(ErrorReason(answers[1].Wait().status()), "KEY_INVALID");
  EXPECT_EQ(ErrorReason(answers[2].Wait().status()), "KEY_INVALID");
}

TEST_F(BatchingTest, DeadlineCountsFromTheFirstOfABatch) {
  server_.HoldGets();
  const auto client = Batching(absl::Milliseconds(10), 2);
  GetOptions options;
  options.call.deadline = absl::Milliseconds(50);
  std::vector<Answer<GetResult>> answers(2);
  for (auto& answer : answers) client->GetAsync("k", options, answer.Done());
  for (auto& answer : answers)
    EXPECT_EQ(answer.Wait().status().code(), absl::StatusCode::kDeadlineExceeded);
  options.call.deadline = absl::ZeroDuration();
  EXPECT_EQ(client->Get("k", options).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(BatchingTest, DestructionCancelsWhatWaitsAndWhatIsUnderWay) {
  server_.HoldGets();
  auto client = Batching(absl::Milliseconds(10), 2);
  std::vector<Answer<GetResult>> answers(3);
  for (auto& answer : answers) client->GetAsync("k", {}, answer.Done());
  client = nullptr;
  for (auto& answer : answers) {
    ASSERT_TRUE(answer.Here());
    EXPECT_EQ(answer.Wait().status().code(), absl::StatusCode::kCancelled);
  }
}

TEST_F(BatchingTest, CallbackMayBeginTheNextGet) {
  server_.Put("k", "v");
  const auto client = Batching(absl::Microseconds(50), 2);
  Answer<GetResult> second;
  client->GetAsync(
      "k", {}, [&](const absl::StatusOr<GetResult>&) { client->GetAsync("k", {}, second.Done()); });
  EXPECT_EQ(ValueOf(second.Wait()), "v");
}

TEST_F(BatchingTest, ManyThreadsGetTheirOwnAnswers) {
  for (int i = 0; i < 64; ++i) server_.Put("k" + std::to_string(i), "v" + std::to_string(i));
  const auto client = Batching(absl::Microseconds(200), 32);
  std::vector<std::thread> threads;
  for (int t = 0; t < 16; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 100; ++i) {
        const std::string number = std::to_string((t * 37 + i) % 64);
        EXPECT_EQ(ValueOf(client->Get("k" + number)), "v" + number);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_LT(server_.batches(), 1'600u);
}

}  // namespace
}  // namespace larder::testing
