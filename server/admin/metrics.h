// All metrics of a replica, as Prometheus reads them. docs/metrics.md explains each; a test keeps
// the two in step. Labels are types, namespaces, tiers, RPCs, origins and a few words of ours:
// never keys, so their number is bounded by the configuration and limits.namespaces. Thread safety:
// functions without state.

#ifndef LARDER_ADMIN_METRICS_H_
#define LARDER_ADMIN_METRICS_H_

#include <string>

#include "admin/exposition.h"
#include "admin/view.h"

namespace larder {

// REQUIRES: view.stats and view.rpcs.
std::string RenderMetrics(const AdminView& view, bool ready, Exposition::Format format);

}  // namespace larder

#endif  // LARDER_ADMIN_METRICS_H_
