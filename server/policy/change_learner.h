// ChangeLearner learns how often the values of one data type change, from loads that replace a
// value that is still known: was it another one? For each key it keeps a factor for the TTL. A load
// that finds the value changed halves it; one that finds it unchanged makes it longer by so much
// that the factor stands still where the part `target` of the loads finds a change: 25% needs three
// unchanged loads for a doubling. Factors are 1/16 to 16. A key of which nothing is known has the
// mean factor of those that are.
//
// Keys are 64-bit hashes, keyed where strangers choose the keys (base/keyed_hash.h). It knows some
// `keys` of them, those that are loaded most; one key in ten thousand is taken for another.
// Thread safety: any method, any thread, no locks. Never blocks, allocates or fails after its
// construction. Memory: 4 bytes for each of `keys`.

#ifndef LARDER_POLICY_CHANGE_LEARNER_H_
#define LARDER_POLICY_CHANGE_LEARNER_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

namespace larder {

class ChangeLearner {
 public:
  struct Options {
    // The part of the loads that finds a change where the factor stands still; 0.01 to 0.5.
    double target = 0.25;
    // Keys that are known at a time, rounded up to whole buckets; 8 to 1,000,000.
    size_t keys = 16'384;
  };

  // Values beyond the limits above are cut to them.
  explicit ChangeLearner(const Options& options);
  ChangeLearner(const ChangeLearner&) = delete;
  ChangeLearner& operator=(const ChangeLearner&) = delete;

  // A load of the key found the value that was there before, or another one.
  void Note(uint64_t hash, bool changed);

  // What multiplies the TTL of the key.
  double Factor(uint64_t hash) const;
  // The same; nothing when the key is not known and has the mean.
  std::optional<double> OwnFactor(uint64_t hash) const;

  // Of the keys that are known; 1 when there are none.
  double MeanFactor() const;
  size_t keys() const;
  uint64_t noted() const { return noted_.load(std::memory_order_relaxed); }
  uint64_t changed() const { return changed_.load(std::memory_order_relaxed); }
  uint64_t bytes() const { return buckets_ * kWays * sizeof(uint32_t); }

 private:
  static constexpr size_t kWays = 8;
  using Slot = std::atomic<uint32_t>;

  Slot* BucketOf(uint64_t hash) const;
  // `number`: that of the load.
  void Insert(Slot* bucket, uint64_t number, uint64_t hash, bool changed);
  bool Replace(Slot* slot, uint32_t before, uint32_t after);

  const size_t buckets_;
  // What an unchanged load adds to a level.
  const int longer_;
  const std::unique_ptr<Slot[]> slots_;
  // The sum of all levels, and how many there are.
  std::atomic<int64_t> levels_{0};
  std::atomic<int64_t> keys_{0};
  std::atomic<uint64_t> noted_{0};
  std::atomic<uint64_t> changed_{0};
};

}  // namespace larder

#endif  // LARDER_POLICY_CHANGE_LEARNER_H_
