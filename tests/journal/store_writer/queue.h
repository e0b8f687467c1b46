// The queue that journal_store_writer makes, so that a test can say what must be there when all up
// to a record was acknowledged: every batch appends three records, and erases those that are more
// than kWaiting old.

#ifndef LARDER_TESTS_JOURNAL_STORE_WRITER_QUEUE_H_
#define LARDER_TESTS_JOURNAL_STORE_WRITER_QUEUE_H_

#include <cstdint>
#include <vector>

#include "tests/journal/store_rig.h"

namespace larder {

inline constexpr uint64_t kWaiting = 60;
inline constexpr uint64_t kBatch = 3;

// The batch after `last`.
inline JournalStore::Changes BatchAfter(uint64_t last, size_t value_bytes) {
  JournalStore::Changes changes = Appending(last + 1, last + kBatch, value_bytes);
  for (uint64_t seq = last + 1; seq <= last + kBatch; ++seq) {
    if (seq > kWaiting) changes.erase.push_back(seq - kWaiting);
  }
  return changes;
}

// The records that are there after the batch that ends with `last`.
inline std::vector<uint64_t> WaitingAt(uint64_t last) {
  std::vector<uint64_t> seqs;
  for (uint64_t seq = last > kWaiting ? last - kWaiting + 1 : 1; seq <= last; ++seq)
    seqs.push_back(seq);
  return seqs;
}

}  // namespace larder

#endif  // LARDER_TESTS_JOURNAL_STORE_WRITER_QUEUE_H_
