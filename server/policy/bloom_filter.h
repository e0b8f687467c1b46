// BloomFilter remembers which keys there are, in about ten bits a key: a key that was added is
// always found, and of others a small part is found, too. Nothing can be taken out again.
//
// Keys are 64-bit hashes. Where strangers choose the keys, the hash has to be keyed
// (base/keyed_hash.h), or they choose keys that are found.
//
// Thread safety: any method, any thread, no locks: an Add that has returned is seen by every
// MayContain that comes after it. Memory: BytesFor, taken once by the constructor and never more.
// Errors: none; a filter that gets more keys than it has room for finds more of the others.

#ifndef LARDER_POLICY_BLOOM_FILTER_H_
#define LARDER_POLICY_BLOOM_FILTER_H_

#include <atomic>
#include <cstdint>
#include <memory>

namespace larder {

class BloomFilter {
 public:
  static constexpr uint64_t kKeysMax = 1'000'000'000;
  static constexpr double kErrorMin = 0.0001;
  static constexpr double kErrorMax = 0.5;

  // Room for `keys` keys, with which it finds the part `error` of the others. Values beyond the
  // limits above are cut to them; 0 keys is 1.
  BloomFilter(uint64_t keys, double error);
  BloomFilter(const BloomFilter&) = delete;
  BloomFilter& operator=(const BloomFilter&) = delete;

  // What such a filter takes: 1.2 bytes a key for 1%.
  static uint64_t BytesFor(uint64_t keys, double error);

  void Add(uint64_t hash);
  // False: the key was never added.
  bool MayContain(uint64_t hash) const;

  // Different keys that were added, but for the few that it found before.
  uint64_t keys() const { return keys_.load(std::memory_order_relaxed); }
  // Keys that it has room for.
  uint64_t keys_max() const { return keys_max_; }
  // The part of other keys that it finds now, by how many of its bits are set.
  double ErrorNow() const;
  uint64_t bytes() const { return words_ * sizeof(uint64_t); }

 private:
  const uint64_t keys_max_;
  const uint64_t words_;
  // Bits of each key.
  const int probes_;
  const std::unique_ptr<std::atomic<uint64_t>[]> bits_;
  std::atomic<uint64_t> keys_{0};
  std::atomic<uint64_t> bits_set_{0};
};

}  // namespace larder

#endif  // LARDER_POLICY_BLOOM_FILTER_H_
