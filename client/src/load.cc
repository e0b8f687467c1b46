// What a GetOrLoad owes to whom.
//
// To the fleet: one load per key. Only the holder of the lease loads. A loader that fails gives the
// lease back at once, so that the next caller need not wait for it to run out.
//
// To its caller: a value, when there is one to be had. A cache that does not answer must not take
// the application down with it, so the loader then runs without it; that costs the first promise,
// and LoadResult says so. A store that fails after a successful load costs nothing but the next
// caller's hit.
//
// To an origin that the server loads from: no second way to it while it is in trouble.
//
// To the truth: a value whose lease was lost may be older than the change that revoked it. It is
// not stored; the caller gets it with the flag, because its read may well have begun before that
// change.

#include "client/src/load.h"

#include <algorithm>
#include <string>
#include <utility>

#include "client/src/callback.h"
#include "client/src/status.h"

namespace larder::internal {
namespace {

SetOptions StoreOptions(const Loaded& loaded, const std::string& lease_token,
                        const LoadOptions& options) {
  SetOptions set;
  set.ttl = loaded.ttl;
  set.type = options.type;
  set.tags = loaded.tags;
  set.depends_on = loaded.depends_on;
  set.lease_token = lease_token;
  set.call = options.call;
  return set;
}

// Gives a lease back unless told that it was used: also when the loader throws.
class LeaseGuard {
 public:
  LeaseGuard(Client* client, const LoadCall& call, const std::string& token,
             const CallOptions& options)
      : client_(client), call_(call), token_(token), options_(options) {}
  ~LeaseGuard() {
    if (used_) return;
    // Best effort: a lease that cannot be given back runs out by itself.
    client_->ReleaseLease(call_.key, token_, options_).IgnoreError();
  }
  LeaseGuard(const LeaseGuard&) = delete;
  LeaseGuard& operator=(const LeaseGuard&) = delete;

  void Used() { used_ = true; }

 private:
  Client* const client_;
  const LoadCall& call_;
  const std::string& token_;
  const CallOptions& options_;
  bool used_ = false;
};

}  // namespace

absl::Duration WaitFor(absl::Duration remaining) {
  return remaining - std::min(remaining, std::clamp(remaining / 10, absl::Milliseconds(5),
                                                    absl::Milliseconds(500)));
}

bool MayLoadWithoutCache(const absl::Status& status) {
  // The server answers and its origin does not. The origin's breaker keeps the fleet off it; a
  // loader that goes to the same place would let all callers in by the back door.
  if (IsOriginsFault(status)) return false;
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:  // the caller's mistake would go unnoticed
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kPermissionDenied:  // the answer is no, not silence
    case absl::StatusCode::kUnauthenticated:
    case absl::StatusCode::kCancelled:  // nobody waits any more
      return false;
    default:
      return !status.ok();
  }
}

SetItem ItemToStore(std::string_view key, const Loaded& loaded, const std::string& lease_token,
                    const std::string& type) {
  SetItem item;
  item.key = std::string(key);
  item.value = loaded.value;
  item.absent = loaded.absent;
  item.ttl = loaded.ttl;
  item.type = type;
  item.tags = loaded.tags;
  item.depends_on = loaded.depends_on;
  item.lease_token = lease_token;
  return item;
}

LoadResult FromLookup(LeaseResult lookup) {
  LoadResult result;
  result.entry = std::move(lookup.entry);
  result.miss = lookup.miss;
  return result;
}

LoadResult FromLoaded(Loaded loaded, const absl::StatusOr<SetResult>& set) {
  LoadResult result;
  result.loaded = true;
  result.stored = set.ok() && set->stored;
  if (!set.ok()) result.cache_status = set.status();
  if (set.ok() && !set->stored) result.not_stored = set->reason;
  const absl::Duration ttl = result.stored ? set->ttl : absl::ZeroDuration();
  if (loaded.absent) {
    result.miss = {MissReason::kNegative, ttl};
    return result;
  }
  Entry entry;
  entry.value_bytes = loaded.value.size();
  entry.value = std::move(loaded.value);
  entry.version = result.stored ? set->version : 0;
  entry.remaining_ttl = ttl;
  entry.tier = Tier::kOrigin;
  entry.tags = std::move(loaded.tags);
  result.entry = std::move(entry);
  return result;
}

