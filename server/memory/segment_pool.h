// SegmentPool is a shard's memory for records: segments of one size in a range of addresses that
// never moves. A segment is in use, ready, waiting for readers, or not backed by memory at all.
// Thread safety: one thread at a time, the holder of the shard's lock; readers may look into a
// segment until it is given again.

#ifndef LARDER_MEMORY_SEGMENT_POOL_H_
#define LARDER_MEMORY_SEGMENT_POOL_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "base/clock.h"
#include "policy/eviction.h"

namespace larder {

// Newcomers and what earned its stay: the two chains of the eviction.
using Chain = EvictionPolicy::Chain;
inline constexpr int kChains = 2;

struct Segment {
  enum class State : uint8_t {
    kUnbacked,  // takes no memory
    kReady,
    kOpen,    // records are appended
    kSealed,  // full, in its chain
    kVictim,  // being evicted, out of its chain
    kWaiting  // for readers
  };
  State state = State::kUnbacked;
  Chain chain = Chain::kSmall;
  uint8_t ttl_class = 0;
  uint16_t group = 0;  // see Shard
  uint32_t tail = 0;   // bytes appended
  uint32_t dead = 0;   // bytes of records that are dead
  uint32_t live = 0;   // records that are not
  // When it was opened, in bytes that the shard had appended until then.
  uint64_t order = 0;
  // Between these its records end.
  MonoNanos first_expiry = 0;
  MonoNanos last_expiry = 0;
  MonoNanos opened = 0;
  uint64_t stamp = 0;
  // Neighbours in the chain, older and newer.
  uint32_t older = 0;
  uint32_t newer = 0;
};

class SegmentPool {
 public:
  static constexpr uint32_t kNone = UINT32_MAX;
  // Of a huge page.
  static constexpr uint64_t kPageBytes = 2 << 20;

  // For addresses that begin where a huge page may.
  static void WantHugePages(char* memory, uint64_t bytes);
  // Has the system find memory for what TakeNextPage gave. Any thread; may take long.
  static void FindPage(char* page);

  // `memory` is address space for `capacity` segments. REQUIRES: segment_bytes is a power of two.
  SegmentPool(char* memory, uint32_t capacity, uint32_t segment_bytes);

  Segment& operator[](uint32_t number) { return segments_[number]; }
  const Segment& operator[](uint32_t number) const { return segments_[number]; }
  char* memory(uint32_t number) const {
    return memory_ + static_cast<uint64_t>(number) * segment_bytes_;
  }
  uint32_t NumberOf(const void* record) const {
    return static_cast<uint32_t>(
        static_cast<uint64_t>(static_cast<const char*>(record) - memory_) >> segment_shift_);
  }
  // Segments that ever had memory have numbers below this.
  uint32_t end() const { return end_; }
  uint32_t segment_bytes() const { return segment_bytes_; }

  // A ready segment, as if new; kNone when there is none.
  uint32_t Take();
  // Backs a further segment with memory and makes it ready. False at the end of the addresses.
  bool Back();
  // The start of kPageBytes of the addresses that are going to be written soon and never were, each
  // of them once; null: none is. To touch memory for the first time may take the system
  // milliseconds, and whoever does it here holds up nobody.
  char* TakeNextPage();
  // Takes the memory of a ready segment away. False when none is ready.
  bool Unback();
  // Keeps the segment from being given again while readers may look into it.
  void Retire(uint32_t number);
  // Makes ready what was retired before `passed` (Epoch::Passed).
  void Reclaim(uint64_t passed);

  uint32_t ready() const { return static_cast<uint32_t>(ready_.size()); }
  uint32_t waiting() const { return static_cast<uint32_t>(waiting_.size()); }
  uint32_t backed() const { return backed_; }
  // Memory of all segments that have some, and of the books.
  uint64_t bytes() const;
  // What backing a further one would add.
  uint64_t growth_bytes() const { return segment_bytes_ + sizeof(Segment) + 2 * sizeof(uint32_t); }

 private:
  struct Free {
    void operator()(Segment* segments) const;
  };

  char* const memory_;
  const uint32_t capacity_;
  const uint32_t segment_bytes_;
  const int segment_shift_;
  std::unique_ptr<Segment[], Free> segments_;
  uint32_t end_ = 0;
  uint32_t backed_ = 0;
  bool has_holes_ = false;
  // From the start: what is in use, or was given by TakeNextPage. The first page is found piece by
  // piece, so that a shard that holds little takes little.
  uint64_t found_bytes_ = kPageBytes;
  std::vector<uint32_t> ready_;
  std::vector<uint32_t> unbacked_;
  std::vector<uint32_t> waiting_;  // oldest first
};

}  // namespace larder

#endif  // LARDER_MEMORY_SEGMENT_POOL_H_
