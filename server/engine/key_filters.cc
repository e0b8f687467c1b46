// A filter is built beside the one in use, and whatever is noted meanwhile goes into both:
//
//   1: a build reads a page.  2: a key of that page is stored for the first time.  3: the build
//   ends and takes the place of the old filter.
//
// A key that is deleted in the origin stays in the filter until the next build: it costs a load
// that finds nothing.

#include "engine/key_filters.h"

#include <algorithm>

#include "base/log.h"
#include "core/key.h"

namespace larder {
namespace {

// The first of a filter's layers when nothing is known of its size; each further one has double.
constexpr uint64_t kKeysFirst = 16'384;
// A filter that could not be built again answers for so many times its age at the most.
constexpr int64_t kRebuildsLate = 3;

}  // namespace

KeyFilters::Layers::Layers(const FilterPolicy& policy, uint64_t keys_expected) : policy_(policy) {
  Grow(std::max(keys_expected, kKeysFirst));
}

// All layers together may find the part `error` of other keys. Each has half of what those before
// it have left; the first, which mostly is the only one, half of it all.
void KeyFilters::Layers::Grow(uint64_t keys) {
  const uint64_t room = std::min(keys, policy_.keys_max - room_);
  const double share = policy_.error / static_cast<double>(uint64_t{2} << filters_.size());
  filters_.push_back(std::make_unique<BloomFilter>(room, share));
  room_ += room;
}

void KeyFilters::Layers::Add(uint64_t hash) {
  if (MayContain(hash)) return;
  if (filters_.back()->keys() >= filters_.back()->keys_max()) {
    overfull_ = room_ >= policy_.keys_max;
    if (overfull_) return;
    Grow(filters_.back()->keys_max() * 2);
  }
  filters_.back()->Add(hash);
}

bool KeyFilters::Layers::MayContain(uint64_t hash) const {
  return std::any_of(filters_.begin(), filters_.end(),
                     [hash](const auto& filter) { return filter->MayContain(hash); });
}

uint64_t KeyFilters::Layers::keys() const {
  uint64_t keys = 0;
  for (const auto& filter : filters_) keys += filter->keys();
  return keys;
}

uint64_t KeyFilters::Layers::bytes() const {
  uint64_t bytes = 0;
  for (const auto& filter : filters_) bytes += filter->bytes();
  return bytes;
}

KeyFilters::KeyFilters(const Options& options)
    : options_(options),
      hash_(options.random->Next(), options.random->Next()),
      hears_(!options.hears_changes) {
  for (const TypePolicy& type : options_.types->types()) any_ = any_ || Has(type);
}

void KeyFilters::Start() {
  for (const TypePolicy& type : options_.types->types()) {
    if (Has(type)) Begin(type, kDefaultNamespace);
  }
}

void KeyFilters::Begin(const TypePolicy& type, std::string_view name_space) {
  Filter* filter = nullptr;
  {
    MutexLock lock(&mu_);
    if (filters_.size() >= options_.filters_max) return;
    auto& place = filters_[Name(type.id, std::string(name_space))];
    if (place != nullptr) return;
    place = std::make_unique<Filter>();
    filter = place.get();
    filter->type = &type;
    filter->name_space = name_space;
  }
  BuildAfter(absl::ZeroDuration(), filter);
}

void KeyFilters::BuildAfter(absl::Duration delay, Filter* filter) {
  MutexLock lock(&mu_);
  // OnBus may have been first, between the end of a build and this.
  if (filter->timer != 0) options_.executor->Cancel(filter->timer);
  filter->timer = options_.executor->After(delay, [this, filter] { BuildNow(filter); });
}

void KeyFilters::BuildNow(Filter* filter) {
  {
    MutexLock lock(&mu_);
    filter->timer = 0;
    // OnBus begins it again when changes are heard of; a build that is under way, at its end.
    if (!hears_ || filter->next != nullptr) return;
    const uint64_t expected = filter->now == nullptr ? 0 : filter->now->keys();
    filter->next = std::make_unique<Layers>(filter->type->filter, expected + expected / 4);
    filter->next_epoch = epoch_;
  }
  if (!options_.background->TryEnter()) return;
  Spawn(Build(filter), [this, filter](bool built) {
    OnBuilt(filter, built);
    options_.background->Leave();
  });
}

void KeyFilters::OnBus(bool following) {
  std::vector<Filter*> due;
  {
    MutexLock lock(&mu_);
    ++epoch_;
    hears_ = following;
    if (!following) return;
    for (const auto& [name, filter] : filters_) {
      // One that is being built sees at its end that it has to begin again.
      if (filter->next != nullptr) continue;
      if (filter->timer == 0 || options_.executor->Cancel(filter->timer))
        due.push_back(filter.get());
    }
  }
  for (Filter* const filter : due) BuildAfter(absl::ZeroDuration(), filter);
}

uint64_t KeyFilters::BytesLocked() const {
  uint64_t bytes = 0;
  for (const auto& [name, filter] : filters_) {
    for (const Layers* const layers : {filter->now.get(), filter->next.get()})
      bytes += layers == nullptr ? 0 : layers->bytes();
  }
  return bytes;
}

Task<bool> KeyFilters::Build(Filter* filter) {
  Origin* const origin = options_.origins[filter->type->id];
  OriginScan scan;
  scan.call = {filter->name_space, filter->type->name};
  scan.limit = options_.page;
  scan.keys_only = true;
  for (int empty = 0; empty < options_.empty_pages_max;) {
    const absl::StatusOr<OriginPage> page =
        co_await origin->Scan(scan, MonoAfter(options_.clock->Mono(), options_.page_most));
    if (!page.ok()) {
      LogWarning("filter_not_built", {{"type", filter->type->name}, {"error", page.status()}});
      co_return false;
    }
    empty = page->items.empty() ? empty + 1 : 0;
    {
      MutexLock lock(&mu_);
      for (const OriginPage::Item& item : page->items)
        filter->next->Add(hash_(FullKey(filter->name_space, item.key).view()));
      if (filter->next->overfull() || BytesLocked() > options_.bytes_max) {
        LogWarning("filter_too_large", {{"type", filter->type->name},
                                        {"keys", filter->next->keys()},
                                        {"keys_max", filter->type->filter.keys_max},
                                        {"bytes", BytesLocked()},
                                        {"bytes_max", options_.bytes_max}});
        co_return false;
      }
    }
    if (page->cursor.empty()) co_return true;
    if (stopping_) co_return false;
    scan.cursor = page->cursor;
  }
  LogWarning("filter_not_built",
             {{"type", filter->type->name}, {"error", "the origin lists empty pages without end"}});
  co_return false;
}

void KeyFilters::OnBuilt(Filter* filter, bool built) {
  absl::Duration next = std::min(options_.retry_pause, filter->type->filter.rebuild);
  {
    MutexLock lock(&mu_);
    if (built && filter->next_epoch != epoch_) {
      // What changed in between may be neither in the pages nor in what was heard.
      next = absl::ZeroDuration();
    } else if (built) {
      filter->now = std::move(filter->next);
      filter->epoch = epoch_;
      filter->built_at = options_.clock->Mono();
      filter->built = options_.clock->Now();
      ++filter->builds;
      next = filter->type->filter.rebuild;
    } else {
      ++filter->builds_failed;
    }
    filter->next = nullptr;
  }
  BuildAfter(next, filter);
}

bool KeyFilters::AnswersNow(const Filter& filter) const {
  return filter.now != nullptr && filter.epoch == epoch_ && !filter.now->overfull() &&
         options_.clock->Mono() <
             MonoAfter(filter.built_at, kRebuildsLate * filter.type->filter.rebuild);
}

bool KeyFilters::IsAbsent(const TypePolicy& type, std::string_view full_key) {
  if (!Has(type)) return false;
  const std::string_view name_space = FullKey::NamespaceOf(full_key);
  {
    MutexLock lock(&mu_);
    const auto it = filters_.find(Name(type.id, std::string(name_space)));
    if (it != filters_.end())
      return AnswersNow(*it->second) && !it->second->now->MayContain(hash_(full_key));
  }
  Begin(type, name_space);
  return false;
}

bool KeyFilters::Answers(const TypePolicy& type, std::string_view full_key) const {
  if (!Has(type)) return false;
  MutexLock lock(&mu_);
  const auto it = filters_.find(Name(type.id, std::string(FullKey::NamespaceOf(full_key))));
  return it != filters_.end() && AnswersNow(*it->second);
}

void KeyFilters::Note(const TypePolicy& type, std::string_view full_key) {
  if (!Has(type)) return;
  const uint64_t hash = hash_(full_key);
  MutexLock lock(&mu_);
  const auto it = filters_.find(Name(type.id, std::string(FullKey::NamespaceOf(full_key))));
  if (it == filters_.end()) return;
  if (it->second->now != nullptr) it->second->now->Add(hash);
  if (it->second->next != nullptr) it->second->next->Add(hash);
}

void KeyFilters::NoteChanged(std::string_view full_key) {
  if (!any_) return;
  const uint64_t hash = hash_(full_key);
  const std::string_view name_space = FullKey::NamespaceOf(full_key);
  MutexLock lock(&mu_);
  for (const auto& [name, filter] : filters_) {
    if (name.second != name_space) continue;
    if (filter->now != nullptr) filter->now->Add(hash);
    if (filter->next != nullptr) filter->next->Add(hash);
  }
}

KeyFilterStats KeyFilters::Stats(const TypePolicy& type) const {
  KeyFilterStats stats;
  MutexLock lock(&mu_);
  for (const auto& [name, filter] : filters_) {
    if (name.first != type.id) continue;
    stats.builds += filter->builds;
    stats.builds_failed += filter->builds_failed;
    stats.built = std::max(stats.built, filter->built);
    stats.ready = stats.ready || AnswersNow(*filter);
    for (const Layers* const layers : {filter->now.get(), filter->next.get()})
      stats.bytes += layers == nullptr ? 0 : layers->bytes();
    if (filter->now != nullptr) stats.keys += filter->now->keys();
  }
  return stats;
}

}  // namespace larder
