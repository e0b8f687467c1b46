// Two slots take turns, in two blocks of the disk, so that one whole slot is there whatever
// happens to the write of the other:
//
//    0   8  magic "LRDRMARK"
//    8   4  format of the journal: 1, or 2 from the first record with a trace parent on
//   12   8  turn; the larger is the newer
//   20   8  synced      28  8  written      36  8  last seq
//   44   8  records     52  8  the first    60  8  letters       68  8  the first
//   76  36  boot id of the machine that ran when it was written, filled up with zeros
//  112   4  CRC-32C of all before
//
// Later formats keep the first 12 bytes and the size, so that this larder can say that it is too
// old. Format 2 comes with the first record that an older larder would take for damaged, and not
// before, so that one can be rolled back to while nobody traces; it then stays. Rejected: to count
// the traced records, and to go back to 1 when the last is gone, which whoever traces never sees.
//
// The file is not synced with each change: that would be a second fsync for every batch. It is
// handed to the kernel, so it is exact whenever the machine went on, which is when a process was
// killed or a disk went bad under it. After a loss of power it may be older than the journal, which
// then is believed; and it is never newer in what counts, because `synced` is written after the
// fsync it tells of. Not mmapped: a write to a full or broken disk then is an error instead of a
// signal, and costs a microsecond.

#include "journal/journal_store_mark.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <string_view>

#include "base/crc32c.h"
#include "base/status.h"
#include "base/strings.h"

