// RedisSocket is one TCP connection to a Redis, encrypted or not, and the reader of its answers. It
// is the only one that knows hiredis. Thread safety: none. Never blocks.

#ifndef LARDER_REDIS_SOCKET_H_
#define LARDER_REDIS_SOCKET_H_

#include <sys/uio.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "redis/redis.h"

namespace larder {

// Who gets the answers, in their order.
class RedisReplySink {
 public:
  virtual ~RedisReplySink() = default;
  // False: no more of them; Read then returns at once.
  virtual bool OnReply(RedisReply reply) = 0;
  virtual bool OnErrorReply(std::string_view text) = 0;
};

// What TLS needs, read once. Null without TLS.
class RedisTls;
struct RedisTlsDeleter {
  void operator()(RedisTls* tls) const;
};
using RedisTlsPtr = std::unique_ptr<RedisTls, RedisTlsDeleter>;

// InvalidArgument: this build has no TLS, or the files cannot be used.
absl::StatusOr<RedisTlsPtr> NewRedisTls(const Redis::Options& options);

class RedisSocket {
 public:
  // Begins to connect. `ip` is numeric, so that nothing is looked up. When the socket can be
  // written, Established says whether that went well. `host` is who the certificate must name.
  // `buffer` is what Read reads into; `reply_bytes_max` bounds one answer.
  static absl::StatusOr<std::unique_ptr<RedisSocket>> Connect(const std::string& ip, int port,
                                                              const std::string& host,
                                                              RedisTls* tls,
                                                              uint64_t reply_bytes_max,
                                                              std::vector<char>* buffer);
  virtual ~RedisSocket() = default;

  virtual int fd() const = 0;
  virtual absl::Status Established() = 0;
  // Writes what the socket takes of these pieces, in order; 0 when it takes none now.
  virtual absl::StatusOr<size_t> Write(const std::vector<iovec>& pieces) = 0;
  // Reads what has come, up to a bound so that others get their turn.
  virtual absl::Status Read(RedisReplySink* sink) = 0;
  // Bytes that the caller passed to Write and that this object still holds.
  virtual bool holds_bytes() const = 0;
  // What could not be written waits for bytes of the server and not for room, as in a handshake.
  virtual bool waits_for_peer() const = 0;
};

}  // namespace larder

#endif  // LARDER_REDIS_SOCKET_H_