bool ShouldReleaseAfter(const absl::Status& store) {
  // Yes, when the server refused the value, one over its limit for example. After silence there is
  // no telling, and asking again would only make the caller wait longer.
  switch (store.code()) {
    case absl::StatusCode::kOk:
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kCancelled:
      return false;
    default:
      return true;
  }
}

absl::StatusOr<LoadResult> LoadBlocking(Client* client, std::string_view key, Loader loader,
                                        const LoadOptions& options) {
  absl::StatusOr<LeaseResult> lookup = client->GetOrLease(key, options);
  LoadCall call{std::string(key), options.call.ns.value_or(""), std::nullopt};
  if (!lookup.ok()) {
    if (!options.fail_open || !MayLoadWithoutCache(lookup.status())) return lookup.status();
    absl::StatusOr<Loaded> loaded = loader(call);
    if (!loaded.ok()) return loaded.status();
    return FromLoaded(*std::move(loaded), lookup.status());
  }
  if (!lookup->lease.has_value()) return FromLookup(*std::move(lookup));

  call.lease_ttl = lookup->lease->ttl;
  const std::string& token = lookup->lease->token;
  LeaseGuard guard(client, call, token, options.call);
  absl::StatusOr<Loaded> loaded = loader(call);
  if (!loaded.ok()) return loaded.status();
  const SetOptions store = StoreOptions(*loaded, token, options);
  const absl::StatusOr<SetResult> set =
      loaded->absent ? client->SetAbsent(key, store) : client->Set(key, loaded->value, store);
  if (!ShouldReleaseAfter(set.status())) guard.Used();
  return FromLoaded(*std::move(loaded), set);
}

bool LoadRegistry::Add(const std::shared_ptr<RunningLoad>& load) {
  MutexLock lock(&mu_);
  if (!closed_) loads_.insert(load);
  return !closed_;
}

bool LoadRegistry::Enter(const std::shared_ptr<RunningLoad>& load) {
  MutexLock lock(&mu_);
  if (loads_.erase(load) == 0) return false;
  ++inside_;
  return true;
}

void LoadRegistry::Leave() {
  MutexLock lock(&mu_);
  --inside_;
  idle_.SignalAll();
}

void LoadRegistry::Close() {
  std::unordered_set<std::shared_ptr<RunningLoad>> loads;
  {
    MutexLock lock(&mu_);
    closed_ = true;
    loads.swap(loads_);
  }
  for (const auto& load : loads) load->Cancel();
  MutexLock lock(&mu_);
  while (inside_ > 0) idle_.Wait(&mu_);
}

namespace {

// A GetOrLoadAsync: lookup, then the loader, then store or release, then `done`. The steps before
// and after the loader are calls of the client and end before it does. While the loader runs, the
// client may go away; the registry decides who of the two is first.
class AsyncLoad : public RunningLoad, public std::enable_shared_from_this<AsyncLoad> {
 public:
  AsyncLoad(Client* client, std::shared_ptr<LoadRegistry> registry, std::string_view key,
            AsyncLoader loader, const LoadOptions& options, Callback<LoadResult> done)
      : client_(client),
        registry_(std::move(registry)),
        call_{std::string(key), options.call.ns.value_or(""), std::nullopt},
        loader_(std::move(loader)),
        options_(options),
        done_(std::move(done)) {}

  void Start() {
    client_->GetOrLeaseAsync(call_.key, options_,
                             [self = shared_from_this()](absl::StatusOr<LeaseResult> lookup) {
                               self->LookedUp(std::move(lookup));
                             });
  }

  void Cancel() override { Done(absl::CancelledError("the larder client was destroyed")); }

