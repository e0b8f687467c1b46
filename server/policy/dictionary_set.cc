// Every hit of a value with a dictionary looks it up here, so the lookup is one load from a table.
// The table is small because numbers are given so that no two live dictionaries share a place in
// it. A number comes again only after all others did: 65,000 trainings later.
//
// When a dictionary may go. An outdated one is needed by the entries that are stored with it, which
// the tiers count, and by what nobody counts: a value that is encoded but not stored yet, and a
// copy that a reader took out of an entry a moment before that was removed. The first ends with the
// last entry. For the others a dictionary stays until it has not been used, by an entry or by a
// call, for a time that is very long against a call. A call that took longer all the same finds no
// dictionary and gets an error, not wrong bytes, because the number is not given again.
//
// The memory itself goes when no thread that began to decode before that can still look at it,
// which the epochs tell.

#include "policy/dictionary_set.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "base/epoch.h"

namespace larder {

DictionarySet::DictionarySet(size_t count_max, Clock* clock)
    : count_max_(count_max),
      // Twice the room: a free place is then found after two tries in the mean.
      mask_(std::bit_ceil(std::max<size_t>(2 * count_max, 16)) - 1),
      clock_(clock),
      table_(new std::atomic<const TypeDictionary*>[mask_ + 1]) {
  for (size_t i = 0; i <= mask_; ++i) table_[i].store(nullptr, std::memory_order_relaxed);
}

DictionarySet::~DictionarySet() = default;

std::shared_ptr<const TypeDictionary> DictionarySet::Add(std::unique_ptr<TypeDictionary> added) {
  MutexLock lock(&mu_);
  if (live_.size() >= count_max_) return nullptr;
  while (table_[next_number_ & mask_].load(std::memory_order_relaxed) != nullptr ||
         next_number_ < kDictionaryFirst) {
    ++next_number_;
  }
  added->number = next_number_++;
  live_.push_back(std::move(added));
  table_[live_.back()->number & mask_].store(live_.back().get(), std::memory_order_release);
  return live_.back();
}

void DictionarySet::Outdate(const TypeDictionary& dictionary) const {
  dictionary.last_used.store(clock_->Mono(), std::memory_order_relaxed);
  dictionary.outdated.store(true, std::memory_order_release);
}

size_t DictionarySet::Retire(absl::Duration after,
                             const std::function<uint64_t(Encoding)>& users_of) {
  std::vector<std::shared_ptr<const TypeDictionary>> unused;
  {
    MutexLock lock(&mu_);
    for (const auto& held : live_) {
      if (held->outdated.load(std::memory_order_acquire)) unused.push_back(held);
    }
  }
  // Asked without the lock: the answer may take a while.
  const MonoNanos now = clock_->Mono();
  std::erase_if(unused, [&](const auto& held) {
    if (users_of(held->number) > 0) held->last_used.store(now, std::memory_order_relaxed);
    return now < MonoAfter(held->last_used.load(std::memory_order_relaxed), after);
  });

  const uint64_t passed = Epoch::Passed();
  std::vector<Dropped> freed;
  MutexLock lock(&mu_);
  const auto first_free = std::partition(dropped_.begin(), dropped_.end(),
                                         [&](const Dropped& d) { return d.stamp > passed; });
  std::move(first_free, dropped_.end(), std::back_inserter(freed));
  dropped_.erase(first_free, dropped_.end());
  for (auto& held : unused) {
    table_[held->number & mask_].store(nullptr, std::memory_order_release);
    std::erase(live_, held);
    dropped_.push_back({Epoch::Stamp(), std::move(held)});
  }
  return unused.size();
}

std::vector<DictionarySet::Held> DictionarySet::HeldByType(size_t types) const {
  std::vector<Held> held(types);
  MutexLock lock(&mu_);
  for (const auto& dictionary : live_) {
    if (dictionary->type_id >= types) continue;
    ++held[dictionary->type_id].count;
    held[dictionary->type_id].bytes += dictionary->dictionary->bytes();
  }
  return held;
}

DictionarySet::Held DictionarySet::HeldInAll() const {
  Held held;
  MutexLock lock(&mu_);
  held.count = live_.size();
  for (const auto& dictionary : live_) held.bytes += dictionary->dictionary->bytes();
  for (const auto& dropped : dropped_) held.bytes += dropped.dictionary->dictionary->bytes();
  return held;
}

}  // namespace larder
