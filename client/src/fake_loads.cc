// A load from an origin has the shape of a lease that the fake keeps for itself: who misses first
// opens it and runs the origin, the others stand in line, and all of them get the outcome. Unlike a
// lease it does not pass to the next in line when the key changes: the outcome is then told and not
// stored.

#include "client/src/fake_loads.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/src/fake_checks.h"
#include "client/src/load.h"
#include "client/src/status.h"

namespace larder::internal {
namespace {

constexpr absl::Duration kLeaseTtl = absl::Seconds(10);
constexpr size_t kWarmKeysMax = 100'000;
// As many keys lie between two calls of a Warm's callback.
constexpr size_t kWarmStep = 100;

// What callers are told of an origin's failure.
absl::Status OriginFailed(const absl::Status& cause) {
  const std::string message = absl::StrCat("the origin: ", cause.ToString());
  switch (cause.code()) {
    case absl::StatusCode::kUnavailable:
      return MakeError(cause.code(), "ORIGIN_UNAVAILABLE", "", message);
    case absl::StatusCode::kDeadlineExceeded:
      return MakeError(cause.code(), "ORIGIN_TIMEOUT", "", message);
    default:
      return MakeError(absl::StatusCode::kFailedPrecondition, "ORIGIN_REFUSED", "", message);
  }
}

}  // namespace

absl::Status FakeLoads::Ask(const LoadOptions& options, const absl::Status& keys, Asked* asked) {
  absl::Status valid = Begin(options.call, &asked->ns);
  valid.Update(keys);
  const absl::StatusOr<const FakeType*> type = state_.store.TypeOf(options.type);
  valid.Update(type.status());
  valid.Update(CheckLoadOptions(options));
  if (!valid.ok()) return valid;
  asked->type = **type;
  asked->lease_ttl = options.lease_ttl.value_or(kLeaseTtl);
  const absl::Duration deadline = options.call.deadline.value_or(options_.default_deadline);
  asked->until =
      Now() + std::min(options.wait.value_or(absl::InfiniteDuration()), WaitFor(deadline));
  return valid;
}

void FakeLoads::Look(const std::string& key, const Asked& asked, Callback<LeaseResult> done) {
  const FakeStore::Key full_key(asked.ns, key);
  std::string ticket;
  std::vector<FakeStore::Ready> ready;
  {
    MutexLock lock(&mu_);
    if (asked.type.origin) {
      ticket = state_.store.JoinLoad(full_key, asked.until, std::move(done), Now());
    } else {
      state_.store.GetOrLease(full_key, asked.lease_ttl, asked.until, std::move(done), Now());
    }
    ready = state_.store.TakeReady();
  }
  Tell(std::move(ready));
  if (ticket.empty()) return;
  absl::StatusOr<Loaded> loaded;
  {
    CallbackScope scope(this);
    loaded = asked.type.origin(LoadCall{key, asked.ns, std::nullopt});
  }
  if (!loaded.ok()) loaded = OriginFailed(loaded.status());
  {
    MutexLock lock(&mu_);
    state_.store.EndLoad(full_key, ticket, asked.type, loaded, Now());
    ready = state_.store.TakeReady();
  }
  Tell(std::move(ready));
}

void FakeLoads::GetOrLeaseAsync(std::string_view key, const LoadOptions& options,
                                Callback<LeaseResult> done) {
  Asked asked;
  absl::Status valid;
  std::vector<FakeStore::Ready> ready;
  {
    MutexLock lock(&mu_);
    valid = Ask(options, CheckKey("key", key), &asked);
    ready = state_.store.TakeReady();
    if (!valid.ok()) ready.emplace_back(std::move(done), valid);
  }
  Tell(std::move(ready));
  if (valid.ok()) Look(std::string(key), asked, std::move(done));
}

// As on a server: first what is to be had without waiting for leases; then, as long as this caller
// holds none, one wait after the other.
class FakeLoads::Batch : public std::enable_shared_from_this<FakeLoads::Batch> {
 public:
  Batch(FakeLoads* fake, std::vector<std::string> keys, Asked asked,
        Callback<BatchLeaseResult> done)
      : fake_(fake), keys_(std::move(keys)), asked_(std::move(asked)), done_(std::move(done)) {
    for (size_t i = 0; i < keys_.size(); ++i) places_.emplace(keys_[i], i);
    results_.resize(keys_.size(), absl::UnknownError(""));
  }

  void Start() {
    Asked at_once = asked_;
    if (!asked_.type.origin) at_once.until = absl::InfinitePast();
    Next(0, at_once, false);
  }

 private:
  // Looks at the keys from number `i` on, one after the other.
  void Next(size_t i, const Asked& asked, bool waiting) {
    while (i < keys_.size() && (places_.at(keys_[i]) != i || (waiting && !IsLoading(i)))) ++i;
    if (i == keys_.size() || (waiting && holds_)) {
      if (waiting || holds_ || asked_.type.origin) {
        Finish();
      } else {
        Next(0, asked_, true);
      }
      return;
    }
    fake_->Look(keys_[i], asked,
                [self = shared_from_this(), i, asked, waiting](absl::StatusOr<LeaseResult> result) {
                  self->holds_ = self->holds_ || (result.ok() && result->lease.has_value());
                  self->results_[i] = std::move(result);
                  self->Next(i + 1, asked, waiting);
                });
  }

