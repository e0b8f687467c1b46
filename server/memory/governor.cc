// Two questions decide the budget, and the lesser answer holds.
//
// What do the limits leave? Of a cgroup's limit the rest of the process keeps the most of
//   - an eighth of the first 8 GiB and a twentieth of what is above: the allocator's rounding and
//     the kernel's page tables grow with L1, 3% or so, and bursts of messages with the machine;
//   - a quarter more than what the process uses outside L1 now, so that it may go on growing;
//   - 64 MiB, but no more than half of the limit: threads, gRPC and dictionaries take 20 to 50 MiB
//     before the first entry, and a container of 64 MiB shall still have a cache.
// What the tier below memory was promised comes on top: it takes it by and by, and L1 that had
// grown into it in the meantime would have to evict. Once it has taken it, it is not counted again
// with what the process uses. limits.buffer_bytes (256 MiB) is not reserved: it is the worst case
// of all connections at once, and reserving it would leave nothing in small containers. When
// messages do pile up, what the process uses outside L1 grows, and L1 gives way. A machine without
// a cgroup is not ours alone: L1 takes half of it at most.
//
// What is really left? What L1 takes now, plus what is available below each limit, minus a cushion
// of 1/16, 1 GiB at most. That sees what no formula knows: a neighbour in the same pod, another
// program on the machine, memory that the allocator has not given back. What is refused when memory
// is short (MarginsOf) begins below that, and ends where the governor itself sees to it that it
// does: otherwise a cache that has room for nothing else would stay so.
//
// Memory pressure comes on top: a tenth less at a time, until it is calm again.
//
// Down at once, up slowly. Too large a budget ends with the OOM killer and too small a one costs
// some hits, so a shrink is done whole, while growth waits for a minute without trouble and then
// takes an eighth every ten seconds. What can run away is the shrink: after L1 has evicted, the
// pages may take seconds to go back to the system (jemalloc keeps them for ten), and a second look
// would count them to the rest of the process and shrink again for the same reason. So the governor
// waits ten seconds between shrinks, two when next to nothing is left, and a lowered limit, which
// is no measurement, need not wait at all. Differences of a few percent are noise, as long as they
// leave the better part of the cushion.
//
// The machine's own pressure counts only where the machine is short of memory: it also rises when
// some other container thrashes at its own limit, which is none of our business. A cgroup runs into
// its limit whenever the page cache fills it, so that counts only where little else can be freed.
//
// The minimum holds against all of this; below it the governor can only tell (MemoryTrouble).

#include "memory/governor.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "base/strings.h"

