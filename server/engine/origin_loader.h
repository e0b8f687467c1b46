// OriginLoader asks one origin for keys: what is wanted at the same moment goes out in one call,
// and no more calls than allowed are under way. Thread safety: any method, any thread; never blocks
// for longer than its lock. Whether a key is being loaded already is not its concern
// (flight_table.h).
//
// Keys of one namespace and type gather in a group. A group that has no call under way sends what
// it has when the executor has run what was ready; one that has waits until a call's worth has
// gathered, the call returns, or the first key has waited `delay`, whichever comes first. So a
// single key is not held up, and a flood goes out in full calls.
//
// Errors: of an item, as server/origin/origin.h says; and RESOURCE_EXHAUSTED at once when too many
// keys wait, DEADLINE_EXCEEDED when the item's time is over.

#ifndef LARDER_ENGINE_ORIGIN_LOADER_H_
#define LARDER_ENGINE_ORIGIN_LOADER_H_

#include <atomic>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "base/clock.h"
#include "base/executor.h"
#include "base/in_flight.h"
#include "base/mutex.h"
#include "base/race.h"
#include "base/task.h"
#include "origin/origin.h"

namespace larder {

class OriginLoader {
 public:
  struct Options {
    Origin* origin = nullptr;  // outlives the calls under way
    // Keys of one call, 1 to kOriginItemsMax.
    size_t batch_max = 100;
    // How long a key waits for others while a call of its group is under way; 0 to 1 s.
    absl::Duration delay = absl::Milliseconds(5);
    // Calls under way, 1 to 10,000; keys that wait for one, 1 to 10 million.
    size_t calls_max = 16;
    size_t queue_max = 100'000;
    Clock* clock = Clock::System();
    Executor* executor = nullptr;
    // Where calls are counted while they use the origin; null: not.
    InFlight* background = nullptr;
  };

  explicit OriginLoader(const Options& options) : options_(options) {}

  // What the origin says of one key, at the latest at the deadline. After that, the answer for it
  // is dropped.
  Task<OriginLoaded> Load(OriginCall call, OriginLoad::Item item, MonoNanos deadline);

  // While there is one, a call that is not full waits for more keys, as if one were under way:
  // whoever is about to ask for many holds it meanwhile, so that another thread does not send the
  // first alone.
  class Gather {
   public:
    explicit Gather(OriginLoader* loader);
    ~Gather();
    Gather(const Gather&) = delete;
    Gather& operator=(const Gather&) = delete;

   private:
    OriginLoader* const loader_;
  };

  Origin* origin() const { return options_.origin; }
  // Keys that wait to be asked for, now.
  size_t queued() const {
    MutexLock lock(&mu_);
    return queued_;
  }
  // Keys for which there was no room in the queue.
  uint64_t refused() const { return refused_.load(std::memory_order_relaxed); }

 private:
  struct Wanted {
    OriginCall call;
    OriginLoad::Item item;
    MonoNanos deadline;
    MonoNanos since;
    std::shared_ptr<Race<OriginLoaded>> answer;
  };
  using Group = std::pair<std::string, std::string>;  // namespace, type
  struct Gathering {
    std::deque<Wanted> keys;
    size_t calls = 0;
    bool looks = false;    // a look at it is on its way
    bool held_up = false;  // it is in held_up_
  };

  void Enqueue(Wanted wanted);
  // Sends what is due in the group, and sees to it that the rest is looked at in time.
  void Look(const Group& group);
  // The next call of the group, if one is due now. `wait`: how long until one is, else.
  std::vector<Wanted> Take(const Group& group, Gathering* gathering, absl::Duration* wait)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void LookSoon(const Group& group) {
    options_.executor->Post([this, group] { Look(group); });
  }
  void Send(const Group& group, std::vector<Wanted> batch);
  void OnAnswer(const Group& group, std::vector<Wanted> batch,
                absl::StatusOr<std::vector<OriginLoaded>> answers);

  const Options options_;
  mutable Mutex mu_;
  std::map<Group, Gathering> groups_ ABSL_GUARDED_BY(mu_);
  // Groups that wait for a call of any group to return, in the order in which they came.
  std::deque<Group> held_up_ ABSL_GUARDED_BY(mu_);
  size_t calls_ ABSL_GUARDED_BY(mu_) = 0;
  size_t gathers_ ABSL_GUARDED_BY(mu_) = 0;
  size_t queued_ ABSL_GUARDED_BY(mu_) = 0;
  std::atomic<uint64_t> refused_{0};
};

}  // namespace larder

#endif  // LARDER_ENGINE_ORIGIN_LOADER_H_
