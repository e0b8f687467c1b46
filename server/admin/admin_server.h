// AdminServer is what people and their tools look at a replica through, over HTTP: /metrics for
// Prometheus, /healthz and /readyz for whoever starts and stops it, /stats.json, /status.json,
// /history.json and /config.json for scripts, and the dashboard at /. Where callers have to be
// known, all but the first three are for operators. One path changes something, POST /reload, for
// operators alone. Thread safety: any method, any thread. Start and the destructor block. Errors:
// Start says in a sentence why it cannot listen.

#ifndef LARDER_ADMIN_ADMIN_SERVER_H_
#define LARDER_ADMIN_ADMIN_SERVER_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "admin/http_server.h"
#include "admin/view.h"

namespace larder {

class AdminServer {
 public:
  // Listens when it returns, not ready until SetReady. `view` is used until the server is gone.
  static absl::StatusOr<std::unique_ptr<AdminServer>> Start(const HttpServer::Options& options,
                                                            AdminView view);
  virtual ~AdminServer() = default;

  // The address that it listens on, with the real port.
  virtual std::string address() const = 0;

  // What readiness says. `why` is for people: `ready`, `warming`, `draining`.
  virtual void SetReady(bool ready, std::string why) = 0;
};

}  // namespace larder

#endif  // LARDER_ADMIN_ADMIN_SERVER_H_
