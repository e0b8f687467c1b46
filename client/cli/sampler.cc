#include "client/cli/sampler.h"

#include "client/cli/admin_port.h"
#include "client/cli/http.h"

namespace larder::cli {

// Once: who starts larderd without an admin port does not give it one later.
absl::Status Sampler::Look() {
  looked_ = true;
  const absl::StatusOr<ServerInfoResult> info = session_->client->ServerInfo();
  if (!info.ok()) return info.status();
  const std::string address = admin_.empty() ? DefaultAdmin(session_->server) : admin_;
  const absl::Status its_own = CheckAdminOf(address, *info, session_->AdminCall());
  if (its_own.ok()) {
    found_ = address;
    return absl::OkStatus();
  }
  return admin_.empty() ? absl::OkStatus() : its_own;
}

absl::StatusOr<Sample> Sampler::Read() {
  Sample sample;
  absl::StatusOr<StatsResult> stats = session_->client->Stats();
  if (!stats.ok()) return stats.status();
  sample.stats = *std::move(stats);
  sample.at = Elapsed();
  if (!looked_) {
    if (absl::Status status = Look(); !status.ok()) return status;
  }
  if (found_.empty()) return sample;
  // One that is away for a moment costs its part, not the rest.
  const absl::StatusOr<std::string> metrics = HttpGet(found_, "/metrics", session_->AdminCall());
  if (metrics.ok()) sample.latencies = ReadLatencyBuckets(*metrics);
  return sample;
}

}  // namespace larder::cli
