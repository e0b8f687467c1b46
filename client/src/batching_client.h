// A client that gathers Gets made at the same time into BatchGets (BatchPolicy).
// Thread safety and errors: as Client says.

#ifndef LARDER_CLIENT_SRC_BATCHING_CLIENT_H_
#define LARDER_CLIENT_SRC_BATCHING_CLIENT_H_

#include <memory>

#include "larder/client.h"

namespace larder::internal {

// REQUIRES: `options` are valid and those of `to`; options.batch.window is not zero.
std::unique_ptr<Client> NewBatchingClient(std::unique_ptr<Client> to, const ClientOptions& options);

}  // namespace larder::internal

#endif  // LARDER_CLIENT_SRC_BATCHING_CLIENT_H_
