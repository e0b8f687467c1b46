// The near cache before a client: what it has to serve it serves, what it asks for it offers the
// table to keep, and what it changes it makes the table forget.
//
// A write of this client counts as a change when its answer is there, with the version that the
// answer tells; then nobody here reads an older one. Of a write whose outcome nobody knows, and of
// one that may have ended badly after it took effect, the copy goes, and so do the answers that are
// on their way. In between, a read may give either value, as it may without a cache.
//
// One call for many callers. Who wants a key that another caller is asking for waits for that
// answer, unless the key has changed since the question: then the answer may be older than what the
// late caller has a right to (its own write, for example), and he asks anew.
//
// It is long because every call of a client has its few lines here.

#include <algorithm>
#include <map>
#include <optional>
#include <unordered_map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/src/callback.h"
#include "client/src/checks.h"
#include "client/src/forwarding_client.h"
#include "client/src/mutex.h"
#include "client/src/near_follow.h"
#include "client/src/near_table.h"
#include "client/src/quick_clock.h"
#include "client/src/status.h"
#include "larder/near_cache.h"

namespace larder {
namespace {

using internal::CallbackScope;
using internal::Mutex;
using internal::MutexLock;
using internal::NearTable;

// Callers that wait for one call; more begin another one.
constexpr size_t kWaitersMax = 10'000;
constexpr size_t kTypesMax = 64;
constexpr size_t kTypeBytesMax = 128;

// What the selector covers, one rule for each tag.
std::vector<WatchRule> RulesOf(const Selector& selector, bool stale) {
  std::vector<WatchRule> rules;
  for (const std::string& tag : selector.tags) rules.push_back({WatchRule::Kind::kTag, tag, stale});
  if (!selector.prefix.empty()) rules.push_back({WatchRule::Kind::kPrefix, selector.prefix, stale});
  if (!selector.glob.empty()) rules.push_back({WatchRule::Kind::kGlob, selector.glob, stale});
  if (!selector.type.empty()) rules.push_back({WatchRule::Kind::kType, selector.type, stale});
  if (selector.all) rules.push_back({WatchRule::Kind::kAll, "", stale});
  return rules;
}

int64_t Now() { return internal::SteadyNanos(); }

std::vector<WatchOptions> Selectors(const NearCacheOptions& options) {
  std::vector<WatchOptions> selectors(1);
  selectors[0].all = true;
  if (options.prefixes.empty() || !options.types.empty()) return selectors;
  selectors.assign(options.prefixes.size(), WatchOptions());
  for (size_t i = 0; i < selectors.size(); ++i) selectors[i].prefix = options.prefixes[i];
  return selectors;
}

class NearClientImpl : public internal::ForwardingClient<NearClient> {
 public:
  NearClientImpl(std::unique_ptr<Client> to, const NearCacheOptions& options)
      : ForwardingClient(std::move(to)),
        options_(options),
        by_prefix_(options.types.empty() && !options.prefixes.empty()),
        table_(options.bytes_max, options.value_bytes_max,
               absl::ToInt64Nanoseconds(options.ttl_max)),
        follower_(this->to(), &table_, Selectors(options), options.silence_max,
                  options.stale_bound) {}

  ~NearClientImpl() override {
    internal::CheckNotDestroyedByCallback(this);
    follower_.Stop();
    End();
  }

  NearValue Find(std::string_view key) override { return Look(key, 0, nullptr); }

  bool AwaitLive(absl::Duration timeout) override { return follower_.AwaitLive(timeout); }

  NearStats Near() const override {
    NearStats stats;
    table_.AddStats(&stats);
    follower_.AddStats(&stats);
    MutexLock lock(&mu_);
    stats.shared = shared_;
    return stats;
  }

  absl::StatusOr<GetResult> Get(std::string_view key, const GetOptions& options) override {
    // What Client::Get would do for a hit, without its detour.
    const std::optional<uint32_t> stream = Scope(key, options.type, options.call);
    if (stream.has_value() && !CallbackScope::Active()) {
      NearTable::Ticket ticket;
      if (const NearValue found = Look(key, *stream, &ticket); found)
        return Hit(found, options.metadata_only);
      return internal::Block<GetResult>(
          [&](auto done) { Fetch(key, options, ticket, std::move(done)); });
    }
    return Client::Get(key, options);
  }

