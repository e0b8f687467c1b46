// Segments are backed in the order of their addresses and ready ones are given last in, first out,
// so that memory that was never needed is never touched. Taking memory away leaves the addresses
// readable, as zeroes: a reader that is late reads nothing wrong, because what it was looking for
// was taken out of the index before.

#include "memory/segment_pool.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <new>
#include <utility>

#include "base/epoch.h"

namespace larder {

void SegmentPool::Free::operator()(Segment* segments) const { std::free(segments); }

// All but the first: to find one takes the system up to milliseconds, and whoever writes the first
// entry of a shard waits for it. The others are found ahead.
void SegmentPool::WantHugePages(char* memory, uint64_t bytes) {
  madvise(memory, kPageBytes, MADV_NOHUGEPAGE);
  madvise(memory + kPageBytes, bytes - kPageBytes, MADV_HUGEPAGE);
}

// Where the kernel does not know it, whoever writes first waits.
void SegmentPool::FindPage(char* page) { madvise(page, kPageBytes, MADV_POPULATE_WRITE); }

SegmentPool::SegmentPool(char* memory, uint32_t capacity, uint32_t segment_bytes)
    : memory_(memory),
      capacity_(capacity),
      segment_bytes_(segment_bytes),
      segment_shift_(std::countr_zero(segment_bytes)) {
  // Zeroed by the system and so not resident until used: the addresses may be for a budget that is
  // never reached. All of Segment's initial values are zero.
  void* const books = std::calloc(capacity, sizeof(Segment));
  if (books == nullptr) std::abort();
  segments_.reset(static_cast<Segment*>(books));
}

uint32_t SegmentPool::Take() {
  if (ready_.empty()) return kNone;
  const uint32_t number = ready_.back();
  ready_.pop_back();
  segments_[number] = Segment{};
  return number;
}

bool SegmentPool::Back() {
  uint32_t number;
  if (!unbacked_.empty()) {
    number = unbacked_.back();
    unbacked_.pop_back();
  } else if (end_ < capacity_) {
    number = end_++;
  } else {
    return false;
  }
  segments_[number].state = Segment::State::kReady;
  ready_.push_back(number);
  ++backed_;
  return true;
}

char* SegmentPool::TakeNextPage() {
  const uint64_t used = static_cast<uint64_t>(end_) * segment_bytes_;
  const uint64_t all = static_cast<uint64_t>(capacity_) * segment_bytes_;
  found_bytes_ = std::max(found_bytes_, used / kPageBytes * kPageBytes);
  if (has_holes_ || used + kPageBytes / 2 < found_bytes_ || found_bytes_ + kPageBytes > all)
    return nullptr;
  return memory_ + std::exchange(found_bytes_, found_bytes_ + kPageBytes);
}

bool SegmentPool::Unback() {
  if (ready_.empty()) return false;
  const uint32_t number = ready_.back();
  ready_.pop_back();
  // Else the system would fill the holes up again to make huge pages.
  if (!std::exchange(has_holes_, true)) {
    madvise(memory_, static_cast<uint64_t>(capacity_) * segment_bytes_, MADV_NOHUGEPAGE);
  }
  madvise(memory(number), segment_bytes_, MADV_DONTNEED);
  segments_[number].state = Segment::State::kUnbacked;
  unbacked_.push_back(number);
  --backed_;
  return true;
}

void SegmentPool::Retire(uint32_t number) {
  segments_[number].state = Segment::State::kWaiting;
  segments_[number].stamp = Epoch::Stamp();
  waiting_.push_back(number);
}

void SegmentPool::Reclaim(uint64_t passed) {
  size_t kept = 0;
  for (const uint32_t number : waiting_) {
    if (segments_[number].stamp > passed) {
      waiting_[kept++] = number;
      continue;
    }
    segments_[number].state = Segment::State::kReady;
    ready_.push_back(number);
  }
  waiting_.resize(kept);
}

uint64_t SegmentPool::bytes() const {
  return static_cast<uint64_t>(backed_) * segment_bytes_ +
         static_cast<uint64_t>(end_) * (sizeof(Segment) + 2 * sizeof(uint32_t));
}

}  // namespace larder
