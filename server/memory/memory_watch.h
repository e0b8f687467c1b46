// MemoryWatch carries out what the Governor decides: once a second it reads how memory stands, asks
// the governor, hands on the new budget and logs every change with its reason.
// Thread safety: any method, any thread; the work is done on the executor, one piece at a time. It
// reads small files of the kernel and does not otherwise block.
// Errors: none; what cannot be read is logged once as `memory_reading_failed`.

#ifndef LARDER_MEMORY_MEMORY_WATCH_H_
#define LARDER_MEMORY_MEMORY_WATCH_H_

#include <cstdint>
#include <functional>
#include <set>
#include <string>

#include "absl/time/time.h"
#include "base/clock.h"
#include "base/executor.h"
#include "memory/governor.h"

namespace larder {

// What is left below a container's limit, and below how much is refused what has to be kept.
struct MemoryLeft {
  uint64_t bytes = 0;
  uint64_t tight_bytes = 0;
};

class MemoryWatch {
 public:
  static constexpr absl::Duration kInterval = absl::Seconds(1);

  struct Options {
    GovernorOptions governor = {};
    // Stands in front of /proc and /sys.
    std::string root = {};
    Clock* clock = Clock::System();
    // Outlives the watch's work; shut down before the watch goes.
    Executor* executor = nullptr;
  };

  // What has the budget. Called on the executor, never two at a time; must not block.
  struct Target {
    // Bytes that L1 takes now.
    std::function<uint64_t()> held_bytes;
    // Gives L1 a new budget, which it reaches in its own time.
    std::function<void(uint64_t)> set_budget;
    // The process is about to reach the limit of its container although memory gives way (true); it
    // is not any more. Null: nobody wants to know.
    std::function<void(bool)> set_tight = nullptr;
    // What is left below the container's limit, at each look, whether the budget is fixed or not;
    // zeros where there is no limit. Null: nobody wants to know.
    std::function<void(const MemoryLeft&)> set_left = nullptr;
  };

  // Reads memory and makes the first decision, which it logs: the budget to build L1 with.
  explicit MemoryWatch(Options options);

  // Begins to watch. Called at most once.
  void Start(Target target);

  // See Governor.
  uint64_t budget_bytes_max() const { return governor_.budget_bytes_max(); }
  uint64_t budget_bytes_min() const { return governor_.budget_bytes_min(); }
  GovernorStatus Status() const { return governor_.Status(); }

 private:
  MemoryReading Read();
  void Tick();
  void LookWhetherTight(const MemoryReading& reading);

  const Options options_;
  // Of the constructor and then of the executor, where each piece of work posts the next one.
  std::set<std::string> logged_problems_;
  Governor governor_;
  Target target_;
  bool tight_ = false;
};

}  // namespace larder

#endif  // LARDER_MEMORY_MEMORY_WATCH_H_
