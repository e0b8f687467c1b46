// The admin port of larderd as its configuration wants it, looking at the server's parts.
// Thread safety: a function; blocks while it binds.

#ifndef LARDER_ADMIN_PORT_H_
#define LARDER_ADMIN_PORT_H_

#include <atomic>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "admin/admin_server.h"
#include "config/config.h"
#include "journal/journal.h"
#include "lanes.h"
#include "reloader.h"
#include "rpc/access.h"
#include "rpc/admission.h"
#include "rpc/cache_handlers.h"
#include "rpc/methods.h"
#include "rpc/quotas.h"

namespace larder {

// What it looks at, and what it may do; all of it outlives the port.
struct AdminParts {
  const CacheHandlers* cache;
  const MethodTable* methods;
  const Lanes* lanes;
  const Engine* engine;
  const Journal* journal;  // null: there is none
  Access* access;
  const Reloader* reloader;
  const Admission* admission;
  const Quotas* quotas;
  // Whether writes are refused because memory is short.
  const std::atomic<bool>* memory_tight;
  // See AdminView.
  std::function<std::optional<MemoryRoom>()> memory_left;
  // Reads the configuration again. Blocks; called on a thread of the port's.
  std::function<absl::StatusOr<v1::ReloadConfigResponse>(bool dry_run)> reload;
};

// Listens when it returns; null when listen.admin is off. An error says in a sentence what is
// wrong.
absl::StatusOr<std::unique_ptr<AdminServer>> NewAdminPort(const Config& config,
                                                          const std::string& version,
                                                          absl::Time started,
                                                          const AdminParts& parts);

}  // namespace larder

#endif  // LARDER_ADMIN_PORT_H_
