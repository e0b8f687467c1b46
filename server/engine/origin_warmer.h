// OriginWarmer has keys loaded from their origin before anybody asks for them: those that the
// origin lists, or those of a list; at the start, first those that memory had before. They go the
// way of every load (engine/flight.cc), a batch at a time and no faster than allowed, so what
// callers change meanwhile wins, and the origin's limits hold. Thread safety: any method, any
// thread; none blocks. Errors: TYPE_WITHOUT_ORIGIN; OVERLOADED, too many jobs; DRAINING; the
// origin's when it cannot be listed, or when nothing could be loaded several times in a row. Ends
// when memory is nearly full.

#ifndef LARDER_ENGINE_ORIGIN_WARMER_H_
#define LARDER_ENGINE_ORIGIN_WARMER_H_

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/cancellation.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "base/task.h"
#include "engine/engine.h"

namespace larder {

struct WarmJob {
  std::string name_space;
  // Loads what the type's origin lists; with `keys`, the type that they have (empty: by pattern).
  std::string type;
  // Keys that belong to types without an origin come from the second tier.
  std::vector<std::string> keys;
  // Most entries; 0: what the type's policy says.
  uint64_t limit = 0;
  // Entries a second; 0: not limited.
  uint32_t rate = 0;
  // Asked for by somebody who may do so in a part alone: it is the only such job of its namespace,
  // and leaves places for others.
  bool of_part = false;
};

struct WarmCount {
  MonoNanos began = 0;
  uint64_t loaded = 0;  // are in memory or below now, those included that were before
  uint64_t failed = 0;
  uint64_t total = 0;  // 0: not known
  absl::Duration elapsed;
  bool full = false;  // ended early: memory is
};

// Whoever wants to know how a job goes.
class WarmObserver {
 public:
  virtual ~WarmObserver() = default;
  // False ends the job.
  virtual Task<bool> OnProgress(const WarmCount& count) = 0;
};

class OriginWarmer {
 public:
  struct Options {
    Engine* engine = nullptr;  // outlives the jobs
    // Keys of one page and of one batch, 1 to 1,000.
    size_t batch = 1'000;
    // After so many batches in a row of which nothing could be loaded, a job ends; 1 to 100. The
    // pauses between them double from the first up to the most.
    int failures_max = 6;
    absl::Duration pause_first = absl::Milliseconds(100);
    absl::Duration pause_most = absl::Seconds(5);
    // The part of the memory budget that may be filled so; above 0 to 1.
    double full_at = 0.95;
    // Jobs at a time; beyond it OVERLOADED. 1 to 100.
    int jobs_max = 4;
    // Of these, how many are not for jobs of a part; 0 to jobs_max.
    int jobs_kept = 2;
    // Pages without a key, one after the other, after which a job ends; 1 to 1 million.
    int empty_pages_max = 1'000;
    // Whether Want will not be called any more; null: it never is. Until then, jobs at the start
    // list nothing.
    std::function<bool()> wanted_all = nullptr;
  };

  // What became of the warming of one type at the start.
  struct TypeStats {
    std::string type;
    std::string state;  // `waiting`, `warming`, `done`, `full`, or why it failed
    WarmCount count;
  };

  explicit OriginWarmer(const Options& options);

  // `observer` may be null; it outlives the task.
  Task<absl::Status> Run(WarmJob job, WarmObserver* observer);

  // Full keys that memory had before the restart, hottest first, for the jobs at the start: as many
  // for each type as its limit says. Others are dropped.
  void Want(std::vector<std::string> full_keys);
  // Begins the jobs of the types that want one at the start, one after the other.
  void Start();
  // Whether the types have as much as readiness waits for, or their time for it is over.
  bool ready() const;
  // Ends jobs at their next step.
  void Stop();

  std::vector<TypeStats> Stats() const;

 private:
  class AtStart;
  struct StartJob {
    const TypePolicy* type;
    TypeStats stats;
    bool over = false;
    // Full keys to begin with, and how many there were.
    std::deque<std::string> wanted;
    uint64_t wanted_total = 0;
  };
  enum class Await : uint8_t { kNo, kAllWanted };

  // Makes room for a job, or says why there is none.
  absl::Status Begin(const WarmJob& job);
  void End(const WarmJob& job);
  Clock* clock() const { return options_.engine->options().clock; }
  // `start`: of a job at the start, else null.
  Task<absl::Status> RunFor(WarmJob job, StartJob* start, WarmObserver* observer);
  Task<absl::Status> RunJob(const WarmJob* job, StartJob* start, WarmCount* count,
                            WarmObserver* observer);
  Task<absl::Status> RunScan(const WarmJob* job, const TypePolicy* type, StartJob* start,
                             WarmCount* count, WarmObserver* observer);
  // Loads what is wanted. False: the job is over.
  Task<bool> RunWanted(const WarmJob* job, StartJob* start, Await await, WarmCount* count,
                       WarmObserver* observer, absl::Status* status);
  // The next full keys of one namespace.
  std::vector<std::string> TakeWanted(StartJob* start, size_t most);
  // Loads one batch; what is still to be paused for the rate is done. False: the job is over.
  Task<bool> LoadBatch(const WarmJob* job, std::vector<std::string> keys, WarmCount* count,
                       WarmObserver* observer, absl::Status* status);
  Task<bool> RunStartJobs();
  bool Ready(MonoNanos now) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool Full() const;
  size_t BatchFor(uint32_t rate) const;

  const Options options_;
  std::atomic<bool> stopping_{false};
  MonoNanos began_ = 0;
  mutable Mutex mu_;
  int jobs_ ABSL_GUARDED_BY(mu_) = 0;
  // Namespaces that have a job of a part.
  std::set<std::string> parts_ ABSL_GUARDED_BY(mu_);
  std::deque<StartJob> start_jobs_ ABSL_GUARDED_BY(mu_);
};

}  // namespace larder

#endif  // LARDER_ENGINE_ORIGIN_WARMER_H_
