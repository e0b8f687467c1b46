// Problem. No fixed rule serves all work. A loop that does not fit wants most of memory closed to
// newcomers; work that reads each key a few times and never again wants nearly all of it open to
// them; with the wrong one of the two, the hit ratio is near zero. And it must be decided with two
// bits an entry, without moving anything on a hit.
//
// Choice. S3-FIFO (Yang et al., SOSP 2023): newcomers that are not read twice while in the small
// chain leave early, keys that come back soon after they left go to the main chain, and what is
// read in the main chain gets another turn. What makes it fit the work is the small chain's share,
// and the best share is found by trying: five miniatures (policy/miniature.h) play the same
// accesses with five settings, on a sample of the keys by hash, scaled down so that each holds at
// most 256 entries (Waldspurger et al., ATC 2017). The setting whose miniature has the most hits of
// late is the one in force. The margin of half a percent keeps it from wavering between settings
// that are equally good.
//
// What differs from S3-FIFO besides:
// - Main is filled with newcomers until it has its share. Else a loop that is longer than cache and
//   ghosts never gets anything into main, and no hits. It is also how a share changes without
//   moving entries: one end gives, the other chain takes what comes.
// - Ghosts are remembered for twice the cache's entries, not for 0.9 of them; but briefly under the
//   setting that is meant for loops, which would otherwise wash main out by coming back.
// - Main's end gets a turn after every 32 drops at small's end. Else, when nothing earns a place in
//   main, it keeps for ever what nobody reads. More often costs hits on flat Zipf work.
// - After 64 entries kept in a row the next is dropped, so that no writer waits for a whole chain.
//
// Measured in simulation with entries of equal size: the mean hit ratio over ten traces, each with
// capacities of 0.1, 1, 5, 10 and 25% of its keys. LRU has 0.4843, S3-FIFO 0.5015, the best of
// eleven known policies 0.5080; who knew the best of the eleven for each of the fifty had 0.5213.
//
//   as it is                                0.5190    0.5165 with 4% less capacity
//   one setting for ever: share 0.02        0.4914
//                               0.03        0.5020
//                               0.10        0.5040
//                               0.30        0.5066
//                               0.70        0.4876
//   no ghosts                               0.5065
//   main is not filled with newcomers       0.5087
//   all ghosts remembered as long           0.5179
//   no turns of main's end                  0.5192    but 0.19 instead of 0.27 where a loop follows
//                                                     on other work
//   miniatures of up to 128 entries         0.5193    but 0.65 instead of 0.74 on a loop of 1.1
//                                                     times the cache
//
// On 37 made workloads at one to three sizes (Zipf, drifting Zipf, scans, loops, short reuse, and
// changes from one to another) it is at most 0.017 below the better of LRU and S3-FIFO, and mostly
// above both.
//
// Cost. Four bytes of ghosts for each entry and at most 10 KiB of miniatures. A sampled access
// takes 60 to 280 ns: all of them in a shard of up to 256 entries, 9 ns on average for each access
// in one of 8,000, 1.4 ns in one of 65,000. Placing or dropping an entry takes 5 to 20 ns.
//
// Rejected. Admission to main by a frequency sketch (TinyLFU): an update for every access, hits
// included, for no better mean than the same share without. Resizing the small chain by the hits at
// its ends: 0.5047 in its known form. Ghosts of what main dropped: 0.002 less. A sixth setting with
// share 0.9: no difference.

#include "policy/eviction.h"

#include <algorithm>

