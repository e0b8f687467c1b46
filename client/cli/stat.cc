// `stat`: a line for each interval, as vmstat has them, for a look over minutes and for files.

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/cli/admin_port.h"
#include "client/cli/commands.h"
#include "client/cli/interrupt.h"
#include "client/cli/sampler.h"
#include "client/cli/wait.h"

namespace larder::cli {
namespace {

struct Flags {
  std::optional<absl::Duration> interval;
  uint64_t count = 0;
  std::string admin;
};

// As often as there is room for it on a screen of 24 lines.
constexpr uint64_t kHeaderEvery = 20;

std::string Ms(std::optional<absl::Duration> duration) {
  return duration.has_value() ? fmt::format("{:.2f}", absl::ToDoubleMilliseconds(*duration)) : "-";
}

std::string Number(double number) {
  return number >= 1e7 ? fmt::format("{:.1f}M", number / 1e6) : fmt::format("{:.0f}", number);
}

constexpr char kLine[] =
    "{:<8}  {:>8}  {:>6}  {:>8}  {:>8}  {:>6}  {:>7}  {:>7}  {:>7}  {:>10}  {:>9}  {:>7}";

class Stat {
 public:
  Stat(Session* session, const Flags& flags)
      : session_(session),
        flags_(flags),
        interval_(flags.interval.value_or(absl::Seconds(1))),
        sampler_(session, flags.admin) {}

  ExitCode Run() {
    if (interval_ < absl::Milliseconds(100) || interval_ > absl::Hours(24))
      return session_->Fail(absl::InvalidArgumentError("--interval is 100ms to 24h"));
    const CatchInterrupt ctrl_c;
    absl::StatusOr<Sample> before = sampler_.Read();
    if (!before.ok()) return session_->Fail(before.status());
    absl::Duration next = before->at;
    for (uint64_t line = 0; flags_.count == 0 || line < flags_.count; ++line) {
      // From the beginning and not from the last line, so that lines do not drift.
      next = std::max(next + interval_, sampler_.Elapsed());
      WaitUnlessInterrupted([&] { return next - sampler_.Elapsed(); });
      if (Interrupted()) return kInterrupted;
      absl::StatusOr<Sample> now = sampler_.Read();
      if (Interrupted()) return kInterrupted;
      if (!now.ok()) return session_->Fail(now.status());
      Show(PulseOf(*before, *now), *now, line);
      if (const absl::Status written = session_->out.Flush(); !written.ok())
        return session_->Fail(written);
      before = std::move(now);
    }
    return kOk;
  }

 private:
  void Show(const Pulse& pulse, const Sample& sample, uint64_t line) {
    const StatsResult& stats = sample.stats;
    const uint64_t waiting = stats.journal.has_value() ? stats.journal->depth : 0;
    if (session_->json) {
      Json object;
      object.Field("time", absl::Now());
      AddPulse(pulse, &object);
      object.Field("entries", stats.total.entries);
      object.Field("memory_used_bytes", stats.memory.used_bytes);
      object.Field("memory_budget_bytes", stats.memory.budget_bytes);
      object.Field("journal_depth", waiting);
      session_->out.Print(object);
      return;
    }
    if (line == 0 || (session_->out.terminal() && line % kHeaderEvery == 0)) {
      session_->out.Line(fmt::format(
          kLine, "TIME", "CALLS/S", "ERR/S", pulse.windowed ? "P99 MS" : "P99 ALL", "READS/S",
          "HIT %", "SETS/S", "LOADS/S", "EVICT/S", "MEMORY", "ENTRIES", "JOURNAL"));
    }
    const Rates& total = pulse.total;
    session_->out.Line(fmt::format(
        kLine, absl::FormatTime("%H:%M:%S", absl::Now(), absl::LocalTimeZone()),
        Number(pulse.calls), Number(pulse.errors), Ms(pulse.p99), Number(total.reads),
        total.hit_ratio.has_value() ? fmt::format("{:.1f}", 100 * *total.hit_ratio) : "-",
        Number(total.sets), Number(total.loads), Number(total.evictions),
        ShownBytes(stats.memory.used_bytes), stats.total.entries, waiting));
  }

  Session* const session_;
  const Flags& flags_;
  const absl::Duration interval_;
  Sampler sampler_;
};

}  // namespace

void AddStat(CLI::App* app, Session* session) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = AddCommand(app, session, "stat", "A line of figures for each second",
                                 [session, flags] { return Stat(session, *flags).Run(); });
  AddDuration(command, "--interval", &flags->interval, "How often; default 1s");
  command->add_option("--count", flags->count, "So many lines; default: until Ctrl-C")
      ->check(CLI::PositiveNumber)
      ->type_name("LINES");
  AddAdmin(command, &flags->admin);
}

}  // namespace larder::cli
