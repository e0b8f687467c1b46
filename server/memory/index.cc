// The index is many small hash tables, by the middle bits of the hash, of a few thousand slots
// each. A table that is full is rebuilt a step larger by itself, in some ten microseconds: so the
// index always fits the number of entries (seven eighths full on average, 9 bytes an entry), there
// is no moment at which everything is rehashed, and never more than one small table exists twice.
// The steps are the size classes of common allocators, four to a doubling, so that none of it is
// lost to rounding.
//
// Inside a table a tag has a home line, in proportion to its value, so that a rebuild needs the
// slots alone and no record. A record goes to the first line with room from its home on: whoever
// looks for it may stop at the first line that has room. Remove keeps that true by pulling slots
// back into the gap.
//
// Rejected: one large table that doubles (stops the shard for as long as it takes to read every
// key), linear hashing (its buckets are unevenly full, which costs a fifth of the memory), chains
// (a further cache miss an entry).

#include "memory/index.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <new>

#include "base/blocks.h"
#include "base/epoch.h"

namespace larder {
namespace {

// One table for so many bytes of the shard.
constexpr uint64_t kShardBytesPerTable = 512 << 10;
constexpr uint64_t kTablesMax = 1 << 22;

}  // namespace

Index::Line Index::no_lines_;

uint64_t Index::TablesFor(uint64_t shard_bytes) {
  return std::clamp<uint64_t>(std::bit_ceil(shard_bytes / kShardBytesPerTable), 1, kTablesMax);
}

Index::Index(uint64_t shard_bytes, Table* tables)
    : table_count_(TablesFor(shard_bytes)),
      table_mask_(table_count_ - 1),
      own_tables_(tables != nullptr ? nullptr : std::make_unique<Table[]>(table_count_)),
      tables_(tables != nullptr ? tables : own_tables_.get()),
      used_(std::make_unique<uint32_t[]>(table_count_)),
      bytes_(table_count_ * (sizeof(Table) + sizeof(uint32_t))) {
  const uint64_t empty = uint64_t{1} << kAddressBits | reinterpret_cast<uint64_t>(&no_lines_);
  for (uint64_t i = 0; i < table_count_; ++i) tables_[i].store(empty);
}

Index::~Index() {
  Reclaim(UINT64_MAX);
  for (uint64_t i = 0; i < table_count_; ++i) {
    Line* const lines = LinesOf(tables_[i].load());
    if (lines != &no_lines_) FreeBlock(lines, CountOf(tables_[i].load()) * sizeof(Line));
  }
}

uint64_t Index::Larger(uint64_t count) {
  return count < 8 ? count + 1 : count + std::bit_floor(count) / 4;
}

uint64_t Index::Smaller(uint64_t count) {
  if (count <= 8) return std::max<uint64_t>(count - 1, 1);
  return count - std::bit_floor(count - 1) / 4;
}

uint64_t Index::NewTable(uint64_t count) {
  void* const memory = AllocateBlock(count * sizeof(Line));
  Line* const lines = new (memory) Line[count]();
  return count << kAddressBits | reinterpret_cast<uint64_t>(lines);
}

void Index::Place(uint64_t table, uint64_t content) {
  const uint64_t count = CountOf(table);
  uint64_t line = HomeOf(content, count);
  while (true) {
    Slot* const slots = LinesOf(table)[line].slots;
    if (const uint32_t empty = EmptySlots(slots); empty != 0) {
      slots[std::countr_zero(empty)].store(content, std::memory_order_release);
      return;
    }
    if (++line == count) line = 0;
  }
}

uint64_t Index::GrowthFor(uint64_t hash) const {
  const uint64_t number = TableNumberOf(hash);
  const uint64_t table = tables_[number].load(std::memory_order_relaxed);
  if (LinesOf(table) == &no_lines_) return sizeof(Line);
  const uint64_t count = CountOf(table);
  return used_[number] < LimitOf(count) ? 0 : Larger(count) * sizeof(Line);
}

void Index::Add(uint64_t hash, uint64_t place, uint32_t uses) {
  const uint64_t number = TableNumberOf(hash);
  const uint64_t table = tables_[number].load(std::memory_order_relaxed);
  const uint64_t count = CountOf(table);
  if (LinesOf(table) == &no_lines_) {
    tables_[number].store(NewTable(1), std::memory_order_release);
    bytes_ += sizeof(Line);
  } else if (used_[number] >= LimitOf(count)) {
    Rebuild(number, Larger(count));
  }
  Place(tables_[number].load(std::memory_order_relaxed), Make(hash, place, uses));
  ++used_[number];
  ++entries_;
}

void Index::Rebuild(uint64_t number, uint64_t count) {
  const uint64_t from = tables_[number].load(std::memory_order_relaxed);
  const uint64_t to = NewTable(count);
  for (uint64_t line = 0; line < CountOf(from); ++line) {
    for (const Slot& slot : LinesOf(from)[line].slots) {
      const uint64_t content = slot.load(std::memory_order_relaxed);
      if (content != 0) Place(to, content);
    }
  }
  tables_[number].store(to, std::memory_order_release);
  const uint64_t old_bytes = CountOf(from) * sizeof(Line);
  waiting_.push_back({LinesOf(from), old_bytes, Epoch::Stamp()});
  waiting_bytes_ += old_bytes;
  bytes_ += count * sizeof(Line);
}

void Index::Reclaim(uint64_t passed) {
  std::erase_if(waiting_, [&](const Waiting& waiting) {
    if (waiting.stamp > passed) return false;
    FreeBlock(waiting.lines, waiting.bytes);
    waiting_bytes_ -= waiting.bytes;
    bytes_ -= waiting.bytes;
    return true;
  });
}

void Index::Remove(uint64_t hash, Slot* slot) {
  const uint64_t number = TableNumberOf(hash);
  const uint64_t table = tables_[number].load(std::memory_order_relaxed);
  const uint64_t count = CountOf(table);
  Line* const lines = LinesOf(table);
  slot->store(0, std::memory_order_release);
  --used_[number];
  --entries_;

  // The line of the gap has room now. What lies behind it and could lie in it is pulled back, or it
  // would not be found any more.
  auto gap_line = static_cast<uint64_t>(slot - &lines[0].slots[0]) / kLineSlots;
  Slot* gap = slot;
  if (!std::has_single_bit(EmptySlots(lines[gap_line].slots))) return;
  const auto next = [count](uint64_t line) { return line + 1 == count ? 0 : line + 1; };
  // Runs forwards and around. A line is passed on the way from its home only if it was full.
  const auto distance = [count](uint64_t from, uint64_t to) {
    return to >= from ? to - from : to + count - from;
  };
  for (uint64_t line = next(gap_line); line != gap_line; line = next(line)) {
    Slot* const slots = lines[line].slots;
    const uint32_t empty = EmptySlots(slots);
    // Of all slots at once: which one it is cannot be foreseen.
    const uint32_t movable = FarSlots(slots, line, count, distance(gap_line, line)) & ~empty;
    if (movable != 0) {
      Slot* const other = &slots[std::countr_zero(movable)];
      // Readers see it twice rather than not at all.
      gap->store(other->load(std::memory_order_relaxed), std::memory_order_release);
      other->store(0, std::memory_order_release);
      gap = other;
      gap_line = line;
    }
    if (empty != 0) break;
  }
}

void Index::Trim(uint64_t tables) {
  for (uint64_t i = 0; i < std::min(tables, table_count_); ++i) {
    const uint64_t number = trim_next_++ & (table_count_ - 1);
    const uint64_t count = CountOf(tables_[number].load(std::memory_order_relaxed));
    if (count > 1 && used_[number] < count * kLineSlots / 2 &&
        used_[number] < LimitOf(Smaller(count))) {
      Rebuild(number, Smaller(count));
    }
  }
}

}  // namespace larder
