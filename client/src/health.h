// The two messages of grpc.health.v1.Health/Check by hand: one string field there, one enum field
// back. Debian packages no C++ code for them, and a program may link another library that does.
// Thread safety: any function, any thread.

#ifndef LARDER_CLIENT_SRC_HEALTH_H_
#define LARDER_CLIENT_SRC_HEALTH_H_

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace larder::internal {

inline constexpr char kHealthCheck[] = "/grpc.health.v1.Health/Check";

// HealthCheckRequest{service}.
std::string HealthRequest(std::string_view service);

// Whether a HealthCheckResponse says SERVING. INTERNAL when the bytes are no such message.
absl::StatusOr<bool> IsServing(std::string_view response);

}  // namespace larder::internal

#endif  // LARDER_CLIENT_SRC_HEALTH_H_
