// Records for the tests of records: entries with any of the optional parts, and room for each as
// segments give it.

#ifndef LARDER_TESTS_MEMORY_RECORDS_H_
#define LARDER_TESTS_MEMORY_RECORDS_H_

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "core/key.h"
#include "core/shared_bytes.h"
#include "memory/record.h"

namespace larder {

inline constexpr MonoNanos kMs = 1'000'000;
inline constexpr MonoNanos kHour = 3600 * 1000 * kMs;
inline constexpr MonoNanos kDay = 24 * kHour;
// Nothing here is so round that a mistake would not show.
inline constexpr MonoNanos kBegan = 12'345'678'901;
inline constexpr MonoNanos kNow = kBegan + 98'765 * kMs + 432'109;

// Room for one record as segments give it: exactly as much as it needs, at a multiple of four bytes
// that is none of eight. What lies around it is watched.
class Room {
 public:
  explicit Room(uint32_t bytes) : bytes_(bytes), memory_(bytes + 2 * kAround, kUntouched) {}
  ~Room() {
    const auto untouched = [](char byte) { return byte == kUntouched; };
    EXPECT_TRUE(std::all_of(memory_.begin(), memory_.begin() + kAround, untouched));
    EXPECT_TRUE(std::all_of(memory_.end() - kAround, memory_.end(), untouched));
  }
  Room(const Room&) = delete;
  Room& operator=(const Room&) = delete;

  char* at() { return memory_.data() + kAround; }
  uint32_t bytes() const { return bytes_; }

 private:
  static constexpr size_t kAround = 20;
  static constexpr char kUntouched = '\x5a';

  const uint32_t bytes_;
  std::vector<char> memory_;
};

// An entry with the parts that `flags` asks for.
struct Wanted {
  Wanted(uint8_t flags, size_t key_size, size_t value_size) : flags(flags) {
    std::string key(key_size, 'k');
    key.front() = 'K';
    full_key = std::string(FullKey("shop", key).view());
    value.resize(value_size);
    for (size_t i = 0; i < value_size; ++i) value[i] = static_cast<char>(i * 7 + flags);
    fields.full_key = full_key;
    fields.value = value;
    fields.negative = (flags & Record::kNegative) != 0;
    fields.version = 0xfedcba9876543210;
    fields.fresh_until = fields.usable_until = kBegan + 200'000 * kMs;
    if (flags & Record::kTimes) {
      fields.written = kNow - 5;
      fields.usable_until = fields.fresh_until + 7;
    }
    if (flags & Record::kSliding) fields.sliding = 54'321'098'765;
    if (flags & Record::kEncoded) {
      fields.encoding = 0xbeef;
      fields.plain_bytes = 0x89abcdef;
    }
    if (flags & Record::kListed) {
      fields.tags = {"first", std::string(128, 't'), "third"};
      fields.depends_on = {"user:42"};
    }
    fields.type_id = 0xfffe;
    fields.namespace_id = 0xabcd;
  }

  bool large() const { return (flags & Record::kLarge) != 0; }

  Record* WriteTo(Room* room, uint32_t hits = 3, uint8_t epoch = 0) {
    if (large()) {
      block = SharedBytes::Copy(value);
      further = block;
    }
    Record::Context context{};
    context.began = kBegan;
    context.now = kNow;
    context.large = large();
    context.block_bytes = block.allocated_bytes();
    context.block = further.Detach();
    context.hits = hits;
    context.hits_epoch = epoch;
    detached = context.block;
    return Record::Write(room->at(), fields, context);
  }
  ~Wanted() {
    if (detached != 0) SharedBytes::Adopt(detached);
  }

  uint8_t flags;
  std::string full_key;
  std::string value;
  EntryFields fields;
  SharedBytes block;
  SharedBytes further;
  uint64_t detached = 0;
};

}  // namespace larder

#endif  // LARDER_TESTS_MEMORY_RECORDS_H_
