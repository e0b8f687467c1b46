// JournalMark is the small file MARK beside the journal's database. It says how far the journal had
// come when something was acknowledged for the last time, so that an end which is missing can be
// told from an end which never was.
// Thread safety: one thread at a time. Blocks on the disk; Set for a microsecond.

#ifndef LARDER_JOURNAL_JOURNAL_STORE_MARK_H_
#define LARDER_JOURNAL_JOURNAL_STORE_MARK_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace larder {

class JournalMark {
 public:
  struct Facts {
    uint64_t synced = 0;   // changes that were acknowledged as safe on disk
    uint64_t written = 0;  // changes that were acknowledged at all
    uint64_t last_seq = 0;
    // How many were there, and a number below which none was.
    uint64_t records = 0;
    uint64_t first_record = 0;
    uint64_t letters = 0;
    uint64_t first_letter = 0;
  };

  // Changes nothing that is there. `boot_id` of this run of the machine; empty: not known.
  // FAILED_PRECONDITION: a newer larder wrote it.
  static absl::StatusOr<std::unique_ptr<JournalMark>> Open(const std::string& folder,
                                                           const std::string& boot_id);
  ~JournalMark();
  JournalMark(const JournalMark&) = delete;
  JournalMark& operator=(const JournalMark&) = delete;

  // Until something is set: whether there was a file, and whether it said nothing.
  bool was_there() const { return was_there_; }
  bool damaged() const { return damaged_; }
  // The changes that must be found in the journal now: all that were acknowledged, or those that
  // were safe on disk, if the machine went down since.
  uint64_t required() const { return required_; }

  const Facts& facts() const { return facts_; }
  // SetSynced of a journal that is new, and so has no traced record.
  absl::Status Begin();
  // Keeps out larders that cannot read records with a trace parent. REQUIRES: an OK of it before
  // one is written.
  absl::Status AllowTraces();
  // Survives the end of the process when this returns, and a loss of power sometimes. REQUIRES: an
  // OK of SetSynced before.
  absl::Status Set(const Facts& facts);
  // Survives both. Makes the file if need be.
  absl::Status SetSynced(const Facts& facts);

 private:
  JournalMark(int fd, const std::string& folder, const std::string& boot_id);
  absl::Status Read();
  absl::Status Write(const Facts& facts);

  const int fd_;
  const std::string folder_;
  const std::string path_;
  std::string boot_id_;  // as long as it is in the file, or empty
  bool was_there_ = false;
  bool damaged_ = false;
  uint64_t required_ = 0;
  uint32_t format_ = 1;
  uint64_t turn_ = 0;  // of the last write; the slots take turns
  Facts facts_;
};

}  // namespace larder

#endif  // LARDER_JOURNAL_JOURNAL_STORE_MARK_H_
