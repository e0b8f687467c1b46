#include "client/src/near_entry.h"

#include <chrono>
#include <cstring>
#include <new>
#include <utility>

#include "larder/near_cache.h"

namespace larder {
namespace internal {

// A tag is two bytes of length, then its bytes.
constexpr size_t kTagHead = sizeof(uint16_t);

size_t NearEntry::TagsBytes(const std::vector<std::string>& tags) {
  size_t bytes = 0;
  for (const std::string& tag : tags) bytes += kTagHead + tag.size();
  return bytes;
}

NearEntry* NearEntry::New(std::string_view key, const Entry& entry) {
  const size_t tags_bytes = TagsBytes(entry.tags);
  void* const memory =
      ::operator new(sizeof(NearEntry) + key.size() + entry.value.size() + tags_bytes);
  auto* const made = new (memory) NearEntry;
  made->key_bytes = static_cast<uint32_t>(key.size());
  made->value_bytes = static_cast<uint32_t>(entry.value.size());
  made->tags_bytes = static_cast<uint32_t>(tags_bytes);
  made->version = entry.version;
  made->tier = entry.tier;
  char* at = made->Data();
  const auto put = [&at](const void* from, size_t bytes) {
    if (bytes > 0) std::memcpy(at, from, bytes);
    at += bytes;
  };
  put(key.data(), key.size());
  put(entry.value.data(), entry.value.size());
  for (const std::string& tag : entry.tags) {
    const auto size = static_cast<uint16_t>(tag.size());
    put(&size, sizeof size);
    put(tag.data(), tag.size());
  }
  return made;
}

std::vector<std::string> NearEntry::Tags() const {
  std::vector<std::string> tags;
  const char* at = Data() + key_bytes + value_bytes;
  for (const char* const end = at + tags_bytes; at < end;) {
    uint16_t size;
    std::memcpy(&size, at, sizeof size);
    tags.emplace_back(at + kTagHead, size);
    at += kTagHead + size;
  }
  return tags;
}

bool NearEntry::HasTag(std::string_view tag) const {
  const char* at = Data() + key_bytes + value_bytes;
  for (const char* const end = at + tags_bytes; at < end;) {
    uint16_t size;
    std::memcpy(&size, at, sizeof size);
    if (std::string_view(at + kTagHead, size) == tag) return true;
    at += kTagHead + size;
  }
  return false;
}

void NearEntry::Free() const {
  this->~NearEntry();
  ::operator delete(const_cast<NearEntry*>(this));
}

}  // namespace internal

NearValue::NearValue(const NearValue& other) : entry_(other.entry_) {
  if (entry_ != nullptr) entry_->Ref();
}

NearValue& NearValue::operator=(NearValue other) noexcept {
  std::swap(entry_, other.entry_);
  return *this;
}

void NearValue::Release() {
  if (entry_ != nullptr) entry_->Unref();
}

std::string_view NearValue::value() const { return entry_->value(); }

uint64_t NearValue::version() const { return entry_->version; }

Entry NearValue::ToEntry() const {
  const int64_t now = std::chrono::steady_clock::now().time_since_epoch().count();
  Entry entry;
  entry.value = std::string(entry_->value());
  entry.version = entry_->version;
  entry.age = absl::Nanoseconds(now - entry_->born);
  entry.remaining_ttl = absl::Nanoseconds(entry_->fresh_until - now);
  // Its time may have ended since it was found.
  if (entry.remaining_ttl < absl::ZeroDuration()) entry.remaining_ttl = absl::ZeroDuration();
  entry.tier = entry_->tier;
  if (entry_->tags_bytes > 0) entry.tags = entry_->Tags();
  entry.value_bytes = entry_->value_bytes;
  return entry;
}

}  // namespace larder
