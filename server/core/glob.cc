// A glob is a small nondeterministic automaton, and 257 states fit into five machine words: the set
// of states that are alive is a bit set, and reading one byte is a mask, a shift and an or. Time is
// linear in the key and does not depend on how the stars are placed; the backtracking matchers that
// most caches use take quadratic time (or worse) for a pattern such as `*a*a*a*b`, which any client
// may send.
//
// A star is no element of its own: it makes the state before it stay alive whatever is read. A `?`
// takes the lead byte of a character; the state after it stays alive over the continuation bytes
// that follow (keys are valid UTF-8).

#include "core/glob.h"

#include <bit>

#include "base/strings.h"

namespace larder {
namespace {

bool IsContinuation(unsigned byte) { return (byte & 0xC0) == 0x80; }

absl::Status Bad(std::string_view text, size_t at, std::string_view what) {
  return absl::InvalidArgumentError(StrCat("glob \"", text, "\" at byte ", at + 1, ": ", what));
}

// The bytes that a set such as [a-z_] takes. Reads from behind the '[' and leaves `at` behind the
// ']'.
absl::StatusOr<std::array<bool, 256>> ParseSet(std::string_view text, size_t& at) {
  const size_t open = at - 1;
  std::array<bool, 256> takes{};
  const bool negated = at < text.size() && (text[at] == '^' || text[at] == '!');
  if (negated) ++at;
  const size_t first = at;
  for (; at < text.size() && (text[at] != ']' || at == first); ++at) {
    if (text[at] == '\\' && ++at == text.size()) break;
    const auto low = static_cast<unsigned char>(text[at]);
    unsigned char high = low;
    if (at + 2 < text.size() && text[at + 1] == '-' && text[at + 2] != ']') {
      at += 2;
      high = static_cast<unsigned char>(text[at]);
    }
    if (low > 0x7F || high > 0x7F) return Bad(text, at, "a set takes ASCII characters only");
    if (low > high) return Bad(text, at, "a range must go upward");
    for (unsigned b = low; b <= high; ++b) takes[b] = true;
  }
  if (at >= text.size()) return Bad(text, open, "the set is never closed by ']'");
  ++at;
  if (negated) {
    for (unsigned b = 0; b < 256; ++b) takes[b] = !takes[b] && !IsContinuation(b);
  }
  return takes;
}

}  // namespace

absl::StatusOr<Glob> Glob::Parse(std::string_view text) {
  if (text.empty()) return absl::InvalidArgumentError("glob is empty");
  if (text.size() > kBytesMax) {
    return absl::InvalidArgumentError(
        StrCat("glob is ", text.size(), " bytes; at most ", kBytesMax));
  }
  Glob glob;
  glob.text_ = text;
  auto tables = std::make_shared<Tables>();
  *tables = {};
  bool literal_so_far = true;
  size_t any_characters = 0;
  const auto set = [](States& states, size_t i) { states[i / 64] |= uint64_t{1} << (i % 64); };

  for (size_t at = 0; at < text.size();) {
    const size_t element = glob.elements_;
    const char c = text[at++];
    if (c == '*') {
      set(tables->stay_any, element);
      literal_so_far = false;
      continue;
    }
    ++glob.elements_;
    if (c == '?') {
      for (unsigned b = 0; b < 256; ++b) {
        if (!IsContinuation(b)) set(tables->step[b], element);
      }
      set(tables->stay_continuation, element + 1);
      literal_so_far = false;
      ++any_characters;
    } else if (c == '[') {
      auto takes = ParseSet(text, at);
      if (!takes.ok()) return takes.status();
      for (unsigned b = 0; b < 256; ++b) {
        if ((*takes)[b]) set(tables->step[b], element);
      }
      // A negated set may take the lead byte of a longer character.
      if ((*takes)[0xC2]) set(tables->stay_continuation, element + 1);
      literal_so_far = false;
    } else {
      if (c == '\\' && at == text.size()) return Bad(text, at - 1, "nothing follows the backslash");
      const char literal = c == '\\' ? text[at++] : c;
      set(tables->step[static_cast<unsigned char>(literal)], element);
      if (literal_so_far) glob.literal_prefix_ += literal;
    }
  }
  // A key has a character at least: with a star beside it, a single `?` asks for nothing.
  const bool has_star = glob.elements_ < text.size() && any_characters == glob.elements_;
  glob.matches_everything_ = has_star && glob.elements_ <= 1;
  glob.tables_ = std::move(tables);
  return glob;
}

bool Glob::Matches(std::string_view key) const {
  const size_t words = elements_ / 64 + 1;
  States alive{};
  alive[0] = 1;
  for (const char c : key) {
    const auto byte = static_cast<unsigned char>(c);
    const States& step = tables_->step[byte];
    const bool continuation = IsContinuation(byte);
    uint64_t carry = 0;
    uint64_t any = 0;
    for (size_t w = 0; w < words; ++w) {
      const uint64_t taken = alive[w] & step[w];
      uint64_t next = taken << 1 | carry | (alive[w] & tables_->stay_any[w]);
      if (continuation) next |= alive[w] & tables_->stay_continuation[w];
      carry = taken >> 63;
      alive[w] = next;
      any |= next;
    }
    if (any == 0) return false;
  }
  return alive[elements_ / 64] >> (elements_ % 64) & 1;
}

}  // namespace larder
