// What benches of L1 share: 20-byte keys, 100-byte values, sequences of requests drawn from Zipf
// 0.99, entries, and the time. Thread safety: values and functions; sequences may be read by many.
//
// A sequence is an array of ready keys, one after the other: both sides of a comparison read it in
// order and pay nothing else for knowing what to ask next. Keys come in random order; which of them
// are hot has nothing to do with when they were inserted, nor with what they look like.

#ifndef LARDER_BENCH_WORKLOAD_H_
#define LARDER_BENCH_WORKLOAD_H_

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "core/entry.h"

namespace larder::bench {

inline constexpr size_t kKeyBytes = 20;
inline constexpr size_t kValueBytes = 100;
inline constexpr double kSkew = 0.99;
// A caller with many keys reads the clock once for so many of them, as BatchGet does.
inline constexpr size_t kBatch = 100;

// The key of number `id`, to `out`: "key:" and 16 hexadecimal digits.
void WriteKey(uint64_t id, char* out);

class Sequence {
 public:
  // `count` keys drawn from `keys` of them.
  Sequence(uint64_t keys, size_t count, uint64_t seed);
  // The keys of numbers `first` to `first + count` in order, each once.
  static Sequence Fresh(uint64_t first, size_t count);

  size_t size() const { return bytes_.size() / kKeyBytes; }
  std::string_view operator[](size_t i) const { return {&bytes_[i * kKeyBytes], kKeyBytes}; }

 private:
  Sequence() = default;
  std::vector<char> bytes_;
};

// The value of a key: its text over and over.
void WriteValue(std::string_view key, char* out);

// An entry of `value` without tags that lives for an hour. REQUIRES: `full_key` and `value` outlive
// it.
EntryFields Fields(std::string_view full_key, std::string_view value, Version version,
                   MonoNanos now);

// A version as the engine would make at this time of the clock of the machine, once its first call
// is over; the later, the greater, and another one for each `thread` from 0 to 3.
Version VersionOf(MonoNanos mono, int thread = 0);

// Seconds of processor time that this thread has used: what other processes do does not lengthen
// it, as long as nothing blocks.
double ThreadSeconds();
double WallSeconds();
// Keeps this thread on one core. The number is taken modulo the number of cores.
void PinTo(int core);

}  // namespace larder::bench

#endif  // LARDER_BENCH_WORKLOAD_H_
