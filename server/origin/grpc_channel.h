// The channels to a gRPC origin, made from its options. Thread safety: functions without state.
// Blocks for as long as it takes to read the files of the TLS options. Errors: INVALID_ARGUMENT.

#ifndef LARDER_ORIGIN_GRPC_CHANNEL_H_
#define LARDER_ORIGIN_GRPC_CHANNEL_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "origin/grpc_origin.h"

namespace grpc {
class Channel;
}  // namespace grpc

namespace larder {

absl::StatusOr<std::vector<std::shared_ptr<grpc::Channel>>> NewGrpcChannels(
    const GrpcOriginOptions& options);

// OK for metadata that a call may carry. gRPC ends the process at what is not.
absl::Status CheckMetadata(const std::string& key, const std::string& value);

}  // namespace larder

#endif  // LARDER_ORIGIN_GRPC_CHANNEL_H_
