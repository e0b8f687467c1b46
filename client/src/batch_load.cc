// Two batches that hold leases must not wait for each other.  1: A is given the lease of x, B that
// of y.  2: A waits for y, B for x.  3: both wait until the leases run out.  So a server lets
// nobody wait who is given a lease; and here what was leased is loaded and stored, or given back,
// before anything is waited for. A round without a lease has waited and is the last one; a round
// with a lease settles at least one key: so there are at most as many rounds as keys.
//
// One value that the cache refuses fails a BatchSet as a whole. Then each value is stored by a call
// of its own, so that it costs the others nothing. That is slow, and rare.

#include "client/src/batch_load.h"

#include <map>
#include <memory>
#include <set>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/src/load.h"
#include "client/src/mutex.h"

namespace larder::internal {
namespace {

using Leases = std::map<std::string, Lease>;  // by key

// Begins a call per element and blocks until all of them are done.
class Latch {
 public:
  explicit Latch(size_t count) : open_(count) {}
  void Done() {
    MutexLock lock(&mu_);
    if (--open_ == 0) all_done_.SignalAll();
  }
  void Wait() {
    MutexLock lock(&mu_);
    while (open_ > 0) all_done_.Wait(&mu_);
  }

 private:
  Mutex mu_;
  CondVar all_done_;
  size_t open_ ABSL_GUARDED_BY(mu_);
};

// Gives back every lease that is still in it: also when the loader throws.
class LeaseGuard {
 public:
  LeaseGuard(Client* client, Leases leases, const CallOptions& options)
      : client_(client), leases_(std::move(leases)), options_(options) {}
  ~LeaseGuard() {
    auto latch = std::make_shared<Latch>(leases_.size());
    for (const auto& [key, lease] : leases_) {
      // Best effort: a lease that cannot be given back runs out by itself.
      client_->ReleaseLeaseAsync(
          key, lease.token, options_,
          [latch](const absl::StatusOr<ReleaseLeaseResult>&) { latch->Done(); });
    }
    latch->Wait();
  }
  LeaseGuard(const LeaseGuard&) = delete;
  LeaseGuard& operator=(const LeaseGuard&) = delete;

  void Used(const std::string& key) { leases_.erase(key); }

 private:
  Client* const client_;
  Leases leases_;
  const CallOptions options_;
};

// Whether the lease of a value that was not stored is still held.
bool HoldsLeaseAfter(NotStoredReason reason) {
  switch (reason) {
    case NotStoredReason::kMemoryFull:
    case NotStoredReason::kNamespaceLimit:
    case NotStoredReason::kContention:
    case NotStoredReason::kTierUnavailable:
    case NotStoredReason::kTooManyWaiters:
    case NotStoredReason::kDraining:
    case NotStoredReason::kOverloaded:
      return true;
    default:
      return false;
  }
}

class BatchLoad {
 public:
  BatchLoad(Client* client, BatchLoader loader, const LoadOptions& options)
      : client_(client), loader_(loader), options_(options) {}

  absl::Status Run(const std::vector<std::string>& keys) {
    absl::Status looked_up = LookUp(keys);
    if (!looked_up.ok()) {
      if (!options_.fail_open || !MayLoadWithoutCache(looked_up)) return looked_up;
      LoadWithoutCache(keys, looked_up);
      return absl::OkStatus();
    }
    const bool waits = options_.wait.value_or(absl::InfiniteDuration()) > absl::ZeroDuration();
    while (!leases_.empty()) {
      LoadLeased();
      if (loading_.empty() || !waits) break;
      const std::vector<std::string> others = std::exchange(loading_, {});
      looked_up = LookUp(others);
      if (looked_up.ok()) continue;
      if (options_.fail_open && MayLoadWithoutCache(looked_up)) {
        LoadWithoutCache(others, looked_up);
      } else {
        for (const std::string& key : others) results_.insert_or_assign(key, looked_up);
      }
    }
    return absl::OkStatus();
  }

  const absl::StatusOr<LoadResult>& ResultOf(const std::string& key) const {
    return results_.at(key);
  }

 private:
  absl::Status LookUp(const std::vector<std::string>& keys) {
    absl::StatusOr<BatchLeaseResult> found = client_->BatchGetOrLease(keys, options_);
    if (!found.ok()) return found.status();
    for (size_t i = 0; i < keys.size(); ++i) {
      absl::StatusOr<LeaseResult>& result = (*found)[i];
      if (!result.ok()) {
        results_.insert_or_assign(keys[i], result.status());
      } else if (result->lease.has_value()) {
        leases_[keys[i]] = *std::move(result->lease);
      } else {
        if (!result->hit() && result->miss.reason == MissReason::kLoading)
          loading_.push_back(keys[i]);
        results_.insert_or_assign(keys[i], FromLookup(*std::move(result)));
      }
    }
    return absl::OkStatus();
  }

