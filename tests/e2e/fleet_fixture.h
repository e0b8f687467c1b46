// Replicas of a fleet as processes, stock gRPC clients for them, and traffic that checks what they
// answer. Thread safety: Replica's calls and CountingTraffic's from any thread, the rest none.

#ifndef LARDER_TESTS_E2E_FLEET_FIXTURE_H_
#define LARDER_TESTS_E2E_FLEET_FIXTURE_H_

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "larder/v1/cache.grpc.pb.h"
#include "tests/e2e/server_process.h"
#include "tests/redis/redis_server.h"

namespace larder {

// Whether `condition` comes to hold within `patience`. Polls: other processes give no event.
testing::AssertionResult Eventually(const std::function<bool()>& condition,
                                    std::chrono::seconds patience = std::chrono::seconds(15));

// The reason that the ErrorInfo of `status` gives; empty without one.
std::string ReasonOf(const grpc::Status& status);

// A configuration of replica `id` of a fleet over the Redis at `url`, with short times, and with a
// type `strict` that requires the second tier. `more` is YAML of further sections.
std::string FleetConfig(int id, const std::string& url, const std::string& more = "");

// A larderd with this configuration, which can be killed and started again.
class Replica {
 public:
  explicit Replica(const std::string& config);

  // SIGTERM, and the end. Kill: kill -9.
  Ended Stop();
  void Kill();
  // After one of them, or in place of a running one. False: it did not become ready.
  bool Start();

  v1::Cache::Stub& stub() { return *stub_; }

  // Every call ends within 5 s, or `seconds`.
  static std::unique_ptr<grpc::ClientContext> Within(double seconds = 5);
  grpc::Status Set(const v1::SetRequest& request, v1::SetResponse* response);
  grpc::Status Set(const std::string& key, const std::string& value);
  grpc::Status SetIfAbsent(const std::string& key, const std::string& value, bool* stored);
  grpc::Status Get(const std::string& key, v1::GetResponse* response);
  // A status other than OK is a failure of the test.
  v1::GetResponse Get(const std::string& key);
  // The same; empty for a miss.
  std::string Value(const std::string& key);
  grpc::Status Delete(const std::string& key);
  grpc::Status Invalidate(const std::vector<std::string>& keys, bool fleet,
                          v1::InvalidateResponse* response);
  grpc::Status GetOrLoad(const std::string& key, v1::GetOrLoadResponse* response,
                         double seconds = 5);
  grpc::Status Fulfil(const std::string& key, const std::string& value, const std::string& token,
                      bool* stored);
  grpc::Status Increment(const std::string& key, int64_t* value);

  v1::StatsResponse Stats();
  v1::TierStats L2();
  v1::FleetStats Fleet();
  v1::BreakerStats Breaker();
  // The tier answers, owes nothing, and nothing here is suspect.
  bool Well();

 private:
  const TempDir directory_;
  const std::string config_;
  std::unique_ptr<ServerProcess> server_;
  std::unique_ptr<v1::Cache::Stub> stub_;
};

// One writer that counts up through one replica and reads its own writes there, with calls of every
// kind that must not fail whatever happens to the second tier; and one reader at another replica.
// What they read is never older than it may be.
class CountingTraffic {
 public:
  CountingTraffic(Replica* writer, Replica* reader);
  ~CountingTraffic();

  // Stops both; what failed is told by the test.
  void Stop();
  // From now on, what the reader gets is no older than what was acknowledged `bound` ago.
  void RequireOthersWithin(std::chrono::milliseconds bound) { bound_ms_ = bound.count(); }
  // Until so many further rounds have been made by each.
  void AwaitRounds(int rounds);
  int64_t acknowledged() const { return acknowledged_; }

 private:
  using Clock = std::chrono::steady_clock;

  void WriteAndRead();
  void Round(int64_t n);
  void ReadElsewhere();
  void Must(const char* what, const grpc::Status& status);
  void CheckAtLeast(const char* where, const std::string& value, int64_t least);
  // The newest that was acknowledged by then.
  int64_t AcknowledgedBy(Clock::time_point time);

  Replica* const writer_;
  Replica* const reader_;
  std::atomic<bool> stop_{false};
  std::atomic<int64_t> acknowledged_{0};
  std::atomic<int64_t> bound_ms_{-1};
  std::atomic<int> written_rounds_{0};
  std::atomic<int> read_rounds_{0};
  std::mutex mu_;
  std::deque<std::pair<Clock::time_point, int64_t>> history_;
  int failures_ = 0;
  std::thread write_thread_;
  std::thread read_thread_;
};

}  // namespace larder

#endif  // LARDER_TESTS_E2E_FLEET_FIXTURE_H_
