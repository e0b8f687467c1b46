// Index finds records by the hash of their key. It holds no keys: slots of 8 bytes with a part of
// the hash, two bits of use, and the place of the record, 8 slots to a cache line.
// Thread safety: Find from any thread inside an Epoch::Reader, without a lock, and it may overlook
// a record while the writer moves slots about; everything else from one thread at a time, the
// holder of the shard's lock.

#ifndef LARDER_MEMORY_INDEX_H_
#define LARDER_MEMORY_INDEX_H_

#include <atomic>
#include <bit>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/base/attributes.h"
#include "absl/base/optimization.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace larder {

class Index {
 public:
  // | place: 40 bits | uses: 2 bits | tag: the low 22 bits of the hash |; 0 is an empty slot.
  using Slot = std::atomic<uint64_t>;
  static constexpr int kTagBits = 22;
  static constexpr int kUseBits = 2;
  static constexpr uint32_t kUsesMax = (1u << kUseBits) - 1;
  // What an entry costs in slots, on average and rounded up.
  static constexpr uint64_t kBytesPerEntry = 9;

  static uint64_t PlaceOf(uint64_t slot) { return slot >> (kTagBits + kUseBits); }
  static uint32_t UsesOf(uint64_t slot) {
    return static_cast<uint32_t>(slot >> kTagBits) & kUsesMax;
  }
  static uint64_t Make(uint64_t hash, uint64_t place, uint32_t uses) {
    return place << (kTagBits + kUseBits) | static_cast<uint64_t>(uses) << kTagBits |
           (hash & kTagMask);
  }

  // A table is one number, so that a reader gets its lines and their count together:
  // | count: 16 bits | address of the lines: 48 bits |
  using Table = std::atomic<uint64_t>;
  // How many tables the index of a shard of about so many bytes has, a power of two. The bits of
  // the hash from kTagBits on choose one.
  static uint64_t TablesFor(uint64_t shard_bytes);

  // For a shard of about so many bytes. `tables`, if given, has room for its tables and outlives
  // it: who has the tables of many shards side by side finds a table without asking its shard
  // first.
  explicit Index(uint64_t shard_bytes, Table* tables = nullptr);
  ~Index();
  Index(const Index&) = delete;
  Index& operator=(const Index&) = delete;

  // A slot and its content.
  struct Seen {
    Slot* slot = nullptr;
    uint64_t content = 0;
  };
  // The first slot of the hash's home line that has its tag: nine times in ten it is that of the
  // record, if there is one. Content 0 when there is no such slot; for a reader it may be that of
  // another tag, which came a moment ago.
  ABSL_ATTRIBUTE_ALWAYS_INLINE static Seen FirstAtHome(const Table& table_of_hash, uint64_t hash) {
    const uint64_t table = table_of_hash.load(std::memory_order_acquire);
    Slot* const slots = LinesOf(table)[HomeOf(hash, CountOf(table))].slots;
    const uint32_t candidates = Candidates(slots, hash);
    if (ABSL_PREDICT_FALSE(candidates == 0)) return Seen();
    Slot* const slot = &slots[std::countr_zero(candidates)];
    return {slot, slot->load(std::memory_order_acquire)};
  }

  // The slot of the record for whose place `matches(place)` holds, and its content; null when there
  // is none, or when a reader overlooked it. Looks at a few cache lines at most.
  template <typename Matches>
  Slot* Find(uint64_t hash, uint64_t* content, Matches&& matches) const {
    const uint64_t table = TableOf(hash).load(std::memory_order_acquire);
    const uint64_t count = CountOf(table);
    uint64_t line = HomeOf(hash, count);
    for (int probe = 0; probe < kProbesOfReaders; ++probe) {
      Slot* const found = FindInLine(LinesOf(table)[line].slots, hash, content, matches);
      if (found != nullptr) return found;
      if (++line == count) line = 0;
    }
    return nullptr;
  }

  // The same for the writer, which never overlooks one.
  template <typename Matches>
  Slot* FindExact(uint64_t hash, uint64_t* content, Matches&& matches) const {
    const uint64_t table = TableOf(hash).load(std::memory_order_relaxed);
    const uint64_t count = CountOf(table);
    uint64_t line = HomeOf(hash, count);
    for (uint64_t probe = 0; probe < count; ++probe) {
      Slot* const slots = LinesOf(table)[line].slots;
      Slot* const found = FindInLine(slots, hash, content, matches);
      if (found != nullptr) return found;
      if (EmptySlots(slots) != 0) return nullptr;
      if (++line == count) line = 0;
    }
    return nullptr;
  }

