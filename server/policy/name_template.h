// NameTemplate makes names from the captures of a key: what else is invalidated when a key changes
// (`user:{id}:*`, `users:all`), or a tag that all entries of a type carry (`team:{team}`).
//   {name}  the capture of that name
//   *       at the end only: whatever begins like that
//   other   itself; `\` takes the next character literally
// Immutable. Thread safety: any method, any thread.

#ifndef LARDER_POLICY_NAME_TEMPLATE_H_
#define LARDER_POLICY_NAME_TEMPLATE_H_

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

namespace larder {

class NameTemplate {
 public:
  static constexpr size_t kBytesMax = 256;
  using Captures = std::vector<std::pair<std::string, std::string_view>>;

  // InvalidArgument says what is wrong: empty, too long, an unclosed or empty brace, a `*` that is
  // not at the end, nothing but a `*`, a trailing backslash.
  static absl::StatusOr<NameTemplate> Parse(std::string_view text);

  // Whether it stands for all that begins with what Make gives.
  bool is_prefix() const { return is_prefix_; }
  // The captures that it needs.
  std::vector<std::string> Needs() const;
  // False: one of them is missing, or the result is longer than a key may be.
  bool Make(const Captures& captures, std::string* made) const;

  const std::string& text() const { return text_; }

 private:
  struct Part {
    bool capture;
    std::string text;
  };

  std::string text_;
  std::vector<Part> parts_;
  bool is_prefix_ = false;
};

}  // namespace larder

#endif  // LARDER_POLICY_NAME_TEMPLATE_H_
