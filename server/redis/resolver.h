// Looks up host names without blocking the caller. Thread safety: any thread.

#ifndef LARDER_REDIS_RESOLVER_H_
#define LARDER_REDIS_RESOLVER_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace larder {

using RedisIps = absl::StatusOr<std::vector<std::string>>;

// Whether `host` is an IP already.
bool IsIp(const std::string& host);

// Calls `done` with the IPs of `host`, at least one, on a thread of its own, which nobody awaits:
// the system's resolver cannot be interrupted, and may take longer than whoever asked lives.
void LookUp(std::string host, std::function<void(RedisIps)> done);

}  // namespace larder

#endif  // LARDER_REDIS_RESOLVER_H_
