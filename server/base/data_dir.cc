// A file is replaced as POSIX allows without a moment of loss: write a temporary in the same
// folder, fsync it, rename it over the old one, fsync the folder. Without the first fsync a power
// loss can leave the new name on an empty file; without the second, the old content. Each write has
// a temporary of its own, so that two threads that write the same name do not mix; the last rename
// wins.
//
// The claim is flock, not the existence of a file: a process that was killed leaves no stale lock
// behind, and its process id in LOCK is only there to be named in the sentence that the second
// process prints. LOCK is never removed; removing it would let two processes lock two files of that
// name.
//
// All files are opened relative to the folder's descriptor, so renaming the folder does not move
// writes elsewhere.

#include "base/data_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <memory>

#include "base/status.h"
#include "base/strings.h"

namespace larder {
namespace {

constexpr char kLockName[] = "LOCK";
constexpr char kTemporaryPrefix[] = ".tmp-";

// `what` joined, and the text of errno: "data directory /x cannot be created: Permission denied".
template <typename... Args>
absl::Status Fail(const Args&... what) {
  const int error = errno;  // Before StrCat allocates.
  return absl::ErrnoToStatus(error, StrCat(what...));
}

absl::Status SyncParent(const std::string& path) {
  const size_t slash = path.rfind('/');
  const std::string parent = slash == std::string::npos ? "."
                             : slash == 0               ? "/"
                                                        : path.substr(0, slash);
  const int fd = open(parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return Fail(parent, " cannot be opened");
  absl::Status status;
  if (fsync(fd) != 0) status = Fail(parent, " cannot be synced");
  close(fd);
  return status;
}

// Creates `path` and the folders above it that are missing.
absl::Status CreateFolders(const std::string& path) {
  for (size_t end = path.find('/', 1);; end = path.find('/', end + 1)) {
    const std::string prefix = path.substr(0, end);
    if (mkdir(prefix.c_str(), 0700) == 0) {
      RETURN_IF_ERROR(SyncParent(prefix));
    } else if (errno != EEXIST) {
      return Fail("data directory ", path, " cannot be created");
    }
    if (end == std::string::npos) return absl::OkStatus();
  }
}

absl::Status WriteAll(int fd, std::string_view bytes, std::string_view path) {
  while (!bytes.empty()) {
    const ssize_t written = write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return Fail(path, " cannot be written");
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

absl::Status CheckName(std::string_view name) {
  if (name.empty() || name.size() > DataDir::kNameBytesMax || name.front() == '.' ||
      name.find('/') != name.npos || name.find('\0') != name.npos || name == kLockName) {
    return absl::InvalidArgumentError(
        StrCat("\"", name, "\" cannot name a file of the data directory"));
  }
  return absl::OkStatus();
}

}  // namespace

DataDir::Fd::~Fd() {
  if (fd_ >= 0) close(fd_);
}

DataDir::DataDir(const std::string& path, Fd dir, Fd lock)
    : path_(path), dir_(std::move(dir)), lock_(std::move(lock)) {}

DataDir::~DataDir() = default;

absl::StatusOr<std::unique_ptr<DataDir>> DataDir::Open(const std::string& path) {
  if (path.empty()) return absl::InvalidArgumentError("the data directory has no path");
  if (path.find('\0') != std::string::npos) {
    return absl::InvalidArgumentError("the path of the data directory contains a zero byte");
  }
  RETURN_IF_ERROR(CreateFolders(path));
  Fd dir(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!dir.ok() && errno == ENOTDIR) {
    return absl::FailedPreconditionError(StrCat("data directory ", path, " is not a directory"));
  }
  if (!dir.ok()) return Fail("data directory ", path, " cannot be opened");
  // LOCK may be writable in a folder that is not.
  if (faccessat(dir.get(), ".", W_OK | X_OK, AT_EACCESS) != 0) {
    return Fail("data directory ", path, " cannot be written");
  }
  Fd lock(openat(dir.get(), kLockName, O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!lock.ok()) return Fail("data directory ", path, " cannot be written");
  RETURN_IF_ERROR(Claim(path, lock.get()));
  std::unique_ptr<DataDir> opened(new DataDir(path, std::move(dir), std::move(lock)));
  RETURN_IF_ERROR(opened->RemoveTemporaries());
  return opened;
}

absl::Status DataDir::Claim(const std::string& path, int lock) {
  if (flock(lock, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return Fail("data directory ", path, " cannot be locked");
    std::array<char, 32> pid;
    const ssize_t bytes = pread(lock, pid.data(), pid.size(), 0);
    std::string_view holder(pid.data(), bytes > 0 ? static_cast<size_t>(bytes) : 0);
    holder = holder.substr(0, holder.find('\n'));
    return absl::FailedPreconditionError(
        StrCat("data directory ", path, " is in use by ",
               holder.empty() ? "another process" : StrCat("process ", holder)));
  }
  if (ftruncate(lock, 0) != 0) return Fail(path, "/", kLockName, " cannot be written");
  return WriteAll(lock, StrCat(getpid(), "\n"), StrCat(path, "/", kLockName));
}

absl::Status DataDir::RemoveTemporaries() const {
  // A descriptor of its own: closedir closes it.
  const int fd = openat(dir_.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const std::unique_ptr<DIR, int (*)(DIR*)> entries(fd < 0 ? nullptr : fdopendir(fd), closedir);
  if (entries == nullptr) {
    const absl::Status status = Fail("data directory ", path_, " cannot be listed");
    if (fd >= 0) close(fd);
    return status;
  }
  // What readdir fails to list is harmless and stays until the next Open.
  while (const dirent* entry = readdir(entries.get())) {
    if (!std::string_view(entry->d_name).starts_with(kTemporaryPrefix)) continue;
    if (unlinkat(dir_.get(), entry->d_name, 0) != 0 && errno != ENOENT) {
      return Fail(path_, "/", entry->d_name, " cannot be removed");
    }
  }
  return absl::OkStatus();
}

absl::Status DataDir::WriteFile(std::string_view name, std::string_view bytes) {
  RETURN_IF_ERROR(CheckName(name));
  if (bytes.size() > kFileBytesMax) {
    return absl::InvalidArgumentError(
        StrCat(PathOf(name), " would have ", bytes.size(), " bytes; at most ", kFileBytesMax));
  }
  const std::string temporary = StrCat(kTemporaryPrefix, temporaries_.fetch_add(1));
  absl::Status status = WriteTemporary(temporary, bytes);
  if (status.ok() &&
      renameat(dir_.get(), temporary.c_str(), dir_.get(), std::string(name).c_str()) != 0) {
    status = Fail(path_, "/", name, " cannot be replaced");
  }
  if (!status.ok()) {
    unlinkat(dir_.get(), temporary.c_str(), 0);  // If this fails too, the next Open removes it.
    return status;
  }
  if (fsync(dir_.get()) != 0) return Fail("data directory ", path_, " cannot be synced");
  return absl::OkStatus();
}

absl::Status DataDir::WriteTemporary(const std::string& temporary, std::string_view bytes) const {
  const std::string path = PathOf(temporary);
  const Fd fd(openat(dir_.get(), temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!fd.ok()) return Fail(path, " cannot be created");
  RETURN_IF_ERROR(WriteAll(fd.get(), bytes, path));
  if (fsync(fd.get()) != 0) return Fail(path, " cannot be synced");
  return absl::OkStatus();
}

absl::StatusOr<std::string> DataDir::ReadFile(std::string_view name) const {
  RETURN_IF_ERROR(CheckName(name));
  const std::string path = PathOf(name);
  const Fd fd(openat(dir_.get(), std::string(name).c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.ok()) return Fail(path, " cannot be read");
  std::string bytes;
  std::array<char, 16384> piece;
  for (;;) {
    const ssize_t got = read(fd.get(), piece.data(), piece.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Fail(path, " cannot be read");
    if (got == 0) return bytes;
    bytes.append(piece.data(), static_cast<size_t>(got));
    if (bytes.size() > kFileBytesMax) {
      return absl::FailedPreconditionError(
          StrCat(path, " has more than ", kFileBytesMax, " bytes"));
    }
  }
}

std::string DataDir::PathOf(std::string_view name) const { return StrCat(path_, "/", name); }

}  // namespace larder
