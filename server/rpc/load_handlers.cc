// GetOrLoad and BatchGetOrLoad. A hit in memory is answered on the lane's thread, as a Get is.

#include <utility>

#include "base/status.h"
#include "base/strings.h"
#include "core/error.h"
#include "core/key.h"
#include "rpc/cache_handlers.h"

namespace larder {
namespace {

// The error of the call, as a batch says it of one key.
void FillError(const absl::Status& status, v1::LoadError* to) {
  to->set_code(static_cast<int>(status.code()));
  to->set_reason(DetailsOf(status).reason);
  to->set_message(ToStd(status.message()).data(), status.message().size());
}

}  // namespace

template <typename Request>
absl::Status CacheHandlers::CheckLoad(const Request& request) const {
  RETURN_IF_ERROR(CheckType(request.type()));
  if (request.has_lease_ttl()) {
    ASSIGN_OR_RETURN(const absl::Duration ttl, DurationFrom(request.lease_ttl(), "lease_ttl"));
    const absl::Duration max = engine_->options().lease_ttl_max;
    if (ttl < Engine::kLeaseTtlMin || ttl > max) {
      return FieldError(
          Reason::kTTL_INVALID, "lease_ttl",
          StrCat("lease_ttl is ", absl::FormatDuration(ttl), "; ",
                 absl::FormatDuration(Engine::kLeaseTtlMin), " to ", absl::FormatDuration(max)));
    }
  }
  if (request.has_wait()) return DurationFrom(request.wait(), "wait").status();
  return absl::OkStatus();
}

template <typename To, typename Request>
void CacheHandlers::FillLoad(CallContext* context, const Request& request, To* to) const {
  to->lease_ttl = engine_->options().lease_ttl;
  if (request.has_lease_ttl()) to->lease_ttl = *DurationFrom(request.lease_ttl(), "");
  if (request.has_wait()) to->wait_until = MonoAfter(Now(), *DurationFrom(request.wait(), ""));
  to->deadline = context->deadline();
  to->cancellation = &context->cancellation();
  const TraceContext trace = TraceOf(*context);
  to->trace_parent = trace.parent;
  to->trace_state = trace.state;
}

bool CacheHandlers::TryGetOrLoad(CallContext* context, const v1::GetOrLoadRequest& request,
                                 v1::GetOrLoadResponse* response, absl::Status* status) {
  *status = CheckKeyAndNamespace(request.namespace_(), request.key());
  if (status->ok()) *status = CheckLoad(request);
  if (!status->ok()) return true;
  return TryHit(FullKey(request.namespace_(), request.key()), /*metadata_only=*/false, context,
                response);
}

Task<absl::Status> CacheHandlers::GetOrLoad(CallContext* context,
                                            const v1::GetOrLoadRequest* request,
                                            v1::GetOrLoadResponse* response) {
  LoadRequest load;
  load.key = {request->namespace_(), request->key(), request->type()};
  FillLoad(context, *request, &load);
  CO_ASSIGN_OR_RETURN(LoadResult result, co_await engine_->GetOrLoad(load, /*again=*/true));
  if (!result.lease.has_value()) {
    FillReadResult(std::move(result.read), Now(), /*metadata_only=*/false, context, response);
    co_return absl::OkStatus();
  }
  response->mutable_lease()->set_token(result.lease->token);
  ToProto(result.lease->ttl, response->mutable_lease()->mutable_ttl());
  // A caller that has gone cannot use the lease, and the others need not wait for it to run out.
  context->OnUndelivered(
      [engine = engine_, name_space = request->namespace_(), key = request->key(),
       token = result.lease->token] { engine->ReleaseLease({name_space, key, ""}, token); });
  co_return absl::OkStatus();
}

Task<absl::Status> CacheHandlers::BatchGetOrLoad(CallContext* context,
                                                 const v1::BatchGetOrLoadRequest* request,
                                                 v1::BatchGetOrLoadResponse* response) {
  CO_RETURN_IF_ERROR(CheckNamespace(request->namespace_()));
  CO_RETURN_IF_ERROR(CheckKeys(request->keys(), options_.limits));
  CO_RETURN_IF_ERROR(CheckLoad(*request));
  BatchLoadRequest load;
  load.name_space = request->namespace_();
  load.type = request->type();
  // A key that is named twice is loaded once, and answered twice.
  std::vector<size_t> place;
  absl::flat_hash_map<std::string_view, size_t> places;
  for (const std::string& key : request->keys()) {
    const auto [it, is_new] = places.try_emplace(key, load.keys.size());
    if (is_new) load.keys.push_back(key);
    place.push_back(it->second);
  }
  FillLoad(context, *request, &load);
  const std::vector<absl::StatusOr<LoadResult>> results = co_await engine_->BatchGetOrLoad(load);
  const MonoNanos now = Now();
  std::vector<std::pair<std::string, std::string>> leases;  // key, token
  for (size_t i = 0; i < load.keys.size(); ++i) {
    if (results[i].ok() && results[i]->lease.has_value())
      leases.emplace_back(load.keys[i], results[i]->lease->token);
  }
  uint64_t bytes = 0;
  absl::Status too_large;
  for (size_t i = 0; i < place.size(); ++i) {
    const absl::StatusOr<LoadResult>& result = results[place[i]];
    v1::GetOrLoadResult* const to = response->add_results();
    if (!result.ok()) {
      FillError(result.status(), to->mutable_error());
    } else if (result->lease.has_value()) {
      to->mutable_lease()->set_token(result->lease->token);
      ToProto(result->lease->ttl, to->mutable_lease()->mutable_ttl());
    } else {
      if (result->read.entry) bytes += result->read.entry->value_bytes();
      too_large = CheckReplySize(bytes, options_.limits);
      if (!too_large.ok()) break;
      FillReadResult(result->read, now, /*metadata_only=*/false, nullptr, to);
    }
  }
  const auto give_back = [engine = engine_, name_space = request->namespace_(),
                          leases = std::move(leases)] {
    for (const auto& [key, token] : leases) engine->ReleaseLease({name_space, key, ""}, token);
  };
  if (!too_large.ok()) {
    give_back();
    co_return too_large;
  }
  context->OnUndelivered(give_back);
  co_return absl::OkStatus();
}

}  // namespace larder
