// Pattern is what gives keys their data type: `user:{id}`, `session:*`.
//   {name}  matches one or more bytes other than ':' and captures them; names are letters, digits
//   and '_'
//   *       matches any bytes, also none
//   other   matches itself; `\` takes the next character literally
// Where a key can match in several ways, each wildcard, from left to right, takes as few bytes as
// possible. Immutable. Thread safety: any method, any thread. Matching takes time linear in the key
// for a given pattern.

#ifndef LARDER_POLICY_PATTERN_H_
#define LARDER_POLICY_PATTERN_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

namespace larder {

class Pattern {
 public:
  static constexpr size_t kBytesMax = 256;
  static constexpr size_t kWildcardsMax = 8;

  // InvalidArgument says what is wrong and at which byte: empty, too long, an unclosed, unopened or
  // empty brace, a name that is none or used twice, two wildcards side by side, too many of them, a
  // trailing backslash, a control character, what is not UTF-8.
  static absl::StatusOr<Pattern> Parse(std::string_view text);

  bool Matches(std::string_view key) const;

  // Fills `captures` with (name, part of `key`) in the order of the pattern. False leaves
  // `captures` as it was.
  bool Match(std::string_view key,
             std::vector<std::pair<std::string, std::string_view>>* captures) const;

  // The key of which Match gives exactly `captures`, in whatever order they come. InvalidArgument
  // names the capture that is missing, given twice or none of the pattern's, is empty, holds a ':',
  // or would be read back as something else; or says that the pattern has a `*`, for which nothing
  // can be given, or what is wrong with the key.
  absl::StatusOr<std::string> Make(
      const std::vector<std::pair<std::string, std::string_view>>& captures) const;

  const std::string& text() const { return text_; }
  // The literal bytes before the first wildcard, and all literal bytes: the more of them, the more
  // specific.
  const std::string& literal_prefix() const { return literal_prefix_; }
  size_t literal_bytes() const { return literal_bytes_; }
  // Equal for two patterns that differ only in the names of captures or in escaping, and so match
  // the same keys.
  std::string Shape() const;

 private:
  enum class PartKind : uint8_t { kLiteral, kCapture, kStar };
  struct Part {
    PartKind kind;
    std::string text;  // the literal's bytes or the capture's name
  };

  class Parser;

  Pattern() = default;

  bool MatchMiddle(std::string_view key, size_t first, size_t wildcards,
                   std::vector<std::string_view>* taken) const;

  std::string NotItsOwn(
      const std::vector<std::pair<std::string, std::string_view>>& captures) const;

  std::string text_;
  std::string literal_prefix_;
  size_t literal_bytes_ = 0;
  // A literal and a wildcard alternate.
  std::vector<Part> parts_;
};

}  // namespace larder

#endif  // LARDER_POLICY_PATTERN_H_
