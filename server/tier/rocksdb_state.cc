// RocksDB finds what is wrong inside a file by checksums, but it cannot know that a log or a
// manifest once was longer, if it ends where a record ends. For a cache that is the worst kind of
// damage: the store is as it was a while ago, with erased keys in it. There are three ways to get
// there.
//
// The power fails. The log is written without fsync, since a cache must not wait for a disk with
// every put, and what the kernel had not yet written is gone. The kernel gives each boot an id;
// STATE holds the one under which the database was open. If it was not closed and the id is another
// one, the store is dropped. A container that comes up on another host sees another id, too, and
// rightly so.
//
// Somebody truncates, removes or restores files. When the database is closed in order, STATE gets
// the names and sizes of its files, and they have to be the same when it is opened. (After kill -9
// there is no such list, and what happens then between two processes is not noticed, unless
// RocksDB does.)
//
// The process is killed: nothing is lost, because write(2) has handed everything to the kernel.

#include "tier/rocksdb_state.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <system_error>
#include <utility>
#include <vector>

#include "base/status.h"
#include "base/strings.h"

namespace larder {
namespace {

namespace fs = std::filesystem;

constexpr char kStateName[] = "STATE";
constexpr char kOpen[] = "open ";
constexpr char kClosed[] = "closed\n";

std::string KernelBootId() {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string id;
  std::getline(file, id);
  return id;
}

// What RocksDB cannot do without; its own log and lock, and copies of its options, may come and go.
bool Matters(const std::string& name) {
  return name == "CURRENT" || name.starts_with("MANIFEST-") || name.ends_with(".sst") ||
         name.ends_with(".log");
}

}  // namespace

RocksState::RocksState(std::unique_ptr<DataDir> dir, std::string boot_id)
    : dir_(std::move(dir)), db_path_(dir_->path() + "/db"), boot_id_(std::move(boot_id)) {}

absl::StatusOr<std::unique_ptr<RocksState>> RocksState::Open(const std::string& path,
                                                             const std::string& boot_id) {
  ASSIGN_OR_RETURN(auto dir, DataDir::Open(path));
  return std::unique_ptr<RocksState>(
      new RocksState(std::move(dir), boot_id.empty() ? KernelBootId() : boot_id));
}

RocksState::Verdict RocksState::Judge() const {
  std::error_code error;
  if (!fs::exists(db_path_, error) || fs::is_empty(db_path_, error)) return Verdict::kEmpty;
  if (distrusted_) return Verdict::kUnknown;
  // Without it RocksDB would begin an empty database among the files of the old one.
  if (!fs::exists(db_path_ + "/CURRENT", error)) return Verdict::kChanged;
  const auto state = dir_->ReadFile(kStateName);
  if (!state.ok()) return Verdict::kUnknown;
  // Without an id nothing shows that the machine went on.
  if (state->starts_with(kOpen)) {
    return !boot_id_.empty() && *state == kOpen + boot_id_ ? Verdict::kTrusted
                                                           : Verdict::kPowerLoss;
  }
  if (!state->starts_with(kClosed)) return Verdict::kUnknown;
  const auto listing = Listing();
  return listing.ok() && *state == kClosed + *listing ? Verdict::kTrusted : Verdict::kChanged;
}

absl::Status RocksState::MarkOpen() { return dir_->WriteFile(kStateName, kOpen + boot_id_); }

absl::Status RocksState::MarkClosed() {
  ASSIGN_OR_RETURN(const std::string listing, Listing());
  return dir_->WriteFile(kStateName, kClosed + listing);
}

absl::Status RocksState::Drop() {
  // Half a database must not be taken for one, whatever comes.
  distrusted_ = true;
  std::error_code error;
  fs::remove_all(db_path_, error);
  if (!error) {
    distrusted_ = false;
    return absl::OkStatus();
  }
  return absl::InternalError(StrCat(db_path_, " cannot be removed: ", error.message()));
}

absl::StatusOr<std::string> RocksState::Listing() const {
  std::vector<std::string> lines;
  std::error_code error;
  for (fs::directory_iterator at(db_path_, error), end; !error && at != end; at.increment(error)) {
    const std::string name = at->path().filename().string();
    if (!Matters(name)) continue;
    const uint64_t size = at->file_size(error);
    if (error) break;
    lines.push_back(StrCat(name, " ", size, "\n"));
  }
  if (error) return absl::InternalError(StrCat(db_path_, " cannot be listed: ", error.message()));
  std::sort(lines.begin(), lines.end());
  std::string listing;
  for (const std::string& line : lines) listing += line;
  return listing;
}

uint64_t BytesUnder(const std::string& path) {
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

}  // namespace larder
