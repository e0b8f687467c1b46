// RequestIds remembers what calls with a request id answered, so that a repeat gets the same answer
// and has no effect of its own. Thread safety: any method, any thread. Blocks for one short lock at
// most. Bounded: by number and by bytes; when full, the oldest answers are forgotten first, and
// that is counted.

#ifndef LARDER_ENGINE_REQUEST_IDS_H_
#define LARDER_ENGINE_REQUEST_IDS_H_

#include <cstdint>
#include <list>
#include <optional>
#include <string>
#include <string_view>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/mutex.h"

namespace larder {

class RequestIds {
 public:
  static constexpr size_t kIdBytesMax = 64;

  struct Options {
    // 1 to 10,000,000 ids.
    size_t ids_max = 100'000;
    // Ids and answers together.
    uint64_t bytes_max = 32 << 20;
    absl::Duration remember = absl::Minutes(10);
    Clock* clock = Clock::System();
  };

  explicit RequestIds(const Options& options) : options_(options) {}

  // What to do with a call: go ahead and End, EndUnknown, Doubt or Forget it by its place, or
  // repeat `answer`.
  struct Begun {
    std::optional<std::string> answer;
    uint64_t place = 0;
    // A repeat of what Doubt was said of: it may have happened, however this one ends.
    bool doubtful = false;
  };
  // `request` identifies the content of the call: another one under the same id is
  // REQUEST_ID_REUSED. REQUEST_IN_PROGRESS while the first call runs; REQUEST_ID_INVALID for an id
  // that is too long; and what EndUnknown said of it.
  absl::StatusOr<Begun> Begin(std::string_view name_space, std::string_view id, uint64_t request);

  // The call answered `answer`.
  void End(std::string_view name_space, std::string_view id, uint64_t place, std::string answer);

  // The call failed with `error`, and nobody knows whether it changed anything: a repeat, which
  // might change it twice, gets the same error.
  void EndUnknown(std::string_view name_space, std::string_view id, uint64_t place,
                  absl::Status error);

  // The call failed, and nobody knows whether it changed anything: a repeat, which would do the
  // same again, starts afresh and is told so.
  void Doubt(std::string_view name_space, std::string_view id, uint64_t place);

  // The call failed, and a repeat starts afresh: it changed nothing, or would do the same again.
  // Doubts stay.
  void Forget(std::string_view name_space, std::string_view id, uint64_t place);

  size_t size() const;
  // Answers that were forgotten before their time.
  uint64_t forgotten_early() const;

 private:
  struct Place {
    std::string key;
    MonoNanos began;
  };
  struct Record {
    uint64_t request;
    uint64_t number;
    std::list<Place>::iterator place;
    bool ended;
    std::string answer;
    bool doubtful = false;
    bool waits = false;                     // for a repeat that starts afresh
    absl::Status error = absl::OkStatus();  // in place of an answer
  };
  using Records = absl::flat_hash_map<std::string, Record>;

  static std::string MapKey(std::string_view name_space, std::string_view id);
  void Drop(Records::iterator record) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void DropOldest() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { Drop(records_.find(order_.front().key)); }
  // The record that Begin gave `place` to, unless it is gone or ended.
  Records::iterator FindRunning(std::string_view name_space, std::string_view id, uint64_t place)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void MakeRoom() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void DropExpired(MonoNanos now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const Options options_;
  mutable Mutex mu_;
  Records records_ ABSL_GUARDED_BY(mu_);
  // Oldest first; one for each record.
  std::list<Place> order_ ABSL_GUARDED_BY(mu_);
  uint64_t last_number_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t bytes_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t forgotten_early_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace larder

#endif  // LARDER_ENGINE_REQUEST_IDS_H_
