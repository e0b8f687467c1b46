#include "engine/request_ids.h"

#include "base/strings.h"
#include "core/error.h"

namespace larder {
namespace {

// Map node, queue node and bookkeeping of one id.
constexpr uint64_t kRecordBytes = 192;

}  // namespace

std::string RequestIds::MapKey(std::string_view name_space, std::string_view id) {
  return StrCat(name_space.size(), ":", name_space, id);
}

absl::StatusOr<std::optional<std::string>> RequestIds::Begin(std::string_view name_space, std::string_view id,
                                                             uint64_t request) {
  if (id.size() > kIdBytesMax) {
    return FieldError(Reason::kREQUEST_ID_INVALID, "request_id",
                      StrCat("request_id is ", id.size(), " bytes; at most ", kIdBytesMax));
  }
  const MonoNanos now = options_.clock->Mono();
  std::string key = MapKey(name_space, id);
  MutexLock lock(&mu_);
  DropExpired(now);
  const auto [it, added] = records_.try_emplace(key, Record{request, last_place_ + 1, false, {}});
  if (added) {
    bytes_ += kRecordBytes + key.size();
    order_.push_back({std::move(key), ++last_place_, now});
    MakeRoom();
    return std::nullopt;
  }
  const Record& record = it->second;
  if (record.request != request) {
    return FieldError(Reason::kREQUEST_ID_REUSED, "request_id", "request_id was used for a different request");
  }
  if (!record.ended) {
    return RetryableError(Reason::kREQUEST_IN_PROGRESS, absl::Milliseconds(50),
                          "the first request with this request_id is still running");
  }
  return record.answer;
}

void RequestIds::End(std::string_view name_space, std::string_view id, std::string answer) {
  MutexLock lock(&mu_);
  const auto it = records_.find(MapKey(name_space, id));
  if (it == records_.end() || it->second.ended) return;
  bytes_ += answer.size();
  it->second.answer = std::move(answer);
  it->second.ended = true;
  MakeRoom();
}

void RequestIds::Forget(std::string_view name_space, std::string_view id) {
  MutexLock lock(&mu_);
  const auto it = records_.find(MapKey(name_space, id));
  if (it == records_.end()) return;
  bytes_ -= kRecordBytes + it->first.size() + it->second.answer.size();
  records_.erase(it);
}

size_t RequestIds::size() const {
  MutexLock lock(&mu_);
  return records_.size();
}

uint64_t RequestIds::forgotten_early() const {
  MutexLock lock(&mu_);
  return forgotten_early_;
}

bool RequestIds::DropOldest() {
  const Place oldest = std::move(order_.front());
  order_.pop_front();
  const auto it = records_.find(oldest.key);
  // Forgotten, and perhaps begun again later with a place of its own.
  if (it == records_.end() || it->second.place != oldest.number) return false;
  bytes_ -= kRecordBytes + it->first.size() + it->second.answer.size();
  records_.erase(it);
  return true;
}

void RequestIds::MakeRoom() {
  // Places of forgotten ids count too, or calls that fail in a loop would fill the queue.
  while (records_.size() > options_.ids_max || bytes_ > options_.bytes_max || order_.size() > 2 * options_.ids_max) {
    if (DropOldest()) ++forgotten_early_;
  }
}

void RequestIds::DropExpired(MonoNanos now) {
  const int64_t remember = absl::ToInt64Nanoseconds(options_.remember);
  while (!order_.empty() && order_.front().began + remember <= now) DropOldest();
}

}  // namespace larder
