// LiveSet holds the numbers of the records, or letters, that are there, in 2 bits each where they
// are dense, and a sum over them by which two sets can be compared.
// Thread safety: as a standard container.

#ifndef LARDER_JOURNAL_JOURNAL_STORE_LIVE_H_
#define LARDER_JOURNAL_JOURNAL_STORE_LIVE_H_

#include <bit>
#include <cstdint>

#include "absl/container/btree_map.h"

namespace larder {

// What is written of a set into the journal.
struct LiveSum {
  uint64_t count = 0;
  uint64_t sum = 0;    // of the scrambled numbers
  uint64_t first = 0;  // no smaller number is in the set

  friend bool operator==(const LiveSum&, const LiveSum&) = default;
};

class LiveSet {
 public:
  bool Has(uint64_t number) const {
    const auto found = blocks_.find(number / 64);
    return found != blocks_.end() && (found->second & Bit(number)) != 0;
  }
  // False: it was there.
  bool Add(uint64_t number) {
    uint64_t& block = blocks_[number / 64];
    if ((block & Bit(number)) != 0) return false;
    block |= Bit(number);
    ++count_;
    sum_ += Scramble(number);
    return true;
  }
  // False: it was not there.
  bool Remove(uint64_t number) {
    const auto found = blocks_.find(number / 64);
    if (found == blocks_.end() || (found->second & Bit(number)) == 0) return false;
    found->second &= ~Bit(number);
    if (found->second == 0) blocks_.erase(found);
    --count_;
    sum_ -= Scramble(number);
    return true;
  }
  // `next` is larger than all numbers that ever were in it.
  LiveSum Sum(uint64_t next) const {
    LiveSum sum{.count = count_, .sum = sum_, .first = next};
    if (!blocks_.empty()) {
      const auto& [block, bits] = *blocks_.begin();
      sum.first = block * 64 + static_cast<uint64_t>(std::countr_zero(bits));
    }
    return sum;
  }

 private:
  static uint64_t Bit(uint64_t number) { return uint64_t{1} << (number % 64); }
  // The finalizer of SplitMix64: neighbours become unlike each other.
  static uint64_t Scramble(uint64_t number) {
    number += 0x9e3779b97f4a7c15;
    number = (number ^ (number >> 30)) * 0xbf58476d1ce4e5b9;
    number = (number ^ (number >> 27)) * 0x94d049bb133111eb;
    return number ^ (number >> 31);
  }

  absl::btree_map<uint64_t, uint64_t> blocks_;
  uint64_t count_ = 0;
  uint64_t sum_ = 0;
};

}  // namespace larder

#endif  // LARDER_JOURNAL_JOURNAL_STORE_LIVE_H_
