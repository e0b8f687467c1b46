// GhostTable remembers which keys left a cache of late, two bytes a key: 16-bit tags in small
// buckets, each a queue of its own. A tag's place in its bucket tells how long ago its key left,
// because every bucket takes an equal part of what comes. Two keys in ten thousand are taken for
// another one.
// Thread safety: none; the owner's lock guards it. Allocates only in Resize. Never blocks or fails.

#ifndef LARDER_POLICY_GHOST_TABLE_H_
#define LARDER_POLICY_GHOST_TABLE_H_

#include <cstdint>
#include <vector>

namespace larder {

class GhostTable {
 public:
  static constexpr uint32_t kDepth = 16;

  // Forgets everything and makes room for `keys` keys, rounded up to whole buckets.
  void Resize(uint64_t keys);

  // Fetches the bucket of Add and Take, while something else is done.
  void Prefetch(uint32_t place) const;
  // Remembers a key in place of the oldest of its bucket. `place` is uniform over 32 bits, `tag`
  // independent of it.
  void Add(uint32_t place, uint16_t tag);
  // Forgets the key. True if it was remembered and among the latest `depth` of its bucket, that is
  // about among the latest depth / kDepth of all.
  bool Take(uint32_t place, uint16_t tag, uint32_t depth);

  uint64_t bytes() const { return tags_.capacity() * sizeof(uint16_t); }

 private:
  uint16_t *BucketOf(uint32_t place);

  uint64_t buckets_ = 0;
  // Newest first within a bucket; 0 is no tag.
  std::vector<uint16_t> tags_;
};

}  // namespace larder

#endif  // LARDER_POLICY_GHOST_TABLE_H_
