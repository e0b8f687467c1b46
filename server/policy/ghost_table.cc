// Why tags and not an exact table: a table of hashes with links in order of age takes 16 bytes a
// key and more. Here the order within a bucket is the order in memory, so that nothing but the tag
// is stored, and a bucket is half a cache line: adding and looking up touch one line each. The cost
// is that the age of a key is only known to about a quarter, as the buckets do not fill equally.

#include "policy/ghost_table.h"

#include <algorithm>
#include <cstring>

#include "policy/tag_search.h"

namespace larder {
namespace {

uint16_t NotZero(uint16_t tag) { return tag == 0 ? 1 : tag; }

}  // namespace

void GhostTable::Resize(uint64_t keys) {
  buckets_ = std::max<uint64_t>(1, (keys + kDepth - 1) / kDepth);
  // A new vector, as assign() would keep a larger one's memory.
  tags_ = std::vector<uint16_t>(buckets_ * kDepth);
}

uint16_t *GhostTable::BucketOf(uint32_t place) {
  return &tags_[((place * buckets_) >> 32) * kDepth];
}

void GhostTable::Prefetch(uint32_t place) const {
  __builtin_prefetch(&tags_[((place * buckets_) >> 32) * kDepth], 1);
}

void GhostTable::Add(uint32_t place, uint16_t tag) {
  uint16_t *bucket = BucketOf(place);
  // Through registers: as one memmove it is a call.
  uint16_t kept[kDepth - 1];
  std::memcpy(kept, bucket, sizeof(kept));
  std::memcpy(bucket + 1, kept, sizeof(kept));
  bucket[0] = NotZero(tag);
}

bool GhostTable::Take(uint32_t place, uint16_t tag, uint32_t depth) {
  uint16_t *bucket = BucketOf(place);
  const uint16_t wanted = NotZero(tag);
  const uint32_t found = FindTag(bucket, kDepth, wanted);
  if (found == kDepth) return false;
  std::copy(bucket + found + 1, bucket + kDepth, bucket + found);
  bucket[kDepth - 1] = 0;
  return found < depth;
}

}  // namespace larder
