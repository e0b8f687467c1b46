// Memory may hold many millions of keys, and the list is written every minute beside the traffic.
// To sort them would take as much memory as they do. So nothing is sorted: the first walk counts
// how many keys each level has, which tells where a list of limited size has to be cut; the second
// one puts each key into the part of its level, and parts that are full go to disk. Reading the
// parts by level gives the keys in the order that matters. What changes between the walks makes the
// cut a little wrong, and no harm.
//
// Rejected: the hottest keys in a heap (65 MB for a million keys, every minute, beside a budget
// that may be smaller); one walk with parts that are thrown away when hotter ones come (the same
// memory, or files written in vain).
//
// Old parts are written over as new ones come, and the index comes last. When the process ends in
// between, the old index names parts of which some are new: good keys of another level, read in
// the wrong order.

#include "engine/hot_list_saver.h"

#include "base/status.h"
#include "base/strings.h"

namespace larder {
namespace {

// A step ends after so many entries, or so many parts of memory, which may be nearly empty.
constexpr size_t kStepEntries = 1'000;
constexpr int kStepListings = 64;

}  // namespace

std::string HotListPartFile(uint32_t number) { return StrCat(kHotListFile, ".", number); }

void HotListSaver::Walk() {
  const MonoNanos now = options_.clock->Mono();
  std::vector<L1::Listed> listed;
  int listings = 0;
  do {
    cursor_ = options_.memory->List(cursor_, now, &listed);
  } while (cursor_ != 0 && listed.size() < kStepEntries && ++listings < kStepListings);
  for (const L1::Listed& entry : listed) {
    const TypePolicy& type = options_.types->Get(entry.type_id);
    const bool below = options_.second_tier && type.second_tier;
    const bool from_origin = type.warm.on_start && !type.origin.empty();
    if (!below && !from_origin) continue;
    if (counted_) {
      Take(entry);
    } else {
      count_.Add(entry.full_key, entry.hits);
    }
  }
  if (cursor_ == 0) {
    if (counted_) {
      walked_ = true;
    } else {
      counted_ = true;
      cut_ = count_.CutAt(options_.keys_max, options_.bytes_max);
    }
  }
  if (walked_ || !full_.empty()) next_ = Next::kWrite;
}

void HotListSaver::Take(const L1::Listed& entry) {
  const HotLevel level = HotLevelOf(entry.hits);
  if (level < cut_.least || index_.keys >= options_.keys_max) return;
  if (level == cut_.least) {
    if (cut_.of_least == 0) return;
    --cut_.of_least;
  }
  const size_t bytes = entry.full_key.size() + HotListPart::kKeyOverheadBytes;
  if (bytes_ + bytes > options_.bytes_max) return;
  bytes_ += bytes;
  ++index_.keys;
  parts_[level].Add(entry.full_key, entry.version);
  if (parts_[level].bytes() >= options_.part_bytes) FinishPart(level);
}

void HotListSaver::FinishPart(HotLevel level) {
  full_.emplace_back(static_cast<uint32_t>(index_.levels.size()), parts_[level].Finish(level));
  index_.levels.push_back(level);
}

absl::Status HotListSaver::Write() {
  if (walked_) {
    for (HotLevel level = 0; level < kHotLevels; ++level) {
      if (parts_[level].bytes() > 0) FinishPart(level);
    }
  }
  for (const auto& [number, file] : full_)
    RETURN_IF_ERROR(options_.data_dir->WriteFile(HotListPartFile(number), file));
  full_.clear();
  next_ = Next::kWalk;
  if (walked_) {
    RETURN_IF_ERROR(options_.data_dir->WriteFile(kHotListFile, EncodeHotListIndex(index_)));
    next_ = Next::kDone;
  }
  return absl::OkStatus();
}

}  // namespace larder
