// Why this rule. A value changes at some unknown rate, and with a TTL of T a load finds a change
// with a probability that grows with T. So the rate need not be known: move T down after a change
// and up otherwise, by steps whose sizes are as 1 - target to target, and T comes to rest where
// that probability is the target. Steps are factors, because TTLs differ by factors. Downwards they
// are larger: what is stale is worse than what is loaded once too often, and a value that begins to
// change comes down from 16 in four loads. Rejected: estimating each key's rate from the times
// between changes (needs more memory, and forgets as slowly as it learned).
//
// A slot is one word, so that all changes are compare-and-swap: 16 bits of tag, 12 bits of level, 4
// bits of weight. The level is the factor's logarithm. The weight counts the key's loads after the
// first, up to 15. A new key takes the place of one that has none; every fourth, and any that finds
// no place, also takes one from the weight of some key. So keys that are loaded again and again
// stay while others come and go, and go themselves when they are not loaded any more. A swap that
// fails is tried again a few times and then given up: nothing depends on a single load. Two threads
// may enter the same key into one bucket at the same moment; the second of the two is never noted
// again, and so goes soon.

#include "policy/change_learner.h"

#include <algorithm>
#include <cmath>

namespace larder {
namespace {

constexpr int kOctave = 500;  // levels from a factor to its double
constexpr int kLevelMax = 4 * kOctave;
constexpr uint32_t kWeightMax = 15;
constexpr int kAttempts = 4;
// New keys in a bucket for each that takes weight from another.
constexpr uint64_t kEnteredPerAgeing = 4;
// 2^64 divided by the golden ratio: spreads numbers that follow each other.
constexpr uint64_t kGolden = 0x9E3779B97F4A7C15;

// A slot; 0 is an empty one.
struct Known {
  uint32_t tag;  // never 0
  int level;     // -kLevelMax to kLevelMax
  uint32_t weight;

  uint32_t Pack() const {
    return tag << 16 | static_cast<uint32_t>(level + kLevelMax) << 4 | weight;
  }
  static Known Of(uint32_t slot) {
    return {.tag = slot >> 16,
            .level = static_cast<int>(slot >> 4 & 0xFFF) - kLevelMax,
            .weight = slot & kWeightMax};
  }
};
static_assert(2 * kLevelMax < 1 << 12);

uint32_t TagOf(uint64_t hash) { return std::max<uint32_t>(1, hash & 0xFFFF); }

int Cut(int level) { return std::clamp(level, -kLevelMax, kLevelMax); }

double FactorOf(double level) { return std::exp2(level / kOctave); }

int LongerFor(double target) {
  const double cut = std::clamp(target, 0.01, 0.5);
  return static_cast<int>(std::lround(kOctave * cut / (1 - cut)));
}

}  // namespace

ChangeLearner::ChangeLearner(const Options& options)
    : buckets_((std::clamp<size_t>(options.keys, kWays, 1'000'000) + kWays - 1) / kWays),
      longer_(LongerFor(options.target)),
      slots_(new Slot[buckets_ * kWays]()) {}

ChangeLearner::Slot* ChangeLearner::BucketOf(uint64_t hash) const {
  // The tag is the lower end of the hash, so the place is the upper one.
  const auto bucket = static_cast<size_t>(static_cast<unsigned __int128>(hash) * buckets_ >> 64);
  return &slots_[bucket * kWays];
}

bool ChangeLearner::Replace(Slot* slot, uint32_t before, uint32_t after) {
  if (!slot->compare_exchange_strong(before, after, std::memory_order_relaxed)) return false;
  const int old_level = before == 0 ? 0 : Known::Of(before).level;
  if (before == 0) keys_.fetch_add(1, std::memory_order_relaxed);
  levels_.fetch_add(Known::Of(after).level - old_level, std::memory_order_relaxed);
  return true;
}

void ChangeLearner::Note(uint64_t hash, bool changed) {
  const uint64_t number = noted_.fetch_add(1, std::memory_order_relaxed);
  if (changed) changed_.fetch_add(1, std::memory_order_relaxed);
  Slot* const bucket = BucketOf(hash);
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    bool found = false;
    for (size_t i = 0; i < kWays; ++i) {
      const uint32_t before = bucket[i].load(std::memory_order_relaxed);
      if (before >> 16 != TagOf(hash)) continue;
      Known known = Known::Of(before);
      known.level = Cut(known.level + (changed ? -kOctave : longer_));
      known.weight = std::min(known.weight + 1, kWeightMax);
      if (Replace(&bucket[i], before, known.Pack())) return;
      found = true;
      break;
    }
    if (!found) return Insert(bucket, number, hash, changed);
  }
}

void ChangeLearner::Insert(Slot* bucket, uint64_t number, uint64_t hash, bool changed) {
  const int mean = static_cast<int>(std::lround(std::log2(MeanFactor()) * kOctave));
  const Known known = {
      .tag = TagOf(hash), .level = Cut(mean + (changed ? -kOctave : longer_)), .weight = 0};
  const uint64_t chance = number * kGolden >> 32;
  bool entered = false;
  for (size_t i = 0; i < kWays && !entered; ++i) {
    // Which one comes first differs from time to time. With the same one always, two keys that are
    // loaded in turn drive each other out, and none of them is ever found a second time.
    Slot* const slot = &bucket[(i + chance) % kWays];
    const uint32_t before = slot->load(std::memory_order_relaxed);
    entered = Known::Of(before).weight == 0 && Replace(slot, before, known.Pack());
  }
  if (entered && (chance / kWays) % kEnteredPerAgeing != 0) return;
  Slot* const slot = &bucket[(chance / kWays / kEnteredPerAgeing) % kWays];
  const uint32_t before = slot->load(std::memory_order_relaxed);
  Known other = Known::Of(before);
  if (other.weight == 0) return;
  --other.weight;
  Replace(slot, before, other.Pack());
}

std::optional<double> ChangeLearner::OwnFactor(uint64_t hash) const {
  const Slot* const bucket = BucketOf(hash);
  for (size_t i = 0; i < kWays; ++i) {
    const uint32_t slot = bucket[i].load(std::memory_order_relaxed);
    if (slot >> 16 == TagOf(hash)) return FactorOf(Known::Of(slot).level);
  }
  return std::nullopt;
}

double ChangeLearner::Factor(uint64_t hash) const {
  const std::optional<double> own = OwnFactor(hash);
  return own ? *own : MeanFactor();
}

double ChangeLearner::MeanFactor() const {
  const int64_t keys = keys_.load(std::memory_order_relaxed);
  if (keys == 0) return 1;
  // The two are not read in one moment.
  const double mean =
      static_cast<double>(levels_.load(std::memory_order_relaxed)) / static_cast<double>(keys);
  return FactorOf(std::clamp<double>(mean, -kLevelMax, kLevelMax));
}

size_t ChangeLearner::keys() const {
  return static_cast<size_t>(keys_.load(std::memory_order_relaxed));
}

}  // namespace larder
