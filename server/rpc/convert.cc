#include "rpc/convert.h"

#include <utility>

#include "base/status.h"
#include "base/strings.h"
#include "core/key.h"

namespace larder {
namespace {

constexpr absl::Duration kHundredYears = absl::Hours(24 * 365 * 100);
constexpr size_t kLeaseTokenBytesMax = 64;

// The duration that `message` means, or null when it is none: seconds and nanos of different signs,
// nanos of a second and more, or beyond a hundred years either way.
std::optional<absl::Duration> Decode(const google::protobuf::Duration& message) {
  const bool signs_differ = (message.seconds() > 0 && message.nanos() < 0) ||
                            (message.seconds() < 0 && message.nanos() > 0);
  if (signs_differ || message.nanos() <= -1'000'000'000 || message.nanos() >= 1'000'000'000)
    return std::nullopt;
  const int64_t limit = absl::ToInt64Seconds(kHundredYears);
  if (message.seconds() < -limit || message.seconds() > limit) return std::nullopt;
  return absl::Seconds(message.seconds()) + absl::Nanoseconds(message.nanos());
}

absl::Status CheckTags(const google::protobuf::RepeatedPtrField<std::string>& tags) {
  if (tags.size() > static_cast<int>(kTagsMax)) {
    return FieldError(Reason::kTAG_INVALID, "tags",
                      StrCat(tags.size(), " tags; at most ", kTagsMax));
  }
  for (const std::string& tag : tags) RETURN_IF_ERROR(CheckTag(tag));
  return absl::OkStatus();
}

absl::Status CheckDependencies(const google::protobuf::RepeatedPtrField<std::string>& keys) {
  if (keys.size() > static_cast<int>(kTagsMax)) {
    return FieldError(Reason::kDEPENDENCY_INVALID, "depends_on",
                      StrCat(keys.size(), " dependencies; at most ", kTagsMax));
  }
  for (int i = 0; i < keys.size(); ++i) {
    if (const absl::Status status = CheckKey(keys[i]); !status.ok()) {
      return FieldError(Reason::kDEPENDENCY_INVALID, StrCat("depends_on[", i, "]"),
                        ToStd(status.message()));
    }
  }
  return absl::OkStatus();
}

template <typename Item>
absl::StatusOr<Expect> ConditionFrom(const Item& item) {
  const auto must_be_true = [](std::string_view field) {
    return FieldError(Reason::kREQUEST_INVALID, field, "a condition is true or left out");
  };
  switch (item.condition_case()) {
    case Item::kIfAbsent:
      if (!item.if_absent()) return must_be_true("if_absent");
      return Expect{Expect::Kind::kAbsent, kNoVersion};
    case Item::kIfPresent:
      if (!item.if_present()) return must_be_true("if_present");
      return Expect{Expect::Kind::kPresent, kNoVersion};
    case Item::kIfVersion:
      return Expect{Expect::Kind::kVersion, item.if_version()};
    default:
      return Expect{};
  }
}

}  // namespace

absl::Status CheckKeyAndNamespace(std::string_view name_space, std::string_view key) {
  RETURN_IF_ERROR(CheckNamespace(name_space));
  return CheckKey(key);
}

absl::Status CheckBatchSize(int size, const RequestLimits& limits, std::string_view field) {
  if (size <= limits.batch_keys_max) return absl::OkStatus();
  return FieldError(Reason::kBATCH_INVALID, field,
                    StrCat("the batch has ", size, " items; at most ", limits.batch_keys_max));
}

absl::Status CheckReplySize(uint64_t value_bytes, const RequestLimits& limits) {
  if (value_bytes <= limits.message_bytes_max) return absl::OkStatus();
  return Error(Reason::kMESSAGE_TOO_LARGE,
               StrCat("the reply would be more than ", limits.message_bytes_max,
                      " bytes (limits.message_bytes): ask for fewer keys"));
}

absl::StatusOr<std::optional<absl::Duration>> TtlFrom(const google::protobuf::Duration* message,
                                                      std::string_view field) {
  if (message == nullptr) return std::optional<absl::Duration>();
  const std::optional<absl::Duration> ttl = Decode(*message);
  if (!ttl.has_value()) {
    return FieldError(Reason::kTTL_INVALID, field, "ttl is no valid duration, or beyond 100 years");
  }
  if (*ttl < absl::Milliseconds(1)) {
    return FieldError(Reason::kTTL_INVALID, field,
                      StrCat("ttl is ", absl::FormatDuration(*ttl),
                             "; at least 1ms (leave it out for the type's)"));
  }
  return ttl;
}

absl::StatusOr<absl::Duration> DurationFrom(const google::protobuf::Duration& message,
                                            std::string_view field) {
  const std::optional<absl::Duration> duration = Decode(message);
  if (!duration.has_value() || *duration < absl::ZeroDuration()) {
    return FieldError(Reason::kREQUEST_INVALID, field,
                      StrCat(field, " is negative, no valid duration, or beyond 100 years"));
  }
  return *duration;
}

absl::Status CheckKeys(const google::protobuf::RepeatedPtrField<std::string>& keys,
                       const RequestLimits& limits) {
  RETURN_IF_ERROR(CheckBatchSize(keys.size(), limits, "keys"));
  for (int i = 0; i < keys.size(); ++i) {
    if (absl::Status status = CheckKey(keys.Get(i)); !status.ok()) {
      return FieldError(Reason::kKEY_INVALID, StrCat("keys[", i, "]"), ToStd(status.message()));
    }
  }
  return absl::OkStatus();
}

void ToProto(absl::Duration duration, google::protobuf::Duration* message) {
  const int64_t nanos = absl::ToInt64Nanoseconds(duration);
  message->set_seconds(nanos / 1'000'000'000);
  message->set_nanos(static_cast<int32_t>(nanos % 1'000'000'000));
}

void ToProto(absl::Time time, google::protobuf::Timestamp* message) {
  const int64_t nanos = absl::ToUnixNanos(time);
  message->set_seconds(nanos / 1'000'000'000);
  message->set_nanos(static_cast<int32_t>(nanos % 1'000'000'000));
}

v1::MissReason ToProto(MissReason reason) {
  switch (reason) {
    case MissReason::kAbsent:
      return v1::MISS_REASON_ABSENT;
    case MissReason::kExpired:
      return v1::MISS_REASON_EXPIRED;
    case MissReason::kInvalidated:
      return v1::MISS_REASON_INVALIDATED;
    case MissReason::kNegative:
      return v1::MISS_REASON_NEGATIVE;
    case MissReason::kLoading:
      return v1::MISS_REASON_LOADING;
    case MissReason::kTierFailed:
      return v1::MISS_REASON_TIER_FAILED;
    case MissReason::kRolledPast:
      return v1::MISS_REASON_ROLLED_PAST;
  }
  return v1::MISS_REASON_UNSPECIFIED;
}

TraceContext TraceOf(const CallContext& call) {
  // Longer ones are no trace context: W3C has 55 bytes, and asks for at least 512 to be passed on.
  constexpr size_t kParentMax = 128;
  constexpr size_t kStateMax = 1024;
  const auto at_most = [](std::string_view value, size_t bytes_max) {
    return value.size() <= bytes_max ? value : std::string_view();
  };
  TraceContext trace;
  trace.parent = at_most(call.Metadata("traceparent"), kParentMax);
  if (!trace.parent.empty()) trace.state = at_most(call.Metadata("tracestate"), kStateMax);
  return trace;
}

ChangeContext ChangeOf(const CallContext& call, std::string_view request_id) {
  const TraceContext trace = TraceOf(call);
  return {.deadline = call.deadline(),
          .request_id = request_id,
          .trace_parent = trace.parent,
          .trace_state = trace.state};
}

namespace {

// All but its value.
void FillMetadata(Entry* entry, v1::Tier tier, MonoNanos now, v1::Hit* hit) {
  hit->set_value_bytes(entry->value_bytes());
  hit->set_version(entry->version);
  ToProto(absl::Nanoseconds(std::max<MonoNanos>(now - entry->written, 0)), hit->mutable_age());
  ToProto(absl::Nanoseconds(std::max<MonoNanos>(entry->fresh_until - now, 0)),
          hit->mutable_remaining_ttl());
  hit->set_tier(tier);
  for (std::string& tag : entry->tags) hit->add_tags(std::move(tag));
  hit->set_dependent(!entry->depends_on.empty());
}

}  // namespace

void FillHitInPlace(Entry* entry, v1::Tier tier, MonoNanos now, bool metadata_only,
                    CallContext* context, v1::Hit* hit) {
  FillMetadata(entry, tier, now, hit);
  if (metadata_only) return;
  if (entry->shared) {
    context->AttachValue(std::move(entry->shared));
  } else {
    context->AttachView(entry->bytes);
  }
}

void FillHit(Entry&& entry, v1::Tier tier, MonoNanos now, bool metadata_only, CallContext* context,
             v1::Hit* hit) {
  FillMetadata(&entry, tier, now, hit);
  if (metadata_only) return;
  if (!entry.shared) {
    hit->set_value(std::move(entry.bytes));
  } else if (context != nullptr) {
    context->AttachValue(std::move(entry.shared));
  } else {
    const std::string_view value = entry.shared.view();
    hit->set_value(value.data(), value.size());
  }
}

void FillMiss(const ReadResult& read, v1::Miss* miss) {
  miss->set_reason(ToProto(read.miss));
  if (read.miss == MissReason::kNegative && read.miss_remaining > absl::ZeroDuration())
    ToProto(read.miss_remaining, miss->mutable_remaining_ttl());
}

void FillHotKey(const HotKeys::Row& row, const TypeTable& types, v1::HotKey* to) {
  to->set_namespace_(row.name_space);
  to->set_key(row.key);
  to->set_type(types.Get(row.type_id).name);
  to->set_hits(row.hits);
  to->set_misses(row.misses);
  to->set_bytes(row.bytes);
  to->set_value_bytes_max(row.value_bytes_max);
  const uint64_t reads = row.hits + row.misses;
  if (reads > 0) to->set_hit_ratio(static_cast<double>(row.hits) / static_cast<double>(reads));
}

template <typename Item>
absl::StatusOr<WriteRequest> WriteFrom(std::string_view name_space, const Item& item,
                                       const RequestLimits& limits) {
  RETURN_IF_ERROR(CheckKey(item.key()));
  if (item.content_case() == Item::CONTENT_NOT_SET) {
    return FieldError(Reason::kREQUEST_INVALID, "content", "neither value nor absent is set");
  }
  if (item.content_case() == Item::kAbsent && !item.absent()) {
    return FieldError(Reason::kREQUEST_INVALID, "absent", "absent is true or left out");
  }
  if (item.value().size() > limits.value_bytes_max) {
    return FieldError(Reason::kVALUE_TOO_LARGE, "value",
                      StrCat("value is ", item.value().size(), " bytes; at most ",
                             limits.value_bytes_max, " (limits.value_bytes)"));
  }
  RETURN_IF_ERROR(CheckTags(item.tags()));
  RETURN_IF_ERROR(CheckDependencies(item.depends_on()));
  if (item.lease_token().size() > kLeaseTokenBytesMax) {
    return FieldError(Reason::kLEASE_TOKEN_INVALID, "lease_token",
                      StrCat("lease_token is ", item.lease_token().size(), " bytes; at most ",
                             kLeaseTokenBytesMax));
  }
  WriteRequest write;
  ASSIGN_OR_RETURN(write.condition, ConditionFrom(item));
  if (!item.lease_token().empty() && write.condition.kind != Expect::Kind::kAny) {
    return FieldError(Reason::kREQUEST_INVALID, "condition",
                      "a Set with a lease_token takes no condition");
  }
  ASSIGN_OR_RETURN(write.ttl, TtlFrom(item.has_ttl() ? &item.ttl() : nullptr, "ttl"));
  write.key = {name_space, item.key(), item.type()};
  write.value = item.value();
  write.absent = item.content_case() == Item::kAbsent;
  write.tags.assign(item.tags().begin(), item.tags().end());
  write.depends_on.assign(item.depends_on().begin(), item.depends_on().end());
  write.lease_token = item.lease_token();
  return write;
}

template absl::StatusOr<WriteRequest> WriteFrom(std::string_view, const v1::SetRequest&,
                                                const RequestLimits&);
template absl::StatusOr<WriteRequest> WriteFrom(std::string_view, const v1::BatchSetItem&,
                                                const RequestLimits&);

}  // namespace larder
