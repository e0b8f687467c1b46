#include "client/src/convert.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/src/checks.h"
#include "client/src/status.h"
#include "client/src/time.h"

namespace larder::internal {

Tier From(v1::Tier tier) {
  switch (tier) {
    case v1::TIER_L1:
      return Tier::kL1;
    case v1::TIER_L2:
      return Tier::kL2;
    case v1::TIER_ORIGIN:
      return Tier::kOrigin;
    default:
      return Tier::kUnspecified;
  }
}

MissReason From(v1::MissReason reason) {
  switch (reason) {
    case v1::MISS_REASON_ABSENT:
      return MissReason::kAbsent;
    case v1::MISS_REASON_EXPIRED:
      return MissReason::kExpired;
    case v1::MISS_REASON_INVALIDATED:
      return MissReason::kInvalidated;
    case v1::MISS_REASON_NEGATIVE:
      return MissReason::kNegative;
    case v1::MISS_REASON_LOADING:
      return MissReason::kLoading;
    case v1::MISS_REASON_TIER_FAILED:
      return MissReason::kTierFailed;
    case v1::MISS_REASON_ROLLED_PAST:
      return MissReason::kRolledPast;
    default:
      return MissReason::kUnspecified;
  }
}

namespace {

using internal::From;  // the overloads below would hide the others

absl::Status EmptyAnswerError() {
  return absl::InternalError("the server's answer has no result in it");
}

Entry From(v1::Hit* hit) {
  Entry entry;
  entry.value = std::move(*hit->mutable_value());
  entry.version = hit->version();
  entry.age = FromProto(hit->age());
  entry.remaining_ttl = FromProto(hit->remaining_ttl());
  entry.tier = From(hit->tier());
  entry.stale = hit->stale();
  entry.tags.assign(hit->tags().begin(), hit->tags().end());
  entry.value_bytes = hit->value_bytes();
  entry.dependent = hit->dependent();
  return entry;
}

Miss From(const v1::Miss& miss) { return {From(miss.reason()), FromProto(miss.remaining_ttl())}; }

NotStoredReason From(v1::NotStoredReason reason) {
  switch (reason) {
    case v1::NOT_STORED_REASON_CONDITION:
      return NotStoredReason::kCondition;
    case v1::NOT_STORED_REASON_LEASE_LOST:
      return NotStoredReason::kLeaseLost;
    case v1::NOT_STORED_REASON_NEWER_EXISTS:
      return NotStoredReason::kNewerExists;
    case v1::NOT_STORED_REASON_MEMORY_FULL:
      return NotStoredReason::kMemoryFull;
    case v1::NOT_STORED_REASON_NAMESPACE_LIMIT:
      return NotStoredReason::kNamespaceLimit;
    case v1::NOT_STORED_REASON_CONTENTION:
      return NotStoredReason::kContention;
    case v1::NOT_STORED_REASON_TIER_UNAVAILABLE:
      return NotStoredReason::kTierUnavailable;
    case v1::NOT_STORED_REASON_WRITE_REFUSED:
      return NotStoredReason::kWriteRefused;
    case v1::NOT_STORED_REASON_WRITE_FAILED:
      return NotStoredReason::kWriteFailed;
    case v1::NOT_STORED_REASON_WRITE_UNKNOWN:
      return NotStoredReason::kWriteUnknown;
    case v1::NOT_STORED_REASON_WRITE_MODE_UNSUPPORTED:
      return NotStoredReason::kWriteModeUnsupported;
    case v1::NOT_STORED_REASON_JOURNAL_FULL:
      return NotStoredReason::kJournalFull;
    case v1::NOT_STORED_REASON_JOURNAL_UNAVAILABLE:
      return NotStoredReason::kJournalUnavailable;
    case v1::NOT_STORED_REASON_DEADLINE_EXCEEDED:
      return NotStoredReason::kDeadlineExceeded;
    case v1::NOT_STORED_REASON_TOO_MANY_WAITERS:
      return NotStoredReason::kTooManyWaiters;
    case v1::NOT_STORED_REASON_DRAINING:
      return NotStoredReason::kDraining;
    case v1::NOT_STORED_REASON_ORIGIN_UNAVAILABLE:
      return NotStoredReason::kOriginUnavailable;
    case v1::NOT_STORED_REASON_ORIGIN_TIMEOUT:
      return NotStoredReason::kOriginTimeout;
    case v1::NOT_STORED_REASON_OVERLOADED:
      return NotStoredReason::kOverloaded;
    default:
      return NotStoredReason::kUnspecified;
  }
}

// For GetResponse and GetResult, which have the same fields.
template <typename Message>
absl::StatusOr<GetResult> FromGet(Message* message) {
  GetResult result;
  if (message->has_hit()) {
    result.entry = From(message->mutable_hit());
  } else if (message->has_miss()) {
    result.miss = From(message->miss());
  } else {
    return EmptyAnswerError();
  }
  return result;
}

// For GetOrLoadResponse and GetOrLoadResult.
template <typename Message>
absl::StatusOr<LeaseResult> FromLoad(Message* message) {
  LeaseResult result;
  if (message->has_hit()) {
    result.entry = From(message->mutable_hit());
  } else if (message->has_lease()) {
    result.lease = Lease{message->lease().token(), FromProto(message->lease().ttl())};
  } else if (message->has_miss()) {
    result.miss = From(message->miss());
  } else {
    return EmptyAnswerError();
  }
  return result;
}

absl::Status From(const v1::LoadError& error) {
  const bool known = error.code() > 0 && error.code() <= 16;
  const int code = known ? error.code() : static_cast<int>(absl::StatusCode::kUnknown);
  return MakeError(static_cast<absl::StatusCode>(code), error.reason(), "", error.message());
}

// For SetResponse and SetResult.
template <typename Message>
absl::StatusOr<SetResult> FromSet(const Message& message) {
  SetResult result;
  if (message.has_stored()) {
    result.stored = true;
    result.version = message.stored().version();
    result.ttl = FromProto(message.stored().ttl());
  } else if (message.has_not_stored()) {
    result.reason = From(message.not_stored().reason());
    result.current_version = message.not_stored().current_version();
  } else {
    return EmptyAnswerError();
  }
  return result;
}

// For SetRequest and BatchSetItem, from SetOptions and SetItem.
template <typename Options, typename Message>
absl::Status ToSet(absl::string_view prefix, std::string_view key, std::string_view value,
                   bool absent, const Options& options, Message* message) {
  const auto path = [prefix](absl::string_view field) { return absl::StrCat(prefix, field); };
  if (auto s = CheckUtf8("KEY_INVALID", path("key"), key); !s.ok()) return s;
  if (auto s = CheckUtf8("TYPE_UNKNOWN", path("type"), options.type); !s.ok()) return s;
  if (auto s = CheckUtf8("TAG_INVALID", path("tags"), options.tags); !s.ok()) return s;
  if (auto s = CheckUtf8("DEPENDENCY_INVALID", path("depends_on"), options.depends_on); !s.ok())
    return s;
  message->set_key(std::string(key));
  if (absent) {
    message->set_absent(true);
  } else {
    message->set_value(std::string(value));
  }
  if (options.ttl.has_value()) ToProto(*options.ttl, message->mutable_ttl());
  message->set_type(options.type);
  message->mutable_tags()->Assign(options.tags.begin(), options.tags.end());
  message->mutable_depends_on()->Assign(options.depends_on.begin(), options.depends_on.end());
  switch (options.condition.kind) {
    case Condition::Kind::kNone:
      break;
    case Condition::Kind::kAbsent:
      message->set_if_absent(true);
      break;
    case Condition::Kind::kPresent:
      message->set_if_present(true);
      break;
    case Condition::Kind::kVersion:
      message->set_if_version(options.condition.version);
      break;
  }
  message->set_lease_token(options.lease_token);
  return absl::OkStatus();
}

}  // namespace

v1::TouchMode To(TouchMode mode) {
  switch (mode) {
    case TouchMode::kSet:
      return v1::TOUCH_MODE_SET;
    case TouchMode::kExtendOnly:
      return v1::TOUCH_MODE_EXTEND_ONLY;
    case TouchMode::kShortenOnly:
      return v1::TOUCH_MODE_SHORTEN_ONLY;
  }
  return v1::TOUCH_MODE_UNSPECIFIED;
}

absl::Status To(std::string_view key, std::string_view value, bool absent,
                const SetOptions& options, v1::SetRequest* request) {
  return ToSet("", key, value, absent, options, request);
}

absl::Status To(const SetItem& item, absl::string_view path, v1::BatchSetItem* proto) {
  return ToSet(absl::StrCat(path, "."), item.key, item.value, item.absent, item, proto);
}

absl::StatusOr<GetResult> From(v1::GetResponse* response) { return FromGet(response); }

absl::StatusOr<std::vector<GetResult>> From(v1::BatchGetResponse* response) {
  std::vector<GetResult> results;
  results.reserve(response->results_size());
  for (auto& message : *response->mutable_results()) {
    absl::StatusOr<GetResult> result = FromGet(&message);
    if (!result.ok()) return result.status();
    results.push_back(*std::move(result));
  }
  return results;
}

absl::StatusOr<SetResult> From(v1::SetResponse* response) { return FromSet(*response); }

absl::StatusOr<std::vector<SetResult>> From(v1::BatchSetResponse* response) {
  std::vector<SetResult> results;
  results.reserve(response->results_size());
  for (const auto& message : response->results()) {
    absl::StatusOr<SetResult> result = FromSet(message);
    if (!result.ok()) return result.status();
    results.push_back(*std::move(result));
  }
  return results;
}

absl::StatusOr<DeleteResult> From(v1::DeleteResponse* response) {
  return DeleteResult{response->existed(), response->version(), std::nullopt};
}

absl::StatusOr<std::vector<DeleteResult>> From(v1::BatchDeleteResponse* response) {
  std::vector<DeleteResult> results;
  results.reserve(response->results_size());
  for (const auto& result : response->results()) {
    DeleteResult& to = results.emplace_back();
    to.existed = result.existed();
    to.version = result.version();
    if (result.has_not_deleted()) to.not_deleted = From(result.not_deleted().reason());
  }
  return results;
}

absl::StatusOr<InvalidateResult> From(v1::InvalidateResponse* response) {
  return InvalidateResult{response->version(), response->replicas_acknowledged(),
                          response->replicas_total(), response->estimated_entries()};
}

absl::StatusOr<LeaseResult> From(v1::GetOrLoadResponse* response) { return FromLoad(response); }

absl::StatusOr<BatchLeaseResult> From(v1::BatchGetOrLoadResponse* response) {
  BatchLeaseResult results;
  results.reserve(response->results_size());
  for (auto& message : *response->mutable_results()) {
    results.push_back(message.has_error() ? From(message.error()) : FromLoad(&message));
  }
  return results;
}

WarmProgress From(const v1::WarmResponse& response) {
  return {response.loaded(), response.failed(), response.total(), FromProto(response.elapsed()),
          response.done(),   response.full()};
}

absl::StatusOr<ReleaseLeaseResult> From(v1::ReleaseLeaseResponse* response) {
  return ReleaseLeaseResult{response->released()};
}

absl::StatusOr<TouchResult> From(v1::TouchResponse* response) {
  TouchResult result;
  if (response->has_touched()) {
    result.version = response->touched().version();
    result.remaining_ttl = FromProto(response->touched().remaining_ttl());
    result.changed = response->touched().changed();
  } else if (response->has_miss()) {
    result.miss = From(response->miss());
  } else {
    return EmptyAnswerError();
  }
  return result;
}

absl::StatusOr<IncrementResult> From(v1::IncrementResponse* response) {
  return IncrementResult{response->value(), response->version(),
                         FromProto(response->remaining_ttl()), response->created()};
}

absl::Status To(const Selector& selector, v1::InvalidateRequest* request) {
  const int set = !selector.tags.empty() + !selector.prefix.empty() + !selector.glob.empty() +
                  !selector.type.empty() + selector.all;
  if (set != 1) {
    return FieldError("SELECTOR_INVALID", "selector",
                      absl::StrCat(set,
                                   " selectors are set; exactly one of tags, prefix, glob, "
                                   "type and all says what is meant"));
  }
  if (!selector.tags.empty()) {
    request->mutable_tags()->mutable_tags()->Assign(selector.tags.begin(), selector.tags.end());
    return CheckUtf8("TAG_INVALID", "tags.tags", selector.tags);
  }
  if (!selector.prefix.empty()) {
    request->set_prefix(selector.prefix);
    return CheckUtf8("SELECTOR_INVALID", "prefix", selector.prefix);
  }
  if (!selector.glob.empty()) {
    request->set_glob(selector.glob);
    return CheckUtf8("SELECTOR_INVALID", "glob", selector.glob);
  }
  if (!selector.type.empty()) {
    request->set_type(selector.type);
    return CheckUtf8("TYPE_UNKNOWN", "type", selector.type);
  }
  request->set_all(true);
  return absl::OkStatus();
}

}  // namespace larder::internal
