// PendingFilter says of most keys that do not wait that they do not, without a lock: most reads are
// of such keys. Thread safety: any method, any thread. Never blocks. Errors: none; MayHold may be
// wrong about a key that is not there, never about one that is.

#ifndef LARDER_JOURNAL_PENDING_FILTER_H_
#define LARDER_JOURNAL_PENDING_FILTER_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include "base/keyed_hash.h"
#include "base/random.h"

namespace larder {

class PendingFilter {
 public:
  explicit PendingFilter(Random* random)
      : hash_(random->Next(), random->Next()),
        cells_(std::make_unique<std::atomic<uint32_t>[]>(kCells)) {}

  void Add(std::string_view key) { CellOf(key).fetch_add(1, std::memory_order_release); }
  // REQUIRES: it was added.
  void Remove(std::string_view key) { CellOf(key).fetch_sub(1, std::memory_order_release); }
  bool MayHold(std::string_view key) const {
    return CellOf(key).load(std::memory_order_acquire) > 0;
  }

  static constexpr size_t kBytes = (size_t{1} << 18) * sizeof(uint32_t);

 private:
  // A hundred thousand keys leave two thirds of the cells empty.
  static constexpr size_t kCells = size_t{1} << 18;

  std::atomic<uint32_t>& CellOf(std::string_view key) const {
    return cells_[hash_(key) & (kCells - 1)];
  }

  const KeyedHash hash_;
  const std::unique_ptr<std::atomic<uint32_t>[]> cells_;
};

}  // namespace larder

#endif  // LARDER_JOURNAL_PENDING_FILTER_H_
