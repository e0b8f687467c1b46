// How often the client pings a server, and for how long it waits for the answer, while calls are
// under way. Thread safety: constants.

#ifndef LARDER_CLIENT_SRC_KEEPALIVE_H_
#define LARDER_CLIENT_SRC_KEEPALIVE_H_

#include "absl/time/time.h"

namespace larder::internal {

constexpr absl::Duration kKeepaliveTime = absl::Seconds(30);
constexpr absl::Duration kKeepaliveTimeout = absl::Seconds(5);

}  // namespace larder::internal

#endif  // LARDER_CLIENT_SRC_KEEPALIVE_H_
