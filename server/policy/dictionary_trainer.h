// DictionaryTrainer makes a zstd dictionary from samples of a type's values, in steps, and measures
// on samples that it did not learn from whether it is worth having. SamplePool keeps the samples
// until then. Thread safety: none; the caller holds a lock or is the only one. A step of the
// trainer takes some tens of milliseconds for a MiB of samples.

#ifndef LARDER_POLICY_DICTIONARY_TRAINER_H_
#define LARDER_POLICY_DICTIONARY_TRAINER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/random.h"
#include "policy/codec.h"

namespace larder {

// Some of the values that were offered, late ones more likely than early ones.
class SamplePool {
 public:
  // Takes the value, or not; what it replaces is thrown away. `bytes_max` is what the pool may hold
  // now.
  void Offer(std::string_view value, uint64_t bytes_max, Random* random);
  // All samples; the pool is empty afterwards.
  std::vector<std::string> Take();

  uint64_t bytes() const { return bytes_; }
  size_t size() const { return values_.size(); }

 private:
  std::vector<std::string> values_;
  uint64_t bytes_ = 0;
};

class DictionaryTrainer {
 public:
  // Fewer samples teach nothing.
  static constexpr size_t kSamplesMin = 16;

  struct Result {
    // Null: none could be made.
    std::unique_ptr<const Dictionary> dictionary;
    // The samples that were held back: plain, with the new dictionary, without one, and with the
    // one that is in use (the same as without where there is none). A value that does not get
    // smaller counts as it is.
    uint64_t plain_bytes = 0;
    uint64_t new_bytes = 0;
    uint64_t bare_bytes = 0;
    uint64_t current_bytes = 0;

    // Worth having: a tenth better than none and 5% better than the one in use.
    bool Accepted() const;
  };

  // `current` may be null. REQUIRES: samples.size() >= kSamplesMin.
  DictionaryTrainer(std::vector<std::string> samples, size_t dictionary_bytes_max, int level,
                    std::shared_ptr<const Dictionary> current, Random* random);

  // Returns true when the training is done.
  bool Step();
  // REQUIRES: Step returned true.
  Result Take() { return std::move(result_); }

 private:
  // Null when the samples do not make one.
  std::unique_ptr<const Dictionary> Train(size_t candidate) const;
  template <typename Compress>
  uint64_t StoredBytes(const Compress& compress) const;

  const size_t dictionary_bytes_max_;
  const int level_;
  const std::shared_ptr<const Dictionary> current_;
  // One after the other, as zdict wants them.
  std::string learned_;
  std::vector<size_t> learned_sizes_;
  std::vector<std::string> held_back_;
  size_t next_candidate_ = 0;
  Result result_;
};

}  // namespace larder

#endif  // LARDER_POLICY_DICTIONARY_TRAINER_H_
