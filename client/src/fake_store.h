// FakeStore is what the fake remembers and the rules by which it changes: entries, versions,
// leases, waiters, counters.
// Thread safety: none; FakeClient holds its lock around every call. Takes the time with each call,
// never runs a callback: what is to be told to waiters is collected for TakeReady. REQUIRES
// everywhere: arguments passed fake_checks.h; times never go back.

#ifndef LARDER_CLIENT_SRC_FAKE_STORE_H_
#define LARDER_CLIENT_SRC_FAKE_STORE_H_

#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "larder/client.h"
#include "larder/fake.h"

namespace larder::internal {

class FakeStore {
 public:
  // A namespace and a key in it.
  using Key = std::pair<std::string, std::string>;
  using Ready = std::pair<Callback<LeaseResult>, absl::StatusOr<LeaseResult>>;

  FakeStore(const std::vector<FakeType>& types, absl::Time now);

  // The type that `name` says, `default` for an empty one. TYPE_UNKNOWN.
  absl::StatusOr<const FakeType*> TypeOf(const std::string& name) const;

  GetResult Get(const Key& key, bool metadata_only, absl::Time now);
  SetResult Set(const Key& key, const SetItem& item, const FakeType& type, absl::Time now);
  DeleteResult Delete(const Key& key, absl::Time now);
  InvalidateResult Invalidate(const std::vector<Key>& keys, bool dry_run, absl::Time now);
  // The live keys of the namespace that it covers.
  std::vector<Key> Selected(const std::string& ns, const Selector& selector, absl::Time now) const;
  // Answers `done` by TakeReady: at once, or when the key has a value, the lease is free, or it is
  // `until`.
  void GetOrLease(const Key& key, absl::Duration lease_ttl, absl::Time until,
                  Callback<LeaseResult> done, absl::Time now);
  // The same for a type with an origin. Not empty: a ticket; the caller runs the origin and then
  // calls EndLoad with it, by which `done` and all who come meanwhile are answered.
  std::string JoinLoad(const Key& key, absl::Time until, Callback<LeaseResult> done,
                       absl::Time now);
  void EndLoad(const Key& key, const std::string& ticket, const FakeType& type,
               const absl::StatusOr<Loaded>& loaded, absl::Time now);
  // Whether there is a live value or negative entry.
  bool Holds(const Key& key, absl::Time now) const { return Peek(key, now) != nullptr; }
  bool ReleaseLease(const Key& key, const std::string& token, absl::Time now);
  TouchResult Touch(const Key& key, const TouchOptions& options, absl::Time now);
  // NOT_A_COUNTER, COUNTER_OVERFLOW.
  absl::StatusOr<IncrementResult> Increment(const Key& key, int64_t delta,
                                            const IncrementOptions& options, const FakeType& type,
                                            absl::Time now);
  ExplainResult Explain(const Key& key, const FakeType& type, const ExplainOptions& options,
                        absl::Time now) const;
  StatsResult Stats(const StatsOptions& options) const;
  // Of live records alone, since they were set; `ns` empty = of all namespaces.
  HotKeysResult HotKeys(const std::string& ns, const HotKeysOptions& options, absl::Time now) const;
  std::vector<TypeInfo> Types() const;

  // Ends what has run out by `now`.
  void Tick(absl::Time now);
  // Ends every wait with `status`.
  void EndWaits(const absl::Status& status);

  // What waiters are to be told now.
  std::vector<Ready> TakeReady();

 private:
  struct Record {
    std::string value;
    bool negative = false;
    uint64_t version = 0;
    absl::Time written;
    absl::Time expires;
    std::string type;
    std::vector<std::string> tags;
    std::vector<std::string> depends_on;
    uint64_t hits = 0;
  };
  struct Waiter {
    Callback<LeaseResult> done;
    absl::Duration lease_ttl;
    absl::Time until;
  };
  struct LeaseRecord {
    std::string token;
    uint64_t version = 0;  // of the moment when the load began
    absl::Time expires;
    std::list<Waiter> line;
    // A load from an origin: nobody has the lease, and it does not pass on. 0 as its version means
    // that the key has changed since.
    bool origin = false;
  };

  // The live record, negative ones too; null when there is none.
  Record* Find(const Key& key, absl::Time now);
  const Record* Peek(const Key& key, absl::Time now) const;
  GetResult Answer(const Key& key, Record* record, bool metadata_only, absl::Time now);
  MissReason WhyMissing(const Key& key) const;
  uint64_t NextVersion(absl::Time now);
  absl::Duration TtlFor(const FakeType& type, const std::optional<absl::Duration>& ttl,
                        bool absent) const;

  // Puts `record` in the key's place and gives it to all waiters.
  void Put(const Key& key, Record record, absl::Time now, Tier tier = Tier::kL1);
  Record NewRecord(const SetItem& item, const FakeType& type, uint64_t version,
                   absl::Time now) const;
  // The lease's holder is out: the first waiter becomes the holder.
  void PassOn(const Key& key, absl::Time now);
  LeaseResult Grant(LeaseRecord* lease, absl::Duration ttl, absl::Time now);
  bool Erase(const Key& key, absl::Time now);
  UsageStats& Usage(const Key& key) { return usage_[key.first]; }

  std::map<std::string, FakeType> types_;
  const absl::Time since_;
  std::map<Key, Record> records_;
  std::map<Key, MissReason> gone_;
  std::map<Key, LeaseRecord> leases_;
  std::map<std::string, UsageStats> usage_;
  LeaseStats lease_stats_;
  std::vector<Ready> ready_;
  uint64_t last_version_ = 0;
  uint64_t tokens_ = 0;
};

}  // namespace larder::internal

#endif  // LARDER_CLIENT_SRC_FAKE_STORE_H_
