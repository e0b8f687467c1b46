// TLS for the reference lane: gRPC takes what a TlsServer holds, so that both lanes have the same
// certificate, change it together, and leave a pair that does not fit alone.
// Thread safety: a function. Errors: none; what is wrong with the files, TlsServer has said.

#ifndef LARDER_RPC_REFERENCE_TLS_H_
#define LARDER_RPC_REFERENCE_TLS_H_

#include <memory>

#include "rpc/native_tls.h"

namespace grpc {
class ServerCredentials;
}  // namespace grpc

namespace larder {

// For one server. `tls` outlives the credentials and the server.
std::shared_ptr<grpc::ServerCredentials> NewReferenceTls(const TlsServer* tls);

}  // namespace larder

#endif  // LARDER_RPC_REFERENCE_TLS_H_
