// `top` looks at one server again and again, and shows what it is at.
//
// A call for figures may hang when the server does, so it goes on beside the screen: keys and
// signals are heard meanwhile, and the page says for how long there has been no answer.

#include <chrono>
#include <future>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/cli/admin_port.h"
#include "client/cli/commands.h"
#include "client/cli/exit_code.h"
#include "client/cli/sampler.h"
#include "client/cli/screen.h"
#include "client/cli/top_frame.h"

namespace larder::cli {
namespace {

struct Flags {
  std::optional<absl::Duration> interval;
  std::string admin;
  bool once = false;
};

constexpr absl::Duration kLook = absl::Milliseconds(100);

class Top {
 public:
  Top(Session* session, const Flags& flags)
      : session_(session),
        flags_(flags),
        interval_(flags.interval.value_or(absl::Seconds(1))),
        sampler_(session, flags.admin) {}

  ExitCode Run() {
    if (interval_ < absl::Milliseconds(100) || interval_ > absl::Hours(1))
      return session_->Fail(absl::InvalidArgumentError("--interval is 100ms to 1h"));
    return flags_.once || session_->json || !session_->out.terminal() ? Once() : Live();
  }

 private:
  // Two readings, and one page of any length.
  ExitCode Once() {
    for (int reading = 0; reading < 2; ++reading) {
      if (reading > 0) absl::SleepFor(interval_);
      absl::StatusOr<Sample> sample = sampler_.Read();
      if (!sample.ok()) return session_->Fail(sample.status());
      Take(*std::move(sample));
    }
    if (session_->json) {
      Json answer;
      answer.Field("node", sample_->stats.node);
      answer.Field("time", absl::Now());
      AddPulse(*pulse_, &answer);
      answer.Field("memory_used_bytes", sample_->stats.memory.used_bytes);
      answer.Field("memory_budget_bytes", sample_->stats.memory.budget_bytes);
      session_->out.Print(answer);
      return kOk;
    }
    const ScreenSize size = session_->out.terminal() ? SizeOfScreen() : ScreenSize{200, 1'000};
    for (const std::string& line : TopFrame(State(), size)) session_->out.Line(line);
    return kOk;
  }

  ExitCode Live() {
    // Outlives the screen: who has pressed q waits for no call, and may end one that hangs by
    // Ctrl-C.
    std::future<absl::StatusOr<Sample>> reading;
    Screen screen(&session_->out);
    absl::Time asked = absl::Now();
    while (true) {
      const absl::Time now = absl::Now();
      if (!reading.valid() && now >= asked) {
        asked = now;
        reading = std::async(std::launch::async, [this] { return sampler_.Read(); });
      }
      if (reading.valid() &&
          reading.wait_for(std::chrono::milliseconds(0)) == std::future_status::ready) {
        absl::StatusOr<Sample> sample = reading.get();
        if (sample.ok()) {
          trouble_.clear();
          Take(*std::move(sample));
        } else {
          trouble_ = Told(sample.status());
        }
        asked += interval_;
        screen.Draw(TopFrame(State(), SizeOfScreen()));
      } else if (reading.valid() && now > asked + absl::Seconds(1)) {
        trouble_ =
            absl::StrCat("no answer for ", Shown(absl::Trunc(now - asked, absl::Seconds(1))));
        screen.Draw(TopFrame(State(), SizeOfScreen()));
      }
      if (screen.WaitForKey(kLook) == Screen::Key::kQuit) break;
    }
    return kOk;
  }

  void Take(Sample sample) {
    if (sample_.has_value() && sample.at > sample_->at) pulse_ = PulseOf(*sample_, sample);
    sample_ = std::move(sample);
  }

  TopState State() const {
    TopState state;
    state.server = session_->server;
    state.trouble = trouble_;
    state.sample = sample_.has_value() ? &*sample_ : nullptr;
    state.pulse = pulse_.has_value() ? &*pulse_ : nullptr;
    state.now = absl::Now();
    return state;
  }

  Session* const session_;
  const Flags& flags_;
  const absl::Duration interval_;
  Sampler sampler_;
  std::string trouble_;
  std::optional<Sample> sample_;
  std::optional<Pulse> pulse_;
};

}  // namespace

void AddTop(CLI::App* app, Session* session) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = AddCommand(app, session, "top", "Watch what a server is at, live; q ends it",
                                 [session, flags] { return Top(session, *flags).Run(); });
  AddDuration(command, "--interval", &flags->interval, "How often to look; default 1s");
  command->add_flag("--once", flags->once, "Show one page, after one interval, and end");
  AddAdmin(command, &flags->admin);
}

}  // namespace larder::cli
