// Reads UTF-8, strictly.
// Thread safety: a pure function.

#ifndef LARDER_BASE_UTF8_H_
#define LARDER_BASE_UTF8_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace larder {

struct Rune {
  uint32_t code;
  size_t bytes;
  bool valid;
};

// The first character of `text`: no overlong forms, no surrogates, nothing above U+10FFFF. An
// invalid one is as long as the longest start of a valid sequence, at least one byte, as Unicode
// recommends for replacing. REQUIRES: `text` is not empty.
Rune DecodeRune(std::string_view text);

// `text` as a string of a message or of JSON may hold it: `?` for what is no UTF-8, and of the
// whole characters as many as fit into `bytes_max`.
std::string CleanUtf8(std::string_view text, size_t bytes_max = std::string::npos);

}  // namespace larder

#endif  // LARDER_BASE_UTF8_H_
