// Reloader brings a changed configuration to the running server: whole or not at all, told line by
// line. It is asked by SIGHUP, by the RPC ReloadConfig, and by a change of the file itself, once
// the file has stayed the same from one look to the next: it may be in the middle of being written.
// A file that is empty, and one that would let everybody do everything where callers are known now,
// are refused: a full disk leaves such files.
// Thread safety: any method, any thread. Reload blocks on the disk, and one waits for another.

#ifndef LARDER_RELOADER_H_
#define LARDER_RELOADER_H_

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/executor.h"
#include "base/mutex.h"
#include "config/config.h"
#include "config/reload.h"

namespace larder {

// What tells one content of a file from another: where links lead, and what is there.
std::string FileFingerprint(const std::string& file);

// The log has all of it.
constexpr size_t kTroubleMax = 4096;

struct ReloadStats {
  // Since the start: those that changed something, those that found nothing to change, and those
  // that were refused.
  uint64_t applied = 0;
  uint64_t unchanged = 0;
  uint64_t refused = 0;
  bool last_ok = true;
  // What is wrong with the configuration, when it was wrong when it was read last; at most
  // kTroubleMax bytes. Empty: it was right.
  std::string trouble;
  // When a reload, or the start, last found the configuration right.
  absl::Time last_good = absl::UnixEpoch();
};

class Reloader {
 public:
  struct Options {
    // Reads the configuration again. Blocks.
    std::function<absl::StatusOr<Config>()> load;
    // Takes the configuration over; changes nothing when it fails.
    std::function<absl::Status(const Config&)> apply;
    // What is looked at; empty: there is no file.
    std::string file;
    // Its fingerprint from before `running` was read.
    std::string seen;
  };

  Reloader(Options options, Config running);

  // What changed, or with `dry_run` would. CONFIG_INVALID names all that is wrong with the file.
  // `why`: who asked, for the log.
  absl::StatusOr<std::vector<ConfigChange>> Reload(bool dry_run, std::string_view why);

  // Looks at the file as often as reload.look says, for as long as the executor lives. To be called
  // once. `executor` may block.
  void LookRegularly(Executor* executor);

  ReloadStats Stats() const;
  std::vector<Setting> Settings() const;

 private:
  absl::StatusOr<Config> Load() const;
  // True when the file is another one than before and it has to be seen whether it stays so.
  bool Look();

  void LookAfter(absl::Duration pause, bool on, Executor* executor);

  const Options options_;
  Mutex reloading_;
  mutable Mutex mu_;
  Config running_ ABSL_GUARDED_BY(mu_);
  ReloadStats stats_ ABSL_GUARDED_BY(mu_);
  // Of the file when it was last read or tried.
  std::string seen_ ABSL_GUARDED_BY(reloading_);
  // Of the file when it was looked at last.
  std::string looked_ ABSL_GUARDED_BY(reloading_);
};

}  // namespace larder

#endif  // LARDER_RELOADER_H_