namespace larder {
namespace {

constexpr std::string_view kMagic = "LRDRMARK";
constexpr uint32_t kTracedFormat = 2, kOldestFormat = 1;
constexpr size_t kBootIdBytes = 36;
constexpr size_t kBootIdAt = 76;
constexpr size_t kSlotBytes = 116;
// Blocks of a disk are at most so large.
constexpr off_t kSlotDistance = 4096;

using Slot = std::array<char, kSlotBytes>;

template <typename T>
void Put(Slot* slot, size_t at, T value) {
  for (size_t i = 0; i < sizeof(T); ++i)
    (*slot)[at + i] = static_cast<char>(value >> (8 * (sizeof(T) - 1 - i)));
}

template <typename T>
T Get(const Slot& slot, size_t at) {
  T value = 0;
  for (size_t i = 0; i < sizeof(T); ++i)
    value = static_cast<T>((uint64_t{value} << 8) | static_cast<uint8_t>(slot[at + i]));
  return value;
}

std::string_view Covered(const Slot& slot) { return {slot.data(), kSlotBytes - 4}; }

bool IsValid(const Slot& slot) {
  return Covered(slot).starts_with(kMagic) &&
         Get<uint32_t>(slot, kSlotBytes - 4) == Crc32c(0, Covered(slot));
}

absl::Status Fail(const std::string& path, const char* what) {
  const int error = errno;  // Before StrCat allocates.
  return absl::UnavailableError(StrCat(path, " cannot be ", what, ": ", std::strerror(error)));
}

absl::Status SyncFolder(const std::string& folder) {
  const int fd = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return Fail(folder, "opened");
  absl::Status status;
  if (fsync(fd) != 0) status = Fail(folder, "synced");
  close(fd);
  return status;
}

}  // namespace

JournalMark::JournalMark(int fd, const std::string& folder, const std::string& boot_id)
    : fd_(fd), folder_(folder), path_(folder + "/MARK"), boot_id_(boot_id.substr(0, kBootIdBytes)) {
  if (!boot_id_.empty()) boot_id_.resize(kBootIdBytes);
}

JournalMark::~JournalMark() { close(fd_); }

absl::StatusOr<std::unique_ptr<JournalMark>> JournalMark::Open(const std::string& folder,
                                                               const std::string& boot_id) {
  const std::string path = folder + "/MARK";
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return Fail(path, "opened");
  std::unique_ptr<JournalMark> mark(new JournalMark(fd, folder, boot_id));
  RETURN_IF_ERROR(mark->Read());
  return mark;
}

absl::Status JournalMark::Read() {
  std::optional<Slot> newest;
  for (const off_t at : {off_t{0}, kSlotDistance}) {
    Slot slot{};
    const ssize_t got = pread(fd_, slot.data(), slot.size(), at);
    if (got < 0) return Fail(path_, "read");
    if (got > 0) was_there_ = true;
    if (!IsValid(slot)) continue;
    const auto format = Get<uint32_t>(slot, 8);
    if (format < kOldestFormat || format > kTracedFormat) {
      return absl::FailedPreconditionError(
          StrCat("the journal at ", folder_, " was written by a newer larder, in format ", format,
                 "; this one reads up to format ", kTracedFormat));
    }
    if (!newest.has_value() || Get<uint64_t>(slot, 12) > Get<uint64_t>(*newest, 12)) newest = slot;
    format_ = std::max(format_, format);
  }
  damaged_ = was_there_ && !newest.has_value();
  if (!newest.has_value()) {
    format_ = kTracedFormat;  // Nothing says that there is no such record.
    return absl::OkStatus();
  }
  turn_ = Get<uint64_t>(*newest, 12);
  facts_ = {.synced = Get<uint64_t>(*newest, 20),
            .written = Get<uint64_t>(*newest, 28),
            .last_seq = Get<uint64_t>(*newest, 36),
            .records = Get<uint64_t>(*newest, 44),
            .first_record = Get<uint64_t>(*newest, 52),
            .letters = Get<uint64_t>(*newest, 60),
            .first_letter = Get<uint64_t>(*newest, 68)};
  const std::string_view boot_id(newest->data() + kBootIdAt, kBootIdBytes);
  // Without an id nothing shows that the machine went on.
  required_ = boot_id == boot_id_ ? facts_.written : facts_.synced;
  return absl::OkStatus();
}

absl::Status JournalMark::Write(const Facts& facts) {
  Slot slot{};
  std::copy(kMagic.begin(), kMagic.end(), slot.begin());
  Put(&slot, 8, format_);
  Put(&slot, 12, ++turn_);
  Put(&slot, 20, facts.synced);
  Put(&slot, 28, facts.written);
  Put(&slot, 36, facts.last_seq);
  Put(&slot, 44, facts.records);
  Put(&slot, 52, facts.first_record);
  Put(&slot, 60, facts.letters);
  Put(&slot, 68, facts.first_letter);
  std::copy(boot_id_.begin(), boot_id_.end(), slot.begin() + kBootIdAt);
  Put(&slot, kSlotBytes - 4, Crc32c(0, Covered(slot)));
  facts_ = facts;
  const off_t at = turn_ % 2 == 0 ? 0 : kSlotDistance;
  if (pwrite(fd_, slot.data(), slot.size(), at) != static_cast<ssize_t>(slot.size()))
    return Fail(path_, "written");
  return absl::OkStatus();
}

absl::Status JournalMark::Begin() {
  format_ = kOldestFormat;
  return SetSynced({});
}

// Both slots, so that one of them alone says it, too.
absl::Status JournalMark::AllowTraces() {
  if (format_ == kTracedFormat) return absl::OkStatus();
  format_ = kTracedFormat;
  absl::Status status;
  for (int slot = 0; slot < 2 && status.ok(); ++slot) status = Write(Facts(facts_));
  if (status.ok() && fdatasync(fd_) != 0) status = Fail(path_, "synced");
  if (!status.ok()) format_ = kOldestFormat;
  return status;
}

absl::Status JournalMark::Set(const Facts& facts) {
  RETURN_IF_ERROR(Write(facts));
  required_ = facts.written;
  return absl::OkStatus();
}

absl::Status JournalMark::SetSynced(const Facts& facts) {
  // Both slots of a new file, so that later writes need no more room on the disk.
  const bool is_new = !was_there_ || damaged_;
  if (is_new) RETURN_IF_ERROR(Write(facts));
  RETURN_IF_ERROR(Write(facts));
  if (fdatasync(fd_) != 0) return Fail(path_, "synced");
  if (is_new) RETURN_IF_ERROR(SyncFolder(folder_));
  was_there_ = true;
  damaged_ = false;
  required_ = facts.written;
  return absl::OkStatus();
}

}  // namespace larder
