// The functions of libc that change a disk are defined here once more. The linker prefers a
// program's own, also for the libraries that it uses, RocksDB among them. Each looks at the path
// behind its arguments; what is not under the folder of the FaultyDisk goes to libc untouched.

#include "tests/journal/faulty_disk.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "base/mutex.h"

namespace larder {
namespace {

namespace fs = std::filesystem;

// libc's own.
#define REAL(function)                                                                            \
  ([] {                                                                                           \
    static auto* const real = reinterpret_cast<decltype(&function)>(dlsym(RTLD_NEXT, #function)); \
    return real;                                                                                  \
  }())

// Of a file that was made or changed since the disk was.
struct FileState {
  uint64_t synced = 0;                               // bytes that are on disk
  std::vector<std::pair<uint64_t, uint64_t>> holes;  // lost by an fsync that failed
  std::optional<std::string> before;                 // the content before bytes were overwritten
};

// A change of a folder that was not synced.
struct NameChange {
  enum class Kind { kMade, kRenamed, kRemoved } kind;
  ino_t folder;
  std::string name;
  std::string old_name;  // of kRenamed; of a folder that was removed, its inode
  std::string backup;    // a link to what had the name before; empty: nothing
};

struct Disk {
  Mutex mu;
  std::string folder ABSL_GUARDED_BY(mu);
  std::string backups ABSL_GUARDED_BY(mu);
  int write_error ABSL_GUARDED_BY(mu) = 0;
  int sync_error ABSL_GUARDED_BY(mu) = 0;
  bool stopped ABSL_GUARDED_BY(mu) = false;
  int64_t left ABSL_GUARDED_BY(mu) = 0;
  uint64_t syncs ABSL_GUARDED_BY(mu) = 0;
  uint64_t written ABSL_GUARDED_BY(mu) = 0;
  uint64_t backup_number ABSL_GUARDED_BY(mu) = 0;
  std::map<ino_t, FileState> files ABSL_GUARDED_BY(mu);
  std::vector<NameChange> names ABSL_GUARDED_BY(mu);

  bool Owns(const std::string& path) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) {
    return !folder.empty() && (path == folder || path.starts_with(folder + "/"));
  }
};

Disk& TheDisk() {
  static Disk* const disk = new Disk;
  return *disk;
}

std::string PathOf(int fd) {
  std::array<char, 4096> path;
  const ssize_t size =
      readlink(("/proc/self/fd/" + std::to_string(fd)).c_str(), path.data(), path.size());
  return size <= 0 ? "" : std::string(path.data(), static_cast<size_t>(size));
}

std::string PathAt(int folder, const char* path) {
  if (path[0] == '/' || folder == AT_FDCWD) return path;
  return PathOf(folder) + "/" + path;
}

ino_t InodeOf(const std::string& path) {
  struct stat of_file;
  return lstat(path.c_str(), &of_file) == 0 ? of_file.st_ino : 0;
}

std::string ParentOf(const std::string& path) { return fs::path(path).parent_path().string(); }
std::string NameOf(const std::string& path) { return fs::path(path).filename().string(); }

std::string ReadAll(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

// A second name for what is at `path`, outside of the folder; empty: nothing is there.
std::string Backup(Disk& disk, const std::string& path) ABSL_EXCLUSIVE_LOCKS_REQUIRED(disk.mu) {
  const std::string backup = disk.backups + "/" + std::to_string(++disk.backup_number);
  return REAL(link)(path.c_str(), backup.c_str()) == 0 ? backup : "";
}

// -1 with errno: the write fails.
int BeforeWrite(int fd, size_t bytes, std::optional<uint64_t> at) {
  Disk& disk = TheDisk();
  MutexLock lock(&disk.mu);
  if (disk.folder.empty()) return 0;
  const std::string path = PathOf(fd);
  if (!disk.Owns(path)) return 0;
  if (disk.stopped || disk.write_error != 0) {
    errno = disk.stopped ? EIO : disk.write_error;
    return -1;
  }
  if (disk.left < static_cast<int64_t>(bytes)) {
    disk.left = 0;
    errno = ENOSPC;
    return -1;
  }
  struct stat of_file;
  if (fstat(fd, &of_file) != 0) return 0;
  const auto size = static_cast<uint64_t>(of_file.st_size);
  const auto [state, is_new] = disk.files.try_emplace(of_file.st_ino);
  if (is_new) state->second.synced = size;
  if (at.has_value() && *at < state->second.synced) {
    // What replaces bytes takes no room.
    if (!state->second.before.has_value() && size < 65536) state->second.before = ReadAll(path);
  } else {
    disk.left -= static_cast<int64_t>(bytes);
  }
  disk.written += bytes;
  return 0;
}

int Sync(int fd, int (*real)(int)) {
  Disk& disk = TheDisk();
  MutexLock lock(&disk.mu);
  if (disk.folder.empty() || !disk.Owns(PathOf(fd))) return real(fd);
  ++disk.syncs;
  struct stat of_file;
  if (fstat(fd, &of_file) != 0) return -1;
  const auto size = static_cast<uint64_t>(of_file.st_size);
  FileState* file = nullptr;
  if (const auto found = disk.files.find(of_file.st_ino); found != disk.files.end())
    file = &found->second;
  if (disk.stopped || disk.sync_error != 0) {
    errno = disk.stopped ? EIO : disk.sync_error;
    if (file != nullptr && size > file->synced) {
      file->holes.emplace_back(file->synced, size);
      file->synced = size;
    }
    return -1;
  }
  // It is a test: nothing has to survive the machine.
  if (file != nullptr) {
    file->synced = size;
    file->before.reset();
  }
  std::erase_if(disk.names, [&](const NameChange& n) { return n.folder == of_file.st_ino; });
  return 0;
}

// -1 with errno: names cannot change.
int BeforeNames(Disk& disk, bool needs_room) ABSL_EXCLUSIVE_LOCKS_REQUIRED(disk.mu) {
  if (disk.stopped || disk.write_error != 0 || (needs_room && disk.left <= 0)) {
    errno = disk.stopped ? EIO : disk.write_error != 0 ? disk.write_error : ENOSPC;
    return -1;
  }
  return 0;
}

int OpenFile(int folder, const char* path, int flags, mode_t mode) {
  auto* const real = REAL(openat);
  // Also where this file reads, with the lock held.
  if ((flags & (O_CREAT | O_TRUNC)) == 0) return real(folder, path, flags, mode);
  Disk& disk = TheDisk();
  MutexLock lock(&disk.mu);
  const std::string full = disk.folder.empty() ? "" : PathAt(folder, path);
  if (!disk.Owns(full)) return real(folder, path, flags, mode);
  const ino_t before = InodeOf(full);
  if (BeforeNames(disk, before == 0) != 0) return -1;
  const int fd = real(folder, path, flags, mode);
  if (fd < 0) return fd;
  const ino_t inode = InodeOf(full);
  if (before == 0)
    disk.names.push_back({NameChange::Kind::kMade, InodeOf(ParentOf(full)), NameOf(full), "", ""});
  if (before == 0 || (flags & O_TRUNC) != 0) disk.files[inode] = FileState();
  return fd;
}

// `change` makes a new name for `path`.
template <typename Change>
int Make(const std::string& path, Change change) {
  Disk& disk = TheDisk();
  MutexLock lock(&disk.mu);
  const bool owned = disk.Owns(path);
  if (owned && BeforeNames(disk, true) != 0) return -1;
  const int result = change();
  if (result == 0 && owned) {
    disk.names.push_back({NameChange::Kind::kMade, InodeOf(ParentOf(path)), NameOf(path), "", ""});
  }
  return result;
}

int Rename(const std::string& from, const std::string& to) {
  auto* const real = REAL(rename);
  Disk& disk = TheDisk();
  MutexLock lock(&disk.mu);
  if (!disk.Owns(from)) return real(from.c_str(), to.c_str());
  if (BeforeNames(disk, false) != 0) return -1;
  const ino_t from_folder = InodeOf(ParentOf(from)), to_folder = InodeOf(ParentOf(to));
  const std::string moved = from_folder == to_folder ? "" : Backup(disk, from);
  NameChange change{NameChange::Kind::kRenamed, to_folder, NameOf(to), NameOf(from),
                    Backup(disk, to)};
  const int result = real(from.c_str(), to.c_str());
  if (result != 0) return result;
  if (from_folder == to_folder) {
    disk.names.push_back(std::move(change));
  } else {
    // Each folder keeps its half of it.
    disk.names.push_back({NameChange::Kind::kMade, to_folder, NameOf(to), "", ""});
    disk.names.push_back({NameChange::Kind::kRemoved, from_folder, NameOf(from), "0", moved});
  }
  return 0;
}

int Remove(const std::string& path, int folder, const char* name, int flags) {
  auto* const real = REAL(unlinkat);
  Disk& disk = TheDisk();
  MutexLock lock(&disk.mu);
  if (!disk.Owns(path)) return real(folder, name, flags);
  if (BeforeNames(disk, false) != 0) return -1;
  NameChange change{NameChange::Kind::kRemoved, InodeOf(ParentOf(path)), NameOf(path),
                    std::to_string(InodeOf(path)), Backup(disk, path)};
  const int result = real(folder, name, flags);
  if (result == 0) disk.names.push_back(std::move(change));
  return result;
}

std::string FindFolder(const std::string& root, ino_t inode) {
  if (InodeOf(root) == inode) return root;
  for (const auto& entry : fs::recursive_directory_iterator(root)) {
    if (entry.is_directory() && InodeOf(entry.path().string()) == inode)
      return entry.path().string();
  }
  return "";
}

void UndoNames(const std::string& root, std::vector<NameChange> names) {
  std::map<ino_t, ino_t> again;  // folders that were removed, and are made anew
  for (; !names.empty(); names.pop_back()) {
    const NameChange& change = names.back();
    const auto other = again.find(change.folder);
    const std::string folder =
        FindFolder(root, other == again.end() ? change.folder : other->second);
    if (folder.empty()) continue;
    const std::string path = folder + "/" + change.name;
    switch (change.kind) {
      case NameChange::Kind::kMade:
        fs::remove_all(path);
        break;
      case NameChange::Kind::kRenamed:
        fs::rename(path, folder + "/" + change.old_name);
        if (!change.backup.empty()) fs::rename(change.backup, path);
        break;
      case NameChange::Kind::kRemoved:
        if (!change.backup.empty()) {
          fs::rename(change.backup, path);
        } else {
          fs::create_directory(path);
          again[std::stoull(change.old_name)] = InodeOf(path);
        }
        break;
    }
  }
}

void LoseBytes(const std::string& path, const FileState& file, bool overwritten_too) {
  if (overwritten_too && file.before.has_value()) {
    std::fstream(path, std::ios::binary | std::ios::in | std::ios::out) << *file.before;
    return;
  }
  if (fs::file_size(path) > file.synced) fs::resize_file(path, file.synced);
  for (const auto& [from, to] : file.holes) {
    std::fstream stream(path, std::ios::binary | std::ios::in | std::ios::out);
    stream.seekp(static_cast<std::streamoff>(from));
    stream << std::string(to - from, '\0');
  }
}

}  // namespace

FaultyDisk::FaultyDisk(const std::string& folder) {
  const std::string backups = folder + ".backups";
  fs::create_directories(backups);
  Disk& disk = TheDisk();
  MutexLock lock(&disk.mu);
  if (!disk.folder.empty()) std::abort();
  disk.folder = folder;
  disk.backups = backups;
  disk.left = int64_t{1} << 60;
  disk.syncs = disk.written = 0;
}

FaultyDisk::~FaultyDisk() {
  Disk& disk = TheDisk();
  std::string backups;
  {
    MutexLock lock(&disk.mu);
    disk.folder.clear();
    disk.files.clear();
    disk.names.clear();
    disk.stopped = false;
    disk.write_error = disk.sync_error = 0;
    backups = disk.backups;
  }
  fs::remove_all(backups);
}

void FaultyDisk::FailWrites(int error) {
  MutexLock lock(&TheDisk().mu);
  TheDisk().write_error = error;
}

void FaultyDisk::FailSyncs(int error) {
  MutexLock lock(&TheDisk().mu);
  TheDisk().sync_error = error;
}

void FaultyDisk::Leave(int64_t bytes) {
  MutexLock lock(&TheDisk().mu);
  TheDisk().left = bytes;
}

void FaultyDisk::Stop() {
  MutexLock lock(&TheDisk().mu);
  TheDisk().stopped = true;
}

void FaultyDisk::PowerLoss(bool names_too) {
  Disk& disk = TheDisk();
  std::string folder;
  std::map<ino_t, FileState> files;
  std::vector<NameChange> names;
  {
    // What is changed below is not done by the store, and goes to libc untouched.
    MutexLock lock(&disk.mu);
    folder.swap(disk.folder);
    files.swap(disk.files);
    names.swap(disk.names);
  }
  for (const std::string& root : {folder, folder + ".backups"}) {
    for (const auto& entry : fs::recursive_directory_iterator(root)) {
      if (!entry.is_regular_file()) continue;
      const auto found = files.find(InodeOf(entry.path().string()));
      if (found == files.end()) continue;
      LoseBytes(entry.path().string(), found->second, names_too);
      files.erase(found);
    }
  }
  if (names_too) UndoNames(folder, std::move(names));
  MutexLock lock(&disk.mu);
  disk.folder = folder;
  disk.stopped = false;
  disk.write_error = disk.sync_error = 0;
  disk.left = int64_t{1} << 60;
}

uint64_t FaultyDisk::syncs() const {
  MutexLock lock(&TheDisk().mu);
  return TheDisk().syncs;
}

uint64_t FaultyDisk::bytes_written() const {
  MutexLock lock(&TheDisk().mu);
  return TheDisk().written;
}

}  // namespace larder

extern "C" {

ssize_t write(int fd, const void* bytes, size_t size) {
  if (larder::BeforeWrite(fd, size, std::nullopt) != 0) return -1;
  return REAL(write)(fd, bytes, size);
}

ssize_t pwrite(int fd, const void* bytes, size_t size, off_t at) {
  if (larder::BeforeWrite(fd, size, static_cast<uint64_t>(at)) != 0) return -1;
  return REAL(pwrite)(fd, bytes, size, at);
}

int fsync(int fd) { return larder::Sync(fd, REAL(fsync)); }
int fdatasync(int fd) { return larder::Sync(fd, REAL(fdatasync)); }

int open(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(arguments, mode_t) : 0;
  va_end(arguments);
  return larder::OpenFile(AT_FDCWD, path, flags, mode);
}

int openat(int folder, const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(arguments, mode_t) : 0;
  va_end(arguments);
  return larder::OpenFile(folder, path, flags, mode);
}

int mkdir(const char* path, mode_t mode) noexcept {
  return larder::Make(path, [&] { return REAL(mkdir)(path, mode); });
}
int link(const char* from, const char* to) noexcept {
  return larder::Make(to, [&] { return REAL(link)(from, to); });
}
int rename(const char* from, const char* to) noexcept { return larder::Rename(from, to); }

int unlink(const char* path) noexcept { return larder::Remove(path, AT_FDCWD, path, 0); }
int rmdir(const char* path) noexcept { return larder::Remove(path, AT_FDCWD, path, AT_REMOVEDIR); }
int unlinkat(int folder, const char* path, int flags) noexcept {
  return larder::Remove(larder::PathAt(folder, path), folder, path, flags);
}
int remove(const char* path) noexcept {
  struct stat of_file;
  const bool is_folder = lstat(path, &of_file) == 0 && S_ISDIR(of_file.st_mode);
  return larder::Remove(path, AT_FDCWD, path, is_folder ? AT_REMOVEDIR : 0);
}

// What is left is free.
int statvfs(const char* path, struct statvfs* answer) noexcept {
  const int result = REAL(statvfs)(path, answer);
  larder::Disk& disk = larder::TheDisk();
  larder::MutexLock lock(&disk.mu);
  if (result == 0 && disk.Owns(path))
    answer->f_bavail = static_cast<fsblkcnt_t>(disk.left) / answer->f_frsize;
  return result;
}
}
