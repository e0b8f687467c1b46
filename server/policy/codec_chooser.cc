// Three things make one codec better than another for a value: what it saves, what it costs to
// store, and what it costs every hit. The last two grow with the size: zstd decodes at 0.6 to 1
// GB/s and lz4 three times as fast, which is a microsecond for a small value and a millisecond for
// a large one. So zstd has to save more, the larger the value is. For small values, where its
// dictionaries are at home, it practically always wins.
//
// What a codec saves is seen only by trying. All of it is kept by classes of sizes, because a
// type's small and large values are often different things. The first values of a class are encoded
// by both codecs and then every 32nd, so that the two are compared on the same values.
//
// Values that do not compress (pictures, what is compressed or encrypted already) cost the same
// time and gain nothing: when a round of values gained less than a tenth, the class rests. A rest
// ends after a thousand values or a minute, whichever is first: a busy type then spends 2% of its
// values on asking again, and an idle one is not stuck with what its first 16 values were like.

#include "policy/codec_chooser.h"

#include <algorithm>

namespace larder {
namespace {

constexpr size_t kSmallBelow = 4 << 10;
constexpr size_t kMediumBelow = 64 << 10;

// lz4 is taken where its form is at most this many times as large as zstd's. By class.
constexpr double kLz4Handicap[] = {1.05, 1.15, 1.5};

// After so many values the past counts half.
constexpr uint32_t kFadeAt = 4 * CodecChooser::kRound;

}  // namespace

size_t CodecChooser::ClassOf(size_t plain_bytes) {
  return plain_bytes < kSmallBelow ? 0 : plain_bytes < kMediumBelow ? 1 : 2;
}

bool CodecChooser::PrefersLz4(size_t size_class) const {
  const SizeClass& seen = classes_[size_class];
  return seen.lz4_bytes <= seen.zstd_bytes * kLz4Handicap[size_class];
}

CodecChooser::Plan CodecChooser::Choose(size_t plain_bytes, MonoNanos now) {
  const size_t size_class = ClassOf(plain_bytes);
  SizeClass& seen = classes_[size_class];
  if (seen.rest_left > 0) {
    --seen.rest_left;
    if (seen.rest_left > 0 && now < seen.rest_until) return Plan::kNone;
    seen = {};
  }
  if (codec_ == CodecChoice::kLz4) return Plan::kLz4;
  if (codec_ == CodecChoice::kZstd) return Plan::kZstd;
  if (seen.compared < kRound || seen.until_compare == 0) {
    seen.until_compare = kCompareEvery - 1;
    return Plan::kBoth;
  }
  --seen.until_compare;
  return PrefersLz4(size_class) ? Plan::kLz4 : Plan::kZstd;
}

CodecChooser::Plan CodecChooser::Record(const Outcome& outcome, MonoNanos now) {
  const size_t size_class = ClassOf(outcome.plain_bytes);
  SizeClass& seen = classes_[size_class];
  Plan keep = outcome.plan;
  if (outcome.plan == Plan::kBoth) {
    if (seen.compared >= 2 * kRound) {
      seen.compared /= 2;
      seen.lz4_bytes /= 2;
      seen.zstd_bytes /= 2;
    }
    ++seen.compared;
    seen.lz4_bytes += static_cast<double>(outcome.lz4_bytes);
    seen.zstd_bytes += static_cast<double>(outcome.zstd_bytes);
    const auto zstd_bytes = static_cast<double>(outcome.zstd_bytes);
    const bool lz4_near =
        static_cast<double>(outcome.lz4_bytes) <= zstd_bytes * kLz4Handicap[size_class];
    keep = lz4_near ? Plan::kLz4 : Plan::kZstd;
    // Within the handicap lz4 may gain too little where zstd gains enough.
    if (keep == Plan::kLz4 && outcome.lz4_bytes >= outcome.plain_bytes) keep = Plan::kZstd;
  }
  const size_t kept_bytes = keep == Plan::kLz4 ? outcome.lz4_bytes : outcome.zstd_bytes;
  if (seen.tried >= kFadeAt) {
    seen.tried /= 2;
    seen.plain_bytes /= 2;
    seen.kept_bytes /= 2;
  }
  ++seen.tried;
  seen.plain_bytes += static_cast<double>(outcome.plain_bytes);
  seen.kept_bytes += static_cast<double>(kept_bytes);
  if (seen.tried >= kRound && seen.kept_bytes > 0.9 * seen.plain_bytes) {
    seen.rest_left = kRestValues;
    seen.rest_until = now + kRestNanos;
  }
  return kept_bytes < outcome.plain_bytes ? keep : Plan::kNone;
}

}  // namespace larder