namespace larder {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;
constexpr uint64_t kGiB = uint64_t{1} << 30;
constexpr uint64_t kBudgetWhenUnknown = 256 * kMiB;
constexpr uint64_t kNoLimit = std::numeric_limits<uint64_t>::max();

constexpr uint64_t kKeptLeast = 64 * kMiB;
constexpr uint64_t kKeptKnee = 8 * kGiB;
constexpr uint64_t kCushionMost = kGiB;

// Percent of the last ten seconds.
constexpr double kPressureSome = 10;
constexpr double kPressureFull = 5;

constexpr MonoNanos kSecond = 1'000'000'000;
constexpr MonoNanos kSettle = 10 * kSecond;
constexpr MonoNanos kSettleWhenCritical = 2 * kSecond;
constexpr MonoNanos kCalm = 60 * kSecond;
constexpr MonoNanos kGrowthInterval = 10 * kSecond;
constexpr MonoNanos kTroubleGone = 60 * kSecond;

uint64_t Minus(uint64_t a, uint64_t b) { return a - std::min(a, b); }

uint64_t Cushion(const MemoryLevel& level) {
  return std::min(level.limit_bytes / 16, kCushionMost);
}

// A difference that is not worth a change.
uint64_t Noise(uint64_t budget) { return budget / 64; }

struct Kept {
  uint64_t bytes;
  std::string why;
};

// The least that the process needs besides L1, a share of the limit not counted.
Kept KeptForUse(uint64_t limit, uint64_t rest) {
  const uint64_t least = std::min(kKeptLeast, limit / 2);
  const uint64_t grown = rest + rest / 4;
  if (least >= grown) return {least, "the least"};
  return {grown, StrCat("a quarter more than the ", AboutBytes(rest), " that it uses")};
}

Kept KeptOf(uint64_t limit, uint64_t rest) {
  const uint64_t above = Minus(limit, kKeptKnee);
  const uint64_t share = (limit - above) / 8 + above / 20;
  Kept kept = KeptForUse(limit, rest);
  if (kept.bytes >= share) return kept;
  return {share, above == 0 ? "an eighth of it" : "an eighth of 8GiB and a twentieth of the rest"};
}

BudgetPlan LeftBy(const MemoryLevel& level, bool alone, uint64_t rest, uint64_t beside) {
  const Kept kept = KeptOf(level.limit_bytes, Minus(rest, beside));
  const uint64_t left = Minus(level.limit_bytes, kept.bytes + beside);
  const std::string and_beside =
      beside == 0 ? "" : StrCat(", ", AboutBytes(beside), " kept for the second tier");
  const uint64_t half = Minus(level.limit_bytes / 2, beside);
  if (level.source == MemorySource::kMachine && alone && left > half) {
    return {half, StrCat("half of the ", level.Name(), and_beside)};
  }
  return {left, StrCat(level.Name(), ", ", AboutBytes(std::min(kept.bytes, level.limit_bytes)),
                       " kept for the rest of the process (", kept.why, ")", and_beside)};
}

// What the limits leave, in whole MiB. `beside` is kept, whether it is in use or not.
BudgetPlan LeftByAll(const MemoryReading& reading, uint64_t rest, uint64_t beside) {
  if (reading.levels.empty()) {
    return {Minus(kBudgetWhenUnknown, beside), "the machine's memory is unknown"};
  }
  BudgetPlan least{kNoLimit, ""};
  for (const MemoryLevel& level : reading.levels) {
    BudgetPlan left = LeftBy(level, reading.levels.size() == 1, rest, beside);
    if (left.bytes < least.bytes) least = std::move(left);
  }
  least.bytes = least.bytes / kMiB * kMiB;
  return least;
}

uint64_t MostOf(const GovernorOptions& options) {
  return options.max_bytes == 0 ? kNoLimit : options.max_bytes;
}

uint64_t LeastOf(const GovernorOptions& options, uint64_t left) {
  if (options.min_bytes != 0) return options.min_bytes;
  return std::max(options.floor_bytes, std::min(left, MostOf(options)) / 8);
}

BudgetPlan WithinBounds(const GovernorOptions& options, BudgetPlan left) {
  const uint64_t most = MostOf(options);
  const uint64_t least = LeastOf(options, left.bytes);
  if (left.bytes > most) {
    return {most, StrCat(left.why, ", at most ", AboutBytes(most), " (memory.max)")};
  }
  if (left.bytes >= least) return left;
  return {least,
          StrCat(left.why, ", at least ", AboutBytes(least),
                 options.min_bytes != 0 ? " (memory.min)" : " (eight of the largest values)")};
}

std::string Percent(double value) { return StrCat(static_cast<int>(value * 10) / 10.0, "%"); }

}  // namespace

MemoryMargins MarginsOf(const MemoryLevel& level) {
  const uint64_t cushion = Cushion(level);
  return {.eased_bytes = cushion / 4 * 3, .tight_bytes = cushion / 8 * 5};
}

BudgetPlan PlanBudget(const GovernorOptions& options, const MemoryReading& reading,
                      uint64_t rest_bytes) {
  if (options.fixed_bytes != 0) return {options.fixed_bytes, "as configured"};
  return WithinBounds(options, LeftByAll(reading, rest_bytes, options.beside_bytes));
}

struct Governor::View {
  uint64_t l1_bytes = 0;
  uint64_t rest_bytes = 0;
  BudgetPlan left;     // by the limits, without regard to min and max
  BudgetPlan planned;  // the same within them
  uint64_t min_bytes = 0;
  // L1 and what is available, without the cushion, of the level where that is least.
  uint64_t really_left = kNoLimit;
  const MemoryLevel* scarce = nullptr;
  bool critical = false;
  uint64_t limit_bytes = 0;
  bool limit_lowered = false;
  bool limits_certain = true;
  bool pressed = false;
  const MemoryReading* reading = nullptr;

  uint64_t target() const {
    return std::max(std::min(planned.bytes, really_left / kMiB * kMiB), min_bytes);
  }
  std::string shortage() const {
    return StrCat("only ", AboutBytes(scarce->available_bytes), " left of the ", scarce->Name());
  }
  std::string pressure() const {
    const MemoryPressure& p = reading->pressure;
    return StrCat("memory pressure", p.own ? " in the cgroup" : "", ": ", Percent(p.some),
                  " some and ", Percent(p.full), " full over 10 s, ", p.ooms,
                  " times out of memory");
  }
};

