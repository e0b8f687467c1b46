// How the client's connections are encrypted.
// Thread safety: any thread. Blocks on the disk.

#ifndef LARDER_CLIENT_SRC_TLS_H_
#define LARDER_CLIENT_SRC_TLS_H_

#include <memory>

#include "absl/status/status.h"
#include "grpcpp/security/credentials.h"
#include "larder/options.h"

namespace larder::internal {

// INVALID_ARGUMENT: a file is not there, or half of a pair is.
absl::Status CheckTls(const TlsOptions& tls);

// REQUIRES: CheckTls.
std::shared_ptr<grpc::ChannelCredentials> ChannelCredentials(const TlsOptions& tls);

// Whether a target is this machine itself, so that nobody listens on the way.
bool IsThisMachine(const std::string& target);

}  // namespace larder::internal

#endif  // LARDER_CLIENT_SRC_TLS_H_
