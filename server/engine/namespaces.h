// NamespaceTable gives every namespace that holds or held data, or was invalidated as such, a small
// number: for accounting, and so that what is kept by namespace has a bound.
// Thread safety: any method, any thread. Blocks for one short lock at most.

#ifndef LARDER_ENGINE_NAMESPACES_H_
#define LARDER_ENGINE_NAMESPACES_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "base/mutex.h"

namespace larder {

class NamespaceTable {
 public:
  // `default` is there from the start, with id 0. REQUIRES: 1 <= namespaces_max <= 65,535.
  explicit NamespaceTable(size_t namespaces_max);

  // The id of `name` (empty = `default`), given now if it is new. NAMESPACE_LIMIT when there is no
  // room for it.
  absl::StatusOr<uint16_t> Intern(std::string_view name);

  // Null when it has no number.
  std::optional<uint16_t> Find(std::string_view name) const;

  // All names; the index is the id.
  std::vector<std::string> Names() const;

 private:
  const size_t namespaces_max_;
  mutable Mutex mu_;
  absl::flat_hash_map<std::string, uint16_t> ids_ ABSL_GUARDED_BY(mu_);
  std::vector<std::string> names_ ABSL_GUARDED_BY(mu_);
};

}  // namespace larder

#endif  // LARDER_ENGINE_NAMESPACES_H_