  void GetAsync(std::string_view key, const GetOptions& options,
                Callback<GetResult> done) override {
    const std::optional<uint32_t> stream = Scope(key, options.type, options.call);
    if (!stream.has_value()) {
      to()->GetAsync(key, options, std::move(done));
      return;
    }
    NearTable::Ticket ticket;
    if (const NearValue found = Look(key, *stream, &ticket); found) {
      CallbackScope scope(this);
      done(Hit(found, options.metadata_only));
      return;
    }
    Fetch(key, options, ticket, std::move(done));
  }

  void BatchGetAsync(const std::vector<std::string>& keys, const GetOptions& options,
                     Callback<std::vector<GetResult>> done) override;

  absl::StatusOr<LoadResult> GetOrLoad(std::string_view key, Loader loader,
                                       const LoadOptions& options) override {
    const std::optional<uint32_t> stream = Scope(key, options.type, options.call);
    if (stream.has_value() && !CallbackScope::Active()) {
      if (const NearValue found = Look(key, *stream, nullptr); found) {
        LoadResult result;
        result.entry = found.ToEntry();
        return result;
      }
    }
    return Client::GetOrLoad(key, loader, options);
  }

  void GetOrLeaseAsync(std::string_view key, const LoadOptions& options,
                       Callback<LeaseResult> done) override {
    const std::optional<uint32_t> stream = Scope(key, options.type, options.call);
    if (!stream.has_value()) {
      to()->GetOrLeaseAsync(key, options, std::move(done));
      return;
    }
    NearTable::Ticket ticket;
    if (const NearValue found = Look(key, *stream, &ticket); found) {
      LeaseResult result;
      result.entry = found.ToEntry();
      CallbackScope scope(this);
      done(std::move(result));
      return;
    }
    to()->GetOrLeaseAsync(key, options,
                          [this, key = std::string(key), ticket,
                           done = std::move(done)](absl::StatusOr<LeaseResult> result) mutable {
                            if (result.ok() && result->hit())
                              table_.Land(ticket, key, *result->entry, Now());
                            done(std::move(result));
                          });
  }

  void BatchGetOrLeaseAsync(const std::vector<std::string>& keys, const LoadOptions& options,
                            Callback<BatchLeaseResult> done) override;

  void SetAsync(std::string_view key, std::string_view value, const SetOptions& options,
                Callback<SetResult> done) override {
    to()->SetAsync(key, value, options, Written<SetResult>(key, std::move(done)));
  }
  void SetAbsentAsync(std::string_view key, const SetOptions& options,
                      Callback<SetResult> done) override {
    to()->SetAbsentAsync(key, options, Written<SetResult>(key, std::move(done)));
  }
  void BatchSetAsync(const std::vector<SetItem>& items, const BatchSetOptions& options,
                     Callback<std::vector<SetResult>> done) override {
    std::vector<std::string> keys;
    for (const SetItem& item : items) keys.push_back(item.key);
    to()->BatchSetAsync(items, options, AllWritten<SetResult>(std::move(keys), std::move(done)));
  }
  void DeleteAsync(std::string_view key, const DeleteOptions& options,
                   Callback<DeleteResult> done) override {
    to()->DeleteAsync(key, options, Written<DeleteResult>(key, std::move(done)));
  }
  void BatchDeleteAsync(const std::vector<std::string>& keys, const DeleteOptions& options,
                        Callback<std::vector<DeleteResult>> done) override {
    to()->BatchDeleteAsync(keys, options, AllWritten<DeleteResult>(keys, std::move(done)));
  }
  void InvalidateAsync(const std::vector<std::string>& keys, const InvalidateOptions& options,
                       Callback<InvalidateResult> done) override {
    to()->InvalidateAsync(keys, options,
                          [this, keys, dry_run = options.dry_run, done = std::move(done)](
                              absl::StatusOr<InvalidateResult> result) mutable {
                            for (const std::string& key : keys) {
                              if (dry_run) break;
                              if (result.ok()) {
                                table_.Changed(key, result->version + 1);
                              } else {
                                table_.ChangedUnknown(key);
                              }
                            }
                            done(std::move(result));
                          });
  }
  void InvalidateByAsync(const Selector& selector, const InvalidateOptions& options,
                         Callback<InvalidateResult> done) override {
    to()->InvalidateByAsync(
        selector, options,
        [this, rules = RulesOf(selector, options.mark_stale), dry_run = options.dry_run,
         done = std::move(done)](absl::StatusOr<InvalidateResult> result) mutable {
          // What became of one that failed, the stream tells.
          if (result.ok() && !dry_run) {
            for (const WatchRule& rule : rules) table_.Ruled(rule, result->version, Now());
          }
          done(std::move(result));
        });
  }
  void TouchAsync(std::string_view key, const TouchOptions& options,
                  Callback<TouchResult> done) override {
    // The version stays and the time that is left may have become shorter.
    to()->TouchAsync(key, options,
                     [this, key = std::string(key),
                      done = std::move(done)](absl::StatusOr<TouchResult> result) mutable {
                       table_.ChangedUnknown(key);
                       done(std::move(result));
                     });
  }
  void IncrementAsync(std::string_view key, int64_t delta, const IncrementOptions& options,
                      Callback<IncrementResult> done) override {
    to()->IncrementAsync(key, delta, options, Written<IncrementResult>(key, std::move(done)));
  }

