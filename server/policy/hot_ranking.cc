// What to remember: the keys of the largest counts, by Space-Saving: a newcomer takes the place of
// the least key and inherits its count as its own possible error. Alone it lets every rare key
// through the table, and the counts of long tails are mostly error. So there is a filter in front
// (Homem and Carvalho, "Finding top-k elements in data streams"): a newcomer first collects in one
// of a few hundred cells, by hash, and enters when its cell would outdo the least key; what was in
// the cell is its possible error. A key that has to go leaves its count in its cell. This was
// chosen over a count-min sketch or HeavyKeeper, which keep no better order among 128 keys and need
// several times the memory; it is multiplied by types and orders. The largest values need no
// filter: a size is seen whole or not at all.
//
// What to say: only what is known, the part of a count that a key collected itself. Rows whose
// possible error is larger than that are left out, as are estimates from fewer than four samples,
// unless each of these was one event and no more. Uniform traffic over many keys so has no hot
// keys, instead of 128 keys that chance has chosen.
//
// A search goes through the tags of all rows, eight cache lines at most, instead of a hash table
// that would have to follow every move of a row. It is done for samples only.

#include "policy/hot_ranking.h"

#include <algorithm>
#include <utility>

namespace larder {
namespace {

constexpr uint32_t kSamplesMin = 4;
// Cells of the filter for each key that is tracked.
constexpr size_t kCellsPerRow = 4;
// What malloc adds to an allocation, at most.
constexpr uint64_t kMallocBytes = 24;

// What a string of `key` allocates: nothing for one that fits into the string itself.
uint64_t BytesOf(std::string_view key) {
  return key.size() < sizeof(std::string) / 2 ? 0 : key.size() + 1 + kMallocBytes;
}

}  // namespace

void HotRanking::Add(const HotSample& sample) {
  const uint64_t amount = AmountOf(sample);
  const size_t at = Find(sample);
  if (at < rows_.size()) {
    Count(sample, amount, &rows_[at]);
  } else if (amount > 0) {
    Offer(sample, amount);
  }
}

uint64_t HotRanking::AmountOf(const HotSample& sample) const {
  switch (order_) {
    case HotOrder::kHits:
      return sample.hits;
    case HotOrder::kMisses:
      return sample.misses;
    case HotOrder::kBytes:
      return sample.bytes;
    case HotOrder::kValueBytes:
      return sample.value_bytes;
  }
  return 0;
}

size_t HotRanking::Find(const HotSample& sample) const {
  const auto tag = static_cast<uint32_t>(sample.hash);
  size_t at = 0;
  for (; at < tags_.size(); ++at) {
    if (tags_[at] == tag && rows_[at].full_key == sample.full_key) break;
  }
  return at;
}

void HotRanking::Count(const HotSample& sample, uint64_t amount, Tracked* row) {
  row->hits += sample.hits;
  row->misses += sample.misses;
  row->bytes += sample.bytes;
  row->value_bytes_max = std::max(row->value_bytes_max, sample.value_bytes);
  if (amount == 0) return;
  row->rank = order_ == HotOrder::kValueBytes ? row->value_bytes_max : row->rank + amount;
  row->counted &= sample.weight == 1;
  ++row->samples;
}

// A key that is not tracked asks for a place.
void HotRanking::Offer(const HotSample& sample, uint64_t amount) {
  uint64_t none = 0;
  const bool filtered = order_ != HotOrder::kValueBytes;
  if (filtered && filter_.empty()) filter_.resize(rows_max_ * kCellsPerRow);
  uint64_t& cell = filtered ? filter_[sample.hash % filter_.size()] : none;
  const uint64_t rank = cell + amount;
  const uint64_t key_bytes = BytesOf(sample.full_key);
  while (rows_.size() == rows_max_ || key_bytes_ + key_bytes > key_bytes_max_) {
    if (rows_.empty() || !DropLeast(rank)) {
      cell = rank;
      return;
    }
  }
  Tracked row;
  row.full_key = sample.full_key;
  row.hash = sample.hash;
  row.rank = row.error = cell;
  key_bytes_ += key_bytes;
  Count(sample, amount, &row);
  least_ = std::min(least_, row.rank);
  if (rows_.capacity() == 0) {
    rows_.reserve(rows_max_);
    tags_.reserve(rows_max_);
  }
  tags_.push_back(static_cast<uint32_t>(row.hash));
  rows_.push_back(std::move(row));
}

// Removes the key of the least rank if that is below `rank`.
bool HotRanking::DropLeast(uint64_t rank) {
  if (rank <= least_) return false;
  size_t at = 0;
  uint64_t next = UINT64_MAX;  // the second least
  for (size_t i = 1; i < rows_.size(); ++i) {
    if (rows_[i].rank < rows_[at].rank) {
      next = rows_[at].rank;
      at = i;
    } else {
      next = std::min(next, rows_[i].rank);
    }
  }
  least_ = rows_[at].rank;
  if (rank <= least_) return false;
  if (!filter_.empty()) {
    uint64_t& cell = filter_[rows_[at].hash % filter_.size()];
    cell = std::max(cell, rows_[at].rank);
  }
  key_bytes_ -= BytesOf(rows_[at].full_key);
  // Swapped, not moved: a short string that is assigned to a long one leaves it its memory.
  std::swap(rows_[at], rows_.back());
  tags_[at] = tags_.back();
  rows_.pop_back();
  tags_.pop_back();
  least_ = next;
  return true;
}

std::vector<const HotRanking::Tracked*> HotRanking::Certain() const {
  std::vector<const Tracked*> certain;
  for (const Tracked& row : rows_) {
    const bool sure = row.error <= row.rank - row.error;
    const bool enough =
        row.samples >= kSamplesMin || row.counted || order_ == HotOrder::kValueBytes;
    if (sure && enough) certain.push_back(&row);
  }
  return certain;
}

uint64_t HotRanking::bytes() const {
  return rows_.capacity() * sizeof(Tracked) + tags_.capacity() * sizeof(uint32_t) +
         filter_.capacity() * sizeof(uint64_t) + key_bytes_;
}

uint64_t HotRanking::FixedBytes(size_t rows_max, bool filtered) {
  return sizeof(HotRanking) + rows_max * (sizeof(Tracked) + sizeof(uint32_t) +
                                          (filtered ? kCellsPerRow * sizeof(uint64_t) : 0));
}

}  // namespace larder
