// Every x86-64 server of the last decade has an instruction for this polynomial; eight bytes at a
// time, one after the other, it takes about a third of a cycle a byte, which is less than copying
// the value to its reader costs. Three streams side by side would be three times as fast and need
// tables to join them; values that large are rare here. Elsewhere
// eight tables take eight bytes in a step (slicing by eight, Kounavis and Berry, 2005).

#include "base/crc32c.h"

#include <array>
#include <cstddef>

#include "base/words.h"

#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

namespace larder {
namespace crc32c_internal {
namespace {

// The polynomial with its bits reversed.
constexpr uint32_t kPolynomial = 0x82f63b78;

// tables[k][b]: what the byte b does to the checksum when k bytes follow it.
using Tables = std::array<std::array<uint32_t, 256>, 8>;

constexpr Tables MakeTables() {
  Tables tables{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? kPolynomial : 0);
    tables[0][byte] = crc;
  }
  for (size_t k = 1; k < 8; ++k) {
    for (size_t byte = 0; byte < 256; ++byte) {
      const uint32_t crc = tables[k - 1][byte];
      tables[k][byte] = (crc >> 8) ^ tables[0][crc & 0xff];
    }
  }
  return tables;
}

constexpr Tables kTables = MakeTables();

uint32_t ByteByTable(uint32_t crc, char byte) {
  return (crc >> 8) ^ kTables[0][(crc ^ static_cast<uint8_t>(byte)) & 0xff];
}

}  // namespace

uint32_t ByTable(uint32_t before, std::string_view bytes) {
  uint32_t crc = ~before;
  const char* at = bytes.data();
  size_t left = bytes.size();
  for (; left >= sizeof(uint64_t); left -= sizeof(uint64_t), at += sizeof(uint64_t)) {
    const uint64_t word = LoadWord(at) ^ crc;
    crc = 0;
    for (size_t i = 0; i < 8; ++i) crc ^= kTables[7 - i][(word >> (8 * i)) & 0xff];
  }
  for (; left > 0; --left, ++at) crc = ByteByTable(crc, *at);
  return ~crc;
}

#if defined(__x86_64__)

bool HasInstruction() { return __builtin_cpu_supports("sse4.2"); }

__attribute__((target("sse4.2"))) uint32_t ByInstruction(uint32_t before, std::string_view bytes) {
  uint64_t crc = ~before;
  const char* at = bytes.data();
  size_t left = bytes.size();
  for (; left >= sizeof(uint64_t); left -= sizeof(uint64_t), at += sizeof(uint64_t)) {
    crc = _mm_crc32_u64(crc, LoadWord(at));
  }
  for (; left > 0; --left, ++at) {
    crc = _mm_crc32_u8(static_cast<uint32_t>(crc), static_cast<uint8_t>(*at));
  }
  return ~static_cast<uint32_t>(crc);
}

#else

bool HasInstruction() { return false; }
uint32_t ByInstruction(uint32_t before, std::string_view bytes) { return ByTable(before, bytes); }

#endif

}  // namespace crc32c_internal

uint32_t Crc32c(uint32_t before, std::string_view bytes) {
  static const bool has_instruction = crc32c_internal::HasInstruction();
  return has_instruction ? crc32c_internal::ByInstruction(before, bytes)
                         : crc32c_internal::ByTable(before, bytes);
}

}  // namespace larder
