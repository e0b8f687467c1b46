// LetterTable knows which dead letters there are, without their values and errors.
// Thread safety: any method, any thread. Never blocks for long. Errors: none.

#ifndef LARDER_JOURNAL_LETTER_TABLE_H_
#define LARDER_JOURNAL_LETTER_TABLE_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "base/strings.h"
#include "core/key.h"
#include "journal/journal.h"

namespace larder {

class LetterTable {
 public:
  struct Sum {
    uint64_t letters = 0;
    uint64_t bytes = 0;
  };

  // False: it is there already.
  bool Add(uint64_t id, std::string_view full_key, std::string_view type, uint64_t bytes) {
    Letter letter{std::string(full_key), std::string(type), bytes};
    MutexLock lock(&mu_);
    if (!letters_.emplace(id, std::move(letter)).second) return false;
    bytes_ += bytes;
    memory_ += kNodeBytes + full_key.size() + type.size();
    return true;
  }

  // What of it was there, by type.
  using ByType = std::map<std::string, Sum, std::less<>>;
  ByType Remove(const std::vector<uint64_t>& ids) {
    ByType removed;
    MutexLock lock(&mu_);
    for (const uint64_t id : ids) {
      const auto it = letters_.find(id);
      if (it == letters_.end()) continue;
      Sum& sum = removed[it->second.type];
      ++sum.letters;
      sum.bytes += it->second.bytes;
      bytes_ -= it->second.bytes;
      memory_ -= kNodeBytes + it->second.full_key.size() + it->second.type.size();
      letters_.erase(it);
    }
    return removed;
  }

  bool Has(uint64_t id) const {
    MutexLock lock(&mu_);
    return letters_.contains(id);
  }

  std::vector<uint64_t> Ids() const {
    std::vector<uint64_t> ids;
    MutexLock lock(&mu_);
    ids.reserve(letters_.size());
    for (const auto& [id, letter] : letters_) ids.push_back(id);
    return ids;
  }

  struct Page {
    std::vector<uint64_t> ids;  // that match, oldest first, at most the limit
    uint64_t total = 0;         // that match, after `after` and before
    bool more = false;          // behind the last of them
  };
  // Walks all letters: for operators.
  Page Find(const LetterFilter& filter, uint64_t after, size_t limit) const {
    Page page;
    MutexLock lock(&mu_);
    const auto look = [&](uint64_t id, const Letter& letter) {
      if (!Matches(filter, letter)) return;
      ++page.total;
      if (id <= after) return;
      if (page.ids.size() < limit) {
        page.ids.push_back(id);
      } else {
        page.more = true;
      }
    };
    if (filter.ids.empty()) {
      for (const auto& [id, letter] : letters_) look(id, letter);
      return page;
    }
    std::vector<uint64_t> ids = filter.ids;
    std::sort(ids.begin(), ids.end());
    ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
    for (const uint64_t id : ids) {
      const auto it = letters_.find(id);
      if (it != letters_.end()) look(id, it->second);
    }
    return page;
  }

  Sum sum() const {
    MutexLock lock(&mu_);
    return {letters_.size(), bytes_};
  }
  size_t memory_bytes() const {
    MutexLock lock(&mu_);
    return memory_;
  }

 private:
  struct Letter {
    std::string full_key;
    std::string type;
    uint64_t bytes;
  };
  // Of the map, with what the allocator adds.
  static constexpr size_t kNodeBytes = sizeof(std::pair<uint64_t, Letter>) + 48;

  static bool Matches(const LetterFilter& filter, const Letter& letter) {
    if (!filter.name_space.empty() && FullKey::NamespaceOf(letter.full_key) != filter.name_space) {
      return false;
    }
    if (!filter.type.empty() && letter.type != filter.type) return false;
    return FullKey::KeyOf(letter.full_key).starts_with(filter.key_prefix);
  }

  mutable Mutex mu_;
  std::map<uint64_t, Letter> letters_ ABSL_GUARDED_BY(mu_);
  uint64_t bytes_ ABSL_GUARDED_BY(mu_) = 0;
  size_t memory_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace larder

#endif  // LARDER_JOURNAL_LETTER_TABLE_H_
