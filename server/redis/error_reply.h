// What the error replies of Redis mean. Thread safety: functions without state.

#ifndef LARDER_REDIS_ERROR_REPLY_H_
#define LARDER_REDIS_ERROR_REPLY_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace larder {

// The first word, also where an older server wraps the error of a script in a text of its own.
std::string_view RedisErrorCode(std::string_view text);

// The status that callers get; see redis.h.
absl::Status RedisErrorStatus(std::string_view text);

// `MOVED 3999 10.0.0.7:6381` and `ASK ...`.
struct RedisRedirect {
  bool ask = false;
  uint16_t slot = 0;
  // Without a host when the server left it out: it is then that of the server that said so.
  std::string address;
};
std::optional<RedisRedirect> ParseRedisRedirect(std::string_view text);

}  // namespace larder

#endif  // LARDER_REDIS_ERROR_REPLY_H_