 private:
  // What a LoadDone holds. The loader may drop its LoadDone, or call it and drop it on another
  // thread.
  class Reply {
   public:
    explicit Reply(std::shared_ptr<AsyncLoad> load) : load_(std::move(load)) {}
    Reply(Reply&&) = default;
    Reply& operator=(Reply&&) = delete;
    ~Reply() {
      if (load_ != nullptr)
        load_->LoaderDone(absl::InternalError("the loader dropped its callback without a result"));
    }
    void operator()(absl::StatusOr<Loaded> loaded) {
      if (auto load = std::exchange(load_, nullptr); load != nullptr)
        load->LoaderDone(std::move(loaded));
    }

   private:
    std::shared_ptr<AsyncLoad> load_;
  };

  void LookedUp(absl::StatusOr<LeaseResult> lookup) {
    if (lookup.ok() && !lookup->lease.has_value()) {
      Done(FromLookup(*std::move(lookup)));
      return;
    }
    if (!lookup.ok() && (!options_.fail_open || !MayLoadWithoutCache(lookup.status()))) {
      Done(lookup.status());
      return;
    }
    if (lookup.ok()) {
      lease_token_ = lookup->lease->token;
      call_.lease_ttl = lookup->lease->ttl;
    } else {
      lookup_status_ = lookup.status();
    }
    if (!registry_->Add(shared_from_this())) {
      Cancel();
      return;
    }
    // The loader may end, and this object with it, before the loader's call returns: so it runs
    // from the stack.
    AsyncLoader loader = std::move(loader_);
    const LoadCall call = call_;
    loader(call, LoadDone(Reply(shared_from_this())));
  }

  void LoaderDone(absl::StatusOr<Loaded> loaded) {
    const auto self = shared_from_this();
    if (!registry_->Enter(self)) return;
    if (!lookup_status_.ok()) {
      if (loaded.ok()) {
        Done(FromLoaded(*std::move(loaded), lookup_status_));
      } else {
        Done(loaded.status());
      }
    } else if (!loaded.ok()) {
      ReleaseThen(loaded.status());
    } else {
      Store(*std::move(loaded));
    }
    registry_->Leave();
  }

  void Store(Loaded loaded) {
    const SetOptions store = StoreOptions(loaded, lease_token_, options_);
    loaded_ = std::move(loaded);
    auto stored = [self = shared_from_this()](absl::StatusOr<SetResult> set) {
      LoadResult result = FromLoaded(std::move(self->loaded_), set);
      if (ShouldReleaseAfter(set.status())) {
        self->ReleaseThen(std::move(result));
      } else {
        self->Done(std::move(result));
      }
    };
    if (loaded_.absent) {
      client_->SetAbsentAsync(call_.key, store, std::move(stored));
    } else {
      client_->SetAsync(call_.key, loaded_.value, store, std::move(stored));
    }
  }

  void ReleaseThen(absl::StatusOr<LoadResult> result) {
    client_->ReleaseLeaseAsync(
        call_.key, lease_token_, options_.call,
        [self = shared_from_this(), result = std::move(result)](
            const absl::StatusOr<ReleaseLeaseResult>&) mutable { self->Done(std::move(result)); });
  }

  void Done(absl::StatusOr<LoadResult> result) {
    CallbackScope scope(client_);
    Callback<LoadResult> done = std::move(done_);
    done(std::move(result));
  }

  Client* const client_;
  const std::shared_ptr<LoadRegistry> registry_;
  LoadCall call_;
  AsyncLoader loader_;
  const LoadOptions options_;
  Callback<LoadResult> done_;
  std::string lease_token_;
  absl::Status lookup_status_;
  Loaded loaded_;
};

}  // namespace

void LoadAsync(Client* client, const std::shared_ptr<LoadRegistry>& registry, std::string_view key,
               AsyncLoader loader, const LoadOptions& options, Callback<LoadResult> done) {
  std::make_shared<AsyncLoad>(client, registry, key, std::move(loader), options, std::move(done))
      ->Start();
}

}  // namespace larder::internal
