// WatchIndex finds who watches what a change concerns, in time that depends on how many they are
// and not on how many watch something else. A rule, which may concern entries that nobody can name,
// is for all watchers of its namespace but those that it cannot concern.
//
// Where something is not known of a change (a removed entry's tags, the type of a key that an older
// release speaks of), those who go by it are told: too much harms nobody, too little does.
// Thread safety: none; the feed holds its lock.

#ifndef LARDER_ENGINE_WATCH_INDEX_H_
#define LARDER_ENGINE_WATCH_INDEX_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "core/glob.h"
#include "core/version.h"
#include "policy/rule_table.h"

namespace larder {

// Something that happened.
struct Change {
  enum class Kind : uint8_t { kPut, kRemoved, kRevised, kExpired, kRule, kGap };
  Kind kind = Kind::kPut;
  // Of a put, a revision and an expiry, the entry's; of the others, all up to it are gone.
  Version version = kNoVersion;
  std::string full_key;  // of all but rules and gaps
  std::string type;      // empty: not known
  // Those that the entry has or had, as far as they are known.
  std::vector<std::string> tags;
  bool tags_known = true;    // `tags` are all
  std::optional<Rule> rule;  // of kRule, its namespace never empty
  std::optional<Glob> glob;  // of a rule for one, if it can be read
  bool goes_on = false;      // of kGap

  std::string_view name_space() const;
  // With what it takes to keep it.
  size_t bytes() const;
};

// What somebody watches.
struct WatchSelector {
  enum class Kind : uint8_t { kKeys, kPrefix, kTags, kType, kAll };
  Kind kind = Kind::kAll;
  std::string name_space;
  std::vector<std::string> names;  // keys, one prefix, tags, one type; empty for kAll
  bool expirations = false;
};

// A selector that can be asked, and whose it is.
class WatchPlace {
 public:
  WatchPlace(WatchSelector selector, void* owner);
  WatchPlace(const WatchPlace&) = delete;
  WatchPlace& operator=(const WatchPlace&) = delete;

  const WatchSelector& selector() const { return selector_; }
  void* owner() const { return owner_; }
  size_t bytes() const;
  // Whether its owner is to be told. The index finds exactly those for whom this is true.
  bool Wants(const Change& change) const;

 private:
  friend class WatchIndex;
  bool MayConcern(const Rule& rule, const std::optional<Glob>& glob) const;
  bool Has(std::string_view name) const;

  const WatchSelector selector_;
  absl::flat_hash_set<absl::string_view> names_;  // of selector_, of lists of them
  void* const owner_;
  uint64_t found_in_ = 0;  // the last search that found it
};

class WatchIndex {
 public:
  void Add(WatchPlace* place);
  void Remove(WatchPlace* place);
  size_t size() const { return size_; }

  // Whom the change concerns, each once; appended to `found`.
  void Find(const Change& change, std::vector<WatchPlace*>* found);
  void All(std::vector<WatchPlace*>* found) const;

 private:
  using Group = absl::flat_hash_set<WatchPlace*>;
  using ByName = absl::flat_hash_map<std::string, Group>;
  // Of one namespace.
  struct Space {
    ByName keys;
    std::map<size_t, ByName> prefixes;  // by their length
    ByName tags;
    ByName types;
    Group by_tags;  // all of those
    Group by_type;
    Group all;
    Group everyone;
  };

  template <typename Do>
  static void ForEachName(Space* space, const WatchPlace& place, Do act);
  void FindKey(Space* space, const Change& change, std::vector<WatchPlace*>* found);
  void Take(const Group& group, const Change& change, std::vector<WatchPlace*>* found);
  void Take(const ByName& names, std::string_view name, const Change& change,
            std::vector<WatchPlace*>* found);

  absl::flat_hash_map<std::string, std::unique_ptr<Space>> spaces_;
  size_t size_ = 0;
  uint64_t search_ = 0;
};

}  // namespace larder

#endif  // LARDER_ENGINE_WATCH_INDEX_H_
