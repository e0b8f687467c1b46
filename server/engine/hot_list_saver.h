// A HotListSaver writes the hot list of one memory down, once, in steps of about a millisecond each
// and a file write.
// Thread safety: one thread at a time. Walk does not block for longer than a shard's lock; Write
// blocks on the disk.
// Errors: the data directory's. The list that was there is then still of use, as far as it was not
// written over.
//
// Holds no list in memory: two walks, one that counts and one that writes, and a part of at most
// part_bytes for each level, together 24 * part_bytes at most and a few megabytes in general.

#ifndef LARDER_ENGINE_HOT_LIST_SAVER_H_
#define LARDER_ENGINE_HOT_LIST_SAVER_H_

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "base/clock.h"
#include "base/data_dir.h"
#include "engine/hot_list.h"
#include "memory/l1.h"
#include "policy/type_table.h"

namespace larder {

inline constexpr std::string_view kHotListFile = "hot_keys";
// The file of a part.
std::string HotListPartFile(uint32_t number);

class HotListSaver {
 public:
  // All outlive the saver.
  struct Options {
    const L1* memory = nullptr;
    const TypeTable* types = nullptr;
    // There is a second tier, from which entries come back. Of types that are warmed at the start,
    // they come from the origin, too.
    bool second_tier = true;
    DataDir* data_dir = nullptr;
    Clock* clock = Clock::System();
    // Most keys, and most bytes of them on disk.
    uint64_t keys_max = 1'000'000;
    uint64_t bytes_max = 1 << 30;
    // Of one file, about; at least a kilobyte, at most half of what a file of the data directory
    // may have.
    size_t part_bytes = 512 << 10;
  };

  explicit HotListSaver(const Options& options) : options_(options) {}

  enum class Next : uint8_t { kWalk, kWrite, kDone };
  // What is to be called next.
  Next next() const { return next_; }
  void Walk();
  absl::Status Write();

  // Keys that were written down.
  uint64_t keys() const { return index_.keys; }

 private:
  void Take(const L1::Listed& entry);
  void FinishPart(HotLevel level);

  const Options options_;
  Next next_ = Next::kWalk;
  uint64_t cursor_ = 0;
  bool counted_ = false;
  bool walked_ = false;
  HotListCount count_;
  HotListCut cut_;
  uint64_t bytes_ = 0;
  std::array<HotListPart, kHotLevels> parts_;
  HotListIndex index_;
  // Parts that are full: their numbers and files.
  std::vector<std::pair<uint32_t, std::string>> full_;
};

}  // namespace larder

#endif  // LARDER_ENGINE_HOT_LIST_SAVER_H_
