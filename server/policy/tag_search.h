// FindTag looks for a 16-bit tag in an array, sixteen at a step.
// Thread safety: a function of its arguments.

#ifndef LARDER_POLICY_TAG_SEARCH_H_
#define LARDER_POLICY_TAG_SEARCH_H_

#include <cstdint>
#include <cstring>

namespace larder {

inline constexpr uint32_t kTagBlock = 16;

// The place of the first `tag` in tags[0, count), or `count`. `count` is a multiple of kTagBlock.
inline uint32_t FindTag(const uint16_t *tags, uint32_t count, uint16_t tag) {
  // gcc and clang compile these to whatever vectors the machine has; neither of them turns a plain
  // loop with an early exit into vectors.
  using Lanes = uint16_t __attribute__((vector_size(16)));
  using Halves = uint64_t __attribute__((vector_size(16)));
  const Lanes wanted = Lanes{} + tag;
  for (uint32_t block = 0; block < count; block += kTagBlock) {
    Lanes low;
    Lanes high;
    std::memcpy(&low, tags + block, sizeof(low));
    std::memcpy(&high, tags + block + kTagBlock / 2, sizeof(high));
    const auto equal = reinterpret_cast<Halves>((low == wanted) | (high == wanted));
    if ((equal[0] | equal[1]) == 0) continue;
    uint32_t place = block;
    while (tags[place] != tag) ++place;
    return place;
  }
  return count;
}

}  // namespace larder

#endif  // LARDER_POLICY_TAG_SEARCH_H_
