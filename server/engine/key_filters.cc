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
    : options_(options), hash_(options.random->Next(), options.random->Next()) {
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
  options_.executor->After(delay, [this, filter] {
    if (!options_.background->TryEnter()) return;
    {
      MutexLock lock(&mu_);
      const uint64_t expected = filter->now == nullptr ? 0 : filter->now->keys();
      filter->next = std::make_unique<Layers>(filter->type->filter, expected + expected / 4);
    }
    Spawn(Build(filter), [this, filter](bool built) {
      OnBuilt(filter, built);
      options_.background->Leave();
    });
  });
}

Task<bool> KeyFilters::Build(Filter* filter) {
  Origin* const origin = options_.origins[filter->type->id];
  OriginScan scan;
  scan.call = {filter->name_space, filter->type->name};
  scan.limit = options_.page;
  scan.keys_only = true;
  for (;;) {
    const absl::StatusOr<OriginPage> page =
        co_await origin->Scan(scan, MonoAfter(options_.clock->Mono(), options_.page_most));
    if (!page.ok()) {
      LogWarning("filter_not_built", {{"type", filter->type->name}, {"error", page.status()}});
      co_return false;
    }
    {
      MutexLock lock(&mu_);
      for (const OriginPage::Item& item : page->items)
        filter->next->Add(hash_(FullKey(filter->name_space, item.key).view()));
      if (filter->next->overfull()) {
        LogWarning("filter_too_small",
                   {{"type", filter->type->name}, {"keys_max", filter->type->filter.keys_max}});
        co_return false;
      }
    }
    if (page->cursor.empty()) co_return true;
    scan.cursor = page->cursor;
  }
}

void KeyFilters::OnBuilt(Filter* filter, bool built) {
  {
    MutexLock lock(&mu_);
    if (built) {
      filter->now = std::move(filter->next);
      filter->built_at = options_.clock->Mono();
      filter->built = options_.clock->Now();
      ++filter->builds;
    } else {
      ++filter->builds_failed;
    }
    filter->next = nullptr;
  }
  BuildAfter(built ? filter->type->filter.rebuild
                   : std::min(options_.retry_pause, filter->type->filter.rebuild),
             filter);
}

bool KeyFilters::AnswersNow(const Filter& filter) const {
  return filter.now != nullptr && !filter.now->overfull() &&
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
  const absl::StatusOr<TypeMatch> match =
      options_.types->Resolve(FullKey::KeyOf(full_key), /*requested=*/"");
  if (match.ok()) Note(*match->type, full_key);
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
