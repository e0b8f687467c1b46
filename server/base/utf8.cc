#include "base/utf8.h"

namespace larder {

Rune DecodeRune(std::string_view text) {
  const auto first = static_cast<uint8_t>(text[0]);
  if (first < 0x80) return {first, 1, true};
  if (first < 0xC2 || first > 0xF4) return {first, 1, false};
  const size_t bytes = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
  // Only the second byte's range depends on the first.
  uint8_t low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
  uint8_t high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
  uint32_t code = first & (0xFF >> (bytes + 1));
  for (size_t i = 1; i < bytes; ++i) {
    const uint8_t next = i < text.size() ? static_cast<uint8_t>(text[i]) : 0;
    if (next < low || next > high) return {code, i, false};
    code = code << 6 | (next & 0x3F);
    low = 0x80;
    high = 0xBF;
  }
  return {code, bytes, true};
}

std::string CleanUtf8(std::string_view text, size_t bytes_max) {
  std::string clean;
  while (!text.empty()) {
    const Rune rune = DecodeRune(text);
    const std::string_view piece = rune.valid ? text.substr(0, rune.bytes) : "?";
    if (clean.size() + piece.size() > bytes_max) break;
    clean.append(piece);
    text.remove_prefix(rune.bytes);
  }
  return clean;
}

}  // namespace larder
