#include "reloader.h"

#include <sys/stat.h>

#include <filesystem>
#include <system_error>
#include <utility>

#include "base/log.h"
#include "base/status.h"
#include "base/strings.h"
#include "core/error.h"
#include "larder/config/v1/config.pb.h"

namespace larder {
namespace {

// How often it is looked whether looking is on, while it is off.
constexpr absl::Duration kLookOff = absl::Seconds(10);

}  // namespace

Reloader::Reloader(Options options, Config running)
    : options_(std::move(options)), running_(std::move(running)) {
  stats_.last_good = absl::Now();
  MutexLock lock(&reloading_);
  seen_ = Fingerprint();
}

absl::StatusOr<std::vector<ConfigChange>> Reloader::Reload(bool dry_run, std::string_view why) {
  MutexLock reloading(&reloading_);
  const Config running = [this] {
    MutexLock lock(&mu_);
    return running_;
  }();
  // Before it is read: what is written meanwhile is seen the next time.
  const std::string seen = Fingerprint();
  absl::Status status;
  ConfigStep step;
  absl::StatusOr<Config> wanted = options_.load();
  if (wanted.ok()) {
    absl::StatusOr<ConfigStep> made = StepToConfig(running, *wanted);
    status = made.status();
    if (made.ok()) step = *std::move(made);
  } else {
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

std::string Reloader::Fingerprint() const {
  if (options_.file.empty()) return "";
  std::error_code error;
  const std::string path = std::filesystem::canonical(options_.file, error).string();
  struct stat file{};
  if (error || stat(path.c_str(), &file) != 0) return "missing";
  return StrCat(path, " ", file.st_dev, " ", file.st_ino, " ", file.st_size, " ",
                file.st_mtim.tv_sec, " ", file.st_mtim.tv_nsec);
}

void Reloader::Look() {
  bool changed = false;
  {
    MutexLock lock(&reloading_);
    const std::string now = Fingerprint();
    // Gone for the moment between the removal of one and the next: that is no configuration.
    changed = now != seen_ && now != "missing";
  }
  // Its errors are in the log, and the next change of the file is tried again.
  if (changed) static_cast<void>(Reload(/*dry_run=*/false, "file"));
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
  executor->After(on ? pause : kLookOff, [this, executor, on] {
    if (on) Look();
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
