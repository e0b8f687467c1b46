#include "tests/e2e/fleet_fixture.h"

#include <signal.h>
#include <sys/wait.h>

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <thread>

#include "larder/rpc/v1/status.pb.h"
#include "tests/admin/http_client.h"

namespace larder {

testing::AssertionResult Eventually(const std::function<bool()>& condition,
                                    std::chrono::seconds patience) {
  const auto end = std::chrono::steady_clock::now() + patience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) {
      return testing::AssertionFailure() << "not within " << patience.count() << " s";
    }
    // Other processes give no event that could be waited for.
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return testing::AssertionSuccess();
}

std::string ReasonOf(const grpc::Status& status) {
  rpc::v1::Status wire;
  wire.ParseFromString(status.error_details());
  for (const auto& any : wire.details()) {
    rpc::v1::ErrorInfo info;
    if (any.type_url() == "type.googleapis.com/google.rpc.ErrorInfo" &&
        info.ParseFromString(any.value())) {
      return info.reason();
    }
  }
  return "";
}

std::string FleetConfig(int id, const std::string& url, const std::string& more,
                        const FleetTimes& times) {
  std::ostringstream yaml;
  yaml << "node: { name: n" << id << ", id: " << id << " }\n"
       << "memory: { l1: 32MiB }\n"
       << "l2:\n  redis: { url: \"" << url << "\", connect_timeout: 500ms }\n"
       << "  read_timeout: " << times.tier.count() << "ms\n"
       << "  write_timeout: " << times.tier.count() << "ms\n"
       << "  breaker: { slow_after: " << times.tier.count()
       << "ms, open_min: 200ms, open_max: 1s }\n"
       << "types:\n"
       << "  strict: { match: [\"strict:*\"], tiers: { require_l2: true } }\n"
       << "  brief: { match: [\"brief:*\"], ttl: { base: " << kBriefTtl.count()
       << "ms, jitter: 0% } }\n"
       << more;
  if (more.find("bus:") == std::string::npos)
    yaml << "bus: { heartbeat: 100ms, trust: " << times.trust.count() << "ms }\n";
  return yaml.str();
}

// ---- Replica

Replica::Replica(const std::string& config) : config_(directory_.path() + "/larder.yaml") {
  std::ofstream(config_) << config;
  if (!Start()) {
    ADD_FAILURE() << "larderd does not start:\n"
                  << RunLarderd({"--config", config_, "--check"}).err;
    std::abort();
  }
}

bool Replica::Start() {
  server_ = std::make_unique<ServerProcess>(std::vector<std::string>{"--config", config_});
  if (!server_->running()) return false;
  const auto channel = grpc::CreateChannel(server_->address(), grpc::InsecureChannelCredentials());
  stub_ = v1::Cache::NewStub(channel);
  admin_ = v1::Admin::NewStub(channel);
  return true;
}

Ended Replica::Stop() {
  server_->Signal(SIGTERM);
  return server_->Wait();
}

void Replica::Kill() {
  server_->Signal(SIGKILL);
  server_->Wait();
}

void Replica::Freeze() {
  server_->Signal(SIGSTOP);
  int status = 0;
  waitpid(server_->pid(), &status, WUNTRACED);
}

void Replica::Thaw() { server_->Signal(SIGCONT); }

std::unique_ptr<grpc::ClientContext> Replica::Within(double seconds) {
  auto context = std::make_unique<grpc::ClientContext>();
  context->set_deadline(std::chrono::system_clock::now() +
                        std::chrono::microseconds(static_cast<int64_t>(seconds * 1e6)));
  return context;
}

grpc::Status Replica::Set(const v1::SetRequest& request, v1::SetResponse* response) {
  return stub_->Set(Within().get(), request, response);
}

grpc::Status Replica::Set(const std::string& key, const std::string& value) {
  v1::SetRequest request;
  request.set_key(key);
  request.set_value(value);
  v1::SetResponse response;
  return Set(request, &response);
}

grpc::Status Replica::SetIfAbsent(const std::string& key, const std::string& value, bool* stored) {
  v1::SetRequest request;
  request.set_key(key);
  request.set_value(value);
  request.set_if_absent(true);
  v1::SetResponse response;
  const grpc::Status status = Set(request, &response);
  *stored = status.ok() && response.has_stored();
  return status;
}

grpc::Status Replica::Get(const std::string& key, v1::GetResponse* response) {
  v1::GetRequest request;
  request.set_key(key);
  return stub_->Get(Within().get(), request, response);
}

v1::GetResponse Replica::Get(const std::string& key) {
  v1::GetResponse response;
  const grpc::Status status = Get(key, &response);
  EXPECT_TRUE(status.ok()) << status.error_code() << " " << status.error_message();
  return response;
}