  bool IsLoading(size_t i) const {
    const absl::StatusOr<LeaseResult>& result = results_[i];
    return result.ok() && !result->hit() && !result->lease.has_value() &&
           result->miss.reason == MissReason::kLoading;
  }

  void Finish() {
    for (size_t i = 0; i < keys_.size(); ++i) results_[i] = results_[places_.at(keys_[i])];
    CallbackScope scope(fake_);
    Callback<BatchLeaseResult> done = std::move(done_);
    done(std::move(results_));
  }

  FakeLoads* const fake_;
  const std::vector<std::string> keys_;
  const Asked asked_;
  Callback<BatchLeaseResult> done_;
  std::map<std::string, size_t> places_;  // of each key, where it is first
  BatchLeaseResult results_;
  bool holds_ = false;
};

void FakeLoads::BatchGetOrLeaseAsync(const std::vector<std::string>& keys,
                                     const LoadOptions& options, Callback<BatchLeaseResult> done) {
  Asked asked;
  absl::Status valid;
  std::vector<FakeStore::Ready> ready;
  {
    MutexLock lock(&mu_);
    valid = Ask(options, CheckKeyList("keys", keys), &asked);
    ready = state_.store.TakeReady();
  }
  Tell(std::move(ready));
  if (valid.ok()) {
    std::make_shared<Batch>(this, keys, std::move(asked), std::move(done))->Start();
    return;
  }
  CallbackScope scope(this);
  done(std::move(valid));
}

absl::Status FakeLoads::CheckWarm(const WarmOptions& options, std::string* ns, FakeType* type) {
  absl::Status valid = Begin(options.call, ns, kWarmDeadlineMax);
  if (options.keys.size() > kWarmKeysMax) {
    valid.Update(FieldError("BATCH_INVALID", "keys",
                            absl::StrCat(options.keys.size(), " keys; at most ", kWarmKeysMax)));
  }
  if (options.keys.empty() && options.type.empty())
    valid.Update(FieldError("REQUEST_INVALID", "type", "neither a type nor keys are given"));
  for (size_t i = 0; i < options.keys.size() && valid.ok(); ++i)
    valid.Update(CheckKey(absl::StrCat("keys[", i, "]"), options.keys[i]));
  const absl::StatusOr<const FakeType*> found = state_.store.TypeOf(options.type);
  valid.Update(found.status());
  if (!valid.ok()) return valid;
  *type = **found;
  if (!options.keys.empty() || type->origin) return valid;
  return MakeError(absl::StatusCode::kFailedPrecondition, "TYPE_WITHOUT_ORIGIN", "type",
                   absl::StrCat("the type `", type->name, "` has no origin to list"));
}

bool FakeLoads::WarmOne(const std::string& key, const std::string& ns, const FakeType& type) {
  if (!type.origin) {
    MutexLock lock(&mu_);
    return state_.store.Holds({ns, key}, Now());
  }
  bool there = false;
  // Nobody is waited for, so the answer is here when this returns. A key that somebody else is
  // loading counts as loaded.
  Look(key, {ns, type, kLeaseTtl, absl::InfinitePast()},
       [&there](const absl::StatusOr<LeaseResult>& result) { there = result.ok(); });
  return there;
}

void FakeLoads::WarmAsync(const WarmOptions& options, WarmCallback progress,
                          Callback<WarmProgress> done) {
  std::string ns;
  FakeType type;
  absl::Status valid;
  absl::Time began;
  std::vector<FakeStore::Ready> ready;
  {
    MutexLock lock(&mu_);
    valid = CheckWarm(options, &ns, &type);
    began = Now();
    ready = state_.store.TakeReady();
  }
  Tell(std::move(ready));
  if (!valid.ok()) {
    CallbackScope scope(this);
    done(std::move(valid));
    return;
  }
  std::vector<std::string> keys = options.keys;
  if (keys.empty() && type.scan) {
    CallbackScope scope(this);
    keys = type.scan();
  }
  if (options.limit > 0 && keys.size() > options.limit) keys.resize(options.limit);
  WarmProgress so_far;
  if (!options.keys.empty()) so_far.total = keys.size();
  bool wanted = true;
  for (size_t i = 0; i < keys.size() && wanted; ++i) {
    ++(WarmOne(keys[i], ns, type) ? so_far.loaded : so_far.failed);
    {
      MutexLock lock(&mu_);
      so_far.elapsed = Now() - began;
    }
    if (progress == nullptr || (i + 1) % kWarmStep != 0) continue;
    CallbackScope scope(this);
    wanted = progress(so_far);
  }
  so_far.done = wanted;
  CallbackScope scope(this);
  if (wanted && progress != nullptr) progress(so_far);
  progress = nullptr;
  done(so_far);
}

}  // namespace larder::internal
