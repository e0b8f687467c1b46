// The records of the journal and their form on disk. Thread safety: values and pure functions.

#ifndef LARDER_JOURNAL_RECORD_H_
#define LARDER_JOURNAL_RECORD_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "core/version.h"

namespace larder {

// One write that is on its way to its origin.
struct JournalRecord {
  // Its place in the journal: larger is later. Given by the journal, never twice.
  uint64_t seq = 0;
  std::string full_key;  // namespace and key, as core/key.h joins them
  std::string type;      // name of the data type
  bool remove = false;
  std::string value;  // as callers see it; empty for a removal
  Version version = kNoVersion;
  // It was a dead letter, or came back with damaged files: its version may be older than what has
  // been delivered since, so readers must not take it for what the key is.
  bool put_back = false;
  // By which callers and the origin know the write; may be empty.
  std::string request_id;
  // W3C trace context of the call that made it (core/trace_parent.h); empty: none. What earlier
  // larders wrote may be anything of at most 55 bytes.
  std::string trace_parent = {};
  absl::Time enqueued;
};

// A write that the origin refused for good.
struct DeadLetter {
  uint64_t id = 0;  // larger is later
  JournalRecord record;
  std::string error;
  uint32_t attempts = 0;
  absl::Time first_attempt;
  absl::Time last_attempt;
};

// The stored form, with a format number in front and a checksum over all of it behind. seq and id
// are not in it: they are the keys under which it lies. But the checksum counts them in, so that
// bytes which lie under another's key are found out. Times are kept to the nanosecond.
// Without `traced` the trace parent is left out, for which older larders have no place.
std::string EncodeRecord(const JournalRecord& record, bool traced = true);
// DATA_LOSS says what is wrong. Never crashes, whatever `bytes` are.
absl::StatusOr<JournalRecord> DecodeRecord(uint64_t seq, std::string_view bytes);
// The same without the value, of which only the length is answered; the checksum covers it anyway.
absl::StatusOr<JournalRecord> DecodeRecordHead(uint64_t seq, std::string_view bytes,
                                               uint64_t* value_bytes);

std::string EncodeLetter(const DeadLetter& letter, bool traced = true);
absl::StatusOr<DeadLetter> DecodeLetter(uint64_t id, std::string_view bytes);
absl::StatusOr<DeadLetter> DecodeLetterHead(uint64_t id, std::string_view bytes,
                                            uint64_t* value_bytes);

}  // namespace larder

#endif  // LARDER_JOURNAL_RECORD_H_
