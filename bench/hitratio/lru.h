// The cache that L1 is compared with where sizes and TTLs matter: least recently used first out,
// bounded in bytes, an expired entry noticed when it is asked for and not before. An entry counts
// its key, its value and 48 bytes, which is less than memcached or Redis take. Exact, by
// simulation; values are not stored. Thread safety: one thread's.

#ifndef LARDER_BENCH_HITRATIO_LRU_H_
#define LARDER_BENCH_HITRATIO_LRU_H_

#include <cstdint>
#include <vector>

#include "base/clock.h"

namespace larder::bench {

class Lru {
 public:
  static constexpr uint64_t kOverheadBytes = 48;

  // For keys 0 to `keys`.
  Lru(uint64_t capacity_bytes, size_t keys) : capacity_(capacity_bytes), nodes_(keys + 1) {
    nodes_[End()].next = nodes_[End()].previous = End();
  }

  bool Find(uint32_t key, MonoNanos now) {
    Node& node = nodes_[key];
    if (node.bytes == 0) return false;
    if (now > node.usable_until) {
      Remove(key);
      return false;
    }
    Unlink(key);
    LinkFirst(key);
    return true;
  }

  // `bytes` of key and value.
  void Insert(uint32_t key, uint64_t bytes, MonoNanos usable_until) {
    if (nodes_[key].bytes != 0) Remove(key);
    bytes += kOverheadBytes;
    if (bytes > capacity_) return;
    while (used_ + bytes > capacity_) Remove(nodes_[End()].previous);
    nodes_[key].bytes = bytes;
    nodes_[key].usable_until = usable_until;
    used_ += bytes;
    LinkFirst(key);
  }

 private:
  struct Node {
    uint32_t previous = 0;
    uint32_t next = 0;
    uint64_t bytes = 0;  // 0: not in the cache
    MonoNanos usable_until = 0;
  };

  // The ring's node that is no key: the most recent comes after it, the least recent before it.
  uint32_t End() const { return static_cast<uint32_t>(nodes_.size() - 1); }

  void LinkFirst(uint32_t key) {
    const uint32_t first = nodes_[End()].next;
    nodes_[key].previous = End();
    nodes_[key].next = first;
    nodes_[first].previous = key;
    nodes_[End()].next = key;
  }
  void Unlink(uint32_t key) {
    nodes_[nodes_[key].previous].next = nodes_[key].next;
    nodes_[nodes_[key].next].previous = nodes_[key].previous;
  }
  void Remove(uint32_t key) {
    Unlink(key);
    used_ -= nodes_[key].bytes;
    nodes_[key].bytes = 0;
  }

  const uint64_t capacity_;
  uint64_t used_ = 0;
  std::vector<Node> nodes_;
};

}  // namespace larder::bench

#endif  // LARDER_BENCH_HITRATIO_LRU_H_