namespace larder {
namespace {

constexpr uint32_t kMiniatureEntriesMin = 16;
constexpr uint32_t kMiniatureEntriesMax = 256;
constexpr uint64_t kGhostsPerEntry = 2;
constexpr size_t kFirstSetting = 2;

// A round is this part of a miniature's entries in accesses, and at least so many.
constexpr uint32_t kRoundsPerTurnover = 4;
constexpr uint32_t kRoundAccessesMin = 32;
// What of the counts is left after a round.
constexpr double kFade = 0.97;
// Another setting is taken when it has more hits than the present one by this part of the accesses
// and a few.
constexpr double kMarginShare = 0.005;
constexpr double kMarginHits = 2;

// Part of the capacity by which the small chain is over its share before main gets newcomers.
constexpr double kExcessMargin = 1.0 / 64;

uint32_t MiniatureEntriesFor(uint64_t bytes, size_t miniatures) {
  uint32_t entries = kMiniatureEntriesMax;
  while (entries > kMiniatureEntriesMin && Miniature::BytesFor(entries) * miniatures > bytes) {
    --entries;
  }
  return entries;
}

// Which bits of the mixed hash are for what. Sampling takes the low ones, so that they say nothing
// more about a sampled key.
uint32_t GhostPlace(uint64_t mixed) { return static_cast<uint32_t>(mixed >> 32); }
uint16_t GhostTag(uint64_t mixed) { return static_cast<uint16_t>(mixed >> 16); }
uint32_t MiniatureHash(uint64_t mixed) { return static_cast<uint32_t>(mixed >> 48); }

}  // namespace

const std::array<EvictionSetting, EvictionPolicy::kSettings>& EvictionPolicy::settings() {
  static constexpr std::array<EvictionSetting, kSettings> kAll = {{
      {.small_share = 0.02, .promote_hits = 2, .ghost_depth = 4},
      {.small_share = 0.03, .promote_hits = 2, .ghost_depth = 16},
      {.small_share = 0.10, .promote_hits = 2, .ghost_depth = 16},
      {.small_share = 0.30, .promote_hits = 2, .ghost_depth = 16},
      {.small_share = 0.70, .promote_hits = 1, .ghost_depth = 16},
  }};
  return kAll;
}

EvictionPolicy::EvictionPolicy(const Options& options)
    : seed_(options.seed),
      miniature_entries_max_(MiniatureEntriesFor(options.miniature_bytes_max, kSettings)),
      miniatures_{Miniature(settings()[0]), Miniature(settings()[1]), Miniature(settings()[2]),
                  Miniature(settings()[3]), Miniature(settings()[4])},
      chosen_(kFirstSetting) {
  Rebuild(std::max<uint64_t>(1, options.entries));
}

void EvictionPolicy::Resize(uint64_t entries) {
  entries = std::max<uint64_t>(1, entries);
  if (entries * 4 > entries_ * 3 && entries * 3 < entries_ * 4) return;
  Rebuild(entries);
}

void EvictionPolicy::Rebuild(uint64_t entries) {
  entries_ = entries;
  ghosts_.Resize(entries * kGhostsPerEntry);
  uint32_t halvings = 0;
  while ((entries >> halvings) > miniature_entries_max_) ++halvings;
  sample_mask_.store((uint64_t{1} << halvings) - 1, std::memory_order_relaxed);
  const uint32_t miniature = std::max<uint32_t>(2, static_cast<uint32_t>(entries >> halvings));
  for (Miniature& each : miniatures_) each.Resize(miniature);
  scores_ = {};
  accesses_ = 0;
  round_accesses_ = 0;
  round_length_ = std::max(kRoundAccessesMin, miniature / kRoundsPerTurnover);
}

void EvictionPolicy::OnAccess(uint64_t hash) {
  if (!Sampled(hash)) return;
  const uint32_t short_hash = MiniatureHash(Mix(hash));
  for (size_t i = 0; i < kSettings; ++i) scores_[i] += miniatures_[i].Access(short_hash) ? 1 : 0;
  accesses_ += 1;
  if (++round_accesses_ == round_length_) Choose();
}

void EvictionPolicy::Choose() {
  round_accesses_ = 0;
  const auto best =
      static_cast<size_t>(std::max_element(scores_.begin(), scores_.end()) - scores_.begin());
  if (scores_[best] - scores_[chosen_] > kMarginShare * accesses_ + kMarginHits) {
    chosen_ = best;
    ++switches_;
  }
  for (double& score : scores_) score *= kFade;
  accesses_ *= kFade;
}

void EvictionPolicy::Prefetch(uint64_t hash) const { ghosts_.Prefetch(GhostPlace(Mix(hash))); }

EvictionPolicy::Chain EvictionPolicy::PlaceNew(uint64_t hash, uint64_t small_bytes,
                                               uint64_t capacity_bytes) {
  const uint64_t mixed = Mix(hash);
  if (Sampled(hash)) {
    // After a miss that OnAccess saw, the key is there already, and this does nothing.
    for (Miniature& each : miniatures_) each.Insert(MiniatureHash(mixed));
  }
  const bool remembered =
      ghosts_.Take(GhostPlace(mixed), GhostTag(mixed), settings()[chosen_].ghost_depth);
  // What is over the small chain's share is room that the main one lacks. Without the margin,
  // entries of different sizes would often find a little of it.
  const double limit = (small_share() + kExcessMargin) * static_cast<double>(capacity_bytes);
  const bool main_has_room = static_cast<double>(small_bytes) >= limit;
  return remembered || main_has_room ? Chain::kMain : Chain::kSmall;
}

EvictionPolicy::Chain EvictionPolicy::EndToEvict(uint64_t small_bytes, uint64_t main_bytes) const {
  if (main_bytes == 0) return Chain::kSmall;
  if (small_drops_ >= kDropsPerMainTurn) return Chain::kMain;
  const double share = small_share() * static_cast<double>(small_bytes + main_bytes);
  return static_cast<double>(small_bytes) >= share ? Chain::kSmall : Chain::kMain;
}

bool EvictionPolicy::OnSmallEnd(uint64_t hash, uint32_t hits) {
  if (KeepUnlessTooMany(hits >= settings()[chosen_].promote_hits)) return true;
  ++small_drops_;
  const uint64_t mixed = Mix(hash);
  ghosts_.Add(GhostPlace(mixed), GhostTag(mixed));
  return false;
}

bool EvictionPolicy::OnMainEnd(uint32_t hits) {
  small_drops_ = 0;
  return KeepUnlessTooMany(hits > 0);
}

bool EvictionPolicy::KeepUnlessTooMany(bool keep) {
  if (keep && keeps_ < kKeepsInARow) {
    ++keeps_;
    return true;
  }
  keeps_ = 0;
  return false;
}

uint64_t EvictionPolicy::bytes() const {
  uint64_t sum = sizeof(*this) + ghosts_.bytes();
  for (const Miniature& each : miniatures_) sum += each.bytes();
  return sum;
}

}  // namespace larder
