// GetOrLoad of many keys over leases. Works with any Client.
// Blocks: for the calls of the client, each at most to its deadline, and for the loader. Errors: as
// Client::BatchGetOrLoad says.

#ifndef LARDER_CLIENT_SRC_BATCH_LOAD_H_
#define LARDER_CLIENT_SRC_BATCH_LOAD_H_

#include <string>
#include <vector>

#include "larder/client.h"

namespace larder::internal {

absl::StatusOr<BatchLoadResult> BatchLoadBlocking(Client* client,
                                                  const std::vector<std::string>& keys,
                                                  BatchLoader loader, const LoadOptions& options);

}  // namespace larder::internal

#endif  // LARDER_CLIENT_SRC_BATCH_LOAD_H_
