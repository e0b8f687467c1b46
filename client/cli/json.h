// Json builds one JSON object, field by field. 64-bit versions are written as strings, because many
// readers of JSON keep numbers as doubles; durations as seconds.
// Thread safety: none needed. Every text becomes valid JSON: bytes that are not UTF-8 turn into
// U+FFFD, so give values to Value(), which keeps them.

#ifndef LARDER_CLIENT_CLI_JSON_H_
#define LARDER_CLIENT_CLI_JSON_H_

#include <concepts>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"

namespace larder::cli {

class Json {
 public:
  void Field(std::string_view name, std::string_view text);
  void Field(std::string_view name, const char* text) { Field(name, std::string_view(text)); }
  void Field(std::string_view name, double number);
  void Field(std::string_view name, absl::Duration duration);
  void Field(std::string_view name, absl::Time time);
  void Field(std::string_view name, const std::vector<std::string>& texts);
  // Templates, so that neither a pointer becomes a bool nor a bool a number.
  template <std::same_as<bool> Bool>
  void Field(std::string_view name, Bool truth) {
    Raw(name, truth ? "true" : "false");
  }
  template <std::integral Integer>
    requires(!std::same_as<Integer, bool>)
  void Field(std::string_view name, Integer number) {
    Raw(name, std::to_string(number));
  }

  // A 64-bit number as a string.
  void Version(std::string_view name, uint64_t version) {
    Field(name, std::string_view(std::to_string(version)));
  }
  // `value` when it is UTF-8, else `value_base64`.
  void Value(std::string_view value);

  void Object(std::string_view name, const Json& object) { Raw(name, object.Text()); }
  // One object per element; fill(element, &object).
  template <typename List, typename Fill>
  void Array(std::string_view name, const List& list, Fill fill) {
    std::string text;
    for (const auto& element : list) {
      Json object;
      fill(element, &object);
      text += (text.empty() ? "" : ",") + object.Text();
    }
    Raw(name, "[" + text + "]");
  }

  std::string Text() const { return "{" + fields_ + "}"; }

 private:
  void Raw(std::string_view name, std::string_view json);

  std::string fields_;
};

// Whether `text` is UTF-8, and whether a terminal can show it as it is.
bool IsUtf8(std::string_view text);
bool IsPrintable(std::string_view text);

}  // namespace larder::cli

#endif  // LARDER_CLIENT_CLI_JSON_H_
