// An entry is one version of one key's value with all that the cache knows about it. Tiers keep
// entries each in a form of their own; here is what goes into one and what comes out of one.
// Thread safety: values.

#ifndef LARDER_CORE_ENTRY_H_
#define LARDER_CORE_ENTRY_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "core/shared_bytes.h"
#include "core/version.h"

namespace larder {

// How a value's bytes are stored: 0 is plain; other numbers belong to the codecs (policy/codec.h)
// and mean nothing to the tiers.
using Encoding = uint16_t;
inline constexpr Encoding kPlain = 0;

inline constexpr size_t kValidatorBytesMax = 256;

// What an entry is made from. Views: they outlive the call that takes them.
struct EntryFields {
  std::string_view full_key;  // FullKey::view()
  std::string_view value;     // as stored
  Encoding encoding = kPlain;
  uint32_t plain_bytes = 0;  // of the decoded value, for an encoded one
  // The origin has no such key; the value is empty.
  bool negative = false;
  Version version = kNoVersion;
  // When it was written; 0 = when the version was made.
  MonoNanos written = 0;
  // Until when it is fresh, until when it may be served at all (fresh_until <= usable_until).
  MonoNanos fresh_until = 0;
  MonoNanos usable_until = 0;
  // Not 0: every hit makes the entry fresh and usable for this long again.
  MonoNanos sliding = 0;
  uint16_t type_id = 0;
  uint16_t namespace_id = 0;
  std::vector<std::string> tags = {};
  std::vector<std::string> depends_on = {};
  // The origin's name for this content, such as an ETag; empty: none. At most kValidatorBytesMax.
  std::string validator = {};
  // The origin said so; else somebody wrote it. Known for types whose writes may wait in the
  // journal, and for whatever has a validator.
  bool loaded = false;

  bool FromOrigin() const { return loaded || !validator.empty(); }
};

// A copy of an entry, as a read hands it out. Reading into the same Entry again reuses its memory.
struct Entry {
  // The value as stored: small ones are copied, large ones shared.
  std::string_view stored() const { return shared ? shared.view() : std::string_view(bytes); }
  // Whether there is any of what few entries have.
  bool HasRare() const {
    return shared || loaded || !tags.empty() || !depends_on.empty() || !validator.empty();
  }
  // Drops it.
  void DropRare();
  // Bytes of the value as callers see it.
  uint64_t value_bytes() const { return encoding == kPlain ? stored().size() : plain_bytes; }

  std::string bytes;
  SharedBytes shared;
  Encoding encoding = kPlain;
  uint32_t plain_bytes = 0;
  bool negative = false;
  Version version = kNoVersion;
  MonoNanos written = 0;
  MonoNanos fresh_until = 0;
  MonoNanos usable_until = 0;
  MonoNanos sliding = 0;
  // What fresh_until was before this read moved it; 0 when it did not.
  MonoNanos slid_from = 0;
  uint16_t type_id = 0;
  uint16_t namespace_id = 0;
  // Hits of late, those of the versions before it included; they fade with time.
  uint32_t hits = 0;
  std::vector<std::string> tags;
  std::vector<std::string> depends_on;
  std::string validator;
  bool loaded = false;  // see EntryFields
};

}  // namespace larder

#endif  // LARDER_CORE_ENTRY_H_
