// Joins std::string_view, which our interfaces take, with absl. Debian builds absl with a
// string_view class of its own, which neither converts to std::string_view nor comes from one; so
// absl::StrCat, absl::StrAppend, the constructors of absl::Status and lookups in
// flat_hash_map<std::string, T> do not take std::string_view. These do:
//   absl::InvalidArgumentError(StrCat("no type \"", name, "\""))
//   map.find(ToAbsl(name))
// Thread safety: functions without state. Correct as well where the two string_views are one type.

#ifndef LARDER_BASE_STRINGS_H_
#define LARDER_BASE_STRINGS_H_

#include <string>
#include <string_view>
#include <type_traits>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace larder {

// The result refers to the same characters as `text`.
inline absl::string_view ToAbsl(std::string_view text) { return {text.data(), text.size()}; }
inline std::string_view ToStd(absl::string_view text) { return {text.data(), text.size()}; }

namespace strings_internal {
template <typename T>
decltype(auto) Piece(const T& value) {
  if constexpr (std::is_same_v<T, std::string_view>) {
    return ToAbsl(value);
  } else {
    return static_cast<const T&>(value);
  }
}
}  // namespace strings_internal

// absl::StrCat and absl::StrAppend, with std::string_view among what they take.
template <typename... Args>
std::string StrCat(const Args&... args) {
  return absl::StrCat(strings_internal::Piece(args)...);
}
template <typename... Args>
void StrAppend(std::string* out, const Args&... args) {
  absl::StrAppend(out, strings_internal::Piece(args)...);
}

}  // namespace larder

#endif  // LARDER_BASE_STRINGS_H_
