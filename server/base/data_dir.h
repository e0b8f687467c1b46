// DataDir is the folder in which one process keeps what must survive it. While a DataDir lives, no
// other process can open the same folder; the kernel ends the claim with the process, however it
// dies.
// Thread safety: any method, any thread. Blocks on the disk: not for a lane's thread.
// Errors: each names the folder and the cause. kFailedPrecondition: another process holds it, or it
// is no folder; kPermissionDenied: it may not be written; others as the disk gives them.
//
// The claim is an flock on the file LOCK in the folder; a fork of the process shares it.

#ifndef LARDER_BASE_DATA_DIR_H_
#define LARDER_BASE_DATA_DIR_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace larder {

class DataDir {
 public:
  // Of one file. These are small facts about the process, not data sets.
  static constexpr size_t kFileBytesMax = 16 << 20;
  static constexpr size_t kNameBytesMax = 200;

  // Creates what is missing of `path`, for the owner alone (0700), and claims it. Removes what
  // interrupted writes left.
  static absl::StatusOr<std::unique_ptr<DataDir>> Open(const std::string& path);
  ~DataDir();
  DataDir(const DataDir&) = delete;
  DataDir& operator=(const DataDir&) = delete;

  // As it was given to Open.
  const std::string& path() const { return path_; }

  // A `name` has 1 to kNameBytesMax bytes, no '/' and no zero byte, does not begin with '.', and is
  // not LOCK; else kInvalidArgument.

  // Replaces the file. When this returns OK, the new content survives a power loss; until then, and
  // after an error, a reader finds the old content or the new one, whole.
  absl::Status WriteFile(std::string_view name, std::string_view bytes);
  // kNotFound when there is no such file.
  absl::StatusOr<std::string> ReadFile(std::string_view name) const;

 private:
  class Fd {
   public:
    explicit Fd(int fd) : fd_(fd) {}
    Fd(Fd&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
    ~Fd();
    int get() const { return fd_; }
    bool ok() const { return fd_ >= 0; }

   private:
    int fd_;
  };

  DataDir(const std::string& path, Fd dir, Fd lock);

  static absl::Status Claim(const std::string& path, int lock);
  absl::Status RemoveTemporaries() const;
  absl::Status WriteTemporary(const std::string& temporary, std::string_view bytes) const;
  std::string PathOf(std::string_view name) const;

  const std::string path_;
  const Fd dir_;
  const Fd lock_;
  std::atomic<uint64_t> temporaries_{0};
};

}  // namespace larder

#endif  // LARDER_BASE_DATA_DIR_H_
