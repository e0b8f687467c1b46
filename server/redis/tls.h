// TLS for connections to Redis, where hiredis has it (1.0 and later with libhiredis_ssl).
// Thread safety: a RedisTls is used by one thread at a time.

#ifndef LARDER_REDIS_TLS_H_
#define LARDER_REDIS_TLS_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "redis/socket.h"

struct redisContext;
struct ssl_st;  // what OpenSSL calls SSL

namespace larder {

// Encrypts what the connected `context` sends from now on, and checks that the server's certificate
// is valid and names `host`, or the configured server name. What it returns belongs to `context`.
absl::StatusOr<ssl_st*> BeginRedisTls(RedisTls* tls, redisContext* context,
                                      const std::string& host);

// To be called before each read or write: OpenSSL keeps errors by thread, and would take one that
// another connection left for one of this.
void ClearRedisTlsErrors();
// Why a read or write of `context` just failed.
absl::Status RedisTlsFailure(const ssl_st* ssl, const redisContext* context);
// Whether what is to be written waits until the server has sent something, as in a handshake.
bool RedisTlsWaitsForPeer(const ssl_st* ssl);

}  // namespace larder

#endif  // LARDER_REDIS_TLS_H_
