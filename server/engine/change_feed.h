// ChangeFeed tells those who watch what happens to keys: here, and on the other replicas as far as
// the bus brings it. It keeps the last changes in a ring, so that whoever comes back soon goes on
// where he was; each watcher has a bounded list of the places in the ring that concern it, reads
// them at its own pace, and is cut when it falls behind. While nobody watches, and nobody has of
// late, nothing is kept, and a change costs one load.
//
// Changes of one key may be told in another order than that of their versions: each is told after
// it has taken effect in this replica's memory, so whoever keeps the largest version, or reads the
// key when he is told, is right.
//
// Thread safety: any method, any thread; a Watcher is one task's. Never blocks for longer than the
// lock. Errors: WATCHERS_FULL, RESUME_TOKEN_INVALID, RESUME_TOKEN_OLD, DRAINING; a watcher's last
// news may be WATCH_TOO_SLOW or DRAINING.

#ifndef LARDER_ENGINE_CHANGE_FEED_H_
#define LARDER_ENGINE_CHANGE_FEED_H_

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/cancellation.h"
#include "base/clock.h"
#include "base/executor.h"
#include "base/mutex.h"
#include "base/task.h"
#include "bus/bus.h"
#include "core/version.h"
#include "engine/resume_token.h"
#include "engine/watch_index.h"
#include "policy/rule_table.h"

namespace larder {

class ChangeFeed {
 public:
  struct Options {
    Clock* clock = Clock::System();
    Executor* executor = nullptr;
    // Whose tokens are its own: the fleet, or the server alone; the node; this start of it.
    std::string fleet = {};
    uint32_t node_id = 0;
    uint64_t boot = 0;
    // Of the ring: whichever is reached first. 1 to 10 million changes.
    size_t changes_max = 100'000;
    uint64_t bytes_max = 64 << 20;
    size_t watchers_max = 100'000;
    // What all watchers together may name: keys, prefixes, tags, with what it takes to find them.
    uint64_t selector_bytes_max = 256 << 20;
    // Changes that wait for one watcher.
    size_t pending_max = 10'000;
    // How long changes are kept after the last watcher has left.
    absl::Duration linger = absl::Minutes(1);
    // Changes that one Next hands out, and places of the ring that it looks at to catch up.
    size_t together_max = 256;
    size_t catch_up_step = 1'024;
  };

  struct Event {
    std::shared_ptr<const Change> change;
    uint64_t position = 0;  // after it
  };
  // What Next brings.
  struct News {
    std::vector<Event> events;
    // Whatever happened up to there has been told, with these events; of an end, where it is.
    uint64_t position = 0;
    // Not OK: the watcher is told nothing more.
    absl::Status end;
  };

  // One who watches. Leaves when it is destroyed, which is before the feed goes.
  class Watcher {
   public:
    ~Watcher() { feed_->Leave(this); }
    Watcher(const Watcher&) = delete;
    Watcher& operator=(const Watcher&) = delete;

   private:
    friend class ChangeFeed;
    Watcher(ChangeFeed* feed, WatchSelector selector)
        : feed_(feed), place_(std::move(selector), this) {}

    ChangeFeed* const feed_;
    // From here on under the feed's lock.
    WatchPlace place_;
    bool listed_ = false;
    bool too_slow_ = false;
    bool tell_gap_ = false;  // that changes of others do not arrive, before all else
    // What is still to be looked through after a resumption: sequences from, and up to but without.
    uint64_t catch_up_next_ = 0;
    uint64_t catch_up_end_ = 0;
    uint64_t told_ = 0;  // whatever happened up to there
    std::deque<uint64_t> pending_;
    std::shared_ptr<Signal<bool>> wake_;  // null: it does not wait
  };

  // REQUIRES: the limits are within theirs.
  explicit ChangeFeed(const Options& options);

