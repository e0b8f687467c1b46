// Where a Redis is, as one line of text:
//
//   redis://host:6379/0                             a server, and its database
//   redis+sentinel://a:26379,b:26379/master-name/0  a master that Sentinels know by its name
//   redis-cluster://a:6379,b:6379                   a Cluster, by some of its nodes
//
// With rediss in place of redis, over TLS. A port that is missing is the usual one, a database that
// is missing is 0. A user may stand before the hosts (redis://user@host); a password never.
// Thread safety: pure functions.

#ifndef LARDER_CONFIG_REDIS_URL_H_
#define LARDER_CONFIG_REDIS_URL_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "redis/redis.h"

namespace larder {

inline constexpr size_t kRedisUrlBytesMax = 2048;

struct RedisUrl {
  Redis::Topology topology = Redis::Topology::kSingle;
  std::vector<std::string> addresses;  // host:port
  std::string master_name;             // kSentinel
  std::string user;                    // empty: none
  int database = 0;
  bool tls = false;
};

// InvalidArgument says what is wrong, without repeating what may be a secret.
absl::StatusOr<RedisUrl> ParseRedisUrl(const std::string& url);

}  // namespace larder

#endif  // LARDER_CONFIG_REDIS_URL_H_
