// `warm` is the one command that goes on for long. The call runs on the client's threads; this one
// waits, draws, and looks whether somebody has pressed Ctrl-C. Then it lets go of the client, which
// cancels the call at once, also while the server has nothing to tell, and the server stops.
//
// Many keys go in several calls, one after the other, so that none is larger than a message may be.

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/cli/commands.h"
#include "client/cli/interrupt.h"
#include "client/cli/progress.h"

namespace larder::cli {
namespace {

// 10 MiB at most, of the 64 that a message may have.
constexpr size_t kKeysPerCall = 10'000;
constexpr std::chrono::milliseconds kLook(100);

struct Flags {
  std::string type;
  std::string keys_from;
  uint64_t limit = 0;
  uint32_t rate = 0;
};

// One run of the command.
class Warming {
 public:
  Warming(Session* session, const Flags& flags, std::vector<std::string> keys)
      : session_(session),
        flags_(flags),
        keys_(std::move(keys)),
        began_(std::chrono::steady_clock::now()),
        view_(&session->out, session->json, flags.type.empty() ? "warm" : Shown(flags.type),
              flags.limit) {
    if (flags.limit > 0 && keys_.size() > flags.limit) keys_.resize(flags.limit);
  }

  ExitCode Run() {
    const CatchInterrupt ctrl_c;
    size_t at = 0;
    do {
      const size_t end = std::min(at + kKeysPerCall, keys_.size());
      WarmOptions options;
      options.type = flags_.type;
      options.keys.assign(keys_.begin() + static_cast<ptrdiff_t>(at),
                          keys_.begin() + static_cast<ptrdiff_t>(end));
      if (keys_.empty()) options.limit = flags_.limit;
      options.rate = flags_.rate;
      options.call.deadline = session_->given_deadline;
      const absl::StatusOr<WarmProgress> outcome = Call(options);
      if (Interrupted()) return Finish(Progress::End::kInterrupted, kInterrupted);
      if (!outcome.ok()) {
        Finish(Progress::End::kFailed, kError);
        return session_->Fail(outcome.status());
      }
      before_ = Sum(*outcome);
      at = end;
    } while (at < keys_.size() && !before_.full);
    last_ = before_;
    return Finish(Progress::End::kDone, before_.full         ? kExhausted
                                        : before_.failed > 0 ? kMiss
                                                             : kOk);
  }

 private:
  // What the call's threads tell this one.
  struct News {
    std::mutex mu;
    std::condition_variable changed;
    WarmProgress so_far;
    std::optional<absl::StatusOr<WarmProgress>> outcome;
  };

  absl::Duration Elapsed() const {
    return absl::FromChrono(std::chrono::steady_clock::now() - began_);
  }

  // With what came before this call.
  WarmProgress Sum(WarmProgress now) const {
    now.loaded += before_.loaded;
    now.failed += before_.failed;
    if (!keys_.empty()) now.total = keys_.size();
    return now;
  }

  absl::StatusOr<WarmProgress> Call(const WarmOptions& options) {
    const auto news = std::make_shared<News>();
    session_->client->WarmAsync(
        options,
        [news](const WarmProgress& so_far) {
          const std::lock_guard lock(news->mu);
          news->so_far = so_far;
          return true;
        },
        [news](absl::StatusOr<WarmProgress> outcome) {
          const std::lock_guard lock(news->mu);
          news->outcome = std::move(outcome);
          news->changed.notify_all();
        });
    while (true) {
      {
        std::unique_lock lock(news->mu);
        news->changed.wait_for(lock, kLook, [&] { return news->outcome.has_value(); });
        last_ = Sum(news->so_far);
        if (news->outcome.has_value()) return *std::move(news->outcome);
      }
      if (Interrupted()) {
        session_->client = nullptr;
        return absl::CancelledError("interrupted");
      }
      view_.Show(last_, Elapsed());
    }
  }

  ExitCode Finish(Progress::End end, ExitCode code) {
    view_.Finish(last_, end, Elapsed());
    return code;
  }

  Session* const session_;
  const Flags& flags_;
  std::vector<std::string> keys_;
  const std::chrono::steady_clock::time_point began_;
  Progress view_;
  WarmProgress before_;  // of the calls that are over
  WarmProgress last_;
};

ExitCode RunWarm(Session* session, const Flags& flags) {
  if (flags.type.empty() && flags.keys_from.empty()) {
    return session->Fail(
        absl::InvalidArgumentError("give a TYPE, or keys by --keys FILE (`-` for stdin)"));
  }
  std::vector<std::string> keys;
  if (!flags.keys_from.empty()) {
    absl::StatusOr<std::vector<std::string>> read = ReadKeys(flags.keys_from);
    if (!read.ok()) return session->Fail(read.status());
    keys = *std::move(read);
  }
  return Warming(session, flags, std::move(keys)).Run();
}

}  // namespace

void AddWarm(CLI::App* app, Session* session) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command =
      AddCommand(app, session, "warm", "Load keys from their origin before anybody asks for them",
                 [session, flags] { return RunWarm(session, *flags); });
  command
      ->add_option("TYPE", flags->type,
                   "Load what this type's origin lists; with --keys the type that the keys have")
      ->type_name("");
  command
      ->add_option("--keys", flags->keys_from,
                   "Load the keys in this file, one a line; `-` is stdin")
      ->type_name("FILE");
  command
      ->add_option("--limit", flags->limit,
                   "At most so many entries; default: all keys, or the type's warm.limit")
      ->check(CLI::PositiveNumber)
      ->type_name("ENTRIES");
  command->add_option("--rate", flags->rate, "Entries a second at most; default: not limited")
      ->check(CLI::PositiveNumber)
      ->type_name("ENTRIES");
  command->parse_complete_callback([session] { session->goes_on = true; });
}

}  // namespace larder::cli
