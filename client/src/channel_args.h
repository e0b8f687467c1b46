// How the client's gRPC channels behave.
// Thread safety: any thread.

#ifndef LARDER_CLIENT_SRC_CHANNEL_ARGS_H_
#define LARDER_CLIENT_SRC_CHANNEL_ARGS_H_

#include "grpcpp/support/channel_arguments.h"
#include "larder/options.h"

namespace larder::internal {

// REQUIRES: `options` are valid.
grpc::ChannelArguments ChannelArgs(const ClientOptions& options);

}  // namespace larder::internal

#endif  // LARDER_CLIENT_SRC_CHANNEL_ARGS_H_