  // Fetches what is read first for this hash, and what next where lines are full, while
  // something else is done. Any thread, at any time.
  void Prefetch(uint64_t hash) const {
    const uint64_t table = TableOf(hash).load(std::memory_order_relaxed);
    const Line* const line = &LinesOf(table)[HomeOf(hash, CountOf(table))];
    __builtin_prefetch(line);
    __builtin_prefetch(line + 1);
    __builtin_prefetch(line + 2);
  }

  // Bytes that have to be allocated before a record with this hash can be added; mostly 0.
  uint64_t GrowthFor(uint64_t hash) const;
  // Adds a slot. Grows first where GrowthFor said so.
  void Add(uint64_t hash, uint64_t place, uint32_t uses);
  // Removes a slot that FindExact gave for this hash.
  void Remove(uint64_t hash, Slot* slot);

  // Looks at so many tables, going on where the last call stopped, and makes those smaller that
  // lost half of their slots.
  void Trim(uint64_t tables);

  // Frees tables that grew or shrank away before `passed` (Epoch::Passed).
  void Reclaim(uint64_t passed);
  // Bytes allocated, those that wait to be freed included.
  uint64_t bytes() const { return bytes_; }
  uint64_t waiting_bytes() const { return waiting_bytes_; }
  uint64_t entries() const { return entries_; }

  // Calls `visit(content)` for every slot.
  template <typename Visit>
  void ForEach(Visit&& visit) const {
    for (uint64_t table = 0; table < table_count_; ++table) ForEachOf(table, visit);
  }
  // The same for the slots of one table. REQUIRES: number < table_count().
  template <typename Visit>
  void ForEachOf(uint64_t number, Visit&& visit) const {
    const uint64_t table = tables_[number].load(std::memory_order_relaxed);
    for (uint64_t line = 0; line < CountOf(table); ++line) {
      for (const Slot& slot : LinesOf(table)[line].slots) {
        const uint64_t content = slot.load(std::memory_order_relaxed);
        if (content != 0) visit(content);
      }
    }
  }
  uint64_t table_count() const { return table_count_; }

 private:
  static constexpr uint64_t kTagMask = (1ull << kTagBits) - 1;
  static constexpr int kLineSlots = 8;
  static constexpr int kProbesOfReaders = 4;
  static constexpr int kAddressBits = 48;
  struct alignas(64) Line {
    Slot slots[kLineSlots];
  };
  struct Waiting {
    Line* lines;
    uint64_t bytes;
    uint64_t stamp;
  };

  // What tables have until something is added to them: one line, shared and always empty.
  static Line no_lines_;

  static Line* LinesOf(uint64_t table) {
    return reinterpret_cast<Line*>(table & ((1ull << kAddressBits) - 1));
  }
  static uint64_t CountOf(uint64_t table) { return table >> kAddressBits; }
  static uint64_t HomeOf(uint64_t hash, uint64_t count) {
    return ((hash & kTagMask) * count) >> kTagBits;
  }
  Table& TableOf(uint64_t hash) const { return tables_[TableNumberOf(hash)]; }
  uint64_t TableNumberOf(uint64_t hash) const { return (hash >> kTagBits) & table_mask_; }

