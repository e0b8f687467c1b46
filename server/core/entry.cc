// Layout of the bytes behind the header: key, value, then for each tag and each dependency its
// length in two bytes and its bytes. The lists come last and are decoded only when somebody asks
// for them: most entries have none.

#include "core/entry.h"

#include <malloc.h>

#include <cstdlib>
#include <cstring>
#include <new>

namespace larder {
namespace {

size_t ListBytes(const std::vector<std::string>& list) {
  size_t bytes = 0;
  for (const std::string& item : list) bytes += sizeof(uint16_t) + item.size();
  return bytes;
}

char* AppendList(char* to, const std::vector<std::string>& list) {
  for (const std::string& item : list) {
    const auto size = static_cast<uint16_t>(item.size());
    std::memcpy(to, &size, sizeof(size));
    std::memcpy(to + sizeof(size), item.data(), size);
    to += sizeof(size) + size;
  }
  return to;
}

}  // namespace

size_t Entry::BytesFor(const EntryFields& fields) {
  return sizeof(Entry) + fields.full_key.size() + fields.value.size() + ListBytes(fields.tags) +
         ListBytes(fields.depends_on);
}

EntryPtr Entry::New(const EntryFields& fields) {
  void* const memory = ::operator new(BytesFor(fields));
  return EntryPtr(new (memory) Entry(fields));
}

Entry::Entry(const EntryFields& fields)
    : version_(fields.version),
      written_(fields.written),
      fresh_until_(fields.fresh_until),
      usable_until_(fields.usable_until),
      value_size_(static_cast<uint32_t>(fields.value.size())),
      key_size_(static_cast<uint16_t>(fields.full_key.size())),
      type_id_(fields.type_id),
      namespace_id_(fields.namespace_id),
      tag_count_(static_cast<uint8_t>(fields.tags.size())),
      dependency_count_(static_cast<uint8_t>(fields.depends_on.size())),
      negative_(fields.negative) {
  char* to = bytes();
  std::memcpy(to, fields.full_key.data(), key_size_);
  to += key_size_;
  if (value_size_ > 0) std::memcpy(to, fields.value.data(), value_size_);
  to = AppendList(to + value_size_, fields.tags);
  AppendList(to, fields.depends_on);
}

std::vector<std::string> Entry::Lists(size_t skip, size_t count) const {
  std::vector<std::string> list;
  list.reserve(count);
  const char* from = bytes() + key_size_ + value_size_;
  for (size_t i = 0; i < skip + count; ++i) {
    uint16_t size;
    std::memcpy(&size, from, sizeof(size));
    from += sizeof(size);
    if (i >= skip) list.emplace_back(from, size);
    from += size;
  }
  return list;
}

size_t Entry::allocated_bytes() const { return malloc_usable_size(const_cast<Entry*>(this)); }

void Entry::Release() const {
  if (references_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
    this->~Entry();
    ::operator delete(const_cast<Entry*>(this));
  }
}

}  // namespace larder
