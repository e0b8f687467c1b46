// Replicas of a fleet as processes, and stock gRPC clients for them. Thread safety: Replica's calls
// from any thread, the rest none.

#ifndef LARDER_TESTS_E2E_FLEET_FIXTURE_H_
#define LARDER_TESTS_E2E_FLEET_FIXTURE_H_

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "larder/v1/admin.grpc.pb.h"
#include "larder/v1/cache.grpc.pb.h"
#include "tests/e2e/server_process.h"
#include "tests/redis/redis_server.h"

namespace larder {

// Whether `condition` comes to hold within `patience`. Polls: other processes give no event.
testing::AssertionResult Eventually(const std::function<bool()>& condition,
                                    std::chrono::seconds patience = std::chrono::seconds(30));

// The reason that the ErrorInfo of `status` gives; empty without one.
std::string ReasonOf(const grpc::Status& status);

// The TTL of type `brief` of FleetConfig.
inline constexpr std::chrono::milliseconds kBriefTtl{1000};

// How long the replicas of FleetConfig wait for Redis. A call that is over its limit is a miss, a
// second winner or a load too many, so the limits are longer than a busy machine stops a process
// for.
struct FleetTimes {
  std::chrono::milliseconds tier{10'000};   // l2.read_timeout and l2.write_timeout; slower is slow
  std::chrono::milliseconds trust{10'000};  // bus.trust
};
// For tests of what comes when they are over.
inline constexpr FleetTimes kShortTimes{std::chrono::milliseconds(250),
                                        std::chrono::milliseconds(1000)};

// A configuration of replica `id` of a fleet over the Redis at `url`, with a type `strict` that
// requires the second tier, and a type `brief` of a short TTL. `more` is YAML of further sections;
// with one of `bus`, that says how long it trusts.
std::string FleetConfig(int id, const std::string& url, const std::string& more = "",
                        const FleetTimes& times = {});

// A larderd with this configuration, which can be killed and started again.
class Replica {
 public:
  explicit Replica(const std::string& config);

  // SIGTERM, and the end. Kill: kill -9.
  Ended Stop();
  void Kill();
  // SIGSTOP, which has taken effect when it returns, and SIGCONT.
  void Freeze();
  void Thaw();
  // After Stop or Kill, or in place of a running one. False: it did not become ready.
  bool Start();

  const std::string& address() const { return server_->address(); }
  v1::Cache::Stub& stub() { return *stub_; }
  v1::Admin::Stub& admin() { return *admin_; }

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
  // A status other than OK is a failure of the test.
  v1::BatchGetOrLoadResponse BatchGetOrLoad(const std::vector<std::string>& keys,
                                            double seconds = 5);
  grpc::Status Fulfil(const std::string& key, const std::string& value, const std::string& token,
                      bool* stored);
  grpc::Status Increment(const std::string& key, int64_t* value);
  grpc::Status Touch(const std::string& key);
  grpc::Status BatchDelete(const std::vector<std::string>& keys, v1::BatchDeleteResponse* response);

  v1::StatsResponse Stats();
  v1::TierStats L2();
  v1::FleetStats Fleet();
  v1::BreakerStats Breaker();
  // What /metrics says of `series`, a name and its labels as they stand there; -1: nothing.
  double Metric(const std::string& series);
  // The tier answers, owes nothing, and nothing here is suspect.
  bool Well();

 private:
  const TempDir directory_;
  const std::string config_;
  std::unique_ptr<ServerProcess> server_;
  std::unique_ptr<v1::Cache::Stub> stub_;
  std::unique_ptr<v1::Admin::Stub> admin_;
};

}  // namespace larder

#endif  // LARDER_TESTS_E2E_FLEET_FIXTURE_H_
