// RequestIds remembers what calls with a request id answered, so that a repeat gets the same answer and has no effect
// of its own.
// Thread safety: any method, any thread. Blocks for one short lock at most.
// Bounded: by number and by bytes; when full, the oldest answers are forgotten first, and that is counted.

#ifndef LARDER_ENGINE_REQUEST_IDS_H_
#define LARDER_ENGINE_REQUEST_IDS_H_

#include <cstdint>
#include <deque>
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

  // Null: go ahead, and call End or Forget. A string: the answer that the first call gave.
  // `request` identifies the content of the call: another one under the same id is REQUEST_ID_REUSED.
  // REQUEST_IN_PROGRESS while the first call runs; REQUEST_ID_INVALID for an id that is too long.
  absl::StatusOr<std::optional<std::string>> Begin(std::string_view name_space, std::string_view id, uint64_t request);

  // The call answered `answer`.
  void End(std::string_view name_space, std::string_view id, std::string answer);

  // The call failed and changed nothing: a repeat starts afresh.
  void Forget(std::string_view name_space, std::string_view id);

  size_t size() const;
  // Answers that were forgotten before their time.
  uint64_t forgotten_early() const;

 private:
  struct Record {
    uint64_t request;
    uint64_t place;
    bool ended;
    std::string answer;
  };
  struct Place {
    std::string key;
    uint64_t number;
    MonoNanos began;
  };

  static std::string MapKey(std::string_view name_space, std::string_view id);
  // False when the oldest place was left behind.
  bool DropOldest() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void MakeRoom() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void DropExpired(MonoNanos now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const Options options_;
  mutable Mutex mu_;
  absl::flat_hash_map<std::string, Record> records_ ABSL_GUARDED_BY(mu_);
  // Oldest first. An id that was forgotten leaves its place behind until it comes up.
  std::deque<Place> order_ ABSL_GUARDED_BY(mu_);
  uint64_t last_place_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t bytes_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t forgotten_early_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace larder

#endif  // LARDER_ENGINE_REQUEST_IDS_H_
