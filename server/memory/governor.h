// Governor decides how large L1 may be. With `memory.l1: auto` it follows the limits that the
// process is under, what is really left below them, and memory pressure; with a fixed size it only
// tells whether that fits. It decides and remembers; it reads no file, asks no clock and changes
// nothing by itself.
// Thread safety: Decide by one thread at a time; the other methods by any, any time. Never blocks.
// Errors: none. What is unknown is left out of the decision.

#ifndef LARDER_MEMORY_GOVERNOR_H_
#define LARDER_MEMORY_GOVERNOR_H_

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/time/time.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "memory/machine_memory.h"

namespace larder {

struct GovernorOptions {
  // The budget, once and for all; 0 = auto, and then what follows holds.
  uint64_t fixed_bytes = 0;
  // The budget never goes below this, whatever happens; 0 = an eighth of what the limit leaves.
  uint64_t min_bytes = 0;
  // Nor above this; 0 = as the limit says.
  uint64_t max_bytes = 0;
  // The least budget in which the largest value has room; also the least that min_bytes 0 means.
  uint64_t floor_bytes = 8 << 20;
  // What another part of the process may take, such as the tier below: kept for it whether it has
  // taken it yet or not.
  uint64_t beside_bytes = 0;
};

// What the limits leave for L1, whatever is in use now.
struct BudgetPlan {
  uint64_t bytes = 0;
  // `cgroup v2 limit 4GiB, 512MiB kept for the rest of the process (an eighth of the limit)`.
  std::string why;
};

// `rest_bytes` is what the process uses outside L1; 0 = unknown. Within min and max of `options`.
BudgetPlan PlanBudget(const GovernorOptions& options, const MemoryReading& reading,
                      uint64_t rest_bytes);

// With less left below a container's limit than `tight_bytes`, what has to be kept is refused until
// there are `eased_bytes` again. The budget, unless it is fixed or at its minimum, goes down before
// the one and until the other.
struct MemoryMargins {
  uint64_t eased_bytes = 0;
  uint64_t tight_bytes = 0;
};

MemoryMargins MarginsOf(const MemoryLevel& level);

enum class BudgetCause : uint8_t {
  kNone,      // nothing changes
  kStart,     // the first decision
  kLimit,     // a limit was lowered
  kRest,      // the process needs more outside L1
  kShortage,  // others use what was thought to be left
  kPressure,  // the process, or the machine, waits for memory
  kGrowth,    // there is more room than before, and all is calm
};

// What an operator should hear of: it lasts, and the governor can do nothing about it.
enum class MemoryTrouble : uint8_t {
  kNone,
  kDoesNotFit,  // the budget, or its minimum, and the rest exceed a limit
  kShortage,    // next to nothing is left below a limit
  kPressure,    // memory pressure
};
inline constexpr size_t kMemoryTroubles = 4;

struct BudgetDecision {
  uint64_t budget_bytes = 0;
  BudgetCause cause = BudgetCause::kNone;
  std::string why = {};  // of a change; empty when nothing changes
  // Told again only after it has been gone for a while.
  MemoryTrouble trouble = MemoryTrouble::kNone;
  std::string trouble_why = {};
};

// How things stand, for statistics.
struct GovernorStatus {
  bool automatic = false;
  uint64_t budget_bytes = 0;
  // The tightest limit; 0 = unknown.
  uint64_t limit_bytes = 0;
  MemorySource source = MemorySource::kUnknown;
  // Least of what is left below any limit.
  uint64_t available_bytes = 0;
  uint64_t rest_bytes = 0;  // of the process, outside L1
  MemoryPressure pressure;
  bool pressed = false;  // pressure counts as high now
  // The last change of the budget, the first decision included.
  MonoNanos changed = 0;
  BudgetCause cause = BudgetCause::kNone;
  std::string why;
  uint64_t shrinks = 0;
  uint64_t growths = 0;
};

class Governor {
 public:
  // Decides for the first time.
  Governor(const GovernorOptions& options, const MemoryReading& first, MonoNanos now);

  // What to do, given a new reading and the bytes that L1 takes now. To be called about once a
  // second; what it answers is taken for done.
  BudgetDecision Decide(const MemoryReading& reading, uint64_t l1_bytes, MonoNanos now);

  // The most that Decide will ever answer.
  uint64_t budget_bytes_max() const { return most_bytes_; }
  // The least that it answers as long as no limit is lowered: then `min_bytes = 0` means less.
  uint64_t budget_bytes_min() const { return least_bytes_; }

  GovernorStatus Status() const;

 private:
  // What Decide derives from a reading.
  struct View;

  View Look(const MemoryReading& reading, uint64_t l1_bytes) const;
  bool Pressed(const MemoryReading& reading, const View& view);
  BudgetDecision Shrink(const View& view, MonoNanos now);
  BudgetDecision Grow(const View& view, MonoNanos now);
  void FindTrouble(const View& view, MonoNanos now, BudgetDecision* decision);
  void Remember(const View& view, const BudgetDecision& decision, MonoNanos now);

  const GovernorOptions options_;
  uint64_t most_bytes_ = 0;
  uint64_t least_bytes_ = 0;

  // Of Decide alone.
  uint64_t budget_bytes_ = 0;
  uint64_t limit_bytes_ = 0;
  uint64_t limit_hits_ = 0;
  uint64_t ooms_ = 0;
  std::optional<MonoNanos> last_shrink_;
  std::optional<MonoNanos> last_growth_;
  std::optional<MonoNanos> last_pressed_;
  // When each trouble was there last.
  std::array<std::optional<MonoNanos>, kMemoryTroubles> troubles_;

  mutable Mutex mu_;
  GovernorStatus status_ ABSL_GUARDED_BY(mu_);
};

}  // namespace larder

#endif  // LARDER_MEMORY_GOVERNOR_H_
