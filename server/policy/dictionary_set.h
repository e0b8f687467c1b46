// DictionarySet holds the dictionaries that are in use or still needed to decode what is stored,
// finds them by number without a lock, and drops those that nobody needs. Thread safety: any
// method, any thread. Blocks at most for its own short lock; Find takes none.

#ifndef LARDER_POLICY_DICTIONARY_SET_H_
#define LARDER_POLICY_DICTIONARY_SET_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/time/time.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "core/entry.h"
#include "policy/codec.h"

namespace larder {

// A dictionary with what is known about it.
struct TypeDictionary {
  std::shared_ptr<const Dictionary> dictionary;
  uint16_t type_id = 0;
  // Counts from 1 for each type.
  uint32_t version = 0;
  absl::Time trained = absl::InfinitePast();
  // Plain to stored bytes of the values that were held back from its training.
  double ratio = 1;

  // Given by Add.
  Encoding number = 0;
  // Set once: new values use another one.
  mutable std::atomic<bool> outdated{false};
  // When it was last used; kept up to date for outdated ones only.
  mutable std::atomic<MonoNanos> last_used{0};
};

class DictionarySet {
 public:
  struct Held {
    size_t count = 0;
    uint64_t bytes = 0;
  };

  // REQUIRES: count_max is at most 30,000.
  DictionarySet(size_t count_max, Clock* clock);
  ~DictionarySet();

  // Gives it a number that no other has or had of late. Null when there are count_max already.
  std::shared_ptr<const TypeDictionary> Add(std::unique_ptr<TypeDictionary> added);

  // Null when there is none of this number. REQUIRES: the thread has an Epoch::Reader, which keeps
  // the result alive.
  const TypeDictionary* Find(Encoding number) const {
    const TypeDictionary* const found = table_[number & mask_].load(std::memory_order_acquire);
    return found != nullptr && found->number == number ? found : nullptr;
  }

  // Says that new values no longer use it.
  void Outdate(const TypeDictionary& dictionary) const;

  // Drops the outdated ones that no entry uses by `users_of`, and that have not been used for
  // `after`. Returns how many.
  size_t Retire(absl::Duration after, const std::function<uint64_t(Encoding)>& users_of);

  // By type id, for ids below `types`.
  std::vector<Held> HeldByType(size_t types) const;
  // Counts the memory of those that are dropped but not free yet.
  Held HeldInAll() const;

 private:
  struct Dropped {
    uint64_t stamp;
    std::shared_ptr<const TypeDictionary> dictionary;
  };

  const size_t count_max_;
  const size_t mask_;
  Clock* const clock_;
  // A dictionary stands at its number & mask_.
  const std::unique_ptr<std::atomic<const TypeDictionary*>[]> table_;

  mutable Mutex mu_;
  std::vector<std::shared_ptr<const TypeDictionary>> live_ ABSL_GUARDED_BY(mu_);
  // Out of the table; readers may still be looking at them.
  std::vector<Dropped> dropped_ ABSL_GUARDED_BY(mu_);
  Encoding next_number_ ABSL_GUARDED_BY(mu_) = kDictionaryFirst;
};

}  // namespace larder

#endif  // LARDER_POLICY_DICTIONARY_SET_H_
