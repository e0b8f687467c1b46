// TagSketch says of nearly all entries with tags, for a few loads, that no rule for a tag concerns
// them: a table of versions, by a few bits of the tag's hash, of the newest rule that has them. An
// entry keeps the hashes of its tags (its prints), so that nothing is hashed when it is read.
// Thread safety: any method, any thread; Raise before whatever tells readers that there is a rule.
// Never says so of an entry that a rule concerns; where tags share a place, it does not say so.

#ifndef LARDER_POLICY_TAG_SKETCH_H_
#define LARDER_POLICY_TAG_SKETCH_H_

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>

#include "core/version.h"

namespace larder {

// What an entry keeps of a tag.
using TagPrint = uint32_t;

// Prints of several tags as they lie in an entry: at any address.
struct TagPrints {
  const char* at = nullptr;
  size_t count = 0;
};

class TagSketch {
 public:
  // `places` is made a power of two.
  explicit TagSketch(size_t places)
      : mask_(std::bit_ceil(std::max<size_t>(places, 1)) - 1),
        newest_(std::make_unique<std::atomic<Version>[]>(mask_ + 1)) {}

  // There is a rule of this version for a tag with this print.
  void Raise(TagPrint print, Version version) { RaiseTo(&newest_[print & mask_], version); }
  // There may be rules up to this version for any tag.
  void RaiseAll(Version version) { RaiseTo(&all_, version); }

  // Whether a rule for one of these tags may concern an entry of that version.
  bool MayConcern(TagPrints prints, Version version) const {
    if (prints.count == 0) return false;
    if (version <= all_.load(std::memory_order_acquire)) return true;
    Version newest = kNoVersion;
    for (size_t i = 0; i < prints.count; ++i) {
      TagPrint print;
      std::memcpy(&print, prints.at + i * sizeof(print), sizeof(print));
      newest = std::max(newest, newest_[print & mask_].load(std::memory_order_acquire));
    }
    return version <= newest;
  }

  size_t bytes() const { return (mask_ + 1) * sizeof(newest_[0]); }

 private:
  static void RaiseTo(std::atomic<Version>* version, Version to) {
    Version there = version->load(std::memory_order_relaxed);
    while (there < to && !version->compare_exchange_weak(there, to, std::memory_order_release,
                                                         std::memory_order_relaxed)) {
    }
  }

  const size_t mask_;
  std::atomic<Version> all_{kNoVersion};
  const std::unique_ptr<std::atomic<Version>[]> newest_;
};

}  // namespace larder

#endif  // LARDER_POLICY_TAG_SKETCH_H_
