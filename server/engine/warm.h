// A Warmer brings memory's entries back from the lower tier after a restart: it reads the hot list
// that the process before has left, fetches what it names, hottest first, and then writes the list
// of its own process down at regular intervals and at the end. What is not in the tier, but may be
// in an origin, it hands on.
// Thread safety: any method, any thread. Works in short steps on the executor. Only WaitUntilReady
// and Stop block.
// Errors: none. A list that is damaged or missing, a tier that is away: memory is then warmed by
// the calls. Each is counted and said once in the log.
// Stops when memory evicts for what it fetches. Never serves anything itself.
//
//   warmer.Start();            // after Engine::Start
//   warmer.ready();            // once true, or after WaitUntilReady: the server is ready
//   ...
//   warmer.Stop();             // before the tier and the data directory go

#ifndef LARDER_ENGINE_WARM_H_
#define LARDER_ENGINE_WARM_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"
#include "base/clock.h"
#include "base/data_dir.h"
#include "base/executor.h"
#include "base/mutex.h"
#include "engine/engine.h"
#include "engine/hot_list.h"
#include "engine/hot_list_saver.h"

namespace larder {

struct WarmStats {
  // `off`: there is nothing to fetch from, no data directory, or the limit is 0. `waiting`: for the
  // list or the tier. `warming`. Then one of `done`, `full`: memory is, `given up`: the tier stayed
  // away too long, `stopped`.
  std::string_view state = "off";
  uint64_t total = 0;      // keys of the list
  uint64_t loaded = 0;     // entries that came back
  uint64_t present = 0;    // were in memory already
  uint64_t missing = 0;    // are no longer in the tier; some may be in an origin
  uint64_t outdated = 0;   // were older in the tier than memory had had them
  uint64_t again = 0;      // keys that had to be asked for once more
  uint64_t bad_files = 0;  // of the list, that could not be read
  absl::Duration took;     // so far, or until it was over
  uint64_t saves = 0;
  uint64_t saves_failed = 0;
  uint64_t saved_keys = 0;  // of the last save
};

class Warmer {
 public:
  struct Options {
    // Both null: no warming. They outlive the warmer's steps.
    Engine* engine = nullptr;
    DataDir* data_dir = nullptr;
    // Takes what an origin may have (see RefillResult), the hottest first. Called on `executor`,
    // for the last time before ready() or, where that is later, the end. Null: nobody wants it.
    std::function<void(std::vector<std::string>)> on_missing = nullptr;
    // Outlives the warmer's steps; shut down before the warmer goes.
    Executor* executor = nullptr;
    // Where the steps run that block on the disk; null: on `executor`.
    Executor* disk = nullptr;
    Clock* clock = Clock::System();
    // Keys of the list; 0 to 100 million. 0: nothing is fetched or saved.
    uint64_t limit = 1'000'000;
    // Bytes of the list on disk; 1 KiB to 64 GiB.
    uint64_t list_bytes_max = 1 << 30;
    // Of one file of the list; see HotListSaver. About five times as many are in memory while it is
    // read.
    size_t part_bytes = 512 << 10;
    // How long start-up may wait; 0 to 1 hour. Meanwhile the tier gives as fast as it can.
    absl::Duration before_ready = absl::Seconds(5);
    // Keys a second, afterwards; 1 to 10 million.
    uint64_t rate = 20'000;
    // From one save to the next; 1 second to 1 day.
    absl::Duration save_interval = absl::Minutes(1);
    // How long the save at the end may take; 0 to 10 minutes. A list that is not ready by then is
    // left half new, half old.
    absl::Duration stop_max = absl::Seconds(10);
    // Keys that the tier is asked for at once, 1 to 10,000; such questions under way, 1 to 64.
    size_t batch = 256;
    int batches_max = 4;
    // Before it is asked again when it did not answer; 1 ms to 1 minute.
    absl::Duration retry_pause = absl::Milliseconds(100);
    // What was not fetched this long after the start is left to the calls; 1 second to 1 day.
    absl::Duration give_up = absl::Minutes(10);
    // The part of the memory budget that may be filled so, unless memory evicts sooner; above 0
    // to 1.
    double full_at = 0.95;
  };

  explicit Warmer(const Options& options);

  void Start();
  // Whether start-up has nothing to wait for any more.
  bool ready() const;
  // Blocks until then: before_ready at most.
  void WaitUntilReady();
  // Ends the warming and, if it had come to its end before, saves the list. Blocks for that. Once.
  void Stop();

  WarmStats Stats() const;

 private:
  using Batch = std::shared_ptr<const std::vector<HotKey>>;
  // What a lane of questions does next.
  struct Turn {
    enum class Kind : uint8_t { kAsk, kWait, kRead, kPark, kEnd };
    Kind kind = Kind::kEnd;
    Batch batch;
    absl::Duration wait;
    bool ended = false;  // and with it all the warming
  };

  bool Enabled() const;
  void OnDisk(Work work);

  // Fetching.
  void ReadIndex();
  void ReadPart();
  // A file of the list has been read, or could not be: the lanes go on.
  void WasRead(const absl::Status& status, std::string_view file);
  void Step();
  Turn NextTurn(bool can_refill, bool full);
  // How long to wait before keys may be asked for; 0: no time, and it is noted that they are.
  absl::Duration WaitToAsk(MonoNanos now, bool can_refill) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  Batch TakeBatch(MonoNanos now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  size_t BatchAt(MonoNanos now) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool BeforeReady(MonoNanos now) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return now < MonoAfter(begun_, options_.before_ready);
  }
  void Finished(const Batch& batch, RefillResult result);
  void End(std::string_view state) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool MemoryIsFull() const;

  // Saving.
  HotListSaver::Options SaverOptions() const;
  void SaveLater();
  void SaveStep(std::shared_ptr<HotListSaver> saver);
  // One step. False when there is no further one.
  bool RunSaveStep(HotListSaver* saver);
  void CountSave(const HotListSaver& saver, const absl::Status& status);

  const Options options_;

  mutable Mutex mu_;
  CondVar changed_;
  WarmStats stats_ ABSL_GUARDED_BY(mu_);
  MonoNanos begun_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t evicted_before_ ABSL_GUARDED_BY(mu_) = 0;
  bool over_ ABSL_GUARDED_BY(mu_) = true;
  bool stopped_ ABSL_GUARDED_BY(mu_) = false;
  // Numbers of the parts that were not read yet, hottest first.
  std::deque<uint32_t> parts_ ABSL_GUARDED_BY(mu_);
  bool reading_ ABSL_GUARDED_BY(mu_) = false;
  std::vector<HotKey> keys_ ABSL_GUARDED_BY(mu_);  // of the part that was
  size_t next_key_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t keys_left_ ABSL_GUARDED_BY(mu_) = 0;   // of the limit
  std::deque<Batch> again_ ABSL_GUARDED_BY(mu_);  // one for each lane at most
  MonoNanos ask_after_ ABSL_GUARDED_BY(mu_) = 0;  // the tier did not answer
  MonoNanos ask_next_ ABSL_GUARDED_BY(mu_) = 0;   // by the rate
  int lanes_ ABSL_GUARDED_BY(mu_) = 0;            // that have not ended
  int parked_ ABSL_GUARDED_BY(mu_) = 0;           // of them, those that wait for a part to be read
  bool saving_ ABSL_GUARDED_BY(mu_) = false;      // a step is running
};

}  // namespace larder

#endif  // LARDER_ENGINE_WARM_H_
