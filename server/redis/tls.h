// TLS for connections to Redis, where hiredis has it (1.0 and later with libhiredis_ssl).
// Thread safety: a RedisTls is used by one thread at a time.

#ifndef LARDER_REDIS_TLS_H_
#define LARDER_REDIS_TLS_H_

#include <string>

#include "absl/status/status.h"
#include "redis/socket.h"

struct redisContext;

namespace larder {

// Encrypts what the connected `context` sends from now on, and checks that the server's certificate
// is valid and names `host`, or the configured server name.
absl::Status BeginRedisTls(RedisTls* tls, redisContext* context, const std::string& host);

}  // namespace larder

#endif  // LARDER_REDIS_TLS_H_
