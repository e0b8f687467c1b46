// The handlers that change data. Each of those that take a request id is a body wrapped in Once.

#include <algorithm>
#include <type_traits>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/hash/hash.h"
#include "base/status.h"
#include "base/strings.h"
#include "core/error.h"
#include "core/key.h"
#include "rpc/cache_handlers.h"

namespace larder {

namespace {

// Why an item of a batch failed after the batch was found to be in order. The items before it are
// stored already, so this is an answer for the item and no error of the call.
v1::NotStoredReason NotStoredReasonOf(const absl::Status& status) {
  static constexpr std::pair<Reason, v1::NotStoredReason> kReasons[] = {
      {Reason::kMEMORY_FULL, v1::NOT_STORED_REASON_MEMORY_FULL},
      {Reason::kNAMESPACE_LIMIT, v1::NOT_STORED_REASON_NAMESPACE_LIMIT},
      {Reason::kTIER_UNAVAILABLE, v1::NOT_STORED_REASON_TIER_UNAVAILABLE},
      {Reason::kWRITE_REFUSED, v1::NOT_STORED_REASON_WRITE_REFUSED},
      {Reason::kWRITE_FAILED, v1::NOT_STORED_REASON_WRITE_FAILED},
      {Reason::kWRITE_UNKNOWN, v1::NOT_STORED_REASON_WRITE_UNKNOWN},
      {Reason::kWRITE_MODE_UNSUPPORTED, v1::NOT_STORED_REASON_WRITE_MODE_UNSUPPORTED},
      {Reason::kJOURNAL_FULL, v1::NOT_STORED_REASON_JOURNAL_FULL},
      {Reason::kJOURNAL_UNAVAILABLE, v1::NOT_STORED_REASON_JOURNAL_UNAVAILABLE},
      {Reason::kDEADLINE_EXCEEDED, v1::NOT_STORED_REASON_DEADLINE_EXCEEDED},
      {Reason::kTOO_MANY_WAITERS, v1::NOT_STORED_REASON_TOO_MANY_WAITERS},
      {Reason::kDRAINING, v1::NOT_STORED_REASON_DRAINING},
      {Reason::kORIGIN_UNAVAILABLE, v1::NOT_STORED_REASON_ORIGIN_UNAVAILABLE},
      {Reason::kORIGIN_TIMEOUT, v1::NOT_STORED_REASON_ORIGIN_TIMEOUT},
      {Reason::kOVERLOADED, v1::NOT_STORED_REASON_OVERLOADED},
  };
  const std::string name = DetailsOf(status).reason;
  for (const auto& [reason, not_stored] : kReasons) {
    if (name == ReasonName(reason)) return not_stored;
  }
  return v1::NOT_STORED_REASON_CONTENTION;
}

bool MayHaveHappened(const absl::Status& status) {
  const std::string reason = DetailsOf(status).reason;
  return reason == ReasonName(Reason::kWRITE_UNKNOWN) ||
         reason == ReasonName(Reason::kTIER_UNAVAILABLE);
}

// Whether the call may have happened, and again would do or answer something else.
template <typename Request>
bool IsForOnce(const Request& /*request*/, const absl::Status& /*status*/) {
  return false;
}
bool IsForOnce(const v1::IncrementRequest& /*request*/, const absl::Status& status) {
  return MayHaveHappened(status);
}
bool IsForOnce(const v1::SetRequest& request, const absl::Status& status) {
  return request.condition_case() != v1::SetRequest::CONDITION_NOT_SET &&
         DetailsOf(status).reason == ReasonName(Reason::kWRITE_UNKNOWN);
}

// Whether there is something left of the call that a repeat is to try again.
template <typename Response>
bool HasFailures(const Response& /*response*/) {
  return false;
}
bool HasFailures(const v1::BatchDeleteResponse& response) {
  return std::any_of(response.results().begin(), response.results().end(),
                     [](const v1::DeleteResult& result) { return result.has_not_deleted(); });
}

// Whether nobody knows of something of the call if it happened; `status` is how it ended.
template <typename Response>
bool IsDoubtful(const Response& /*response*/, const absl::Status& status) {
  return MayHaveHappened(status);
}
bool IsDoubtful(const v1::BatchDeleteResponse& response, const absl::Status& status) {
  return MayHaveHappened(status) ||
         std::any_of(
             response.results().begin(), response.results().end(),
             [](const v1::DeleteResult& result) {
               return result.not_deleted().reason() == v1::NOT_STORED_REASON_WRITE_UNKNOWN ||
                      result.not_deleted().reason() == v1::NOT_STORED_REASON_TIER_UNAVAILABLE;
             });
}

// What a repeat says of itself is not what became of the call: an earlier try may have happened.
template <typename Response>
void Blur(Response* /*response*/) {}
void Blur(v1::BatchDeleteResponse* response) {
  for (v1::DeleteResult& result : *response->mutable_results()) {
    if (!result.has_not_deleted()) continue;
    result.mutable_not_deleted()->set_reason(v1::NOT_STORED_REASON_WRITE_UNKNOWN);
  }
}
absl::Status Blurred(const absl::Status& status, std::string_view what) {
  return RetryableError(
      Reason::kWRITE_UNKNOWN, DetailsOf(status).retry_after.value_or(absl::Seconds(1)),
      StrCat("an earlier try with this request_id may have changed something, or not; this one: ",
             what));
}

// Its condition may have failed because of the earlier try.
template <typename Response>
bool ConditionFailed(const Response& /*response*/) {
  return false;
}
bool ConditionFailed(const v1::SetResponse& response) {
  return response.not_stored().reason() == v1::NOT_STORED_REASON_CONDITION;
}

// What all keys failed with, if it is the same for all; else OK. Callers, their retries and their
// failover then see what one Delete answers.
absl::Status CommonFailure(const Engine::Removed& results) {
  for (const absl::StatusOr<RemoveResult>& removed : results) {
    if (removed.ok()) return absl::OkStatus();
    if (DetailsOf(removed.status()).reason != DetailsOf(results[0].status()).reason)
      return absl::OkStatus();
  }
  return results.empty() ? absl::OkStatus() : results[0].status();
}

}  // namespace

template <typename Request, typename Response>
Task<absl::Status> CacheHandlers::Once(const Request* request, Response* response,
                                       Task<absl::Status> body) {
  if (request->request_id().empty()) co_return co_await std::move(body);
  const std::string_view name_space =
      request->namespace_().empty() ? kDefaultNamespace : std::string_view(request->namespace_());
  const uint64_t content = absl::HashOf(request->GetTypeName(), request->SerializeAsString());
  CO_ASSIGN_OR_RETURN(const RequestIds::Begun begun,
                      request_ids_->Begin(name_space, request->request_id(), content));
  if (begun.answer.has_value()) {
    response->ParseFromString(*begun.answer);
    co_return absl::OkStatus();
  }
  absl::Status status = co_await std::move(body);
  if (begun.doubtful) {
    if (!status.ok() && !MayHaveHappened(status)) status = Blurred(status, ToStd(status.message()));
    if (status.ok() && ConditionFailed(*response))
      status = Blurred(status, "its condition does not hold");
    Blur(response);
  }
  if (status.ok() && !HasFailures(*response)) {
    request_ids_->End(name_space, request->request_id(), begun.place,
                      response->SerializeAsString());
  } else if (IsForOnce(*request, status)) {
    request_ids_->EndUnknown(name_space, request->request_id(), begun.place, status);
  } else if (IsDoubtful(*response, status)) {
    // A Set or Delete that did happen happens again.
    request_ids_->Doubt(name_space, request->request_id(), begun.place);
  } else {
    // So do the keys of a batch that are deleted already.
    request_ids_->Forget(name_space, request->request_id(), begun.place);
  }
  co_return status;
}

Task<absl::Status> CacheHandlers::Set(CallContext* context, const v1::SetRequest* request,
                                      v1::SetResponse* response) {
  CO_RETURN_IF_ERROR(CheckNamespace(request->namespace_()));
  co_return co_await Once(request, response, DoSet(context, request, response));
}

Task<absl::Status> CacheHandlers::DoSet(CallContext* context, const v1::SetRequest* request,
                                        v1::SetResponse* response) {
  CO_ASSIGN_OR_RETURN(WriteRequest write,
                      WriteFrom(request->namespace_(), *request, options_.limits));
  write.context = ChangeOf(*context, request->request_id());
  CO_ASSIGN_OR_RETURN(const WriteResult written, co_await engine_->Set(std::move(write)));
  FillWriteResult(written, response);
  co_return absl::OkStatus();
}

Task<absl::Status> CacheHandlers::BatchSet(CallContext* context, const v1::BatchSetRequest* request,
                                           v1::BatchSetResponse* response) {
  CO_RETURN_IF_ERROR(CheckNamespace(request->namespace_()));
  CO_RETURN_IF_ERROR(CheckBatchSize(request->items_size(), options_.limits, "items"));
  co_return co_await Once(request, response, DoBatchSet(context, request, response));
}

Task<absl::Status> CacheHandlers::DoBatchSet(CallContext* context,
                                             const v1::BatchSetRequest* request,
                                             v1::BatchSetResponse* response) {
  // All items are checked before the first is stored.
  std::vector<WriteRequest> writes;
  writes.reserve(static_cast<size_t>(request->items_size()));
  absl::flat_hash_set<std::string_view> keys;
  for (int i = 0; i < request->items_size(); ++i) {
    absl::StatusOr<WriteRequest> write =
        WriteFrom(request->namespace_(), request->items(i), options_.limits);
    absl::Status status = write.status();
    if (status.ok()) status = engine_->CheckWrite(*write);
    if (!status.ok()) co_return WithFieldPrefix(status, StrCat("items[", i, "]."));
    if (!keys.insert(write->key.key).second) {
      co_return FieldError(Reason::kBATCH_INVALID, StrCat("items[", i, "].key"),
                           "the key occurs twice in the batch");
    }
    // One id names all of the batch, and the origin needs one for each write.
    write->context = ChangeOf(*context, "");
    writes.push_back(*std::move(write));
  }
  const std::vector<absl::StatusOr<WriteResult>> results =
      co_await engine_->BatchSet(std::move(writes));
  for (const absl::StatusOr<WriteResult>& written : results) {
    v1::SetResult* const result = response->add_results();
    if (written.ok()) {
      FillWriteResult(*written, result);
    } else {
      result->mutable_not_stored()->set_reason(NotStoredReasonOf(written.status()));
    }
  }
  co_return absl::OkStatus();
}

Task<absl::Status> CacheHandlers::Delete(CallContext* context, const v1::DeleteRequest* request,
                                         v1::DeleteResponse* response) {
  CO_RETURN_IF_ERROR(CheckKeyAndNamespace(request->namespace_(), request->key()));
  co_return co_await Once(request, response, DoDelete(context, request, response));
}

Task<absl::Status> CacheHandlers::DoDelete(CallContext* context, const v1::DeleteRequest* request,
                                           v1::DeleteResponse* response) {
  CO_ASSIGN_OR_RETURN(
      const RemoveResult removed,
      co_await engine_->Delete({request->namespace_(), request->key(), request->type()},
                               ChangeOf(*context, request->request_id())));
  response->set_existed(removed.existed);
  response->set_version(removed.version);
  co_return absl::OkStatus();
}

Task<absl::Status> CacheHandlers::BatchDelete(CallContext* context,
                                              const v1::BatchDeleteRequest* request,
                                              v1::BatchDeleteResponse* response) {
  CO_RETURN_IF_ERROR(CheckNamespace(request->namespace_()));
  CO_RETURN_IF_ERROR(CheckBatchSize(request->keys_size(), options_.limits, "keys"));
  for (int i = 0; i < request->keys_size(); ++i) {
    if (absl::Status status = CheckKey(request->keys(i)); !status.ok()) {
      co_return FieldError(Reason::kKEY_INVALID, StrCat("keys[", i, "]"), ToStd(status.message()));
    }
  }
  CO_RETURN_IF_ERROR(CheckType(request->type()));
  co_return co_await Once(request, response, DoBatchDelete(context, request, response));
}

Task<absl::Status> CacheHandlers::DoBatchDelete(CallContext* context,
                                                const v1::BatchDeleteRequest* request,
                                                v1::BatchDeleteResponse* response) {
  std::vector<std::string_view> keys(request->keys().begin(), request->keys().end());
  CO_ASSIGN_OR_RETURN(const Engine::Removed results,
                      co_await engine_->BatchDelete(request->namespace_(), std::move(keys),
                                                    request->type(), ChangeOf(*context, "")));
  CO_RETURN_IF_ERROR(CommonFailure(results));
  for (const absl::StatusOr<RemoveResult>& removed : results) {
    v1::DeleteResult* const result = response->add_results();
    if (removed.ok()) {
      result->set_existed(removed->existed);
      result->set_version(removed->version);
    } else {
      result->mutable_not_deleted()->set_reason(NotStoredReasonOf(removed.status()));
    }
  }
  co_return absl::OkStatus();
}

Task<absl::Status> CacheHandlers::Touch(CallContext*, const v1::TouchRequest* request,
                                        v1::TouchResponse* response) {
  CO_RETURN_IF_ERROR(CheckKeyAndNamespace(request->namespace_(), request->key()));
  TouchRequest touch;
  touch.key = {request->namespace_(), request->key(), request->type()};
  CO_ASSIGN_OR_RETURN(touch.ttl, TtlFrom(request->has_ttl() ? &request->ttl() : nullptr, "ttl"));
  switch (request->mode()) {
    case v1::TOUCH_MODE_UNSPECIFIED:
    case v1::TOUCH_MODE_SET:
      touch.mode = TouchMode::kSet;
      break;
    case v1::TOUCH_MODE_EXTEND_ONLY:
      touch.mode = TouchMode::kExtendOnly;
      break;
    case v1::TOUCH_MODE_SHORTEN_ONLY:
      touch.mode = TouchMode::kShortenOnly;
      break;
    default:
      co_return FieldError(Reason::kREQUEST_INVALID, "mode",
                           StrCat("mode ", request->mode(), " does not exist"));
  }
  CO_ASSIGN_OR_RETURN(const TouchResult touched, co_await engine_->Touch(touch));
  if (!touched.found) {
    response->mutable_miss()->set_reason(ToProto(touched.miss));
    co_return absl::OkStatus();
  }
  v1::Touched* const answer = response->mutable_touched();
  answer->set_version(touched.version);
  answer->set_changed(touched.changed);
  const MonoNanos left = std::max<MonoNanos>(touched.fresh_until - Now(), 0);
  ToProto(absl::Nanoseconds(left), answer->mutable_remaining_ttl());
  co_return absl::OkStatus();
}

Task<absl::Status> CacheHandlers::Increment(CallContext* context,
                                            const v1::IncrementRequest* request,
                                            v1::IncrementResponse* response) {
  CO_RETURN_IF_ERROR(CheckKeyAndNamespace(request->namespace_(), request->key()));
  co_return co_await Once(request, response, DoIncrement(context, request, response));
}

Task<absl::Status> CacheHandlers::DoIncrement(CallContext* context,
                                              const v1::IncrementRequest* request,
                                              v1::IncrementResponse* response) {
  IncrementRequest increment;
  increment.key = {request->namespace_(), request->key(), request->type()};
  increment.delta = request->delta();
  increment.initial = request->initial();
  increment.extend = request->extend();
  increment.context = ChangeOf(*context, request->request_id());
  CO_ASSIGN_OR_RETURN(increment.ttl,
                      TtlFrom(request->has_ttl() ? &request->ttl() : nullptr, "ttl"));
  CO_ASSIGN_OR_RETURN(const IncrementResult result, co_await engine_->Increment(increment));
  response->set_value(result.value);
  response->set_created(result.created);
  response->set_version(result.version);
  const MonoNanos left = std::max<MonoNanos>(result.fresh_until - Now(), 0);
  ToProto(absl::Nanoseconds(left), response->mutable_remaining_ttl());
  co_return absl::OkStatus();
}

}  // namespace larder
