// The classic filter: each key sets k bits anywhere. A blocked one, which keeps the bits of a key
// in one cache line, is several times as fast, and needs a tenth more bits for an error of 1% and
// half as many again for 0.01%. Whoever asks this filter saves a call that takes a thousand times
// as long as k cache misses, so the bits were worth more.
//
// The places of a key are x, x + y, x + 2y + g, x + 3y + 4g, ...: enhanced double hashing
// (Dillinger and Manolios, 2004). Plain double hashing repeats the same pattern for keys that have
// y in common, which shows at errors of 0.01%. x and y come from one 64-bit hash: two keys in 2^64
// are taken for each other, which is nothing beside the error.
//
// All is relaxed. A bit carries no other data with it, and a reader that is ordered after an Add,
// by whatever told it of the key, sees the bits.

#include "policy/bloom_filter.h"

#include <algorithm>
#include <cmath>

namespace larder {
namespace {

constexpr uint64_t kWordBits = 64;

double CutError(double error) {
  return std::clamp(error, BloomFilter::kErrorMin, BloomFilter::kErrorMax);
}
uint64_t CutKeys(uint64_t keys) { return std::clamp<uint64_t>(keys, 1, BloomFilter::kKeysMax); }

// Bits for each key: log2(1 / error) probes, each of which finds half of the bits set.
uint64_t WordsFor(uint64_t keys, double error) {
  const double bits =
      std::ceil(static_cast<double>(CutKeys(keys)) * -std::log2(CutError(error)) / std::log(2.0));
  return static_cast<uint64_t>(bits) / kWordBits + 1;
}

int ProbesFor(double error) {
  return std::max(1, static_cast<int>(std::lround(-std::log2(CutError(error)))));
}

// The finalizer of MurmurHash3: every bit of the result depends on every bit of `x`.
uint64_t Mix(uint64_t x) {
  x = (x ^ x >> 33) * 0xFF51AFD7ED558CCD;
  x = (x ^ x >> 33) * 0xC4CEB9FE1A85EC53;
  return x ^ x >> 33;
}

// The places of a key, one after the other, as parts of 2^64.
class Probe {
 public:
  explicit Probe(uint64_t hash) : at_(hash), step_(Mix(hash)) {}

  // A bit below `bits`.
  uint64_t Next(uint64_t bits) {
    const auto bit = static_cast<uint64_t>(static_cast<unsigned __int128>(at_) * bits >> 64);
    at_ += step_;
    // Grows by steps that are not small beside a filter's bit.
    step_ += ++number_ * 0x9E3779B97F4A7C15;
    return bit;
  }

 private:
  uint64_t at_;
  uint64_t step_;
  uint64_t number_ = 0;
};

uint64_t MaskOf(uint64_t bit) { return uint64_t{1} << bit % kWordBits; }

}  // namespace

BloomFilter::BloomFilter(uint64_t keys, double error)
    : keys_max_(CutKeys(keys)),
      words_(WordsFor(keys, error)),
      probes_(ProbesFor(error)),
      bits_(new std::atomic<uint64_t>[words_]()) {}

uint64_t BloomFilter::BytesFor(uint64_t keys, double error) {
  return WordsFor(keys, error) * sizeof(uint64_t);
}

void BloomFilter::Add(uint64_t hash) {
  Probe probe(hash);
  uint64_t added = 0;
  for (int i = 0; i < probes_; ++i) {
    const uint64_t bit = probe.Next(words_ * kWordBits);
    std::atomic<uint64_t>& word = bits_[bit / kWordBits];
    // Looked at first, so that a key which is there already writes nothing.
    if ((word.load(std::memory_order_relaxed) & MaskOf(bit)) != 0) continue;
    const uint64_t before = word.fetch_or(MaskOf(bit), std::memory_order_relaxed);
    if ((before & MaskOf(bit)) == 0) ++added;
  }
  if (added == 0) return;
  keys_.fetch_add(1, std::memory_order_relaxed);
  bits_set_.fetch_add(added, std::memory_order_relaxed);
}

bool BloomFilter::MayContain(uint64_t hash) const {
  Probe probe(hash);
  for (int i = 0; i < probes_; ++i) {
    const uint64_t bit = probe.Next(words_ * kWordBits);
    const uint64_t word = bits_[bit / kWordBits].load(std::memory_order_relaxed);
    if ((word & MaskOf(bit)) == 0) return false;
  }
  return true;
}

double BloomFilter::ErrorNow() const {
  const double full = static_cast<double>(bits_set_.load(std::memory_order_relaxed)) /
                      static_cast<double>(words_ * kWordBits);
  return std::pow(full, probes_);
}

}  // namespace larder
