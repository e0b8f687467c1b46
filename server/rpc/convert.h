// Between the messages of larder.v1 and the engine's types: checks what came in, with the path of
// the wrong field, and fills in what goes out. Thread safety: pure functions.

#ifndef LARDER_RPC_CONVERT_H_
#define LARDER_RPC_CONVERT_H_

#include <optional>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "core/entry.h"
#include "core/error.h"
#include "core/miss.h"
#include "engine/engine.h"
#include "google/protobuf/duration.pb.h"
#include "google/protobuf/repeated_ptr_field.h"
#include "google/protobuf/timestamp.pb.h"
#include "larder/v1/cache.pb.h"
#include "rpc/call.h"

namespace larder {

// What requests are checked against.
struct RequestLimits {
  uint64_t value_bytes_max = 1 << 20;
  int batch_keys_max = 1000;
  // Of a request or a reply.
  uint64_t message_bytes_max = 16 << 20;
};

absl::Status CheckKeyAndNamespace(std::string_view name_space, std::string_view key);

// BATCH_INVALID when there are more than the limit.
absl::Status CheckBatchSize(int size, const RequestLimits& limits, std::string_view field);

// MESSAGE_TOO_LARGE when the values of a reply would be more than a message may be.
// Of a batch: how many, and each.
absl::Status CheckKeys(const google::protobuf::RepeatedPtrField<std::string>& keys,
                       const RequestLimits& limits);

absl::Status CheckReplySize(uint64_t value_bytes, const RequestLimits& limits);

// A TTL of 1 ms to 100 years, else TTL_INVALID; null when `message` is null (the field was left
// out).
absl::StatusOr<std::optional<absl::Duration>> TtlFrom(const google::protobuf::Duration* message,
                                                      std::string_view field);
// A duration of 0 to 100 years, else REQUEST_INVALID.
absl::StatusOr<absl::Duration> DurationFrom(const google::protobuf::Duration& message,
                                            std::string_view field);

void ToProto(absl::Duration duration, google::protobuf::Duration* message);
void ToProto(absl::Time time, google::protobuf::Timestamp* message);
v1::MissReason ToProto(MissReason reason);

// The W3C trace context of a call; empty where there is none, or one longer than any is. Valid as
// long as the call's metadata.
struct TraceContext {
  std::string_view parent;
  std::string_view state;
};
TraceContext TraceOf(const CallContext& call);
// What a change has to know of its call.
ChangeContext ChangeOf(const CallContext& call, std::string_view request_id);

// Moves the value into `hit`. `context` set: a shared value is attached to the call instead (see
// CallContext::AttachValue); null: it is copied. REQUIRES: the value is plain, or metadata_only.
void FillHit(Entry&& entry, v1::Tier tier, MonoNanos now, bool metadata_only, CallContext* context,
             v1::Hit* hit);
// The same for an entry that stays as it is until the call is answered, at once and on the lane's
// thread: its value is not copied before.
void FillHitInPlace(Entry* entry, v1::Tier tier, MonoNanos now, bool metadata_only,
                    CallContext* context, v1::Hit* hit);
void FillMiss(const ReadResult& read, v1::Miss* miss);
void FillHotKey(const HotKeys::Row& row, const TypeTable& types, v1::HotKey* to);

// The write of a SetRequest or of a BatchSetItem: both have the same fields.
template <typename Item>
absl::StatusOr<WriteRequest> WriteFrom(std::string_view name_space, const Item& item,
                                       const RequestLimits& limits);

// A SetResponse or a SetResult: both have the same fields.
template <typename Result>
void FillWriteResult(const WriteResult& written, Result* result) {
  if (written.stored) {
    result->mutable_stored()->set_version(written.version);
    ToProto(written.ttl, result->mutable_stored()->mutable_ttl());
    return;
  }
  v1::NotStored* const refused = result->mutable_not_stored();
  refused->set_current_version(written.version);
  switch (written.reason) {
    case NotStored::kCondition:
      return refused->set_reason(v1::NOT_STORED_REASON_CONDITION);
    case NotStored::kLeaseLost:
      return refused->set_reason(v1::NOT_STORED_REASON_LEASE_LOST);
    case NotStored::kNewerExists:
      return refused->set_reason(v1::NOT_STORED_REASON_NEWER_EXISTS);
  }
}

// A GetResponse, a GetResult or a GetOrLoadResponse.
template <typename Result>
void FillReadResult(ReadResult read, MonoNanos now, bool metadata_only, CallContext* context,
                    Result* result) {
  if (read.entry) {
    const v1::Tier tier = read.from == ReadResult::From::kOrigin  ? v1::TIER_ORIGIN
                          : read.from == ReadResult::From::kBelow ? v1::TIER_L2
                                                                  : v1::TIER_L1;
    FillHit(*std::move(read.entry), tier, now, metadata_only, context, result->mutable_hit());
    result->mutable_hit()->set_stale(read.stale);
  } else {
    FillMiss(read, result->mutable_miss());
  }
}

}  // namespace larder

#endif  // LARDER_RPC_CONVERT_H_
