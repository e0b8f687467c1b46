// RedisKeys are the names under which larder keeps things in Redis:
//
//   larder{}:e:7:default:user:42      the entry of key user:42 in namespace default
//   larder{}:l:7:default:user:42      its fleet lease
//   ^      ^ ^ ^ ^       ^
//   |      | | | |       the key, byte by byte
//   |      | | | the namespace
//   |      | | bytes of the namespace
//   |      | what it is
//   |      an empty hash tag: a Cluster places the key by all of its bytes
//   the configured prefix
//
// Two full keys never share a name, and the full key can be read back from it. Thread safety:
// immutable.

#ifndef LARDER_TIER_REDIS_KEY_H_
#define LARDER_TIER_REDIS_KEY_H_

#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace larder {

class RedisKeys {
 public:
  enum class Part : char { kEntry = 'e', kLease = 'l' };

  static constexpr size_t kPrefixBytesMax = 64;
  // OK for 1 to 64 characters out of a-z, A-Z, 0-9, '.', '_', '-' and ':'. Else InvalidArgument.
  static absl::Status CheckPrefix(std::string_view prefix);

  // REQUIRES: CheckPrefix(prefix).
  RedisKeys(std::string_view prefix, Part part);

  // REQUIRES: `full_key` is a FullKey.
  std::string Of(std::string_view full_key) const;
  // Nothing when the name is not of this prefix and part.
  std::optional<std::string> FullKeyOf(std::string_view name) const;
  // The pattern for SCAN that finds the names of all full keys that begin with `full_prefix`: a
  // namespace with the start of a key, or nothing. InvalidArgument when it is half a namespace.
  absl::StatusOr<std::string> MatchUnder(std::string_view full_prefix) const;

 private:
  // What all names begin with.
  const std::string start_;
};

}  // namespace larder

#endif  // LARDER_TIER_REDIS_KEY_H_