 private:
  // A call for a key, and who waits for it.
  struct Flight {
    NearTable::Ticket ticket;
    std::optional<absl::Duration> deadline;
    std::vector<Callback<GetResult>> waiters;
  };

  NearValue Look(std::string_view key, uint32_t stream, NearTable::Ticket* ticket) {
    NearValue found(table_.Find(key, stream, internal::SteadyNanosOrLater(), ticket));
    // From when it is asked for, and not later: its time to live is counted from there.
    if (!found && ticket != nullptr) ticket->asked = Now();
    return found;
  }

  static GetResult Hit(const NearValue& found, bool metadata_only) {
    GetResult result;
    result.entry = found.ToEntry();
    if (metadata_only) result.entry->value.clear();
    return result;
  }

  // Which stream tells of the key; unset for what is not kept.
  std::optional<uint32_t> Scope(std::string_view key, const std::string& type,
                                const CallOptions& call) const {
    if (call.ns.has_value()) return std::nullopt;
    if (options_.prefixes.empty() && options_.types.empty()) return 0;
    if (!type.empty() &&
        std::find(options_.types.begin(), options_.types.end(), type) != options_.types.end()) {
      return 0;
    }
    for (uint32_t i = 0; i < options_.prefixes.size(); ++i) {
      const std::string& prefix = options_.prefixes[i];
      if (key.substr(0, prefix.size()) == prefix) return by_prefix_ ? i : 0;
    }
    return std::nullopt;
  }

  // Asks for a key that the table does not have.
  void Fetch(std::string_view key, const GetOptions& options, const NearTable::Ticket& ticket,
             Callback<GetResult> done) {
    if (options.metadata_only) {
      to()->GetAsync(key, options, std::move(done));
      return;
    }
    auto flight = std::make_shared<Flight>();
    {
      MutexLock lock(&mu_);
      std::shared_ptr<Flight>& under_way = flights_[std::string(key)];
      if (under_way != nullptr && under_way->deadline == options.call.deadline &&
          under_way->waiters.size() < kWaitersMax && table_.IsCurrent(under_way->ticket)) {
        ++shared_;
        under_way->waiters.push_back(std::move(done));
        return;
      }
      flight->ticket = ticket;
      flight->deadline = options.call.deadline;
      flight->waiters.push_back(std::move(done));
      under_way = flight;
    }
    to()->GetAsync(
        key, options,
        [this, key = std::string(key), flight](absl::StatusOr<GetResult> result) mutable {
          Landed(key, flight, std::move(result));
        });
  }

