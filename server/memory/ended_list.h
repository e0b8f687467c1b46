// EndedList keeps what has expired in a shard until it is told. Bounded in bytes: what does not fit
// is counted, not kept.
// Thread safety: none; the shard holds its lock.

#ifndef LARDER_MEMORY_ENDED_LIST_H_
#define LARDER_MEMORY_ENDED_LIST_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <utility>
#include <vector>

#include "memory/l1.h"

namespace larder {

class EndedList {
 public:
  bool full(uint64_t bytes_max) const { return bytes_ >= bytes_max; }
  bool empty() const { return entries_.empty() && lost_ == 0; }

  void Add(L1::Ended ended, uint64_t bytes_max) {
    if (full(bytes_max)) {
      ++lost_;
      return;
    }
    bytes_ += BytesOf(ended);
    entries_.push_back(std::move(ended));
  }
  // Moves the oldest, at most `most`, to `out`.
  void Take(size_t most, std::vector<L1::Ended>* out, uint64_t* lost) {
    *lost += std::exchange(lost_, 0);
    for (; most > 0 && !entries_.empty(); --most) {
      bytes_ -= BytesOf(entries_.front());
      out->push_back(std::move(entries_.front()));
      entries_.pop_front();
    }
  }
  void Clear() { *this = EndedList(); }

 private:
  // What it takes, about.
  static uint64_t BytesOf(const L1::Ended& ended) {
    uint64_t bytes = sizeof(ended) + ended.full_key.size();
    for (const std::string& tag : ended.tags) bytes += sizeof(tag) + tag.size();
    return bytes;
  }

  std::deque<L1::Ended> entries_;
  uint64_t bytes_ = 0;
  uint64_t lost_ = 0;
};

}  // namespace larder

#endif  // LARDER_MEMORY_ENDED_LIST_H_
