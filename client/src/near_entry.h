// NearEntry is one copy of the near cache: a header, and behind it in the same allocation the key,
// the value and the tags. Immutable but for what the table keeps in it under a shard's lock.
// Thread safety: Ref and Unref: any thread; the rest as said beside the fields.

#ifndef LARDER_CLIENT_SRC_NEAR_ENTRY_H_
#define LARDER_CLIENT_SRC_NEAR_ENTRY_H_

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "larder/result.h"

namespace larder::internal {

struct NearEntry {
  // What the allocator takes beside what it is asked for, at least.
  static constexpr size_t kAllocatorBytes = 16;

  // Times are nanoseconds of the steady clock.
  mutable std::atomic<uint32_t> refs{1};
  uint32_t key_bytes = 0;
  uint32_t value_bytes = 0;
  uint32_t tags_bytes = 0;
  uint64_t hash = 0;
  uint64_t version = 0;
  int64_t born = 0;         // when the version was written, as far as the server said
  int64_t fresh_until = 0;  // by the server's word
  int64_t until = 0;        // fresh_until, or earlier
  uint64_t epoch = 0;       // of its stream, when it was asked for
  uint32_t stream = 0;
  Tier tier = Tier::kUnspecified;
  // Under the shard's lock.
  uint64_t rules_seen = 0;  // rules of the shard that it was compared with
  uint8_t uses = 0;

  std::string_view key() const { return {Data(), key_bytes}; }
  std::string_view value() const { return {Data() + key_bytes, value_bytes}; }
  bool HasTag(std::string_view tag) const;
  std::vector<std::string> Tags() const;
  // All that it takes.
  size_t Bytes() const { return BytesFor(key_bytes, value_bytes, tags_bytes); }

  static size_t BytesFor(size_t key, size_t value, size_t tags) {
    return sizeof(NearEntry) + key + value + tags + kAllocatorBytes;
  }
  static size_t TagsBytes(const std::vector<std::string>& tags);
  // With one reference. REQUIRES: each tag at most 65,535 bytes, key and value below 4 GiB.
  static NearEntry* New(std::string_view key, const Entry& entry);

  void Ref() const { refs.fetch_add(1, std::memory_order_relaxed); }
  void Unref() const {
    if (refs.fetch_sub(1, std::memory_order_acq_rel) == 1) Free();
  }

 private:
  const char* Data() const { return reinterpret_cast<const char*>(this + 1); }
  char* Data() { return reinterpret_cast<char*>(this + 1); }
  void Free() const;
};

}  // namespace larder::internal

#endif  // LARDER_CLIENT_SRC_NEAR_ENTRY_H_
