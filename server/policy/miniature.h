// A Miniature plays the eviction policy on a sample of the keys, with as small a part of the
// entries, and tells hits from misses: how the whole cache would fare under other settings than its
// own. It knows tags, no values.
// Thread safety: none; the owner's lock guards it. Allocates only in Resize. Never blocks or fails.

#ifndef LARDER_POLICY_MINIATURE_H_
#define LARDER_POLICY_MINIATURE_H_

#include <cstdint>
#include <vector>

#include "policy/ghost_table.h"

namespace larder {

// After this many drops at the small chain's end, the entry at the main chain's end has its turn.
inline constexpr uint32_t kDropsPerMainTurn = 32;

// One way to run a cache of two chains.
struct EvictionSetting {
  // The part of memory that newcomers get.
  double small_share;
  // Hits that take an entry from the small chain to the main one. 1 to 3.
  uint32_t promote_hits;
  // How long a dropped key is remembered: this many sixteenths of as many drops as twice the cache
  // holds entries.
  uint32_t ghost_depth;
};

class Miniature {
 public:
  explicit Miniature(const EvictionSetting& setting) : setting_(setting) {}

  // Forgets everything and takes `entries` entries from now on, at least 2.
  void Resize(uint32_t entries);

  // Plays one access to the key of this hash; its low 16 bits count. True on a hit.
  bool Access(uint32_t hash);
  // Plays the arrival of the key, if it is not there already: no access.
  void Insert(uint32_t hash);

  uint64_t bytes() const;
  // What bytes() is at most after Resize(entries).
  static uint64_t BytesFor(uint32_t entries);

 private:
  void Place(uint16_t tag);
  void InsertSmall(uint16_t tag);
  void InsertMain(uint16_t tag);
  void TurnMain();
  void AdvanceMainHand() { main_hand_ = main_hand_ + 1 == main_ ? 0 : main_hand_ + 1; }

  const EvictionSetting setting_;
  // Slots [0, small_) are the small chain, [small_, small_ + main_) the main one. Each is a ring
  // whose hand is at its oldest entry; tag 0 is an empty slot.
  uint32_t small_ = 0;
  uint32_t main_ = 0;
  uint32_t small_hand_ = 0;
  uint32_t main_hand_ = 0;
  uint32_t main_used_ = 0;
  uint32_t small_drops_ = 0;    // since main's end had a turn
  std::vector<uint16_t> tags_;  // padded to whole blocks
  std::vector<uint8_t> hits_;
  GhostTable ghosts_;
};

}  // namespace larder

#endif  // LARDER_POLICY_MINIATURE_H_