  // Slots of a line, a bit each: which have the tag, and which are empty. Without a branch, as one
  // that is taken one time in eight is not foreseen. Of what others write it may be out of date at
  // once.
#if defined(__SSE2__) && !defined(_GLIBCXX_TSAN)
  // The low halves (kHalf 0) or the high ones (1) of four slots.
  template <int kHalf>
  static __m128i HalvesOf(const Slot* slots) {
    const auto* const words = reinterpret_cast<const __m128i*>(slots);
    return _mm_castps_si128(_mm_shuffle_ps(_mm_castsi128_ps(_mm_load_si128(words)),
                                           _mm_castsi128_ps(_mm_load_si128(words + 1)),
                                           _MM_SHUFFLE(2 + kHalf, kHalf, 2 + kHalf, kHalf)));
  }
  static uint32_t Same(__m128i a, __m128i b) {
    return static_cast<uint32_t>(_mm_movemask_ps(_mm_castsi128_ps(_mm_cmpeq_epi32(a, b))));
  }
  static uint32_t Candidates(const Slot* slots, uint64_t hash) {
    const __m128i tag = _mm_set1_epi32(static_cast<int>(hash & kTagMask));
    const __m128i mask = _mm_set1_epi32(static_cast<int>(kTagMask));
    return Same(_mm_and_si128(HalvesOf<0>(slots), mask), tag) |
           Same(_mm_and_si128(HalvesOf<0>(slots + 4), mask), tag) << 4;
  }
  static uint32_t EmptySlots(const Slot* slots) {
    const __m128i zero = _mm_setzero_si128();
    return Same(_mm_or_si128(HalvesOf<0>(slots), HalvesOf<1>(slots)), zero) |
           Same(_mm_or_si128(HalvesOf<0>(slots + 4), HalvesOf<1>(slots + 4)), zero) << 4;
  }
  // Four slots of `line`: which are at least `reach` lines from home. Empty ones may be.
  static uint32_t FarOfFour(const Slot* slots, uint64_t line, uint64_t count, uint64_t reach) {
    const __m128i lines = _mm_set1_epi32(static_cast<int>(count));
    const __m128i tags =
        _mm_and_si128(HalvesOf<0>(slots), _mm_set1_epi32(static_cast<int>(kTagMask)));
    // HomeOf, of every other slot at a time.
    const __m128i even = _mm_srli_epi64(_mm_mul_epu32(tags, lines), kTagBits);
    const __m128i odd = _mm_srli_epi64(_mm_mul_epu32(_mm_srli_epi64(tags, 32), lines), kTagBits);
    const __m128i home = _mm_or_si128(even, _mm_slli_epi64(odd, 32));
    __m128i away = _mm_sub_epi32(_mm_set1_epi32(static_cast<int>(line)), home);
    away = _mm_add_epi32(away, _mm_and_si128(_mm_srai_epi32(away, 31), lines));
    const __m128i near = _mm_set1_epi32(static_cast<int>(reach) - 1);
    return static_cast<uint32_t>(_mm_movemask_ps(_mm_castsi128_ps(_mm_cmpgt_epi32(away, near))));
  }
  static uint32_t FarSlots(const Slot* slots, uint64_t line, uint64_t count, uint64_t reach) {
    return FarOfFour(slots, line, count, reach) | FarOfFour(slots + 4, line, count, reach) << 4;
  }
#else
  static uint32_t Candidates(const Slot* slots, uint64_t hash) {
    uint32_t candidates = 0;
    for (int i = 0; i < kLineSlots; ++i) {
      const uint64_t now = slots[i].load(std::memory_order_relaxed);
      candidates |= static_cast<uint32_t>(((now ^ hash) & kTagMask) == 0) << i;
    }
    return candidates;
  }
  static uint32_t EmptySlots(const Slot* slots) {
    uint32_t empty = 0;
    for (int i = 0; i < kLineSlots; ++i)
      empty |= static_cast<uint32_t>(slots[i].load(std::memory_order_relaxed) == 0) << i;
    return empty;
  }
  // Slots of `line` that are at least `reach` lines from home. Empty ones may be among them.
  static uint32_t FarSlots(const Slot* slots, uint64_t line, uint64_t count, uint64_t reach) {
    uint32_t far = 0;
    for (int i = 0; i < kLineSlots; ++i) {
      const uint64_t home = HomeOf(slots[i].load(std::memory_order_relaxed), count);
      const uint64_t away = line >= home ? line - home : line + count - home;
      far |= static_cast<uint32_t>(away >= reach) << i;
    }
    return far;
  }
#endif

  template <typename Matches>
  static Slot* FindInLine(Slot* slots, uint64_t hash, uint64_t* content, Matches& matches) {
    for (uint32_t candidates = Candidates(slots, hash); candidates != 0;
         candidates &= candidates - 1) {
      Slot& slot = slots[std::countr_zero(candidates)];
      const uint64_t now = slot.load(std::memory_order_acquire);
      if (((now ^ hash) & kTagMask) == 0 && now != 0 && matches(PlaceOf(now))) {
        *content = now;
        return &slot;
      }
    }
    return nullptr;
  }

  static uint64_t Larger(uint64_t count);
  static uint64_t Smaller(uint64_t count);
  // What lies beyond its home line takes a reader longer. Small tables are those of caches that are
  // small or still empty, whose index hardly counts beside the rest: they are kept looser.
  static constexpr uint64_t kLooseLines = 64;
  static uint64_t LimitOf(uint64_t count) {
    return count < kLooseLines ? count * kLineSlots * 3 / 4 : count * kLineSlots * 31 / 32;
  }
  static uint64_t NewTable(uint64_t count);
  static void Place(uint64_t table, uint64_t content);
  void Rebuild(uint64_t number, uint64_t count);

  const uint64_t table_count_;  // a power of two
  const uint64_t table_mask_;
  const std::unique_ptr<Table[]> own_tables_;
  Table* const tables_;
  std::unique_ptr<uint32_t[]> used_;  // slots in use, by table
  std::vector<Waiting> waiting_;
  uint64_t bytes_;
  uint64_t waiting_bytes_ = 0;
  uint64_t entries_ = 0;
  uint64_t trim_next_ = 0;
};

}  // namespace larder

#endif  // LARDER_MEMORY_INDEX_H_
