#include <array>

#include "redis/redis.h"

namespace larder {
namespace {

// CRC-16 with the polynomial 0x1021 and nothing reflected (XMODEM), which Redis Cluster is defined
// by.
constexpr std::array<uint16_t, 256> MakeTable() {
  std::array<uint16_t, 256> table{};
  for (unsigned i = 0; i < 256; ++i) {
    unsigned crc = i << 8;
    for (int bit = 0; bit < 8; ++bit) crc = (crc << 1) ^ ((crc & 0x8000) != 0 ? 0x1021 : 0);
    table[i] = static_cast<uint16_t>(crc);
  }
  return table;
}
constexpr std::array<uint16_t, 256> kTable = MakeTable();

// What between the first `{` and the `}` after it is not empty stands for the whole key.
std::string_view HashedPart(std::string_view key) {
  const size_t open = key.find('{');
  if (open == std::string_view::npos) return key;
  const size_t close = key.find('}', open + 1);
  if (close == std::string_view::npos || close == open + 1) return key;
  return key.substr(open + 1, close - open - 1);
}

}  // namespace

uint16_t RedisSlot(std::string_view key) {
  uint16_t crc = 0;
  for (const char c : HashedPart(key)) {
    const unsigned at = ((crc >> 8) ^ static_cast<unsigned char>(c)) & 0xff;
    crc = static_cast<uint16_t>((crc << 8) ^ kTable[at]);
  }
  return crc % 16384;
}

}  // namespace larder
