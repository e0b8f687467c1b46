// SqlCounts are what an SQL origin counts of itself. Thread safety: any method, any thread.

#ifndef LARDER_ORIGIN_SQL_COUNTS_H_
#define LARDER_ORIGIN_SQL_COUNTS_H_

#include <atomic>
#include <cstdint>

#include "origin/origin.h"

namespace larder {

// A statement of a database takes thousands of times as long as to count it here.
struct SqlCounts {
  std::atomic<uint64_t> load_calls{0};
  std::atomic<uint64_t> load_items{0};
  std::atomic<uint64_t> store_calls{0};
  std::atomic<uint64_t> store_items{0};
  std::atomic<uint64_t> scan_calls{0};
  std::atomic<uint64_t> errors{0};
  std::atomic<uint64_t> item_errors{0};
  std::atomic<uint64_t> bad_answers{0};

  // The error of a whole call, on its way.
  absl::Status Failed(absl::Status status) {
    ++errors;
    return status;
  }

  void Fill(OriginStats* stats) const {
    stats->load_calls = load_calls;
    stats->load_items = load_items;
    stats->store_calls = store_calls;
    stats->store_items = store_items;
    stats->scan_calls = scan_calls;
    stats->errors = errors;
    stats->item_errors = item_errors;
    stats->bad_answers = bad_answers;
  }
};

}  // namespace larder

#endif  // LARDER_ORIGIN_SQL_COUNTS_H_
