// KeyTemplate makes the keys of a data type and takes them apart, by the template that the server
// gives the type its keys by: `user:{id}`, `orders:{shop}:{id}:v2`.
//   {name}  one or more bytes other than ':'; names are letters, digits and '_'
//   *       any bytes, also none: keys with it can be taken apart, not made
//   other   itself; `\` takes the next character literally
// A made key is one of the template's own, of which Match gives the same captures again: no value
// of a capture can make it a key of something else. docs/keys.md says how to name keys.
// Immutable. Thread safety: any method, any thread. Never asks a server.

#ifndef LARDER_KEYS_H_
#define LARDER_KEYS_H_

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace larder {

class KeyTemplate {
 public:
  static constexpr size_t kBytesMax = 256;
  static constexpr size_t kWildcardsMax = 8;

  using Captures = std::map<std::string, std::string>;

  // INVALID_ARGUMENT (REQUEST_INVALID, field `template`) says what is wrong and at which byte.
  // Takes exactly what the server takes.
  static absl::StatusOr<KeyTemplate> Parse(std::string_view text);

  // INVALID_ARGUMENT (KEY_INVALID) names the capture that is missing, unknown, empty, holds a ':'
  // or would be read back as something else, or says what is wrong with the key: at most 1,024
  // bytes of UTF-8 without control characters.
  absl::StatusOr<std::string> Make(const Captures& captures) const;

  // What each name stands for in `key`; unset when the key does not match. Where it can be read in
  // several ways, each wildcard, from left to right, takes as few bytes as possible.
  std::optional<Captures> Match(std::string_view key) const;

  const std::string& text() const { return text_; }

 private:
  enum class Kind { kLiteral, kCapture, kStar };
  struct Part {
    Kind kind;
    std::string text;  // the literal's bytes or the capture's name
  };
  class Parser;

  KeyTemplate() = default;

  std::string text_;
  std::vector<Part> parts_;
};

}  // namespace larder

#endif  // LARDER_KEYS_H_
