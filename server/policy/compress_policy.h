// How the values of one data type are compressed, as the configuration says it. Values only.

#ifndef LARDER_POLICY_COMPRESS_POLICY_H_
#define LARDER_POLICY_COMPRESS_POLICY_H_

#include <cstdint>

namespace larder {

enum class CodecChoice : uint8_t {
  kAuto,  // by what the type's values gain
  kNone,
  kLz4,
  kZstd,
};

struct CompressPolicy {
  static constexpr int kLevelMin = 1;
  static constexpr int kLevelMax = 19;

  CodecChoice codec = CodecChoice::kAuto;
  // Smaller values stay plain.
  uint64_t min_bytes = 256;
  // Train dictionaries from the values, where zstd is used.
  bool dictionary = true;
  // Of zstd, within kLevelMin and kLevelMax.
  int level = 3;
};

}  // namespace larder

#endif  // LARDER_POLICY_COMPRESS_POLICY_H_
