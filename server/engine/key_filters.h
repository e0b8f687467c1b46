// KeyFilters knows, for the types that have a filter, which keys their origin cannot have, so that
// it need not be asked for them. A filter belongs to one type and one namespace; it is built from
// what the origin lists, kept up by what is stored or loaded here or changed elsewhere, and built
// again from time to time. Until it is built, and when building it has failed for too long, it
// answers nothing.
//
// Where replicas tell each other what they change, a filter answers only if none of that can have
// been missed since its build began.
//
// It is for types of which every new key becomes known to larder: written through it, or not asked
// for before the next build. A key that appears in the origin behind larder's back stays absent
// until then.
//
// Thread safety: any method, any thread; never blocks for longer than its lock. Memory: see
// BloomFilter, twice that while a filter is built again; at most filters_max filters, and bytes_max
// in all.

#ifndef LARDER_ENGINE_KEY_FILTERS_H_
#define LARDER_ENGINE_KEY_FILTERS_H_

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "base/clock.h"
#include "base/executor.h"
#include "base/in_flight.h"
#include "base/keyed_hash.h"
#include "base/mutex.h"
#include "base/random.h"
#include "base/task.h"
#include "origin/origin.h"
#include "policy/bloom_filter.h"
#include "policy/type_table.h"

namespace larder {

// Of all filters of one type.
struct KeyFilterStats {
  uint64_t keys = 0;
  uint64_t bytes = 0;
  uint64_t builds = 0;
  uint64_t builds_failed = 0;
  bool ready = false;  // one of them answers
  absl::Time built = absl::InfinitePast();
};

class KeyFilters {
 public:
  struct Options {
    const TypeTable* types = nullptr;
    // By type id; null: none.
    std::vector<Origin*> origins;
    size_t filters_max = 100;
    uint64_t bytes_max = 64 << 20;
    // Other replicas change keys as well, and OnBus says when that is heard of.
    bool hears_changes = false;
    // Pages without a key, one after the other, after which a build is given up.
    int empty_pages_max = 1'000;
    // Keys of one page.
    uint32_t page = 10'000;
    // What a page may take, and the pause after a build that failed.
    absl::Duration page_most = absl::Seconds(30);
    absl::Duration retry_pause = absl::Seconds(30);
    Clock* clock = Clock::System();
    Executor* executor = nullptr;
    Random* random = Random::System();
    // Where builds are counted while they use the origin.
    InFlight* background = nullptr;
  };

  explicit KeyFilters(const Options& options);

  // Begins the filters of the default namespace.
  void Start();
  // Ends builds at their next page.
  void Stop() { stopping_ = true; }
  // Changes elsewhere may have been missed; or all are heard of from now on.
  void OnBus(bool following);

  // Whether any type has a filter.
  bool any() const { return any_; }
  // True when the origin cannot have the key. The first question for a namespace begins its filter.
  bool IsAbsent(const TypePolicy& type, std::string_view full_key);
  // Whether the type's filter for the key's namespace would answer.
  bool Answers(const TypePolicy& type, std::string_view full_key) const;
  // The origin has the key, or will have it.
  void Note(const TypePolicy& type, std::string_view full_key);
  // Another replica has changed the key, which may be of any type.
  void NoteChanged(std::string_view full_key);

  KeyFilterStats Stats(const TypePolicy& type) const;

 private:
  // Filters of growing size, because nobody says beforehand how many keys there are.
  class Layers {
   public:
    Layers(const FilterPolicy& policy, uint64_t keys_expected);
    void Add(uint64_t hash);
    bool MayContain(uint64_t hash) const;
    // There were more keys than it may have room for.
    bool overfull() const { return overfull_; }
    uint64_t keys() const;
    uint64_t bytes() const;

   private:
    void Grow(uint64_t keys);

    const FilterPolicy policy_;
    std::vector<std::unique_ptr<BloomFilter>> filters_;
    uint64_t room_ = 0;
    bool overfull_ = false;
  };
  struct Filter {
    const TypePolicy* type = nullptr;
    std::string name_space;
    // Null: not built yet.
    std::unique_ptr<Layers> now;
    // Null: none is being built.
    std::unique_ptr<Layers> next;
    MonoNanos built_at = 0;
    absl::Time built = absl::InfinitePast();
    uint64_t builds = 0;
    uint64_t builds_failed = 0;
    // epoch_ when `now` and `next` were begun.
    uint64_t epoch = 0;
    uint64_t next_epoch = 0;
    // Of the next build; 0 while one runs.
    TimerId timer = 0;
  };
  using Name = std::pair<uint16_t, std::string>;  // type id, namespace

  bool Has(const TypePolicy& type) const {
    return type.filter.bloom && options_.origins[type.id] != nullptr;
  }
  void Begin(const TypePolicy& type, std::string_view name_space);
  void BuildAfter(absl::Duration delay, Filter* filter);
  void BuildNow(Filter* filter);
  uint64_t BytesLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Adds what the origin lists to filter->next. False: it could not be listed.
  Task<bool> Build(Filter* filter);
  void OnBuilt(Filter* filter, bool built);
  bool AnswersNow(const Filter& filter) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const Options options_;
  const KeyedHash hash_;
  bool any_ = false;
  std::atomic<bool> stopping_{false};
  mutable Mutex mu_;
  // Changes whenever a change of another replica may have been missed before.
  uint64_t epoch_ ABSL_GUARDED_BY(mu_) = 0;
  bool hears_ ABSL_GUARDED_BY(mu_) = false;
  // Filters stay where they are.
  std::map<Name, std::unique_ptr<Filter>> filters_ ABSL_GUARDED_BY(mu_);
};

}  // namespace larder

#endif  // LARDER_ENGINE_KEY_FILTERS_H_
