// What the tests of the Redis client share: an executor, calls that are awaited, options with short
// times. Thread safety: none.

#ifndef LARDER_TESTS_REDIS_REDIS_FIXTURE_H_
#define LARDER_TESTS_REDIS_REDIS_FIXTURE_H_

#include <future>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/executor.h"
#include "base/task.h"
#include "redis/redis.h"

namespace larder {

inline MonoNanos In(absl::Duration after) { return MonoAfter(Clock::System()->Mono(), after); }

template <typename T>
std::future<T> Begin(Task<T> task) {
  auto result = std::make_shared<std::promise<T>>();
  std::future<T> future = result->get_future();
  Spawn(std::move(task), [result](T value) { result->set_value(std::move(value)); });
  return future;
}

template <typename T>
T Await(Task<T> task) {
  return Begin(std::move(task)).get();
}

// A Redis on an executor of its own.
struct RedisUnderTest {
  explicit RedisUnderTest(Redis::Options options) : executor(ThreadPool::New({2, 100'000})) {
    options.executor = executor.get();
    auto made = Redis::New(options);
    if (!made.ok()) std::abort();
    redis = *std::move(made);
  }

  absl::StatusOr<RedisReply> Call(std::vector<std::string> args,
                                  absl::Duration within = absl::Seconds(20)) {
    return Await(redis->Call({std::move(args)}, In(within)));
  }
  // The text of the answer, or the status.
  std::string Text(std::vector<std::string> args, absl::Duration within = absl::Seconds(20)) {
    const auto reply = Call(std::move(args), within);
    return reply.ok() ? reply->text : reply.status().ToString();
  }

  std::unique_ptr<ThreadPool> executor;
  std::unique_ptr<Redis> redis;
};

}  // namespace larder

#endif  // LARDER_TESTS_REDIS_REDIS_FIXTURE_H_