std::string Replica::Value(const std::string& key) { return Get(key).hit().value(); }

grpc::Status Replica::Delete(const std::string& key) {
  v1::DeleteRequest request;
  request.set_key(key);
  v1::DeleteResponse response;
  return stub_->Delete(Within().get(), request, &response);
}

grpc::Status Replica::Invalidate(const std::vector<std::string>& keys, bool fleet,
                                 v1::InvalidateResponse* response) {
  v1::InvalidateRequest request;
  for (const std::string& key : keys) request.mutable_keys()->add_keys(key);
  if (fleet) request.set_wait(v1::INVALIDATE_WAIT_FLEET);
  return stub_->Invalidate(Within().get(), request, response);
}

grpc::Status Replica::GetOrLoad(const std::string& key, v1::GetOrLoadResponse* response,
                                double seconds) {
  v1::GetOrLoadRequest request;
  request.set_key(key);
  return stub_->GetOrLoad(Within(seconds).get(), request, response);
}

v1::BatchGetOrLoadResponse Replica::BatchGetOrLoad(const std::vector<std::string>& keys,
                                                   double seconds) {
  v1::BatchGetOrLoadRequest request;
  for (const std::string& key : keys) request.add_keys(key);
  v1::BatchGetOrLoadResponse response;
  const grpc::Status status = stub_->BatchGetOrLoad(Within(seconds).get(), request, &response);
  EXPECT_TRUE(status.ok()) << status.error_code() << " " << status.error_message();
  EXPECT_EQ(response.results_size(), static_cast<int>(keys.size()));
  return response;
}

grpc::Status Replica::Fulfil(const std::string& key, const std::string& value,
                             const std::string& token, bool* stored) {
  v1::SetRequest request;
  request.set_key(key);
  request.set_value(value);
  request.set_lease_token(token);
  v1::SetResponse response;
  const grpc::Status status = Set(request, &response);
  *stored = status.ok() && response.has_stored();
  return status;
}

grpc::Status Replica::Increment(const std::string& key, int64_t* value) {
  v1::IncrementRequest request;
  request.set_key(key);
  request.set_delta(1);
  v1::IncrementResponse response;
  const grpc::Status status = stub_->Increment(Within().get(), request, &response);
  *value = response.value();
  return status;
}

grpc::Status Replica::Touch(const std::string& key) {
  v1::TouchRequest request;
  request.set_key(key);
  v1::TouchResponse response;
  return stub_->Touch(Within().get(), request, &response);
}

grpc::Status Replica::BatchDelete(const std::vector<std::string>& keys,
                                  v1::BatchDeleteResponse* response) {
  v1::BatchDeleteRequest request;
  for (const std::string& key : keys) request.add_keys(key);
  return stub_->BatchDelete(Within().get(), request, response);
}

v1::StatsResponse Replica::Stats() {
  v1::StatsResponse response;
  const grpc::Status status = stub_->Stats(Within().get(), v1::StatsRequest(), &response);
  EXPECT_TRUE(status.ok()) << status.error_message();
  return response;
}

v1::TierStats Replica::L2() {
  const v1::StatsResponse stats = Stats();
  for (const v1::TierStats& tier : stats.tiers()) {
    if (tier.tier() == v1::TIER_L2) return tier;
  }
  ADD_FAILURE() << "there is no second tier";
  return {};
}

v1::FleetStats Replica::Fleet() { return Stats().fleet(); }

v1::BreakerStats Replica::Breaker() {
  const v1::StatsResponse stats = Stats();
  return stats.breakers_size() > 0 ? stats.breakers(0) : v1::BreakerStats();
}

double Replica::Metric(const std::string& series) {
  std::istringstream lines(HttpGet(server_->AdminAddress(), "/metrics"));
  const std::string wanted = series + " ";
  for (std::string line; std::getline(lines, line);) {
    if (line.rfind(wanted, 0) == 0) return std::atof(line.c_str() + wanted.size());
  }
  return -1;
}

bool Replica::Well() {
  // A breaker closes when calls go well, and without calls it never knows.
  v1::GetResponse ignored;
  if (!Get("well", &ignored).ok()) return false;
  const v1::StatsResponse stats = Stats();
  if (stats.tiers_size() < 2 || stats.breakers_size() < 1) return false;
  const bool fleet =
      !stats.has_fleet() || (stats.fleet().state() == "following" && !stats.fleet().suspect());
  return fleet && stats.tiers(1).owed() == 0 &&
         stats.breakers(0).state() == v1::BREAKER_STATE_CLOSED;
}

}  // namespace larder