  void Landed(const std::string& key, const std::shared_ptr<Flight>& flight,
              absl::StatusOr<GetResult> result) {
    // Kept before it can no longer be joined, so that nobody finds neither.
    if (result.ok() && result->hit()) table_.Land(flight->ticket, key, *result->entry, Now());
    std::vector<Callback<GetResult>> waiters;
    {
      MutexLock lock(&mu_);
      waiters.swap(flight->waiters);
      // Another call may have taken its place.
      if (const auto at = flights_.find(key); at != flights_.end() && at->second == flight)
        flights_.erase(at);
    }
    for (size_t i = 0; i + 1 < waiters.size(); ++i) waiters[i](result);
    waiters.back()(std::move(result));
  }

  // Makes the table forget what it has of a key that was written.
  template <typename Result>
  void Forget(const std::string& key, const absl::StatusOr<Result>& result) {
    if (result.ok() && result->version != 0) {
      table_.Changed(key, result->version);
    } else if (result.ok() || MayHaveHappened(result.status())) {
      table_.ChangedUnknown(key);
    }
  }
  // A refusal that is the caller's own fault comes before anything is done.
  static bool MayHaveHappened(const absl::Status& status) {
    return status.code() != absl::StatusCode::kInvalidArgument &&
           status.code() != absl::StatusCode::kPermissionDenied &&
           status.code() != absl::StatusCode::kUnauthenticated;
  }

  template <typename Result>
  Callback<Result> Written(std::string_view key, Callback<Result> done) {
    return [this, key = std::string(key),
            done = std::move(done)](absl::StatusOr<Result> result) mutable {
      Forget(key, result);
      done(std::move(result));
    };
  }

  template <typename Result>
  Callback<std::vector<Result>> AllWritten(std::vector<std::string> keys,
                                           Callback<std::vector<Result>> done) {
    return [this, keys = std::move(keys),
            done = std::move(done)](absl::StatusOr<std::vector<Result>> results) mutable {
      for (size_t i = 0; i < keys.size(); ++i) {
        Forget<Result>(keys[i], results.ok() ? absl::StatusOr<Result>((*results)[i])
                                             : absl::StatusOr<Result>(results.status()));
      }
      done(std::move(results));
    };
  }

  const NearCacheOptions options_;
  const bool by_prefix_;
  mutable NearTable table_;

  mutable Mutex mu_;
  std::unordered_map<std::string, std::shared_ptr<Flight>> flights_ ABSL_GUARDED_BY(mu_);
  uint64_t shared_ ABSL_GUARDED_BY(mu_) = 0;

