// What gRPC writes into HTTP/2 headers and trailers, and how it is read: timeouts, messages, binary
// values. Thread safety: pure functions. Errors: nullopt for what a peer may not send.

#ifndef LARDER_RPC_NATIVE_METADATA_H_
#define LARDER_RPC_NATIVE_METADATA_H_

#include <optional>
#include <string>
#include <string_view>

#include "absl/time/time.h"

namespace larder {

// The value of `grpc-timeout`: 1 to 8 digits and a unit out of H, M, S, m, u, n.
std::optional<absl::Duration> ParseGrpcTimeout(std::string_view value);

// True for `application/grpc`, alone or before `+` or `;`.
bool IsGrpcContentType(std::string_view value);

// `message` as `grpc-message` carries it: what is not printable ASCII, and `%`, as %XX.
std::string PercentEncoded(std::string_view message);

// The value of a header that ends in `-bin`, without padding, and back, with or without padding.
std::string BinaryHeader(std::string_view bytes);
std::optional<std::string> FromBinaryHeader(std::string_view value);

}  // namespace larder

#endif  // LARDER_RPC_NATIVE_METADATA_H_
