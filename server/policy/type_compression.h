// TypeCompression is what a Compressor keeps for one data type: the choice of codecs, the
// dictionary in use, the samples for the next one and when to take them. It encodes nothing itself.
// Thread safety: any method, any thread. Blocks at most for its own short lock.

#ifndef LARDER_POLICY_TYPE_COMPRESSION_H_
#define LARDER_POLICY_TYPE_COMPRESSION_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/counters.h"
#include "base/mutex.h"
#include "policy/codec_chooser.h"
#include "policy/compressor.h"
#include "policy/dictionary_set.h"
#include "policy/dictionary_trainer.h"

namespace larder {

class TypeCompression {
 public:
  // Counted by whoever encodes and decodes.
  enum Counter : uint8_t {
    kLz4Values,
    kZstdValues,
    kDictionaryValues,
    kPlainBytes,
    kStoredBytes,
    kSmallValues,
    kRestingValues,
    kGainlessValues,
    kEncodeNanos,
    kDecodeNanos,
    kDecodes,
    kDecodesFailed,
    kCounters,
  };

  // How to encode one value.
  struct Plan {
    CodecChooser::Plan codecs;
    std::shared_ptr<const TypeDictionary> dictionary;  // null: none
  };

  // What a training needs.
  struct Training {
    std::vector<std::string> samples;
    uint64_t population_bytes = 0;  // of the values that the samples were taken from
    std::shared_ptr<const TypeDictionary> current;
    uint32_t next_version = 1;
  };

  // Both outlive the object. `sample_bytes` counts what all types hold.
  TypeCompression(const CompressPolicy& policy, const Compressor::Options* options,
                  std::atomic<uint64_t>* sample_bytes);

  const CompressPolicy& policy() const { return policy_; }
  CounterBlock& counters() { return counters_; }

  // Before a value is encoded; it may be kept as a sample. `ready` is set when the type has just
  // got all the samples that a training needs.
  Plan Begin(std::string_view plain, MonoNanos now, bool* ready);
  // After it was. Returns the codec whose form is to be kept, kNone for plain.
  CodecChooser::Plan End(const Plan& plan, const CodecChooser::Outcome& outcome, MonoNanos now);

  bool TrainingReady() const;
  // Hands the samples out. REQUIRES: TrainingReady().
  Training TakeTraining();
  // How the training that was handed out ended. Null: it gave nothing, and the next try has to
  // wait, longer each time.
  void EndTraining(std::shared_ptr<const TypeDictionary> accepted, MonoNanos now);

  // Without what the DictionarySet knows.
  CompressionStats Stats() const;

 private:
  bool Dictionaries() const;
  void Sample(std::string_view plain, MonoNanos now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool EnoughSamples(MonoNanos now) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void WatchDrift(const CodecChooser::Outcome& outcome, MonoNanos now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const CompressPolicy policy_;
  const Compressor::Options& options_;
  std::atomic<uint64_t>& sample_bytes_;
  CounterBlock counters_;

  mutable Mutex mu_;
  CodecChooser chooser_ ABSL_GUARDED_BY(mu_);
  std::shared_ptr<const TypeDictionary> current_ ABSL_GUARDED_BY(mu_);
  // What values came to with current_, late ones counting most.
  double drift_plain_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  double drift_stored_bytes_ ABSL_GUARDED_BY(mu_) = 0;

  SamplePool samples_ ABSL_GUARDED_BY(mu_);
  uint64_t population_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  MonoNanos sampling_since_ ABSL_GUARDED_BY(mu_) = 0;  // 0: not sampling
  // When to take samples again: in any case, and when values have drifted.
  MonoNanos sample_from_ ABSL_GUARDED_BY(mu_) = 0;
  MonoNanos drift_from_ ABSL_GUARDED_BY(mu_) = 0;
  // From enough samples until the end of the training.
  bool ready_ ABSL_GUARDED_BY(mu_) = false;
  uint64_t trainings_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t trainings_refused_ ABSL_GUARDED_BY(mu_) = 0;
  int refused_in_a_row_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace larder

#endif  // LARDER_POLICY_TYPE_COMPRESSION_H_