  internal::NearFollower follower_;
};

// The keys of a batch that have to be asked for.
struct Missing {
  std::vector<std::string> keys;
  std::vector<size_t> places;  // of each in the batch
  std::vector<std::optional<NearTable::Ticket>> tickets;
};

void NearClientImpl::BatchGetAsync(const std::vector<std::string>& keys, const GetOptions& options,
                                   Callback<std::vector<GetResult>> done) {
  std::vector<GetResult> results(keys.size());
  Missing missing;
  for (size_t i = 0; i < keys.size(); ++i) {
    std::optional<NearTable::Ticket> ticket;
    if (const auto stream = Scope(keys[i], options.type, options.call); stream.has_value()) {
      ticket.emplace();
      if (const NearValue found = Look(keys[i], *stream, &*ticket); found) {
        results[i] = Hit(found, options.metadata_only);
        continue;
      }
    }
    missing.keys.push_back(keys[i]);
    missing.places.push_back(i);
    missing.tickets.push_back(ticket);
  }
  // A batch that breaks the server's limits is the server's to refuse, also where much of it is
  // here.
  if (missing.keys.empty() && !keys.empty()) {
    CallbackScope scope(this);
    done(std::move(results));
    return;
  }
  const std::vector<std::string> asked = missing.keys;
  to()->BatchGetAsync(
      asked, options,
      [this, keep = !options.metadata_only, missing = std::move(missing),
       results = std::move(results),
       done = std::move(done)](absl::StatusOr<std::vector<GetResult>> found) mutable {
        if (!found.ok()) {
          done(found.status());
          return;
        }
        const int64_t landed = Now();
        for (size_t i = 0; i < missing.keys.size(); ++i) {
          GetResult& result = (*found)[i];
          if (keep && result.hit() && missing.tickets[i].has_value())
            table_.Land(*missing.tickets[i], missing.keys[i], *result.entry, landed);
          results[missing.places[i]] = std::move(result);
        }
        done(std::move(results));
      });
}

void NearClientImpl::BatchGetOrLeaseAsync(const std::vector<std::string>& keys,
                                          const LoadOptions& options,
                                          Callback<BatchLeaseResult> done) {
  BatchLeaseResult results(keys.size(), LeaseResult());
  Missing missing;
  for (size_t i = 0; i < keys.size(); ++i) {
    std::optional<NearTable::Ticket> ticket;
    if (const auto stream = Scope(keys[i], options.type, options.call); stream.has_value()) {
      ticket.emplace();
      if (const NearValue found = Look(keys[i], *stream, &*ticket); found) {
        results[i]->entry = found.ToEntry();
        continue;
      }
    }
    missing.keys.push_back(keys[i]);
    missing.places.push_back(i);
    missing.tickets.push_back(ticket);
  }
  if (missing.keys.empty() && !keys.empty()) {
    CallbackScope scope(this);
    done(std::move(results));
    return;
  }
  const std::vector<std::string> asked = missing.keys;
  to()->BatchGetOrLeaseAsync(
      asked, options,
      [this, missing = std::move(missing), results = std::move(results),
       done = std::move(done)](absl::StatusOr<BatchLeaseResult> found) mutable {
        if (!found.ok()) {
          done(found.status());
          return;
        }
        const int64_t landed = Now();
        for (size_t i = 0; i < missing.keys.size(); ++i) {
          absl::StatusOr<LeaseResult>& result = (*found)[i];
          if (result.ok() && result->hit() && missing.tickets[i].has_value())
            table_.Land(*missing.tickets[i], missing.keys[i], *result->entry, landed);
          results[missing.places[i]] = std::move(result);
        }
        done(std::move(results));
      });
}

absl::Status Outside(absl::string_view field, absl::string_view limits) {
  return internal::FieldError("REQUEST_INVALID", field, absl::StrCat(field, " must be ", limits));
}

// At most `count` texts of 1 to `bytes` bytes of UTF-8.
absl::Status CheckNames(absl::string_view field, const std::vector<std::string>& names,
                        size_t count, size_t bytes) {
  if (names.size() > count) return Outside(field, absl::StrCat("at most ", count));
  for (size_t i = 0; i < names.size(); ++i) {
    if (names[i].empty() || names[i].size() > bytes || !internal::IsUtf8(names[i])) {
      return Outside(absl::StrCat(field, "[", i, "]"),
                     absl::StrCat("1 to ", bytes, " bytes of UTF-8"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ValidateNearCacheOptions(const NearCacheOptions& options) {
  if (options.bytes_max < (size_t{1} << 20) || options.bytes_max > (size_t{64} << 30))
    return Outside("bytes_max", "1 MiB to 64 GiB");
  const size_t value_max = std::max(options.bytes_max / 256, size_t{256} << 10);
  if (options.value_bytes_max < 1 || options.value_bytes_max > value_max)
    return Outside("value_bytes_max", absl::StrCat("1 to ", value_max, " bytes"));
  if (options.ttl_max < absl::Milliseconds(1) || options.ttl_max > absl::Hours(24))
    return Outside("ttl_max", "1ms to 24h");
  if (options.stale_bound < absl::ZeroDuration() || options.stale_bound > absl::Hours(1))
    return Outside("stale_bound", "0 to 1h");
  if (options.silence_max < absl::Milliseconds(300) || options.silence_max > absl::Minutes(3))
    return Outside("silence_max", "300ms to 3m");
  absl::Status names = CheckNames("prefixes", options.prefixes, NearTable::kStreamsMax, 1024);
  names.Update(CheckNames("types", options.types, kTypesMax, kTypeBytesMax));
  return names;
}

absl::StatusOr<std::unique_ptr<NearClient>> NewNearClient(std::unique_ptr<Client> client,
                                                          const NearCacheOptions& options) {
  if (absl::Status valid = ValidateNearCacheOptions(options); !valid.ok()) return valid;
  return std::make_unique<NearClientImpl>(std::move(client), options);
}

}  // namespace larder
