// CodecChooser decides for the values of one type which codec to try: by their size, and by what
// values of such a size gained before. Thread safety: none; the caller holds a lock. Never blocks.

#ifndef LARDER_POLICY_CODEC_CHOOSER_H_
#define LARDER_POLICY_CODEC_CHOOSER_H_

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/clock.h"
#include "policy/compress_policy.h"

namespace larder {

// What a stored form may take of a value of so many bytes: at least a tenth less.
inline size_t StoredBytesMax(size_t plain_bytes) { return plain_bytes - (plain_bytes + 9) / 10; }

class CodecChooser {
 public:
  // kBoth: try both and record both, so that they can be compared.
  enum class Plan : uint8_t { kNone, kLz4, kZstd, kBoth };

  // What came of it. Bytes are those of the plain value where a codec gained too little.
  struct Outcome {
    Plan plan;
    size_t plain_bytes;
    size_t lz4_bytes = 0;   // for kLz4 and kBoth
    size_t zstd_bytes = 0;  // for kZstd and kBoth
  };

  // Values per round; a class of sizes that gains nothing in one rests.
  static constexpr uint32_t kRound = 16;
  // A rest ends after this many values or this time.
  static constexpr uint32_t kRestValues = 1000;
  static constexpr MonoNanos kRestNanos = MonoNanos{60} * 1'000'000'000;
  // After the first round both codecs are compared every this many values.
  static constexpr uint32_t kCompareEvery = 32;

  // REQUIRES: the policy's codec is not kNone.
  explicit CodecChooser(CodecChoice codec) : codec_(codec) {}

  // kNone: values of this size rest.
  Plan Choose(size_t plain_bytes, MonoNanos now);
  // Returns the codec whose form is to be kept: kLz4, kZstd, or kNone where neither gained.
  Plan Record(const Outcome& outcome, MonoNanos now);

  // Forgets everything: values are encoded differently from now on.
  void Reset() { classes_ = {}; }

 private:
  // Values of one class of sizes, the last few dozen counting most.
  struct SizeClass {
    uint32_t tried = 0;  // in this round and, as a half, those before
    double plain_bytes = 0;
    double kept_bytes = 0;
    uint32_t compared = 0;
    double lz4_bytes = 0;
    double zstd_bytes = 0;
    uint32_t until_compare = 0;
    uint32_t rest_left = 0;
    MonoNanos rest_until = 0;
  };
  static constexpr size_t kClasses = 3;

  static size_t ClassOf(size_t plain_bytes);
  bool PrefersLz4(size_t size_class) const;

  const CodecChoice codec_;
  std::array<SizeClass, kClasses> classes_ = {};
};

}  // namespace larder

#endif  // LARDER_POLICY_CODEC_CHOOSER_H_
