// Reads, Invalidate and ReleaseLease. GetOrLoad is in load_handlers.cc, writes are in
// cache_write_handlers.cc, Stats in stats_handler.cc.
//
// Get and BatchGet come in two steps. Try... runs on the lane's thread and answers what memory
// holds; a batch keeps the hits that it found in the response, and the second step, on the
// executor, goes on with the keys that are still open.

#include "rpc/cache_handlers.h"

#include <utility>

#include "base/status.h"
#include "base/strings.h"
#include "core/error.h"
#include "core/glob.h"
#include "core/key.h"

namespace larder {
namespace {

constexpr absl::Duration kWaitTimeoutMax = absl::Seconds(30);
constexpr int kInvalidateTagsMax = 100;

absl::Status CheckBatchGet(const v1::BatchGetRequest& request, const RequestLimits& limits) {
  RETURN_IF_ERROR(CheckNamespace(request.namespace_()));
  return CheckKeys(request.keys(), limits);
}

// The rules that a request without a list of keys asks for.
absl::StatusOr<std::vector<Rule>> RulesOf(const v1::InvalidateRequest& request,
                                          const TypeTable& types) {
  Rule rule;
  rule.name_space = std::string(
      request.namespace_().empty() ? kDefaultNamespace : std::string_view(request.namespace_()));
  rule.stale = request.mode() == v1::INVALIDATE_MODE_MARK_STALE;
  switch (request.selector_case()) {
    case v1::InvalidateRequest::kTags: {
      const auto& tags = request.tags().tags();
      if (tags.empty() || tags.size() > kInvalidateTagsMax) {
        return FieldError(Reason::kSELECTOR_INVALID, "tags.tags",
                          StrCat(tags.size(), " tags; 1 to ", kInvalidateTagsMax));
      }
      std::vector<Rule> rules;
      for (int i = 0; i < tags.size(); ++i) {
        if (const absl::Status status = CheckTag(tags[i]); !status.ok()) {
          return FieldError(Reason::kTAG_INVALID, StrCat("tags.tags[", i, "]"),
                            ToStd(status.message()));
        }
        rules.push_back(rule);
        rules.back().kind = Rule::Kind::kTag;
        rules.back().match = tags[i];
      }
      return rules;
    }
    case v1::InvalidateRequest::kPrefix:
      if (const absl::Status status = CheckKey(request.prefix()); !status.ok()) {
        return FieldError(Reason::kSELECTOR_INVALID, "prefix", ToStd(status.message()));
      }
      rule.kind = Rule::Kind::kPrefix;
      rule.match = request.prefix();
      break;
    case v1::InvalidateRequest::kGlob: {
      const absl::StatusOr<Glob> glob = Glob::Parse(request.glob());
      if (!glob.ok()) {
        return FieldError(Reason::kSELECTOR_INVALID, "glob", ToStd(glob.status().message()));
      }
      if (glob->matches_everything()) {
        return FieldError(Reason::kSELECTOR_INVALID, "glob",
                          "it matches every key; to mean that, set `all`");
      }
      rule.kind = Rule::Kind::kGlob;
      rule.match = request.glob();
      break;
    }
    case v1::InvalidateRequest::kType: {
      if (request.type().empty())
        return FieldError(Reason::kSELECTOR_INVALID, "type", "the type has no name");
      ASSIGN_OR_RETURN(const TypeMatch match, types.Resolve("", request.type()));
      rule.kind = Rule::Kind::kType;
      rule.match = match.type->name;
      break;
    }
    default:
      if (!request.all()) {
        return FieldError(Reason::kSELECTOR_INVALID, "all", "false selects nothing");
      }
      rule.kind = Rule::Kind::kAll;
  }
  return std::vector<Rule>(1, rule);
}

absl::Status CheckInvalidate(const v1::InvalidateRequest& request, const RequestLimits& limits) {
  RETURN_IF_ERROR(CheckNamespace(request.namespace_()));
  if (request.selector_case() == v1::InvalidateRequest::SELECTOR_NOT_SET) {
    return FieldError(Reason::kSELECTOR_INVALID, "selector", "no selector is set");
  }
  if (!v1::InvalidateMode_IsValid(request.mode())) {
    return FieldError(Reason::kREQUEST_INVALID, "mode",
                      StrCat("mode ", request.mode(), " does not exist"));
  }
  if (!v1::InvalidateWait_IsValid(request.wait())) {
    return FieldError(Reason::kREQUEST_INVALID, "wait",
                      StrCat("wait ", request.wait(), " does not exist"));
  }
  if (request.has_wait_timeout()) {
    ASSIGN_OR_RETURN(const absl::Duration timeout,
                     DurationFrom(request.wait_timeout(), "wait_timeout"));
    if (timeout > kWaitTimeoutMax) {
      return FieldError(Reason::kREQUEST_INVALID, "wait_timeout", "wait_timeout is more than 30s");
    }
  }
  if (request.selector_case() != v1::InvalidateRequest::kKeys) return absl::OkStatus();
  if (request.keys().keys().empty()) {
    return FieldError(Reason::kSELECTOR_INVALID, "keys.keys", "the list of keys is empty");
  }
  RETURN_IF_ERROR(CheckBatchSize(request.keys().keys_size(), limits, "keys.keys"));
  for (int i = 0; i < request.keys().keys_size(); ++i) {
    if (absl::Status status = CheckKey(request.keys().keys(i)); !status.ok()) {
      return FieldError(Reason::kKEY_INVALID, StrCat("keys.keys[", i, "]"),
                        ToStd(status.message()));
    }
  }
  return absl::OkStatus();
}

}  // namespace

CacheHandlers::CacheHandlers(const Options& options, Engine* engine, RequestIds* request_ids,
                             MethodTable* methods)
    : options_(options), engine_(engine), request_ids_(request_ids), methods_(methods) {
  using H = CacheHandlers;
  methods->On("/larder.v1.Cache/Get", this, &H::Get, &H::TryGet);
  methods->On("/larder.v1.Cache/BatchGet", this, &H::BatchGet, &H::TryBatchGet);
  methods->On("/larder.v1.Cache/Set", this, &H::Set);
  methods->On("/larder.v1.Cache/BatchSet", this, &H::BatchSet);
  methods->On("/larder.v1.Cache/Delete", this, &H::Delete);
  methods->On("/larder.v1.Cache/BatchDelete", this, &H::BatchDelete);
  methods->On("/larder.v1.Cache/Invalidate", this, &H::Invalidate);
  methods->On("/larder.v1.Cache/GetOrLoad", this, &H::GetOrLoad, &H::TryGetOrLoad);
  methods->On("/larder.v1.Cache/BatchGetOrLoad", this, &H::BatchGetOrLoad);
  methods->On("/larder.v1.Cache/ReleaseLease", this, &H::ReleaseLease);
  methods->On("/larder.v1.Cache/Touch", this, &H::Touch);
  methods->On("/larder.v1.Cache/Increment", this, &H::Increment);
  methods->On("/larder.v1.Cache/Stats", this, &H::Stats);
  methods->AtOnce("/larder.v1.Cache/Set", this, &H::SetsAtOnce);
  methods->AtOnce("/larder.v1.Cache/GetOrLoad", this, &H::LoadsAtOnce);
  methods->AtOnce("/larder.v1.Cache/Delete", this, &H::ChangesAtOnce<v1::DeleteRequest>);
  methods->AtOnce("/larder.v1.Cache/Touch", this, &H::ChangesAtOnce<v1::TouchRequest>);
  methods->AtOnce("/larder.v1.Cache/Increment", this, &H::ChangesAtOnce<v1::IncrementRequest>);
}

absl::Status CacheHandlers::CheckType(std::string_view type) const {
  if (type.empty()) return absl::OkStatus();
  return engine_->options().types->Resolve("", type).status();
}

bool CacheHandlers::TryGet(CallContext* context, const v1::GetRequest& request,
                           v1::GetResponse* response, absl::Status* status) {
  *status = CheckKeyAndNamespace(request.namespace_(), request.key());
  if (status->ok()) *status = CheckType(request.type());
  if (!status->ok()) return true;
  return TryHit(FullKey(request.namespace_(), request.key()), request.metadata_only(), context,
                response);
}

Task<absl::Status> CacheHandlers::Get(CallContext* context, const v1::GetRequest* request,
                                      v1::GetResponse* response) {
  CO_ASSIGN_OR_RETURN(ReadResult read, co_await engine_->Get(
                                           {request->namespace_(), request->key(), request->type()},
                                           !request->metadata_only(), /*again=*/true));
  FillReadResult(std::move(read), Now(), request->metadata_only(), context, response);
  co_return absl::OkStatus();
}

bool CacheHandlers::TryBatchGet(CallContext*, const v1::BatchGetRequest& request,
                                v1::BatchGetResponse* response, absl::Status* status) {
  *status = CheckBatchGet(request, options_.limits);
  if (status->ok()) *status = CheckType(request.type());
  if (!status->ok()) return true;
  const MonoNanos now = Now();
  bool all = true;
  uint64_t bytes = 0;
  response->mutable_results()->Reserve(request.keys_size());
  Entry entry;
  for (const std::string& key : request.keys()) {
    v1::GetResult* const result = response->add_results();
    if (engine_->FindHit(FullKey(request.namespace_(), key), now, !request.metadata_only(),
                         &entry)) {
      bytes += request.metadata_only() ? 0 : entry.value_bytes();
      *status = CheckReplySize(bytes, options_.limits);
      if (!status->ok()) return true;
      FillHit(std::move(entry), v1::TIER_L1, now, request.metadata_only(), nullptr,
              result->mutable_hit());
    } else {
      all = false;
    }
  }
  return all;
}

Task<absl::Status> CacheHandlers::BatchGet(CallContext*, const v1::BatchGetRequest* request,
                                           v1::BatchGetResponse* response) {
  uint64_t bytes = 0;
  std::vector<std::string_view> keys;
  std::vector<v1::GetResult*> open;
  for (int i = 0; i < request->keys_size(); ++i) {
    v1::GetResult* const result = response->mutable_results(i);
    if (result->has_hit()) {
      bytes += result->hit().value().size();
      continue;
    }
    keys.push_back(request->keys(i));
    open.push_back(result);
  }
  CO_ASSIGN_OR_RETURN(std::vector<ReadResult> reads,
                      co_await engine_->BatchGet(request->namespace_(), std::move(keys),
                                                 request->type(), !request->metadata_only()));
  const MonoNanos now = Now();
  for (size_t i = 0; i < reads.size(); ++i) {
    if (reads[i].entry && !request->metadata_only()) bytes += reads[i].entry->value_bytes();
    CO_RETURN_IF_ERROR(CheckReplySize(bytes, options_.limits));
    FillReadResult(std::move(reads[i]), now, request->metadata_only(), nullptr, open[i]);
  }
  co_return absl::OkStatus();
}

Task<absl::Status> CacheHandlers::Invalidate(CallContext* context,
                                             const v1::InvalidateRequest* request,
                                             v1::InvalidateResponse* response) {
  CO_RETURN_IF_ERROR(CheckInvalidate(*request, options_.limits));
  InvalidateRequest invalidate;
  invalidate.name_space = request->namespace_();
  if (request->selector_case() == v1::InvalidateRequest::kKeys) {
    invalidate.keys.assign(request->keys().keys().begin(), request->keys().keys().end());
    invalidate.mark_stale = request->mode() == v1::INVALIDATE_MODE_MARK_STALE;
  } else {
    CO_ASSIGN_OR_RETURN(invalidate.rules, RulesOf(*request, *engine_->options().types));
  }
  invalidate.dry_run = request->dry_run();
  if (request->wait() == v1::INVALIDATE_WAIT_FLEET) {
    absl::Duration timeout = options_.fleet_wait;
    if (request->has_wait_timeout()) {
      CO_ASSIGN_OR_RETURN(timeout, DurationFrom(request->wait_timeout(), "wait_timeout"));
    }
    invalidate.fleet_until = std::min(MonoAfter(Now(), timeout), context->deadline());
  }
  CO_ASSIGN_OR_RETURN(const InvalidateResult result,
                      co_await engine_->Invalidate(std::move(invalidate)));
  response->set_version(result.version);
  response->set_estimated_entries(result.entries);
  // While it is not known who there is, there may be one more.
  const uint32_t others =
      std::max(result.fleet.replicas, result.fleet.acknowledged + (result.fleet.known ? 0 : 1));
  response->set_replicas_total(1 + (invalidate.fleet_until.has_value() ? others : 0));
  response->set_replicas_acknowledged(request->dry_run() ? 0 : 1 + result.fleet.acknowledged);
  co_return absl::OkStatus();
}

Task<absl::Status> CacheHandlers::ReleaseLease(CallContext*, const v1::ReleaseLeaseRequest* request,
                                               v1::ReleaseLeaseResponse* response) {
  CO_RETURN_IF_ERROR(CheckKeyAndNamespace(request->namespace_(), request->key()));
  if (request->lease_token().empty() || request->lease_token().size() > 64) {
    co_return FieldError(
        Reason::kLEASE_TOKEN_INVALID, "lease_token",
        StrCat("lease_token is ", request->lease_token().size(), " bytes; 1 to 64"));
  }
  response->set_released(
      engine_->ReleaseLease({request->namespace_(), request->key(), ""}, request->lease_token()));
  co_return absl::OkStatus();
}

}  // namespace larder
