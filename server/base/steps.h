// StepTimes notes how long each thing took that one call had to wait for, for those who ask why a
// call was slow. A task finds the one of its call by itself (base/task.h); what nobody asks about
// has none, and reads no clock. Thread safety: none; a call is in one place at a time.

#ifndef LARDER_BASE_STEPS_H_
#define LARDER_BASE_STEPS_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/clock.h"

namespace larder {

enum class Step : uint8_t {
  kTierRead,
  kTierWrite,
  kFleetLease,  // the question, not the wait for who has it
  kLoad,        // another one's, or one that several wait for
  kOrigin,
  kJournal,
  kTurn,   // behind other writes of the key
  kFleet,  // for the other replicas
};
inline constexpr std::array<std::string_view, 8> kStepNames = {
    "tier_read", "tier_write", "fleet_lease",     "waited_for_load",
    "origin",    "journal",    "waited_for_turn", "waited_for_fleet"};

class StepTimes {
 public:
  void Add(Step step, MonoNanos nanos) { nanos_[static_cast<size_t>(step)] += nanos; }
  void Add(const StepTimes& other) {
    for (size_t i = 0; i < nanos_.size(); ++i) nanos_[i] += other.nanos_[i];
  }
  // Of things that went on side by side, the longest of each.
  void TakeLongest(const StepTimes& other) {
    for (size_t i = 0; i < nanos_.size(); ++i) nanos_[i] = std::max(nanos_[i], other.nanos_[i]);
  }
  MonoNanos Of(Step step) const { return nanos_[static_cast<size_t>(step)]; }

 private:
  std::array<MonoNanos, kStepNames.size()> nanos_{};
};

// Adds the longest of `each`, which went on side by side, to `all`; null: nobody asks.
inline void AddLongest(const std::vector<StepTimes>& each, StepTimes* all) {
  StepTimes longest;
  for (const StepTimes& one : each) longest.TakeLongest(one);
  if (all != nullptr) all->Add(longest);
}

}  // namespace larder

#endif  // LARDER_BASE_STEPS_H_