  // Whether changes are to be told. One load; everything below may be called regardless.
  bool active() const { return active_.load(std::memory_order_seq_cst); }
  // Whether what a key was before its change decides who is told: then what was known of it belongs
  // into `tags`.
  bool WantsFormer() const { return by_tags_.load(std::memory_order_relaxed) > 0; }
  // Whether anybody is to be told of what expires.
  bool WantsExpirations() const { return by_expiry_.load(std::memory_order_relaxed) > 0; }

  // It has happened, and taken effect here. `version`: where `change` has none of its own.
  void Changed(std::string_view full_key, Version version, const KeyChange& change);
  // Kept only if somebody wants it: there may be many, and the ring is for changes.
  void Expired(std::string_view full_key, Version version, std::string_view type,
               std::vector<std::string> tags);
  // So many expired and cannot be told.
  void ExpiredUntold(uint64_t count);
  void Ruled(const Rule& rule);
  // Changes of other replicas were missed. `goes_on`: and those that come do not arrive.
  void Gap(bool goes_on);

  // Begins to watch, from now or from where the token says.
  absl::StatusOr<std::unique_ptr<Watcher>> Watch(WatchSelector selector,
                                                 std::string_view resume_token);
  // What concerns the watcher, in the order in which it was told here; waits for it until `until`,
  // or until cancelled, and then brings none. One at a time; nothing after an end.
  Task<News> Next(Watcher* watcher, MonoNanos until, Cancellation* cancellation);
  std::string TokenAt(uint64_t position) const;

  // Ends all watchers with DRAINING when they have been told what has happened so far, and lets no
  // new ones begin.
  void Drain();

  struct Stats {
    size_t watchers = 0;
    size_t kept = 0;  // in the ring
    uint64_t kept_bytes = 0;
    uint64_t changes = 0;  // that were kept, ever
    uint64_t told = 0;     // changes, times the watchers whom they concerned
    uint64_t resumed = 0;
    uint64_t too_slow = 0;  // watchers that were cut
    uint64_t refused = 0;
    uint64_t gaps = 0;
    uint64_t expirations_untold = 0;
  };
  Stats GetStats() const;

 private:
  void Keep(Change change);
  void Trim() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Nobody has watched for a while: what is kept goes to `garbage`, and tokens are old.
  void Forget(std::deque<std::shared_ptr<const Change>>* garbage)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status Place(Watcher* watcher, const ResumeToken* token) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Leave(Watcher* watcher);
  void Unlist(Watcher* watcher) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // It begins (1) or ceases (-1) to be one of those that are counted by what they want.
  void Count(const WatchSelector& selector, int by);
  // False: there is nothing yet, and `watcher` is to be looked at `again`, or woken.
  bool Collect(Watcher* watcher, News* news, bool* again) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool CatchUp(Watcher* watcher, News* news) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  static absl::Status TooSlow();

  const Options options_;
  const uint64_t fleet_;  // a hash of its name
  std::atomic<bool> active_{false};
  // Watchers by tag, and those who want to be told of what expires.
  std::atomic<size_t> by_tags_{0};
  std::atomic<size_t> by_expiry_{0};

  mutable Mutex mu_;
  bool draining_ ABSL_GUARDED_BY(mu_) = false;
  bool hearing_ ABSL_GUARDED_BY(mu_) = true;
  // ring_[i] has the sequence first_ + i.
  std::deque<std::shared_ptr<const Change>> ring_ ABSL_GUARDED_BY(mu_);
  uint64_t first_ ABSL_GUARDED_BY(mu_) = 1;
  uint64_t ring_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  MonoNanos idle_since_ ABSL_GUARDED_BY(mu_) = 0;  // while nobody watches
  WatchIndex index_ ABSL_GUARDED_BY(mu_);
  uint64_t selector_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  Stats stats_ ABSL_GUARDED_BY(mu_);
};

}  // namespace larder

#endif  // LARDER_ENGINE_CHANGE_FEED_H_