Governor::Governor(const GovernorOptions& options, const MemoryReading& first, MonoNanos now)
    : options_(options) {
  View view = Look(first, 0);
  limit_hits_ = first.pressure.limit_hits;
  ooms_ = first.pressure.ooms;
  BudgetDecision start{.budget_bytes = view.planned.bytes, .cause = BudgetCause::kStart};
  start.why = view.planned.why;
  if (options_.fixed_bytes == 0 && view.target() + Noise(start.budget_bytes) < start.budget_bytes) {
    start.budget_bytes = view.target();
    StrAppend(&start.why, "; ", view.shortage());
  }
  most_bytes_ = least_bytes_ = options_.fixed_bytes;
  if (options_.fixed_bytes == 0) {
    const MemoryLevel* const machine = first.Machine();
    const uint64_t most = machine == nullptr ? start.budget_bytes : machine->limit_bytes;
    most_bytes_ = std::max(std::min(most, MostOf(options_)), start.budget_bytes);
    least_bytes_ = std::min(view.min_bytes, start.budget_bytes);
  }
  Remember(view, start, now);
}

Governor::View Governor::Look(const MemoryReading& reading, uint64_t l1_bytes) const {
  View view;
  view.reading = &reading;
  view.l1_bytes = l1_bytes;
  view.rest_bytes = Minus(reading.resident_bytes, l1_bytes);
  view.left = LeftByAll(reading, view.rest_bytes, options_.beside_bytes);
  view.planned = PlanBudget(options_, reading, view.rest_bytes);
  view.min_bytes =
      options_.fixed_bytes != 0 ? options_.fixed_bytes : LeastOf(options_, view.left.bytes);
  for (const MemoryLevel& level : reading.levels) {
    const uint64_t left = Minus(l1_bytes + level.available_bytes, Cushion(level));
    if (view.scarce != nullptr && left >= view.really_left) continue;
    view.really_left = left;
    view.scarce = &level;
    view.critical = level.available_bytes < Cushion(level) / 2;
  }
  if (const MemoryLevel* const tightest = reading.Tightest()) {
    view.limit_bytes = tightest->limit_bytes;
    view.limit_lowered = view.limit_bytes < limit_bytes_;
  }
  view.limits_certain = reading.limits_certain && !reading.levels.empty();
  return view;
}

bool Governor::Pressed(const MemoryReading& reading, const View& view) {
  const MemoryPressure& pressure = reading.pressure;
  bool stalls =
      pressure.known && (pressure.some >= kPressureSome || pressure.full >= kPressureFull);
  if (stalls && !pressure.own) {
    const MemoryLevel* const machine = reading.Machine();
    stalls = machine != nullptr && machine->available_bytes < machine->limit_bytes / 10;
  }
  const bool tight = view.scarce != nullptr && view.scarce->available_bytes < Cushion(*view.scarce);
  const bool out = pressure.ooms > ooms_ || (tight && pressure.limit_hits > limit_hits_);
  ooms_ = pressure.ooms;
  limit_hits_ = pressure.limit_hits;
  return stalls || out;
}

BudgetDecision Governor::Decide(const MemoryReading& reading, uint64_t l1_bytes, MonoNanos now) {
  View view = Look(reading, l1_bytes);
  view.pressed = Pressed(reading, view);
  if (view.pressed) last_pressed_ = now;
  BudgetDecision decision{.budget_bytes = budget_bytes_};
  if (options_.fixed_bytes == 0 && !reading.levels.empty()) {
    decision = Shrink(view, now);
    if (decision.cause == BudgetCause::kNone) decision = Grow(view, now);
  }
  FindTrouble(view, now, &decision);
  Remember(view, decision, now);
  return decision;
}

BudgetDecision Governor::Shrink(const View& view, MonoNanos now) {
  const auto to = [&](uint64_t bytes, BudgetCause cause, std::string why) {
    bytes = std::max(bytes, view.min_bytes);
    if (bytes >= budget_bytes_) return BudgetDecision{.budget_bytes = budget_bytes_};
    return BudgetDecision{.budget_bytes = bytes, .cause = cause, .why = std::move(why)};
  };
  uint64_t noise = view.critical ? 0 : Noise(budget_bytes_);
  if (view.scarce != nullptr) noise = std::min(noise, Cushion(*view.scarce) / 8);
  if (view.limit_lowered && view.planned.bytes < budget_bytes_) {
    return to(view.target(), BudgetCause::kLimit, StrCat("lowered to ", view.planned.why));
  }
  // L1 has not yet come down to what was decided before.
  const bool busy = view.l1_bytes > budget_bytes_ + Noise(budget_bytes_);
  const MonoNanos settle = view.critical && !busy ? kSettleWhenCritical : kSettle;
  if (last_shrink_ && now - *last_shrink_ < settle) return to(budget_bytes_, {}, "");
  if (view.target() + noise < budget_bytes_) {
    return view.really_left < view.planned.bytes
               ? to(view.target(), BudgetCause::kShortage, view.shortage())
               : to(view.target(), BudgetCause::kRest, view.planned.why);
  }
  if (!view.pressed) return to(budget_bytes_, {}, "");
  // A tenth of what L1 holds, so that something is really freed; but a nearly empty L1 is not to
  // blame and keeps the better part of its budget.
  const uint64_t held = std::clamp(view.l1_bytes, budget_bytes_ / 2, budget_bytes_);
  return to(held / 10 * 9, BudgetCause::kPressure, view.pressure());
}

