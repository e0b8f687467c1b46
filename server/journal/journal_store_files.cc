// A rename is durable when the folder that holds both names was synced, and a link when its folder
// was. Nothing else orders what a file system writes.

#include "journal/journal_store_files.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <limits>
#include <string_view>
#include <system_error>
#include <vector>

#include "base/log.h"
#include "base/status.h"
#include "base/strings.h"

namespace larder {
namespace {

namespace fs = std::filesystem;

constexpr char kSetAside[] = "damaged-";
constexpr size_t kProbeBytes = 2 << 20;

absl::Status Fail(const std::string& path, std::string_view what, std::string_view why) {
  return absl::UnavailableError(StrCat(path, " cannot be ", what, ": ", why));
}

absl::Status SyncPath(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return Fail(path, "opened", std::strerror(errno));
  const int error = fsync(fd) == 0 ? 0 : errno;
  close(fd);
  return error == 0 ? absl::OkStatus() : Fail(path, "synced", std::strerror(error));
}

bool IsMadeAnew(const std::string& name) { return name == "LOCK" || name.starts_with("LOG"); }

absl::Status LinkFile(const std::string& from, const std::string& to) {
  std::error_code error;
  fs::create_hard_link(from, to, error);
  if (!error) return absl::OkStatus();
  error.clear();
  fs::copy_file(from, to, error);
  if (error) return Fail(from, "copied", error.message());
  return SyncPath(to);
}

}  // namespace

bool FolderExists(const std::string& path) {
  std::error_code error;
  return fs::is_directory(path, error);
}

absl::Status LinkFolder(const std::string& from, const std::string& to) {
  std::error_code error;
  fs::create_directory(to, error);
  if (error) return Fail(to, "created", error.message());
  for (fs::directory_iterator at(from, error), end; !error && at != end; at.increment(error)) {
    const std::string name = at->path().filename().string();
    std::error_code kind_error;
    if (IsMadeAnew(name) || !at->is_regular_file(kind_error)) continue;
    RETURN_IF_ERROR(LinkFile(at->path().string(), StrCat(to, "/", name)));
  }
  if (error) return Fail(from, "listed", error.message());
  return SyncPath(to);
}

absl::Status RenameFolder(const std::string& from, const std::string& to) {
  std::error_code error;
  fs::rename(from, to, error);
  if (error) return Fail(from, "renamed", error.message());
  return SyncPath(fs::path(to).parent_path().string());
}

absl::Status RemoveFolder(const std::string& path) {
  std::error_code error;
  fs::remove_all(path, error);
  if (error) return Fail(path, "removed", error.message());
  return absl::OkStatus();
}

absl::StatusOr<std::string> SetAside(const std::string& folder, const std::string& parent,
                                     absl::Time now, int count_max) {
  const std::string stem = StrCat(parent, "/", kSetAside,
                                  absl::FormatTime("%Y%m%dT%H%M%E3SZ", now, absl::UTCTimeZone()));
  // Letters sort behind the bare name and in the order of their giving.
  std::string name = stem;
  for (char letter = 'b'; FolderExists(name) && letter <= 'z'; ++letter)
    name = StrCat(stem, std::string(1, letter));
  RETURN_IF_ERROR(RenameFolder(folder, name));

  std::vector<std::string> all;
  std::error_code error;
  for (fs::directory_iterator at(parent, error), end; !error && at != end; at.increment(error)) {
    if (at->path().filename().string().starts_with(kSetAside)) all.push_back(at->path().string());
  }
  std::sort(all.begin(), all.end());
  for (size_t i = 0; i + static_cast<size_t>(count_max) < all.size(); ++i) {
    const absl::Status removed = RemoveFolder(all[i]);
    LogWarning("journal_damaged_copy_removed", {{"path", all[i]},
                                                {"why", StrCat("at most ", count_max, " are kept")},
                                                {"status", removed}});
  }
  return name;
}

bool HasTables(const std::string& path) {
  std::error_code error;
  for (fs::directory_iterator at(path, error), end; !error && at != end; at.increment(error)) {
    if (at->path().extension() == ".sst") return true;
  }
  return false;
}

uint64_t FolderBytes(const std::string& path) {
  uint64_t bytes = 0;
  std::error_code error;
  // Files vanish while this runs; what cannot be asked any more takes no room.
  for (fs::directory_iterator at(path, error), end; !error && at != end; at.increment(error)) {
    std::error_code gone;
    const uint64_t size = at->file_size(gone);
    if (!gone) bytes += size;
  }
  return bytes;
}

uint64_t FreeBytes(const std::string& path) {
  struct statvfs of_disk;
  if (statvfs(path.c_str(), &of_disk) != 0) return std::numeric_limits<uint64_t>::max() / 2;
  return uint64_t{of_disk.f_bavail} * of_disk.f_frsize;
}

absl::Status ProbeDisk(const std::string& folder) {
  const std::string path = folder + "/PROBE";
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) return Fail(path, "created", std::strerror(errno));
  const std::string bytes(kProbeBytes, 'x');
  absl::Status status;
  errno = 0;
  const ssize_t written = write(fd, bytes.data(), bytes.size());
  if (written != static_cast<ssize_t>(bytes.size())) {
    status = Fail(path, "written", std::strerror(written < 0 ? errno : ENOSPC));
  } else if (fsync(fd) != 0) {
    status = Fail(path, "synced", std::strerror(errno));
  }
  close(fd);
  unlink(path.c_str());  // If this fails, the next probe overwrites it.
  return status;
}

}  // namespace larder
