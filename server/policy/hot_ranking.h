// HotRanking keeps the keys with the largest counts of a stream of samples, in bounded memory.
// Thread safety: one thread at a time. Never blocks. Errors: none.
//
// What it says of a key is what it counted itself while it tracked the key, and so never more than
// the truth, as far as the samples go.

#ifndef LARDER_POLICY_HOT_RANKING_H_
#define LARDER_POLICY_HOT_RANKING_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace larder {

// What a ranking goes by. By value bytes: the largest value that was seen, not a sum.
enum class HotOrder : uint8_t { kHits, kMisses, kBytes, kValueBytes };

struct HotSample {
  std::string_view full_key;
  uint64_t hash;  // of full_key
  uint64_t hits;
  uint64_t misses;
  uint64_t bytes;
  uint64_t value_bytes;
  uint32_t weight;  // how many events it stands for
};

class HotRanking {
 public:
  struct Tracked {
    std::string full_key;
    uint64_t hash = 0;
    uint64_t rank = 0;   // what the order goes by
    uint64_t error = 0;  // the part of `rank` that other keys may have collected
    uint64_t hits = 0;
    uint64_t misses = 0;
    uint64_t bytes = 0;
    uint64_t value_bytes_max = 0;
    uint32_t samples = 0;  // that added to `rank`
    bool counted = true;   // each of them stood for one event
  };

  // Tracks at most `rows_max` keys, whose text takes at most `key_bytes_max`.
  HotRanking(HotOrder order, size_t rows_max, uint64_t key_bytes_max)
      : order_(order), rows_max_(rows_max), key_bytes_max_(key_bytes_max) {}

  void Add(const HotSample& sample);

  // There will be no more samples: gives back what only they need.
  void Close() { std::vector<uint64_t>().swap(filter_); }

  // The keys about which enough is known, in no order.
  std::vector<const Tracked*> Certain() const;

  // Memory taken.
  uint64_t bytes() const;
  // The part of it that does not depend on the keys, at most; without a filter, of a closed one.
  static uint64_t FixedBytes(size_t rows_max, bool filtered);

 private:
  uint64_t AmountOf(const HotSample& sample) const;
  size_t Find(const HotSample& sample) const;
  void Count(const HotSample& sample, uint64_t amount, Tracked* row);
  void Offer(const HotSample& sample, uint64_t amount);
  bool DropLeast(uint64_t rank);

  HotOrder order_;
  size_t rows_max_;
  uint64_t key_bytes_max_;
  std::vector<Tracked> rows_;
  std::vector<uint32_t> tags_;  // of the rows' hashes: what a search goes through
  std::vector<uint64_t> filter_;
  uint64_t key_bytes_ = 0;
  // No row ranks below this. Ranks only grow, so it need not be kept exact.
  uint64_t least_ = UINT64_MAX;
};

}  // namespace larder

#endif  // LARDER_POLICY_HOT_RANKING_H_
