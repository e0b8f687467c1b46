#include "reloader.h"

#include <sys/stat.h>

#include <filesystem>
#include <system_error>
#include <utility>

#include "base/log.h"
#include "base/status.h"
#include "base/strings.h"
#include "base/utf8.h"
#include "core/error.h"
#include "larder/config/v1/config.pb.h"

namespace larder {
namespace {

// How often it is looked whether looking is on, while it is off.
constexpr absl::Duration kLookOff = absl::Seconds(10);
// How long a file that was changed has to stay as it is.
constexpr absl::Duration kSettled = absl::Seconds(1);

absl::Status CheckSafe(const Config& running, const Config& wanted) {
  if (running.proto->auth().callers().empty() || !wanted.proto->auth().callers().empty()) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      "auth.callers names nobody any more, so that everybody could do everything: that takes a "
      "restart");
}

}  // namespace

std::string FileFingerprint(const std::string& file) {
  if (file.empty()) return "";
  std::error_code error;
  const std::string path = std::filesystem::canonical(file, error).string();
  struct stat is{};
  if (error || stat(path.c_str(), &is) != 0) return "missing";
  return StrCat(path, " ", is.st_dev, " ", is.st_ino, " ", is.st_size, " ", is.st_mtim.tv_sec, " ",
                is.st_mtim.tv_nsec, " ", is.st_ctim.tv_sec, " ", is.st_ctim.tv_nsec);
}

Reloader::Reloader(Options options, Config running)
    : options_(std::move(options)), running_(std::move(running)) {
  stats_.last_good = absl::Now();
  MutexLock lock(&reloading_);
  seen_ = options_.seen;
}

absl::StatusOr<std::vector<ConfigChange>> Reloader::Reload(bool dry_run, std::string_view why) {
  MutexLock reloading(&reloading_);
  const Config running = [this] {
    MutexLock lock(&mu_);
    return running_;
  }();
  // Before it is read: what is written meanwhile is seen the next time.
  const std::string seen = FileFingerprint(options_.file);
  absl::Status status;
  ConfigStep step;
  absl::StatusOr<Config> wanted = Load();
  if (wanted.ok()) status = CheckSafe(running, *wanted);
  if (wanted.ok() && status.ok()) {
    absl::StatusOr<ConfigStep> made = StepToConfig(running, *wanted);
    status = made.status();
    if (made.ok()) step = *std::move(made);
  } else if (!wanted.ok()) {
    status = wanted.status();
  }
  if (dry_run) {
    if (!status.ok()) return Error(Reason::kCONFIG_INVALID, ToStd(status.message()));
    return step.changes;
  }
  seen_ = seen;
  if (status.ok() && !step.changes.empty()) status = options_.apply(step.next);

  MutexLock lock(&mu_);
  stats_.last_ok = status.ok();
  stats_.trouble = CleanUtf8(ToStd(status.message()), kTroubleMax);
  if (!status.ok()) {
    ++stats_.refused;
    LogError("config_not_reloaded", {{"why", why}, {"error", ToStd(status.message())}});
    return Error(Reason::kCONFIG_INVALID, ToStd(status.message()));
  }
  stats_.last_good = absl::Now();
  ++(step.changes.empty() ? stats_.unchanged : stats_.applied);
  running_ = std::move(step.next);
  for (const ConfigChange& change : step.changes) {
    LogInfo("config_changed", {{"path", change.path},
                               {"before", change.before},
                               {"after", change.after},
                               {"needs_restart", change.needs_restart}});
  }
  LogInfo("config_reloaded",
          {{"why", why}, {"changes", static_cast<uint64_t>(step.changes.size())}});
  return step.changes;
}

absl::StatusOr<Config> Reloader::Load() const {
  struct stat file{};
  if (!options_.file.empty() && stat(options_.file.c_str(), &file) == 0 && file.st_size == 0) {
    return absl::InvalidArgumentError(StrCat(options_.file, " is empty"));
  }
  return options_.load();
}

bool Reloader::Look() {
  bool settled = false;
  {
    MutexLock lock(&reloading_);
    std::string now = FileFingerprint(options_.file);
    // Gone for the moment between the removal of one and the next: that is no configuration.
    if (now == seen_ || now == "missing") return false;
    settled = now == looked_;
    looked_ = std::move(now);
  }
  // Its errors are in the log, and the next change of the file is tried again.
  if (settled) static_cast<void>(Reload(/*dry_run=*/false, "file"));
  return !settled;
}

void Reloader::LookRegularly(Executor* executor) {
  if (options_.file.empty()) return;
  absl::Duration pause;
  {
    MutexLock lock(&mu_);
    const auto& look = running_.proto->reload().look();
    pause = absl::Seconds(look.seconds()) + absl::Nanoseconds(look.nanos());
  }
  const bool on = pause > absl::ZeroDuration();
  LookAfter(on ? pause : kLookOff, on, executor);
}

void Reloader::LookAfter(absl::Duration pause, bool on, Executor* executor) {
  executor->After(pause, [this, on, executor] {
    if (on && Look()) return LookAfter(kSettled, on, executor);
    LookRegularly(executor);
  });
}

ReloadStats Reloader::Stats() const {
  MutexLock lock(&mu_);
  return stats_;
}

std::vector<Setting> Reloader::Settings() const {
  MutexLock lock(&mu_);
  return running_.settings;
}

}  // namespace larder
