// Keys and namespaces: what is allowed, and how the two join into the key that every tier uses.
// Thread safety: values and pure functions.

#ifndef LARDER_CORE_KEY_H_
#define LARDER_CORE_KEY_H_

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "base/words.h"

namespace larder {

inline constexpr size_t kKeyBytesMax = 1024;
inline constexpr size_t kNamespaceBytesMax = 64;
inline constexpr size_t kTagsMax = 16;
inline constexpr size_t kTagBytesMax = 128;
inline constexpr std::string_view kDefaultNamespace = "default";

// OK for 1 to 1,024 bytes of valid UTF-8 without control characters (U+0000 to U+001F, U+007F to
// U+009F). Else KEY_INVALID with field `key`.
absl::Status CheckKey(std::string_view key);

// OK for 1 to 64 characters out of a-z, A-Z, 0-9, '.', '_', '-'; empty stands for `default`. Else
// NAMESPACE_INVALID.
absl::Status CheckNamespace(std::string_view name);

// OK for 1 to 128 bytes that would be allowed in a key. Else TAG_INVALID.
absl::Status CheckTag(std::string_view tag);

// A namespace and a key in one string: the namespace's length in one byte, the namespace, the key.
// Two different pairs never give the same string, whatever characters they hold. Lives on the
// stack; holds a copy.
class FullKey {
 public:
  // REQUIRES: both passed their check.
  FullKey(std::string_view name_space, std::string_view key) {
    if (name_space.empty()) {
      std::memcpy(bytes_, kDefaultPrefix, sizeof(kDefaultPrefix) - 1);
      size_ = sizeof(kDefaultPrefix) - 1;
    } else {
      bytes_[0] = static_cast<char>(name_space.size());
      std::memcpy(bytes_ + 1, name_space.data(), name_space.size());
      size_ = 1 + name_space.size();
    }
    // Word by word, the last one padded, so that whoever reads the words of a default namespace's
    // key right afterwards takes each from the one store that wrote it. A load that needs two
    // stores waits for all that came before them, which in a loop of lookups is the lookup before.
    char* to = bytes_ + size_;
    size_ += key.size();
    const char* from = key.data();
    size_t left = key.size();
    for (; left >= sizeof(uint64_t); left -= sizeof(uint64_t)) {
      std::memcpy(to, from, sizeof(uint64_t));
      from += sizeof(uint64_t);
      to += sizeof(uint64_t);
    }
    const uint64_t last = LoadPart(from, left);
    std::memcpy(to, &last, sizeof(last));
  }

  std::string_view view() const { return {bytes_, size_}; }
  std::string_view name_space() const { return {bytes_ + 1, static_cast<uint8_t>(bytes_[0])}; }
  std::string_view key() const { return KeyOf(view()); }

  // The parts of a string that view() made.
  static std::string_view NamespaceOf(std::string_view full) {
    return {full.data() + 1, static_cast<uint8_t>(full[0])};
  }
  static bool IsDefault(std::string_view full) {
    return full.size() >= sizeof(uint64_t) && LoadWord(full.data()) == LoadWord(kDefaultPrefix);
  }
  static std::string_view KeyOf(std::string_view full) {
    const size_t skip = 1 + static_cast<uint8_t>(full[0]);
    return {full.data() + skip, full.size() - skip};
  }

 private:
  static constexpr char kDefaultPrefix[] = "\7default";

  size_t size_;
  char bytes_[1 + kNamespaceBytesMax + kKeyBytesMax + sizeof(uint64_t)];
};

}  // namespace larder

#endif  // LARDER_CORE_KEY_H_
