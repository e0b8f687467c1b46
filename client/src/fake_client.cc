// Every call goes the same way: under the lock look at the time, check the arguments, change the
// store; then, without the lock, run the callbacks of whoever is to be told. A callback may
// therefore call the fake again.

#include <string>
#include <type_traits>
#include <utility>

#include "client/src/convert.h"
#include "client/src/fake_base.h"
#include "client/src/fake_checks.h"
#include "client/src/fake_journal.h"
#include "client/src/fake_state.h"
#include "client/src/fake_store.h"
#include "client/src/status.h"
#include "larder/fake.h"

namespace larder {
namespace {

using internal::Checked;
using internal::FakeState;
using internal::FakeStore;
using internal::Fingerprint;
using internal::MutexLock;

absl::Time Start() { return absl::FromUnixSeconds(1'700'000'000); }

// Of a stream that has ended before it began.
class NoWatch : public WatchCall {
 public:
  void Cancel() override {}
};

class FakeClientImpl : public internal::FakeJournal {
 public:
  explicit FakeClientImpl(FakeOptions options) : FakeJournal(std::move(options), Start()) {}

  ~FakeClientImpl() override {
    CancelLoads();
    std::vector<FakeStore::Ready> ready;
    {
      MutexLock lock(&mu_);
      state_.store.EndWaits(absl::CancelledError("the larder client was destroyed"));
      ready = state_.store.TakeReady();
    }
    Tell(std::move(ready));
  }

  void Advance(absl::Duration by) override {
    {
      MutexLock lock(&mu_);
      state_.own_now += by;
    }
    Tick();
  }

  void Tick() override {
    std::vector<FakeStore::Ready> ready;
    {
      MutexLock lock(&mu_);
      state_.store.Tick(Now());
      ready = state_.store.TakeReady();
    }
    Tell(std::move(ready));
  }

  void FailCalls(absl::Status status) override {
    MutexLock lock(&mu_);
    state_.failure = std::move(status);
  }

  size_t Calls() const override {
    MutexLock lock(&mu_);
    return state_.calls;
  }

  void GetAsync(std::string_view key, const GetOptions& options,
                Callback<GetResult> done) override {
    Run<GetResult>(
        options.call, std::move(done),
        [&](FakeState& state, const std::string& ns, absl::Time now) {
          return Checked<GetResult>(
              {internal::CheckKey("key", key), state.KnownType(options.type)},
              [&] { return state.store.Get({ns, std::string(key)}, options.metadata_only, now); });
        });
  }

  void BatchGetAsync(const std::vector<std::string>& keys, const GetOptions& options,
                     Callback<std::vector<GetResult>> done) override {
    using Results = std::vector<GetResult>;
    Run<Results>(
        options.call, std::move(done),
        [&](FakeState& state, const std::string& ns, absl::Time now) {
          return Checked<Results>(
              {internal::CheckKeyList("keys", keys), state.KnownType(options.type)}, [&] {
                Results results;
                for (const std::string& key : keys)
                  results.push_back(state.store.Get({ns, key}, options.metadata_only, now));
                return results;
              });
        });
  }

  void SetAsync(std::string_view key, std::string_view value, const SetOptions& options,
                Callback<SetResult> done) override {
    SetOne({std::string(key), std::string(value), false, options.ttl, options.type, options.tags,
            options.depends_on, options.condition, options.lease_token},
           options, std::move(done));
  }

  void SetAbsentAsync(std::string_view key, const SetOptions& options,
                      Callback<SetResult> done) override {
    SetOne({std::string(key), "", true, options.ttl, options.type, options.tags, options.depends_on,
            options.condition, options.lease_token},
           options, std::move(done));
  }

  void BatchSetAsync(const std::vector<SetItem>& items, const BatchSetOptions& options,
                     Callback<std::vector<SetResult>> done) override {
    using Results = std::vector<SetResult>;
    Run<Results>(
        options.call, std::move(done),
        [&](FakeState& state, const std::string& ns, absl::Time now) {
          absl::Status valid = internal::CheckItems(items, options_.value_bytes_max);
          for (const SetItem& item : items) valid.Update(state.KnownType(item.type));
          Fingerprint request("BatchSet");
          for (const SetItem& item : items) request.Add(item);
          return state.Once<Results>(
              valid, ns, options.request_id, request, now, [&]() -> absl::StatusOr<Results> {
                Results results;
                for (const SetItem& item : items) {
                  results.push_back(
                      state.store.Set({ns, item.key}, item, **state.store.TypeOf(item.type), now));
                }
                return results;
              });
        });
  }

  void DeleteAsync(std::string_view key, const DeleteOptions& options,
                   Callback<DeleteResult> done) override {
    Run<DeleteResult>(options.call, std::move(done),
                      [&](FakeState& state, const std::string& ns, absl::Time now) {
                        absl::Status valid = internal::CheckKey("key", key);
                        valid.Update(state.KnownType(options.type));
                        const Fingerprint request =
                            Fingerprint("Delete").Add(key).Add(std::string_view(options.type));
                        return state.Once<DeleteResult>(
                            valid, ns, options.request_id, request, now,
                            [&] { return state.store.Delete({ns, std::string(key)}, now); });
                      });
  }

  void BatchDeleteAsync(const std::vector<std::string>& keys, const DeleteOptions& options,
                        Callback<std::vector<DeleteResult>> done) override {
    using Results = std::vector<DeleteResult>;
    Run<Results>(options.call, std::move(done),
                 [&](FakeState& state, const std::string& ns, absl::Time now) {
                   absl::Status valid = internal::CheckKeyList("keys", keys);
                   valid.Update(state.KnownType(options.type));
                   const Fingerprint request =
                       Fingerprint("BatchDelete").Add(keys).Add(std::string_view(options.type));
                   return state.Once<Results>(valid, ns, options.request_id, request, now, [&] {
                     Results results;
                     for (const std::string& key : keys)
                       results.push_back(state.store.Delete({ns, key}, now));
                     return results;
                   });
                 });
  }

  void InvalidateAsync(const std::vector<std::string>& keys, const InvalidateOptions& options,
                       Callback<InvalidateResult> done) override {
    Run<InvalidateResult>(
        options.call, std::move(done),
        [&](FakeState& state, const std::string& ns,
            absl::Time now) -> absl::StatusOr<InvalidateResult> {
          if (keys.empty()) return internal::FieldError("SELECTOR_INVALID", "keys.keys", "no keys");
          return Checked<InvalidateResult>({internal::CheckKeyList("keys.keys", keys)}, [&] {
            std::vector<FakeStore::Key> full_keys;
            for (const std::string& key : keys) full_keys.emplace_back(ns, key);
            return state.store.Invalidate(full_keys, options.dry_run, now);
          });
        });
  }

  // Nothing of a fake is served stale, so marking removes.
  void InvalidateByAsync(const Selector& selector, const InvalidateOptions& options,
                         Callback<InvalidateResult> done) override {
    Run<InvalidateResult>(options.call, std::move(done),
                          [&](FakeState& state, const std::string& ns,
                              absl::Time now) -> absl::StatusOr<InvalidateResult> {
                            v1::InvalidateRequest ignored;
                            const absl::Status valid = internal::To(selector, &ignored);
                            if (!valid.ok()) return valid;
                            if (!selector.type.empty()) {
                              const auto type = state.store.TypeOf(selector.type);
                              if (!type.ok()) return type.status();
                            }
                            return state.store.Invalidate(state.store.Selected(ns, selector, now),
                                                          options.dry_run, now);
                          });
  }

  void ReleaseLeaseAsync(std::string_view key, std::string_view lease_token,
                         const CallOptions& options, Callback<ReleaseLeaseResult> done) override {
    Run<ReleaseLeaseResult>(options, std::move(done),
                            [&](FakeState& state, const std::string& ns, absl::Time now) {
                              return Checked<ReleaseLeaseResult>(
                                  {internal::CheckKey("key", key),
                                   internal::CheckLeaseToken("lease_token", lease_token)},
                                  [&] {
                                    return ReleaseLeaseResult{state.store.ReleaseLease(
                                        {ns, std::string(key)}, std::string(lease_token), now)};
                                  });
                            });
  }

  void TouchAsync(std::string_view key, const TouchOptions& options,
                  Callback<TouchResult> done) override {
    Run<TouchResult>(options.call, std::move(done),
                     [&](FakeState& state, const std::string& ns, absl::Time now) {
                       return Checked<TouchResult>(
                           {internal::CheckKey("key", key), state.KnownType(options.type),
                            internal::CheckTtl("ttl", options.ttl)},
                           [&] { return state.store.Touch({ns, std::string(key)}, options, now); });
                     });
  }

  void IncrementAsync(std::string_view key, int64_t delta, const IncrementOptions& options,
                      Callback<IncrementResult> done) override {
    Run<IncrementResult>(
        options.call, std::move(done),
        [&](FakeState& state, const std::string& ns, absl::Time now) {
          absl::Status valid = internal::CheckKey("key", key);
          valid.Update(state.KnownType(options.type));
          valid.Update(internal::CheckTtl("ttl", options.ttl));
          const Fingerprint request = Fingerprint("Increment")
                                          .Add(key)
                                          .Add(std::string_view(options.type))
                                          .Add(delta)
                                          .Add(options.initial)
                                          .Add(options.ttl)
                                          .Add(int64_t{options.extend});
          return state.Once<IncrementResult>(valid, ns, options.request_id, request, now, [&] {
            return state.store.Increment({ns, std::string(key)}, delta, options,
                                         **state.store.TypeOf(options.type), now);
          });
        });
  }

  std::shared_ptr<WatchCall> WatchAsync(const WatchOptions& options, WatchCallback,
                                        Callback<WatchEnd> done) override {
    Run<WatchEnd>(options.call, std::move(done), [](FakeState&, const std::string&, absl::Time) {
      return absl::UnimplementedError("the fake tells of no changes");
    });
    return std::make_shared<NoWatch>();
  }

  void StatsAsync(const StatsOptions& options, Callback<StatsResult> done) override {
    Run<StatsResult>(options.call, std::move(done),
                     [&](FakeState& state, const std::string&, absl::Time) {
                       return state.store.Stats(options);
                     });
  }

  void HotKeysAsync(const HotKeysOptions& options, Callback<HotKeysResult> done) override {
    Run<HotKeysResult>(options.call, std::move(done),
                       [&](FakeState& state, const std::string&, absl::Time now) {
                         const std::string ns = options.call.ns.value_or(options_.ns);
                         return Checked<HotKeysResult>(
                             {state.KnownType(options.type), internal::CheckLimit(options.limit)},
                             [&] { return state.store.HotKeys(ns, options, now); });
                       });
  }

  void ExplainAsync(std::string_view key, const ExplainOptions& options,
                    Callback<ExplainResult> done) override {
    Run<ExplainResult>(options.call, std::move(done),
                       [&](FakeState& state, const std::string& ns, absl::Time now) {
                         return Checked<ExplainResult>(
                             {internal::CheckKey("key", key), state.KnownType(options.type)}, [&] {
                               return state.store.Explain({ns, std::string(key)},
                                                          **state.store.TypeOf(options.type),
                                                          options, now);
                             });
                       });
  }

  void ServerInfoAsync(const CallOptions& options, Callback<ServerInfoResult> done) override {
    Run<ServerInfoResult>(
        options, std::move(done), [&](FakeState& state, const std::string&, absl::Time) {
          ServerInfoResult info;
          info.version = LARDER_VERSION;
          info.node = "fake";
          info.limits = {1024, options_.value_bytes_max, internal::kBatchKeysMax, 0, 0, 16};
          info.types = state.store.Types();
          info.features = {"leases", "batch-loads", "warming"};
          return info;
        });
  }

  void ReloadConfigAsync(const ReloadConfigOptions& options,
                         Callback<ReloadConfigResult> done) override {
    // There is no file, so nothing in it has changed.
    Run<ReloadConfigResult>(
        options.call, std::move(done),
        [](FakeState&, const std::string&, absl::Time) { return ReloadConfigResult(); });
  }

  void PingAsync(const PingOptions& options, Callback<PingResult> done) override {
    Run<PingResult>(options.call, std::move(done),
                    [&](FakeState&, const std::string&, absl::Time) -> absl::StatusOr<PingResult> {
                      if (options.service.empty() || options.service == "liveness" ||
                          options.service == "readiness") {
                        return PingResult{true, absl::ZeroDuration()};
                      }
                      return absl::NotFoundError("unknown service");
                    });
  }

 private:
  void SetOne(const SetItem& item, const SetOptions& options, Callback<SetResult> done) {
    Run<SetResult>(options.call, std::move(done),
                   [&](FakeState& state, const std::string& ns, absl::Time now) {
                     absl::Status valid = internal::CheckItem("", item, options_.value_bytes_max);
                     valid.Update(state.KnownType(item.type));
                     return state.Once<SetResult>(
                         valid, ns, options.request_id, Fingerprint("Set").Add(item), now, [&] {
                           return state.store.Set({ns, item.key}, item,
                                                  **state.store.TypeOf(item.type), now);
                         });
                   });
  }
};

}  // namespace

std::unique_ptr<FakeClient> NewFakeClient(FakeOptions options) {
  return std::make_unique<FakeClientImpl>(std::move(options));
}

}  // namespace larder
