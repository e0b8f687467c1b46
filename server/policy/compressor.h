// Compressor turns the values of entries into their stored form and back: it picks a codec for each
// value, trains zstd dictionaries from the values that pass through it, and knows which of them are
// still needed. One object serves the whole process. Thread safety: any method, any thread, but not
// while the thread has an Epoch::Reader. Encode and Decode never wait for training; TrainingStep
// takes some tens of milliseconds of the thread that calls it. Bounded: samples, dictionaries and
// the result of Decode have limits in Options.
//
// A stored form has no checksum. Decode refuses what cannot be a stored form of the expected size;
// a flipped bit may also decode to wrong bytes.

#ifndef LARDER_POLICY_COMPRESSOR_H_
#define LARDER_POLICY_COMPRESSOR_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/random.h"
#include "core/entry.h"
#include "policy/compress_policy.h"

namespace larder {

// What was done for one data type since the start.
struct CompressionStats {
  // Values that got smaller, by codec.
  uint64_t lz4_values = 0;
  uint64_t zstd_values = 0;
  uint64_t dictionary_values = 0;
  // What these took before and after.
  uint64_t plain_bytes = 0;
  uint64_t stored_bytes = 0;
  // Values that stayed plain: below the type's `min`; not tried, because the type's values of that
  // size do not compress; tried in vain.
  uint64_t small_values = 0;
  uint64_t resting_values = 0;
  uint64_t gainless_values = 0;
  // Time spent, successful or not. For decoding it is extrapolated from every 16th call.
  uint64_t encode_nanos = 0;
  uint64_t decode_nanos = 0;
  uint64_t decodes = 0;
  uint64_t decodes_failed = 0;
  // Dictionaries trained and taken into use; trained and found not better.
  uint64_t trainings = 0;
  uint64_t trainings_refused = 0;

  // Dictionaries that exist, the outdated ones included, and the memory that they take.
  uint64_t dictionaries = 0;
  uint64_t dictionary_memory_bytes = 0;
  // The one in use; version 0 = none. Versions of a type count from 1.
  uint32_t dictionary_version = 0;
  Encoding dictionary_encoding = kPlain;
  uint64_t dictionary_bytes = 0;
  absl::Time dictionary_trained = absl::InfinitePast();
  // Plain bytes to stored bytes of values that it had not seen, when it was trained.
  double dictionary_ratio = 0;
  // Samples held for the next training.
  uint64_t sample_bytes = 0;

  // Plain bytes to stored bytes of all that was encoded; 1 when nothing was.
  double ratio() const {
    return stored_bytes == 0 ? 1.0
                             : static_cast<double>(plain_bytes) / static_cast<double>(stored_bytes);
  }
};

class Compressor {
 public:
  struct Options {
    // By type id. Values of types beyond the list stay plain.
    std::vector<CompressPolicy> types;
    // Decode gives out no more than this; Encode leaves larger values plain. At most 1 GiB.
    uint64_t value_bytes_max = 64 << 20;
    // Values up to this size are sampled and use dictionaries.
    uint64_t dictionary_value_bytes_max = 64 << 10;
    // Content of one dictionary. It is also at most a hundredth of the values that were seen while
    // its samples were taken.
    uint64_t dictionary_bytes_max = 32 << 10;
    // Dictionaries of one type that exist at a time, at least 2; then it is not trained further.
    size_t dictionaries_per_type_max = 4;
    // Memory of all dictionaries. A new one has to fit in what is left.
    uint64_t dictionaries_bytes_max = 64 << 20;
    // Samples of one type, and of all together.
    uint64_t sample_bytes_per_type = 1 << 20;
    uint64_t sample_bytes_max = 32 << 20;
    // Types with little traffic are trained with fewer samples after this time.
    absl::Duration sampling_time = absl::Minutes(10);
    // How long a dictionary is used before fresh samples are compared with it.
    absl::Duration retrain_after = absl::Hours(1);
    // An outdated dictionary stays until nothing has used it for this long.
    absl::Duration retire_after = absl::Seconds(60);
    Clock* clock = Clock::System();
    Random* random = Random::System();
  };

  // The form in which a value is to be kept.
  struct Encoded {
    // kPlain: keep the value as it is; `bytes` is empty.
    Encoding encoding = kPlain;
    std::string bytes;
  };

  // REQUIRES: the limits of Options.
  static std::unique_ptr<Compressor> New(Options options);
  virtual ~Compressor() = default;

  // A form of `plain` that takes at least a tenth less, or kPlain.
  virtual Encoded Encode(uint16_t type_id, std::string_view plain) = 0;

  // The value that was encoded to `stored`. `out` gets exactly `plain_bytes` bytes; its memory is
  // used again. VALUE_CORRUPT when that cannot be; `out` is then empty, and never has more memory
  // than it had or than `plain_bytes` and value_bytes_max allow. `type_id` is only for the books.
  virtual absl::Status Decode(uint16_t type_id, Encoding encoding, std::string_view stored,
                              uint64_t plain_bytes, std::string* out) = 0;

  // Whether TrainingStep has something to do. Costs one atomic read.
  virtual bool TrainingDue() const = 0;
  // Does one step of one training. Returns whether there is more to do. When another thread is at
  // it, does nothing and returns false.
  virtual bool TrainingStep() = 0;

  // Drops outdated dictionaries that no entry uses and that nothing has used for retire_after, and
  // returns how many it dropped. `users_of` tells how many entries are stored in an encoding. To be
  // called every few seconds, by one thread at a time.
  virtual size_t Retire(const std::function<uint64_t(Encoding)>& users_of) = 0;

  // By type id.
  virtual std::vector<CompressionStats> Stats() const = 0;
  // Memory of all dictionaries and samples.
  virtual uint64_t bytes() const = 0;
};

}  // namespace larder

#endif  // LARDER_POLICY_COMPRESSOR_H_
