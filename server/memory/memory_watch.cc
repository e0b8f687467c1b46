// One chain of timers does everything: each tick sets the next. So no two ever run at once and
// nothing needs a lock, though the executor may run each on another thread.
//
// What cannot be read is logged when it is seen for the first time and never again: a kernel that
// lacks something goes on lacking it, and a line a second would hide all others.

#include "memory/memory_watch.h"

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "base/strings.h"

namespace larder {
namespace {

// More would be the same few files under names that change.
constexpr size_t kProblemsMax = 100;

const char* NameOf(BudgetCause cause) {
  switch (cause) {
    case BudgetCause::kNone:
      return "none";
    case BudgetCause::kStart:
      return "start";
    case BudgetCause::kLimit:
      return "limit";
    case BudgetCause::kRest:
      return "rest";
    case BudgetCause::kShortage:
      return "shortage";
    case BudgetCause::kPressure:
      return "pressure";
    case BudgetCause::kGrowth:
      return "growth";
  }
  return "";
}

const char* NameOf(MemoryTrouble trouble) {
  switch (trouble) {
    case MemoryTrouble::kNone:
      return "none";
    case MemoryTrouble::kDoesNotFit:
      return "does_not_fit";
    case MemoryTrouble::kShortage:
      return "shortage";
    case MemoryTrouble::kPressure:
      return "pressure";
  }
  return "";
}

// `memory.l1: auto = 3.5GiB: cgroup v2 limit 4GiB, 512MiB kept for ...`
std::string Sentence(bool automatic, uint64_t budget, const std::string& why) {
  return StrCat("memory.l1: ", automatic ? "auto = " : "", AboutBytes(budget), ": ", why);
}

}  // namespace

MemoryWatch::MemoryWatch(Options options)
    : options_(std::move(options)), governor_(options_.governor, Read(), options_.clock->Mono()) {
  const GovernorStatus status = governor_.Status();
  LogInfo("memory_budget",
          {{"decision", Sentence(status.automatic, status.budget_bytes, status.why)},
           {"cause", NameOf(status.cause)},
           {"bytes", status.budget_bytes},
           {"limit_bytes", status.limit_bytes}});
}

void MemoryWatch::Start(Target target) {
  target_ = std::move(target);
  options_.executor->Post([this] { Tick(); });
}

MemoryReading MemoryWatch::Read() {
  MemoryReading reading = ReadMemory(options_.root);
  for (const std::string& problem : reading.problems) {
    if (logged_problems_.size() >= kProblemsMax || !logged_problems_.insert(problem).second) {
      continue;
    }
    LogWarning("memory_reading_failed", {{"problem", problem}});
  }
  return reading;
}

// A machine that is nearly full is not this process's doing, and swaps before it kills.
void MemoryWatch::LookWhetherTight(const MemoryReading& reading) {
  const MemoryLevel* scarcest = nullptr;
  double least = 0;
  for (const MemoryLevel& level : reading.levels) {
    if (level.source == MemorySource::kMachine || level.high || level.limit_bytes == 0) continue;
    const double of_margin = static_cast<double>(level.available_bytes) /
                             static_cast<double>(MarginsOf(level).tight_bytes);
    if (scarcest != nullptr && of_margin >= least) continue;
    scarcest = &level;
    least = of_margin;
  }
  bool tight = false;
  MemoryLeft left;  // of nothing, where no limit is left
  if (scarcest != nullptr) {
    const MemoryMargins margins = MarginsOf(*scarcest);
    tight = scarcest->available_bytes < (tight_ ? margins.eased_bytes : margins.tight_bytes);
    left = {scarcest->available_bytes, margins.tight_bytes};
  }
  if (target_.set_left != nullptr) target_.set_left(left);
  if (tight == tight_) return;
  tight_ = tight;
  if (tight) {
    LogWarning("memory_tight", {{"left_bytes", scarcest->available_bytes},
                                {"of", scarcest->Name()},
                                {"refused", "writes and batches"}});
  } else {
    LogInfo("memory_eased",
            {{"left_bytes", scarcest == nullptr ? uint64_t{0} : scarcest->available_bytes}});
  }
  if (target_.set_tight != nullptr) target_.set_tight(tight);
}

void MemoryWatch::Tick() {
  const uint64_t before = governor_.Status().budget_bytes;
  const MemoryReading reading = Read();
  LookWhetherTight(reading);
  const BudgetDecision decision =
      governor_.Decide(reading, target_.held_bytes(), options_.clock->Mono());
  if (decision.cause != BudgetCause::kNone) {
    target_.set_budget(decision.budget_bytes);
    LogInfo("memory_budget", {{"decision", Sentence(true, decision.budget_bytes, decision.why)},
                              {"cause", NameOf(decision.cause)},
                              {"bytes", decision.budget_bytes},
                              {"bytes_before", before},
                              {"limit_bytes", governor_.Status().limit_bytes}});
  }
  if (decision.trouble != MemoryTrouble::kNone) {
    LogWarning("memory_trouble",
               {{"trouble", NameOf(decision.trouble)}, {"why", decision.trouble_why}});
  }
  options_.executor->After(kInterval, [this] { Tick(); });
}

}  // namespace larder