  std::vector<absl::StatusOr<Loaded>> RunLoader(const std::vector<LoadCall>& calls) {
    std::vector<absl::StatusOr<Loaded>> loaded = loader_(calls);
    if (loaded.size() == calls.size()) return loaded;
    return std::vector<absl::StatusOr<Loaded>>(
        calls.size(), absl::InternalError(absl::StrCat("the loader answered ", loaded.size(),
                                                       " results to ", calls.size(), " keys")));
  }

  LoadCall CallFor(const std::string& key) const {
    return {key, options_.call.ns.value_or(""), std::nullopt};
  }

  void LoadWithoutCache(const std::vector<std::string>& keys, const absl::Status& why) {
    std::vector<LoadCall> calls;
    for (const std::string& key : keys) calls.push_back(CallFor(key));
    std::vector<absl::StatusOr<Loaded>> loaded = RunLoader(calls);
    for (size_t i = 0; i < keys.size(); ++i) {
      if (loaded[i].ok()) {
        results_.insert_or_assign(keys[i], FromLoaded(*std::move(loaded[i]), why));
      } else {
        results_.insert_or_assign(keys[i], loaded[i].status());
      }
    }
  }

  // Loads and stores what is leased; gives the other leases back.
  void LoadLeased() {
    const Leases leases = std::exchange(leases_, {});
    LeaseGuard guard(client_, leases, options_.call);
    std::vector<LoadCall> calls;
    for (const auto& [key, lease] : leases) {
      calls.push_back(CallFor(key));
      calls.back().lease_ttl = lease.ttl;
    }
    std::vector<absl::StatusOr<Loaded>> loaded = RunLoader(calls);
    std::vector<SetItem> items;
    std::vector<size_t> places;
    for (size_t i = 0; i < calls.size(); ++i) {
      const std::string& key = calls[i].key;
      if (!loaded[i].ok()) {
        results_.insert_or_assign(key, loaded[i].status());
        continue;
      }
      items.push_back(ItemToStore(key, *loaded[i], leases.at(key).token, options_.type));
      places.push_back(i);
    }
    if (items.empty()) return;
    const std::vector<absl::StatusOr<SetResult>> stored = Store(items);
    for (size_t i = 0; i < items.size(); ++i) {
      const absl::StatusOr<SetResult>& set = stored[i];
      const bool holds = set.ok() ? !set->stored && HoldsLeaseAfter(set->reason)
                                  : ShouldReleaseAfter(set.status());
      if (!holds) guard.Used(items[i].key);
      results_.insert_or_assign(items[i].key, FromLoaded(*std::move(loaded[places[i]]), set));
    }
  }

  std::vector<absl::StatusOr<SetResult>> Store(const std::vector<SetItem>& items) {
    BatchSetOptions batch;
    batch.call = options_.call;
    const absl::StatusOr<std::vector<SetResult>> set = client_->BatchSet(items, batch);
    std::vector<absl::StatusOr<SetResult>> results;
    if (set.ok()) {
      results.assign(set->begin(), set->end());
      return results;
    }
    const bool may_be_one_of_them = set.status().code() == absl::StatusCode::kInvalidArgument ||
                                    set.status().code() == absl::StatusCode::kResourceExhausted;
    if (items.size() == 1 || !may_be_one_of_them) {
      results.assign(items.size(), set.status());
      return results;
    }
    for (const SetItem& item : items) {
      SetOptions one;
      one.ttl = item.ttl;
      one.type = item.type;
      one.tags = item.tags;
      one.depends_on = item.depends_on;
      one.lease_token = item.lease_token;
      one.call = options_.call;
      results.push_back(item.absent ? client_->SetAbsent(item.key, one)
                                    : client_->Set(item.key, item.value, one));
    }
    return results;
  }

  Client* const client_;
  const BatchLoader loader_;
  const LoadOptions& options_;
  Leases leases_;                     // to be loaded here
  std::vector<std::string> loading_;  // elsewhere
  std::map<std::string, absl::StatusOr<LoadResult>> results_;
};

}  // namespace

absl::StatusOr<BatchLoadResult> BatchLoadBlocking(Client* client,
                                                  const std::vector<std::string>& keys,
                                                  BatchLoader loader, const LoadOptions& options) {
  // A key that is there twice is loaded once, and its lease used once.
  std::set<std::string_view> seen;
  std::vector<std::string> distinct;
  for (const std::string& key : keys) {
    if (seen.insert(key).second) distinct.push_back(key);
  }
  BatchLoad load(client, loader, options);
  if (absl::Status status = load.Run(distinct); !status.ok()) return status;
  BatchLoadResult results;
  results.reserve(keys.size());
  for (const std::string& key : keys) results.push_back(load.ResultOf(key));
  return results;
}

}  // namespace larder::internal
