// Short strings as words: for the few places where calling the library costs more than the work.
// Thread safety: pure functions.

#ifndef LARDER_BASE_WORDS_H_
#define LARDER_BASE_WORDS_H_

#include <cstdint>
#include <cstring>
#include <string_view>

namespace larder {

inline uint64_t LoadWord(const char* from) {
  uint64_t word;
  std::memcpy(&word, from, sizeof(word));
  return word;
}

// The `size` bytes at `from`, less than 8, as a word whose other bytes are zero. Reads no others.
inline uint64_t LoadPart(const char* from, size_t size) {
  if (size >= sizeof(uint32_t)) {
    uint32_t first, last;
    std::memcpy(&first, from, sizeof(first));
    std::memcpy(&last, from + size - sizeof(last), sizeof(last));
    return first | static_cast<uint64_t>(last) << (8 * (size - sizeof(last)));
  }
  if (size == 0) return 0;
  const auto byte = [from](size_t at) {
    return static_cast<uint64_t>(static_cast<uint8_t>(from[at])) << (8 * at);
  };
  return byte(0) | byte(size / 2) | byte(size - 1);
}

// a == b.
inline bool SameBytes(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  const char* x = a.data();
  const char* y = b.data();
  size_t left = a.size();
  for (; left >= sizeof(uint64_t); left -= sizeof(uint64_t)) {
    if (LoadWord(x) != LoadWord(y)) return false;
    x += sizeof(uint64_t);
    y += sizeof(uint64_t);
  }
  if (left >= sizeof(uint32_t)) {
    const auto load = [](const char* from) {
      uint32_t part;
      std::memcpy(&part, from, sizeof(part));
      return part;
    };
    const size_t last = left - sizeof(uint32_t);
    return ((load(x) ^ load(y)) | (load(x + last) ^ load(y + last))) == 0;
  }
  for (; left > 0; --left) {
    if (*x++ != *y++) return false;
  }
  return true;
}

}  // namespace larder

#endif  // LARDER_BASE_WORDS_H_
