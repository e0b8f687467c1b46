// GetOrLoad over leases: who gets the lease runs the loader and stores what it brings. Works with
// any Client; it uses the Async methods only, so that it never blocks a thread of the client.

#ifndef LARDER_CLIENT_SRC_LOAD_H_
#define LARDER_CLIENT_SRC_LOAD_H_

#include <memory>
#include <string>
#include <string_view>
#include <unordered_set>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "client/src/mutex.h"
#include "larder/client.h"

namespace larder::internal {

// One GetOrLoadAsync whose loader runs.
class RunningLoad {
 public:
  virtual ~RunningLoad() = default;
  // Tells the caller CANCELLED.
  virtual void Cancel() = 0;
};

// The loads of one client whose loaders run, so that none of them touches the client after its end.
// Thread safety: any method, any thread. Close blocks while an Enter is open.
class LoadRegistry {
 public:
  // The loader is about to run. False: the client is being destroyed, and the load must end with
  // CANCELLED.
  bool Add(const std::shared_ptr<RunningLoad>& load);

  // The loader is done. True: the load may use the client until it calls Leave. False: it has been
  // cancelled and must do nothing more.
  bool Enter(const std::shared_ptr<RunningLoad>& load);
  void Leave();

  // Cancels every load that is not inside Enter and Leave, and waits for those that are.
  void Close();

 private:
  Mutex mu_;
  CondVar idle_;
  bool closed_ ABSL_GUARDED_BY(mu_) = false;
  int inside_ ABSL_GUARDED_BY(mu_) = 0;
  std::unordered_set<std::shared_ptr<RunningLoad>> loads_ ABSL_GUARDED_BY(mu_);
};

// How long a server may make a caller wait for another one's load: a little less than the caller
// itself waits (`remaining`), so that the caller sees a miss that says LOADING and not a
// DEADLINE_EXCEEDED that could also mean a dead server.
absl::Duration WaitFor(absl::Duration remaining);

// Whether a loader should run without the cache after such an error of the lookup.
bool MayLoadWithoutCache(const absl::Status& status);

// What becomes of a load's parts. A store that failed (`set` not OK) is said in cache_status.
SetItem ItemToStore(std::string_view key, const Loaded& loaded, const std::string& lease_token,
                    const std::string& type);
LoadResult FromLookup(LeaseResult lookup);
LoadResult FromLoaded(Loaded loaded, const absl::StatusOr<SetResult>& set);

// Whether a store that failed left the lease with its holder for nothing.
bool ShouldReleaseAfter(const absl::Status& store);

absl::StatusOr<LoadResult> LoadBlocking(Client* client, std::string_view key, Loader loader,
                                        const LoadOptions& options);

// REQUIRES: `registry` is closed before `client` is destroyed.
void LoadAsync(Client* client, const std::shared_ptr<LoadRegistry>& registry, std::string_view key,
               AsyncLoader loader, const LoadOptions& options, Callback<LoadResult> done);

}  // namespace larder::internal

#endif  // LARDER_CLIENT_SRC_LOAD_H_
