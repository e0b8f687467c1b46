// The hot list is what a process writes down of its memory, so that its successor can fetch the
// same entries from the lower tier before anybody asks for them: full keys with their versions, no
// values, the ones that are read most first. It is a hint: nothing that it says is served, and one
// that is out of date or lost costs misses.
// Thread safety: values and pure functions.
//
// It lies in parts, each a file that can be read without the others. All keys of a part have the
// same level, which is how often they are read; the index says which part has which.

#ifndef LARDER_ENGINE_HOT_LIST_H_
#define LARDER_ENGINE_HOT_LIST_H_

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "core/key.h"
#include "core/version.h"

namespace larder {

// Keys whose hits have as many bits are of one level: the next one is read twice as often. Those of
// level 0 were not read.
using HotLevel = uint8_t;
inline constexpr size_t kHotLevels = 24;
inline HotLevel HotLevelOf(uint32_t hits) {
  return static_cast<HotLevel>(std::min<size_t>(std::bit_width(hits), kHotLevels - 1));
}

struct HotKey {
  std::string full_key;
  // Of the copy that memory had.
  Version version = kNoVersion;
  HotLevel level = 0;
};

// A part that is being written.
class HotListPart {
 public:
  static constexpr size_t kKeyOverheadBytes = 10;  // beside the key itself
  // Header and checksum.
  static constexpr size_t kFrameBytes = 14;

  void Add(std::string_view full_key, Version version);
  // Of the file, without the checksum.
  size_t bytes() const { return bytes_.size(); }
  // The file. The part is then empty. REQUIRES: at least one key.
  std::string Finish(HotLevel level);

 private:
  std::string bytes_;
  uint32_t keys_ = 0;
};

// Never believes a length or a count before the bytes are there. DataLoss: the bytes are not what
// Finish made; the message says what is wrong with them.
absl::StatusOr<std::vector<HotKey>> DecodeHotListPart(std::string_view bytes);

struct HotListIndex {
  uint64_t keys = 0;  // of all parts
  // Of the parts, by their number.
  std::vector<HotLevel> levels;
};
std::string EncodeHotListIndex(const HotListIndex& index);
// As DecodeHotListPart.
absl::StatusOr<HotListIndex> DecodeHotListIndex(std::string_view bytes);

// Which keys a list of limited size takes: those above a level, and so many of that level.
struct HotListCut {
  HotLevel least = 0;
  uint64_t of_least = 0;
};

// Counts what there is, to find the cut.
class HotListCount {
 public:
  void Add(std::string_view full_key, uint32_t hits) {
    Level& level = levels_[HotLevelOf(hits)];
    ++level.keys;
    level.bytes += full_key.size() + HotListPart::kKeyOverheadBytes;
  }
  HotListCut CutAt(uint64_t keys_max, uint64_t bytes_max) const;

 private:
  struct Level {
    uint64_t keys = 0;
    uint64_t bytes = 0;
  };
  std::array<Level, kHotLevels> levels_ = {};
};

}  // namespace larder

#endif  // LARDER_ENGINE_HOT_LIST_H_
