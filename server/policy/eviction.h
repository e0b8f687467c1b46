// EvictionPolicy decides which entries of one shard stay. It knows hashes, no entries: the shard
// keeps those in two chains in order of arrival, a small one for newcomers and a main one, with a
// counter of 0 to 3 hits per entry, and asks at each turn:
//
//   an access        If Sampled(hash), OnAccess(hash): for a read, whether it hits or misses, and
//                    for a write over what is there. Not for a write of a new entry.
//   a new entry      PlaceNew says at which chain's young end it goes, with counter 0.
//   room is needed   EndToEvict says from which chain's old end the next entry is taken.
//   small's end      OnSmallEnd: true keeps it, at main's young end with counter 0.
//   main's end       OnMainEnd: true keeps it, at main's young end with its counter less 1.
//
// Entries that expire or are erased leave without a word. Between two drops the policy keeps at
// most kKeepsInARow entries, so that making room for one takes bounded time.
//
// hash is the key's keyed 64-bit hash. The same calls with the same seed give the same answers;
// there is no clock. Thread safety: the shard's lock guards everything but Sampled, which any
// thread may call at any time. Allocates only in the constructor and in Resize. Never blocks, never
// fails.

#ifndef LARDER_POLICY_EVICTION_H_
#define LARDER_POLICY_EVICTION_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "policy/ghost_table.h"
#include "policy/miniature.h"

namespace larder {

class EvictionPolicy {
 public:
  static constexpr uint64_t kMiniatureBytesMin = 4096;
  static constexpr uint32_t kKeepsInARow = 64;

  struct Options {
    uint64_t seed = 0;
    // For the miniatures; at least kMiniatureBytesMin. More than about 10 KiB is not used.
    uint64_t miniature_bytes_max = 16384;
    // Entries that the shard will hold when it is full, as far as that is known. At least 1.
    uint64_t entries = 1024;
  };

  enum class Chain : uint8_t { kSmall, kMain };

  explicit EvictionPolicy(const Options& options);
  EvictionPolicy(const EvictionPolicy&) = delete;
  EvictionPolicy& operator=(const EvictionPolicy&) = delete;

  // `entries` as in Options, whenever the shard knows better: often while it fills, now and then
  // later, after a change of its budget. Does nothing while the number is within a quarter below or
  // a third above the one in force; else forgets ghosts and miniatures and keeps the setting.
  void Resize(uint64_t entries);

  // Whether OnAccess wants to know of accesses to this key. Same answer for a key until a Resize.
  bool Sampled(uint64_t hash) const {
    return (Mix(hash) & sample_mask_.load(std::memory_order_relaxed)) == 0;
  }
  // Learns from an access to a sampled key; others are ignored. Worth calling from the beginning,
  // also while the shard fills.
  void OnAccess(uint64_t hash);

  // Fetches what PlaceNew and OnSmallEnd read for this key, while something else is done.
  void Prefetch(uint64_t hash) const;

  // For a key that was not in the shard, once there is room for it. `small_bytes` is what the small
  // chain holds, `capacity_bytes` what both chains may hold together.
  Chain PlaceNew(uint64_t hash, uint64_t small_bytes, uint64_t capacity_bytes);

  // kSmall while the small chain holds its share or more, but for one turn in many, and when the
  // main one is empty.
  Chain EndToEvict(uint64_t small_bytes, uint64_t main_bytes) const;
  // True = keep, see above. An entry dropped at small's end is remembered.
  bool OnSmallEnd(uint64_t hash, uint32_t hits);
  bool OnMainEnd(uint32_t hits);

  // The part of memory that the small chain should have now, 0 to 1.
  double small_share() const { return settings()[chosen_].small_share; }
  // How often the setting was changed.
  uint64_t switches() const { return switches_; }
  // Everything that the policy takes, itself included.
  uint64_t bytes() const;

 private:
  static constexpr size_t kSettings = 5;

  static const std::array<EvictionSetting, kSettings>& settings();
  // Callers choose shards and slots by some of the hash's bits; what comes out here depends on all.
  uint64_t Mix(uint64_t hash) const {
    const auto product =
        static_cast<unsigned __int128>(hash ^ seed_) * uint64_t{0xd6e8feb86659fd93};
    return static_cast<uint64_t>(product >> 64) ^ static_cast<uint64_t>(product);
  }
  void Rebuild(uint64_t entries);
  void Choose();
  bool KeepUnlessTooMany(bool keep);

  const uint64_t seed_;
  const uint32_t miniature_entries_max_;
  // Of the mixed hash; the low bits that are zero in every sampled one.
  std::atomic<uint64_t> sample_mask_ = 0;
  uint64_t entries_ = 0;
  GhostTable ghosts_;
  std::array<Miniature, kSettings> miniatures_;
  // Faded counts: hits of each miniature, and accesses.
  std::array<double, kSettings> scores_ = {};
  double accesses_ = 0;
  uint32_t round_accesses_ = 0;  // since the last Choose
  uint32_t round_length_ = 0;
  size_t chosen_;
  uint64_t switches_ = 0;
  uint32_t keeps_ = 0;        // since the last drop
  uint32_t small_drops_ = 0;  // since main's end had a turn
};

}  // namespace larder

#endif  // LARDER_POLICY_EVICTION_H_
