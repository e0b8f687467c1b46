// Entry is one version of one key's value with all that the cache knows about it. Immutable: a
// change makes a new one. Only the hit count moves. One allocation holds the header, the key, the
// value, the tags and the dependencies. Thread safety: any method, any thread. EntryPtr counts
// references; the last one frees the entry.

#ifndef LARDER_CORE_ENTRY_H_
#define LARDER_CORE_ENTRY_H_

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "core/version.h"

namespace larder {

class Entry;

class EntryPtr {
 public:
  EntryPtr() = default;
  EntryPtr(const EntryPtr& other);
  EntryPtr(EntryPtr&& other) noexcept : entry_(std::exchange(other.entry_, nullptr)) {}
  EntryPtr& operator=(EntryPtr other) noexcept {
    std::swap(entry_, other.entry_);
    return *this;
  }
  ~EntryPtr();

  const Entry* get() const { return entry_; }
  const Entry* operator->() const { return entry_; }
  const Entry& operator*() const { return *entry_; }
  explicit operator bool() const { return entry_ != nullptr; }

 private:
  friend class Entry;
  explicit EntryPtr(const Entry* entry) : entry_(entry) {}
  const Entry* entry_ = nullptr;
};

// What an entry is made from.
struct EntryFields {
  std::string_view full_key;  // FullKey::view()
  std::string_view value;
  // The origin has no such key; the value is empty.
  bool negative = false;
  Version version = kNoVersion;
  // When it was written, until when it is fresh, until when it may be served at all (fresh_until <=
  // usable_until).
  MonoNanos written = 0;
  MonoNanos fresh_until = 0;
  MonoNanos usable_until = 0;
  uint16_t type_id = 0;
  uint16_t namespace_id = 0;
  std::vector<std::string> tags;
  std::vector<std::string> depends_on;
};

class Entry {
 public:
  static EntryPtr New(const EntryFields& fields);

  std::string_view full_key() const { return {bytes(), key_size_}; }
  std::string_view value() const { return {bytes() + key_size_, value_size_}; }
  bool negative() const { return negative_; }
  Version version() const { return version_; }
  MonoNanos written() const { return written_; }
  MonoNanos fresh_until() const { return fresh_until_; }
  MonoNanos usable_until() const { return usable_until_; }
  uint16_t type_id() const { return type_id_; }
  uint16_t namespace_id() const { return namespace_id_; }
  bool has_tags() const { return tag_count_ > 0; }
  std::vector<std::string> tags() const { return Lists(0, tag_count_); }
  std::vector<std::string> depends_on() const { return Lists(tag_count_, dependency_count_); }

  uint32_t hits() const { return hits_.load(std::memory_order_relaxed); }
  void CountHit() const { CarryHits(1); }
  // Adds the hits of the version that this one replaces, so that what is popular stays so.
  void CarryHits(uint32_t more) const {
    const uint32_t now = hits();
    hits_.store(now + std::min(more, UINT32_MAX - now), std::memory_order_relaxed);
  }

  // Bytes that the allocation takes.
  size_t allocated_bytes() const;
  // The same for an entry that is not made yet.
  static size_t BytesFor(const EntryFields& fields);

 private:
  friend class EntryPtr;

  explicit Entry(const EntryFields& fields);

  char* bytes() { return reinterpret_cast<char*>(this + 1); }
  const char* bytes() const { return reinterpret_cast<const char*>(this + 1); }
  std::vector<std::string> Lists(size_t skip, size_t count) const;
  void Release() const;

  mutable std::atomic<uint32_t> references_{1};
  // Racing increments may be lost: the count steers TTLs and need not be exact.
  mutable std::atomic<uint32_t> hits_{0};
  const Version version_;
  const MonoNanos written_;
  const MonoNanos fresh_until_;
  const MonoNanos usable_until_;
  const uint32_t value_size_;
  const uint16_t key_size_;
  const uint16_t type_id_;
  const uint16_t namespace_id_;
  const uint8_t tag_count_;
  const uint8_t dependency_count_;
  const bool negative_;
};

inline EntryPtr::EntryPtr(const EntryPtr& other) : entry_(other.entry_) {
  if (entry_ != nullptr) entry_->references_.fetch_add(1, std::memory_order_relaxed);
}
inline EntryPtr::~EntryPtr() {
  if (entry_ != nullptr) entry_->Release();
}

}  // namespace larder

#endif  // LARDER_CORE_ENTRY_H_
