// A dictionary lives in three phases.
//
// Sampling: values that pass are copied into a pool until it holds enough and has seen a hundred
// times what the dictionary may weigh; then the type is ready for a training, and takes no more.
//
// In use: nothing is sampled. The ratio that values come to is compared with the one that the
// dictionary showed when it was trained. When it got clearly worse, the values have drifted away,
// and sampling begins again; else it begins after an hour, because a dictionary can also be
// outdone without having got worse: the first one may be of a type's quiet time.
//
// Refused: a training that gave nothing better is tried again, after 10 minutes, then 20, up to a
// day. Types whose values have nothing in common cost two or three trainings, not one after
// another.

#include "policy/type_compression.h"

#include <algorithm>
#include <utility>

namespace larder {
namespace {

constexpr int kPopulationPerDictionary = 100;
// With less there is no training, however long it takes.
constexpr uint64_t kPopulationMin = 400 << 10;
constexpr uint64_t kSampleBytesMin = 64 << 10;

constexpr absl::Duration kRefusedWait = absl::Minutes(10);
constexpr absl::Duration kRefusedWaitMax = absl::Hours(24);

// Values have drifted when they take this many times what they took in training, judged over the
// last so many bytes.
constexpr double kDrift = 1.15;
constexpr double kDriftBytesMin = 256 << 10;
// A new dictionary is left alone for so long.
constexpr absl::Duration kDriftPause = absl::Minutes(1);

}  // namespace

TypeCompression::TypeCompression(const CompressPolicy& policy, const Compressor::Options* options,
                                 std::atomic<uint64_t>* sample_bytes)
    : policy_(policy),
      options_(*options),
      sample_bytes_(*sample_bytes),
      counters_(kCounters),
      chooser_(policy.codec) {}

bool TypeCompression::Dictionaries() const {
  return policy_.dictionary &&
         (policy_.codec == CodecChoice::kAuto || policy_.codec == CodecChoice::kZstd);
}

TypeCompression::Plan TypeCompression::Begin(std::string_view plain, MonoNanos now, bool* ready) {
  *ready = false;
  const bool may_use = Dictionaries() && plain.size() <= options_.dictionary_value_bytes_max;
  MutexLock lock(&mu_);
  if (may_use && !ready_ && now >= sample_from_) {
    Sample(plain, now);
    *ready = ready_ = EnoughSamples(now);
  }
  return {chooser_.Choose(plain.size(), now), may_use ? current_ : nullptr};
}

void TypeCompression::Sample(std::string_view plain, MonoNanos now) {
  if (sampling_since_ == 0) sampling_since_ = std::max<MonoNanos>(now, 1);
  population_bytes_ += plain.size();
  const uint64_t before = samples_.bytes();
  uint64_t bytes_max = before;
  if (before + plain.size() <= options_.sample_bytes_per_type) {
    // Reserved first, so that types that sample at the same time stay within the limit together.
    const uint64_t in_all = sample_bytes_.fetch_add(plain.size(), std::memory_order_relaxed);
    if (in_all + plain.size() <= options_.sample_bytes_max) {
      bytes_max += plain.size();
    } else {
      sample_bytes_.fetch_sub(plain.size(), std::memory_order_relaxed);
    }
  }
  samples_.Offer(plain, bytes_max, options_.random);
  if (samples_.bytes() < bytes_max) {
    sample_bytes_.fetch_sub(bytes_max - samples_.bytes(), std::memory_order_relaxed);
  }
}

bool TypeCompression::EnoughSamples(MonoNanos now) const {
  if (samples_.size() < DictionaryTrainer::kSamplesMin || samples_.bytes() < kSampleBytesMin ||
      population_bytes_ < kPopulationMin) {
    return false;
  }
  return population_bytes_ >= options_.dictionary_bytes_max * kPopulationPerDictionary ||
         now >= MonoAfter(sampling_since_, options_.sampling_time);
}

CodecChooser::Plan TypeCompression::End(const Plan& plan, const CodecChooser::Outcome& outcome,
                                        MonoNanos now) {
  MutexLock lock(&mu_);
  if (plan.dictionary != nullptr) {
    if (plan.dictionary == current_) {
      WatchDrift(outcome, now);
    } else {
      plan.dictionary->last_used.store(now, std::memory_order_relaxed);
    }
  }
  return chooser_.Record(outcome, now);
}

void TypeCompression::WatchDrift(const CodecChooser::Outcome& outcome, MonoNanos now) {
  if (outcome.plan == CodecChooser::Plan::kLz4) return;
  drift_plain_bytes_ += static_cast<double>(outcome.plain_bytes);
  drift_stored_bytes_ += static_cast<double>(outcome.zstd_bytes);
  if (drift_plain_bytes_ < kDriftBytesMin) return;
  const bool drifted = drift_stored_bytes_ * current_->ratio > drift_plain_bytes_ * kDrift;
  if (drifted && now >= drift_from_) sample_from_ = std::min(sample_from_, now);
  if (drift_plain_bytes_ > 4 * kDriftBytesMin) {
    drift_plain_bytes_ /= 2;
    drift_stored_bytes_ /= 2;
  }
}

bool TypeCompression::TrainingReady() const {
  MutexLock lock(&mu_);
  return ready_;
}

TypeCompression::Training TypeCompression::TakeTraining() {
  MutexLock lock(&mu_);
  sample_bytes_.fetch_sub(samples_.bytes(), std::memory_order_relaxed);
  sampling_since_ = 0;
  return {samples_.Take(), std::exchange(population_bytes_, 0), current_,
          static_cast<uint32_t>(trainings_ + 1)};
}

void TypeCompression::EndTraining(std::shared_ptr<const TypeDictionary> accepted, MonoNanos now) {
  MutexLock lock(&mu_);
  ready_ = false;
  if (accepted == nullptr) {
    ++trainings_refused_;
    const absl::Duration wait =
        std::min(kRefusedWait * (1 << std::min(refused_in_a_row_++, 16)), kRefusedWaitMax);
    sample_from_ = drift_from_ = MonoAfter(now, wait);
    return;
  }
  ++trainings_;
  refused_in_a_row_ = 0;
  current_ = std::move(accepted);
  drift_plain_bytes_ = drift_stored_bytes_ = 0;
  drift_from_ = MonoAfter(now, kDriftPause);
  sample_from_ = MonoAfter(now, options_.retrain_after);
  // What values gained without it says nothing any more.
  chooser_.Reset();
}

CompressionStats TypeCompression::Stats() const {
  CompressionStats stats;
  stats.lz4_values = counters_.Sum(kLz4Values);
  stats.zstd_values = counters_.Sum(kZstdValues);
  stats.dictionary_values = counters_.Sum(kDictionaryValues);
  stats.plain_bytes = counters_.Sum(kPlainBytes);
  stats.stored_bytes = counters_.Sum(kStoredBytes);
  stats.small_values = counters_.Sum(kSmallValues);
  stats.resting_values = counters_.Sum(kRestingValues);
  stats.gainless_values = counters_.Sum(kGainlessValues);
  stats.encode_nanos = counters_.Sum(kEncodeNanos);
  stats.decode_nanos = counters_.Sum(kDecodeNanos);
  stats.decodes = counters_.Sum(kDecodes);
  stats.decodes_failed = counters_.Sum(kDecodesFailed);
  MutexLock lock(&mu_);
  stats.trainings = trainings_;
  stats.trainings_refused = trainings_refused_;
  stats.sample_bytes = samples_.bytes();
  if (current_ != nullptr) {
    stats.dictionary_version = current_->version;
    stats.dictionary_encoding = current_->number;
    stats.dictionary_bytes = current_->dictionary->content().size();
    stats.dictionary_trained = current_->trained;
    stats.dictionary_ratio = current_->ratio;
  }
  return stats;
}

}  // namespace larder
