// A few hundred entries are searched faster from end to end, sixteen tags a step, than through an
// index that must be kept, and the index would be most of the memory. An entry takes three bytes
// here and its ghosts four. Two keys with the same tag are one to a miniature: of 256 entries, one
// lookup in 256 finds the wrong one, the same one under every setting.
//
// Because the main chain of a full cache puts every reinserted entry where it took one away, it is
// a ring with a hand, and reinsertion moves only the hand.

#include "policy/miniature.h"

#include <algorithm>
#include <cmath>

#include "policy/tag_search.h"

namespace larder {
namespace {

constexpr uint8_t kHitsMax = 3;
constexpr uint64_t kGhostsPerEntry = 2;

constexpr uint32_t WholeBlocks(uint32_t slots) {
  return (slots + kTagBlock - 1) / kTagBlock * kTagBlock;
}

uint16_t TagOf(uint32_t hash) { return std::max<uint16_t>(1, static_cast<uint16_t>(hash)); }

// A ghost is found by its tag alone; the odd factor spreads the tags over the buckets.
uint32_t PlaceOf(uint16_t tag) { return tag * 0x9e3779b1u; }

}  // namespace

void Miniature::Resize(uint32_t entries) {
  const auto share = static_cast<uint32_t>(std::lround(setting_.small_share * entries));
  small_ = std::clamp<uint32_t>(share, 1, entries - 1);
  main_ = entries - small_;
  small_hand_ = main_hand_ = main_used_ = small_drops_ = 0;
  tags_ = std::vector<uint16_t>(WholeBlocks(entries));
  hits_ = std::vector<uint8_t>(WholeBlocks(entries));
  ghosts_.Resize(kGhostsPerEntry * entries);
}

uint64_t Miniature::bytes() const {
  return tags_.capacity() * sizeof(uint16_t) + hits_.capacity() + ghosts_.bytes();
}

uint64_t Miniature::BytesFor(uint32_t entries) {
  const uint64_t ghosts = kGhostsPerEntry * entries + GhostTable::kDepth;
  return WholeBlocks(entries) * (sizeof(uint16_t) + 1) + ghosts * sizeof(uint16_t);
}

bool Miniature::Access(uint32_t hash) {
  const uint16_t tag = TagOf(hash);
  const auto slots = static_cast<uint32_t>(tags_.size());
  const uint32_t slot = FindTag(tags_.data(), slots, tag);
  if (slot == slots) {
    Place(tag);
    return false;
  }
  hits_[slot] = std::min<uint8_t>(kHitsMax, hits_[slot] + 1);
  return true;
}

void Miniature::Insert(uint32_t hash) {
  const uint16_t tag = TagOf(hash);
  const auto slots = static_cast<uint32_t>(tags_.size());
  if (FindTag(tags_.data(), slots, tag) == slots) Place(tag);
}

void Miniature::Place(uint16_t tag) {
  if (ghosts_.Take(PlaceOf(tag), tag, setting_.ghost_depth)) {
    InsertMain(tag);
  } else {
    InsertSmall(tag);
  }
}

void Miniature::InsertSmall(uint16_t tag) {
  const uint16_t oldest = tags_[small_hand_];
  if (oldest != 0) {
    // A main chain that is not full takes everything: better something unread there than nothing.
    if (hits_[small_hand_] >= setting_.promote_hits || main_used_ < main_) {
      InsertMain(oldest);
    } else {
      ghosts_.Add(PlaceOf(oldest), oldest);
      if (++small_drops_ >= kDropsPerMainTurn) TurnMain();
    }
  }
  tags_[small_hand_] = tag;
  hits_[small_hand_] = 0;
  small_hand_ = small_hand_ + 1 == small_ ? 0 : small_hand_ + 1;
}

void Miniature::InsertMain(uint16_t tag) {
  small_drops_ = 0;
  while (hits_[small_ + main_hand_] > 0) {
    --hits_[small_ + main_hand_];
    AdvanceMainHand();
  }
  const uint32_t slot = small_ + main_hand_;
  if (tags_[slot] == 0) ++main_used_;
  tags_[slot] = tag;
  AdvanceMainHand();
}

void Miniature::TurnMain() {
  small_drops_ = 0;
  const uint32_t slot = small_ + main_hand_;
  if (hits_[slot] > 0) {
    --hits_[slot];
    AdvanceMainHand();
  } else if (tags_[slot] != 0) {
    tags_[slot] = 0;
    --main_used_;
  }
}

}  // namespace larder