BudgetDecision Governor::Grow(const View& view, MonoNanos now) {
  BudgetDecision none{.budget_bytes = budget_bytes_};
  const auto within = [now](const std::optional<MonoNanos>& event, MonoNanos time) {
    return event && now - *event < time;
  };
  if (!view.limits_certain || within(last_pressed_, kCalm) || within(last_shrink_, kCalm) ||
      within(last_growth_, kGrowthInterval)) {
    return none;
  }
  const uint64_t target = view.target();
  if (target <= budget_bytes_ + std::max(budget_bytes_ / 16, kMiB)) return none;
  const uint64_t step = budget_bytes_ + std::max(budget_bytes_ / 8, kMiB);
  const uint64_t bytes = std::min({target, step, most_bytes_});
  if (bytes <= budget_bytes_) return none;
  return {.budget_bytes = bytes, .cause = BudgetCause::kGrowth, .why = view.planned.why};
}

void Governor::FindTrouble(const View& view, MonoNanos now, BudgetDecision* decision) {
  const auto tell = [&](MemoryTrouble trouble, std::string why) {
    std::optional<MonoNanos>& seen = troubles_[static_cast<size_t>(trouble)];
    const bool known = seen && now - *seen < kTroubleGone;
    // One at a time; the next call tells the other.
    if (!known && decision->trouble != MemoryTrouble::kNone) return;
    seen = now;
    if (known) return;
    decision->trouble = trouble;
    decision->trouble_why = std::move(why);
  };
  const bool at_least = decision->budget_bytes <= view.min_bytes;
  const std::string name = options_.fixed_bytes != 0 ? "memory.l1" : "the least budget";
  const std::string of = StrCat(name, " is ", AboutBytes(view.min_bytes), "; ");
  if (at_least && view.critical) tell(MemoryTrouble::kShortage, StrCat(of, view.shortage()));
  if (at_least && view.pressed) tell(MemoryTrouble::kPressure, StrCat(of, view.pressure()));
  const MemoryLevel* const tightest = view.reading->Tightest();
  if (tightest == nullptr) return;
  const uint64_t beside = options_.beside_bytes;
  const Kept kept = KeptForUse(tightest->limit_bytes, Minus(view.rest_bytes, beside));
  if (view.min_bytes > Minus(tightest->limit_bytes, kept.bytes + beside)) {
    tell(MemoryTrouble::kDoesNotFit,
         StrCat(of, "with ", AboutBytes(kept.bytes), " for the rest of the process (", kept.why,
                ")", beside == 0 ? "" : StrCat(" and ", AboutBytes(beside), " for the second tier"),
                " it does not fit into the ", tightest->Name()));
  }
}

void Governor::Remember(const View& view, const BudgetDecision& decision, MonoNanos now) {
  const bool smaller = decision.budget_bytes < budget_bytes_;
  const bool changed = decision.cause != BudgetCause::kNone;
  const bool first = decision.cause == BudgetCause::kStart;
  if (changed && !first) (smaller ? last_shrink_ : last_growth_) = now;
  budget_bytes_ = decision.budget_bytes;
  if (view.limit_bytes != 0) limit_bytes_ = view.limit_bytes;

  MutexLock lock(&mu_);
  status_.automatic = options_.fixed_bytes == 0;
  status_.budget_bytes = budget_bytes_;
  const MemoryLevel* const tightest = view.reading->Tightest();
  status_.limit_bytes = view.limit_bytes;
  status_.source = tightest == nullptr ? MemorySource::kUnknown : tightest->source;
  status_.available_bytes = view.scarce == nullptr ? 0 : view.scarce->available_bytes;
  status_.rest_bytes = view.rest_bytes;
  status_.pressure = view.reading->pressure;
  status_.pressed = view.pressed;
  if (!changed) return;
  status_.changed = now;
  status_.cause = decision.cause;
  status_.why = decision.why;
  if (!first) ++(smaller ? status_.shrinks : status_.growths);
}

GovernorStatus Governor::Status() const {
  MutexLock lock(&mu_);
  return status_;
}

}  // namespace larder
