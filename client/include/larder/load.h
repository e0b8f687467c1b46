// What a loader takes and gives, and what Client::GetOrLoad answers. A loader fetches the truth
// about one key from wherever it lives. larder runs it when the key is missing, and then only in
// one of all the processes that ask for the key; the others wait for the result.

#ifndef LARDER_LOAD_H_
#define LARDER_LOAD_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "larder/result.h"

namespace larder {

// What a loader is asked for. References into it end with the loader's call.
struct LoadCall {
  std::string key = {};
  // The namespace that the call named; empty = the client's.
  std::string ns = {};
  // How long the load may take and still be stored. Unset when the cache does not work and nothing
  // will be stored.
  std::optional<absl::Duration> lease_ttl = {};
};

// What a loader found.
struct Loaded {
  // The key does not exist at the origin. The cache remembers that too, for a shorter time.
  static Loaded Absent() {
    Loaded loaded;
    loaded.absent = true;
    return loaded;
  }

  std::string value = {};
  bool absent = false;
  // As in SetOptions.
  std::optional<absl::Duration> ttl = {};
  std::vector<std::string> tags = {};
  std::vector<std::string> depends_on = {};
};

// Runs on the thread that called GetOrLoad. May block. An error ends GetOrLoad with that error and
// gives the lease to the next waiter; so does an exception, which then goes on to the caller.
using Loader = absl::FunctionRef<absl::StatusOr<Loaded>(const LoadCall& call)>;

// Runs on the thread that called BatchGetOrLoad, with the keys that this caller is to load. Answers
// one result per call, in their order; another number of results fails them all.
using BatchLoader =
    absl::FunctionRef<std::vector<absl::StatusOr<Loaded>>(const std::vector<LoadCall>& calls)>;

// Call it once, from any thread, with what the load brought. Destroying it uncalled counts as a
// load that failed.
using LoadDone = absl::AnyInvocable<void(absl::StatusOr<Loaded>)>;

// Starts a load and returns at once. Runs on a thread of the client: it must neither block nor
// throw.
using AsyncLoader = absl::AnyInvocable<void(const LoadCall& call, LoadDone done)>;

// The answer of GetOrLoad.
struct LoadResult {
  bool hit() const { return entry.has_value(); }

  // The value, from the cache or from the loader. A value that the loader brought has tier kOrigin,
  // and version 0 when it was not stored; one that the server loaded from the type's origin for
  // this call has tier kOrigin, too. `stale` says that it is past its TTL.
  std::optional<Entry> entry = {};
  // Says something without an entry only. kNegative: the key does not exist. kLoading: another
  // caller is loading it and the allowed wait is over.
  Miss miss = {};
  // True when this call ran the loader. Never for a type with an origin that the server reaches.
  bool loaded = false;
  // True when what it loaded is in the cache now.
  bool stored = false;
  // Why it is not, when the cache refused it. kLeaseLost: the load took longer than the lease, or
  // the key was changed meanwhile, so that the value may be older than that change.
  NotStoredReason not_stored = NotStoredReason::kUnspecified;
  // Why it is not, when the cache did not work. OK otherwise.
  absl::Status cache_status = {};
};

}  // namespace larder

#endif  // LARDER_LOAD_H_
