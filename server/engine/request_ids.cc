#include "engine/request_ids.h"

#include "base/strings.h"
#include "core/error.h"

namespace larder {
namespace {

// Map slot, list node and bookkeeping of one id.
constexpr uint64_t kRecordBytes = 256;

}  // namespace

std::string RequestIds::MapKey(std::string_view name_space, std::string_view id) {
  return StrCat(name_space.size(), ":", name_space, id);
}

absl::StatusOr<RequestIds::Begun> RequestIds::Begin(std::string_view name_space,
                                                    std::string_view id, uint64_t request) {
  if (id.size() > kIdBytesMax) {
    return FieldError(Reason::kREQUEST_ID_INVALID, "request_id",
                      StrCat("request_id is ", id.size(), " bytes; at most ", kIdBytesMax));
  }
  const MonoNanos now = options_.clock->Mono();
  std::string key = MapKey(name_space, id);
  MutexLock lock(&mu_);
  DropExpired(now);
  const auto it = records_.find(key);
  if (it == records_.end()) {
    bytes_ += kRecordBytes + 2 * key.size();
    const uint64_t number = ++last_number_;
    order_.push_back({key, now});
    records_.emplace(std::move(key), Record{.request = request,
                                            .number = number,
                                            .place = std::prev(order_.end()),
                                            .ended = false,
                                            .answer = {}});
    MakeRoom();
    return Begun{std::nullopt, number};
  }
  Record& record = it->second;
  if (record.request != request) {
    return FieldError(Reason::kREQUEST_ID_REUSED, "request_id",
                      "request_id was used for a different request");
  }
  if (record.waits) {
    record.waits = false;
    record.number = ++last_number_;
    return Begun{std::nullopt, record.number, true};
  }
  if (!record.ended) {
    return RetryableError(Reason::kREQUEST_IN_PROGRESS, absl::Milliseconds(50),
                          "the first request with this request_id is still running");
  }
  if (!record.error.ok()) return record.error;
  return Begun{record.answer, 0};
}

RequestIds::Records::iterator RequestIds::FindRunning(std::string_view name_space,
                                                      std::string_view id, uint64_t place) {
  const auto it = records_.find(MapKey(name_space, id));
  return it == records_.end() || it->second.number != place || it->second.ended || it->second.waits
             ? records_.end()
             : it;
}

void RequestIds::End(std::string_view name_space, std::string_view id, uint64_t place,
                     std::string answer) {
  MutexLock lock(&mu_);
  const auto it = FindRunning(name_space, id, place);
  if (it == records_.end()) return;
  bytes_ += answer.size();
  it->second.answer = std::move(answer);
  it->second.ended = true;
  MakeRoom();
}

void RequestIds::EndUnknown(std::string_view name_space, std::string_view id, uint64_t place,
                            absl::Status error) {
  MutexLock lock(&mu_);
  const auto it = FindRunning(name_space, id, place);
  if (it == records_.end()) return;
  it->second.error = std::move(error);
  it->second.ended = true;
}

void RequestIds::Doubt(std::string_view name_space, std::string_view id, uint64_t place) {
  MutexLock lock(&mu_);
  const auto it = FindRunning(name_space, id, place);
  if (it != records_.end()) it->second.doubtful = it->second.waits = true;
}

void RequestIds::Forget(std::string_view name_space, std::string_view id, uint64_t place) {
  MutexLock lock(&mu_);
  const auto it = FindRunning(name_space, id, place);
  if (it == records_.end()) return;
  if (it->second.doubtful) {
    it->second.waits = true;
  } else {
    Drop(it);
  }
}

size_t RequestIds::size() const {
  MutexLock lock(&mu_);
  return records_.size();
}

uint64_t RequestIds::forgotten_early() const {
  MutexLock lock(&mu_);
  return forgotten_early_;
}

void RequestIds::Drop(Records::iterator record) {
  bytes_ -= kRecordBytes + 2 * record->first.size() + record->second.answer.size();
  order_.erase(record->second.place);
  records_.erase(record);
}

void RequestIds::MakeRoom() {
  while (records_.size() > options_.ids_max || bytes_ > options_.bytes_max) {
    DropOldest();
    ++forgotten_early_;
  }
}

void RequestIds::DropExpired(MonoNanos now) {
  const int64_t remember = absl::ToInt64Nanoseconds(options_.remember);
  while (!order_.empty() && order_.front().began + remember <= now) DropOldest();
}

}  // namespace larder
