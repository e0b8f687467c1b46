// Glob matches keys against a pattern: `*` any bytes, `?` one character, `[a-z0]` and `[^a-z]` one
// ASCII character of (not of) a set, `\` takes the next byte literally. Matching takes one pass
// over the key, whatever the pattern. Immutable. Thread safety: any method, any thread.

#ifndef LARDER_CORE_GLOB_H_
#define LARDER_CORE_GLOB_H_

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace larder {

class Glob {
 public:
  static constexpr size_t kBytesMax = 256;

  // InvalidArgument says what is wrong: empty, longer than 256 bytes, an open set, a trailing
  // backslash, an empty or backward range, a byte beyond ASCII in a set.
  static absl::StatusOr<Glob> Parse(std::string_view text);

  // True when the whole key matches.
  bool Matches(std::string_view key) const;

  const std::string& text() const { return text_; }
  // The literal bytes before the first wildcard.
  const std::string& literal_prefix() const { return literal_prefix_; }
  // True when the pattern matches every key.
  bool matches_everything() const { return matches_everything_; }

 private:
  // State i is set when the first i elements match what was read so far; 256 elements at most, so
  // 257 states.
  static constexpr size_t kWords = (kBytesMax + 1 + 63) / 64;
  using States = std::array<uint64_t, kWords>;
  struct Tables {
    // Bit i of step[b]: element i takes byte b and goes on to state i + 1.
    std::array<States, 256> step;
    // States that stay while a byte is read: every byte (a star), or a continuation byte (after a
    // `?`).
    States stay_any;
    States stay_continuation;
  };

  Glob() = default;

  std::string text_;
  std::string literal_prefix_;
  size_t elements_ = 0;
  bool matches_everything_ = false;
  std::shared_ptr<const Tables> tables_;
};

}  // namespace larder

#endif  // LARDER_CORE_GLOB_H_
