#include "rpc/admin_handlers.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/crc32c.h"
#include "base/status.h"
#include "base/strings.h"
#include "base/utf8.h"
#include "core/error.h"
#include "core/key.h"
#include "core/version.h"
#include "engine/rule_history.h"
#include "rpc/access_table.h"
#include "rpc/journal_convert.h"

namespace larder {
namespace {

v1::TypeMatch KindToProto(TypeMatchKind kind) {
  switch (kind) {
    case TypeMatchKind::kRequest:
      return v1::TYPE_MATCH_REQUEST;
    case TypeMatchKind::kPattern:
      return v1::TYPE_MATCH_PATTERN;
    case TypeMatchKind::kDefault:
      return v1::TYPE_MATCH_DEFAULT;
  }
  return v1::TYPE_MATCH_UNSPECIFIED;
}

constexpr uint32_t kHotKeysDefault = 20;
constexpr int kWarmKeysMax = 100'000;
constexpr absl::Duration kProgressEvery = absl::Milliseconds(200);

absl::StatusOr<HotKeys::Order> OrderFrom(v1::HotKeyOrder order) {
  switch (order) {
    case v1::HOT_KEY_ORDER_UNSPECIFIED:
    case v1::HOT_KEY_ORDER_HITS:
      return HotKeys::Order::kHits;
    case v1::HOT_KEY_ORDER_MISSES:
      return HotKeys::Order::kMisses;
    case v1::HOT_KEY_ORDER_BYTES:
      return HotKeys::Order::kBytes;
    case v1::HOT_KEY_ORDER_VALUE_BYTES:
      return HotKeys::Order::kValueBytes;
    default:
      return FieldError(Reason::kREQUEST_INVALID, "order",
                        StrCat("order ", order, " does not exist"));
  }
}

void FillCopy(const Entry& entry, v1::Tier tier, MonoNanos now, bool checksum, v1::Copy* copy) {
  copy->set_tier(tier);
  copy->set_version(entry.version);
  ToProto(absl::Nanoseconds(std::max<MonoNanos>(now - entry.written, 0)), copy->mutable_age());
  ToProto(absl::Nanoseconds(std::max<MonoNanos>(entry.fresh_until - now, 0)),
          copy->mutable_remaining_ttl());
  copy->set_value_bytes(entry.value_bytes());
  copy->set_negative(entry.negative);
  copy->set_hits(entry.hits);
  copy->mutable_tags()->Assign(entry.tags.begin(), entry.tags.end());
  copy->mutable_depends_on()->Assign(entry.depends_on.begin(), entry.depends_on.end());
  if (checksum && !entry.negative) copy->set_checksum(Crc32c(0, entry.stored()));
}

void FillRule(const Rule& rule, absl::Time now, v1::RecentRule* recent) {
  recent->set_kind(std::string(RuleKindName(rule.kind)));
  recent->set_match(rule.match);
  recent->set_version(rule.version);
  ToProto(std::max(now - VersionTime(rule.version), absl::ZeroDuration()), recent->mutable_age());
  recent->set_stale(rule.stale);
}

}  // namespace

AdminHandlers::AdminHandlers(const Options& options, Engine* engine, OriginWarmer* warmer,
                             MethodTable* methods)
    : options_(options), engine_(engine), warmer_(warmer) {
  methods->On("/larder.v1.Admin/ServerInfo", this, &AdminHandlers::ServerInfo);
  methods->On("/larder.v1.Admin/Explain", this, &AdminHandlers::Explain);
  methods->On("/larder.v1.Admin/HotKeys", this, &AdminHandlers::HotKeys);
  methods->On("/larder.v1.Admin/Warm", this, &AdminHandlers::Warm);
  EnterJournal(methods);
}

Task<absl::Status> AdminHandlers::ServerInfo(CallContext*, const v1::ServerInfoRequest*,
                                             v1::ServerInfoResponse* response) {
  const Engine::Options& engine = engine_->options();
  response->set_version(options_.version);
  response->set_node(options_.node_name);
  response->set_node_id(engine.node_id);
  ToProto(options_.started, response->mutable_started());
  ToProto(engine.clock->Now(), response->mutable_now());
  v1::ServerLimits* const limits = response->mutable_limits();
  limits->set_key_bytes(kKeyBytesMax);
  limits->set_value_bytes(options_.limits.value_bytes_max);
  limits->set_batch_keys(static_cast<uint32_t>(options_.limits.batch_keys_max));
  limits->set_message_bytes(options_.limits.message_bytes_max);
  limits->set_namespaces(static_cast<uint32_t>(engine.namespaces_max));
  limits->set_tags(kTagsMax);
  const auto add_type = [response](const TypePolicy& type) {
    v1::TypeInfo* const info = response->add_types();
    info->set_name(type.name);
    for (const Pattern& pattern : type.match) info->add_match(pattern.text());
    ToProto(type.ttl.base, info->mutable_base_ttl());
    info->set_origin(type.origin);
    info->set_write_mode(std::string(WriteModeName(type.write.mode)));
  };
  for (const TypePolicy& type : engine.types->types()) {
    if (type.id != 0) add_type(type);
  }
  add_type(engine.types->Get(0));
  for (const char* feature :
       {"memory", "leases", "negative-entries", "conditions", "request-ids", "counters",
        "compression", "hot-keys", "batch-loads", "stale-values", "warming", "watch"}) {
    response->add_features(feature);
  }
  if (!engine.origins.empty()) {
    response->add_features("origins");
    response->add_features("write-modes");
  }
  if (engine.journal != nullptr) response->add_features("journal");
  co_return absl::OkStatus();
}

Task<absl::Status> AdminHandlers::Explain(CallContext* context, const v1::ExplainRequest* request,
                                          v1::ExplainResponse* response) {
  CO_RETURN_IF_ERROR(CheckKeyAndNamespace(request->namespace_(), request->key()));
  CO_ASSIGN_OR_RETURN(
      const Explanation explained,
      co_await engine_->Explain({request->namespace_(), request->key(), request->type()},
                                request->value_bytes(), request->checksums()));
  response->set_type(explained.match.type->name);
  response->set_match(KindToProto(explained.match.kind));
  if (explained.match.pattern != nullptr) response->set_pattern(explained.match.pattern->text());
  for (const auto& [name, part] : explained.captures) (*response->mutable_captures())[name] = part;
  for (const TtlStep& step : explained.ttl) {
    v1::TtlFactor* const factor = response->add_factors();
    factor->set_name(step.name);
    factor->set_factor(step.factor);
    factor->set_why(step.why);
    ToProto(step.ttl, factor->mutable_ttl());
  }
  if (!explained.ttl.empty()) ToProto(explained.ttl.back().ttl, response->mutable_ttl());
  const MonoNanos now = engine_->options().clock->Mono();
  const bool checksums = request->checksums();
  if (explained.entry) {
    FillCopy(*explained.entry, v1::TIER_L1, now, checksums, response->add_copies());
    response->mutable_copies(0)->set_suspect(explained.suspect);
  }
  if (explained.below) {
    FillCopy(*explained.below, v1::TIER_L2, now, checksums, response->add_copies());
  }
  if (!explained.entry) response->set_miss_reason(ToProto(explained.miss));
  response->set_lease_held(explained.lease_held);
  response->set_lease_waiters(static_cast<uint32_t>(explained.lease_waiters));
  const absl::Time wall = engine_->options().clock->Now();
  for (const Rule& rule : explained.rules) FillRule(rule, wall, response->add_rules());
  if (request->ask_origin()) {
    if (Origin* const origin = engine_->OriginOf(*explained.match.type); origin != nullptr)
      co_await ExplainOrigin(origin, context->deadline(), request, response);
  }
  co_return co_await ExplainPending(request, response);
}

Task<bool> AdminHandlers::ExplainOrigin(Origin* origin, MonoNanos deadline,
                                        const v1::ExplainRequest* request,
                                        v1::ExplainResponse* response) const {
  const FullKey full_key(request->namespace_(), request->key());
  OriginLoad load;
  load.call.name_space = std::string(full_key.name_space());
  load.call.type = response->type();
  load.items.push_back({request->key()});
  const auto answered = co_await origin->Load(std::move(load), deadline);
  const absl::Status error = answered.ok() ? answered->front().error : answered.status();
  if (!answered.ok() || answered->front().kind == OriginLoaded::Kind::kFailed) {
    response->set_origin_error(CleanUtf8(error.ToString()));
    co_return false;
  }
  const OriginLoaded& loaded = answered->front();
  v1::Copy* const copy = response->add_copies();
  copy->set_tier(v1::TIER_ORIGIN);
  copy->set_negative(loaded.kind == OriginLoaded::Kind::kAbsent);
  copy->set_value_bytes(loaded.value.size());
  copy->mutable_tags()->Assign(loaded.tags.begin(), loaded.tags.end());
  copy->mutable_depends_on()->Assign(loaded.depends_on.begin(), loaded.depends_on.end());
  if (request->checksums() && !copy->negative()) copy->set_checksum(Crc32c(0, loaded.value));
  co_return true;
}

Task<absl::Status> AdminHandlers::ExplainPending(const v1::ExplainRequest* request,
                                                 v1::ExplainResponse* response) const {
  Journal* const journal = engine_->options().journal;
  if (journal == nullptr) co_return absl::OkStatus();
  const FullKey full_key(request->namespace_(), request->key());
  CO_ASSIGN_OR_RETURN(const std::optional<JournalRecord> waiting,
                      co_await journal->Find(std::string(full_key.view())));
  if (!waiting.has_value()) co_return absl::OkStatus();
  v1::PendingWrite* const pending = response->mutable_pending();
  pending->set_version(waiting->version);
  const absl::Duration age = engine_->options().clock->Now() - waiting->enqueued;
  ToProto(std::max(age, absl::ZeroDuration()), pending->mutable_age());
  pending->set_value_bytes(waiting->value.size());
  pending->set_deletion(waiting->remove);
  const std::optional<JournalTry> tried = journal->TryOf(full_key.view(), waiting->type);
  if (!tried.has_value()) co_return absl::OkStatus();
  pending->set_attempts(tried->attempts);
  pending->set_last_error(CleanUtf8(tried->error));
  if (tried->next.has_value()) ToProto(*tried->next, pending->mutable_next_attempt());
  co_return absl::OkStatus();
}

namespace {

// What the caller may see of one window.
std::vector<HotKeys::Row> TopOf(const HotKeys& hot_keys, HotKeys::Query query,
                                const TypeTable& types, const AccessView* view) {
  if (view == nullptr) return hot_keys.Top(query);
  const size_t wanted = std::exchange(query.limit, HotKeys::kLimitMax);
  std::vector<HotKeys::Row> rows = hot_keys.Top(query);
  rows.erase(std::remove_if(rows.begin(), rows.end(),
                            [&](const HotKeys::Row& row) {
                              return !view->ReadsKey(row.name_space, types.Get(row.type_id).name,
                                                     row.key);
                            }),
             rows.end());
  rows.resize(std::min(rows.size(), wanted));
  return rows;
}

}  // namespace

Task<absl::Status> AdminHandlers::HotKeys(CallContext* context, const v1::HotKeysRequest* request,
                                          v1::HotKeysResponse* response) {
  using Keys = larder::HotKeys;
  CO_RETURN_IF_ERROR(CheckNamespace(request->namespace_()));
  if (request->limit() > Keys::kLimitMax) {
    co_return FieldError(Reason::kREQUEST_INVALID, "limit",
                         StrCat("limit is ", request->limit(), "; at most ", Keys::kLimitMax));
  }
  const TypeTable& types = *engine_->options().types;
  Keys::Query query;
  if (!request->type().empty()) {
    CO_ASSIGN_OR_RETURN(const TypeMatch match, types.Resolve("", request->type()));
    query.type_id = match.type->id;
  }
  if (!request->namespace_().empty()) query.name_space = request->namespace_();
  CO_ASSIGN_OR_RETURN(query.order, OrderFrom(request->order()));
  query.limit = request->limit() == 0 ? kHotKeysDefault : request->limit();
  const Keys& hot_keys = engine_->hot_keys();
  for (const Keys::Row& row : TopOf(hot_keys, query, types, context->view()))
    FillHotKey(row, types, response->add_keys());
  query.window = Keys::Window::kPrevious;
  for (const Keys::Row& row : TopOf(hot_keys, query, types, context->view()))
    FillHotKey(row, types, response->add_previous());
  ToProto(hot_keys.window(), response->mutable_window());
  ToProto(hot_keys.window_age(), response->mutable_window_age());
  response->set_sampled_every(hot_keys.every());
  co_return absl::OkStatus();
}

namespace {

void FillProgress(const WarmCount& count, bool done, v1::WarmResponse* to) {
  to->set_loaded(count.loaded);
  to->set_failed(count.failed);
  to->set_total(count.total);
  ToProto(count.elapsed, to->mutable_elapsed());
  to->set_full(count.full);
  to->set_done(done);
}

// Sends what it hears to the caller, not too often.
class SentProgress : public WarmObserver {
 public:
  SentProgress(CallContext* context, const Clock* clock) : context_(context), clock_(clock) {}

  Task<bool> OnProgress(const WarmCount& count) override {
    last_ = count;
    if (context_->cancellation().IsCancelled()) co_return false;
    if (clock_->Mono() < next_) co_return true;
    next_ = MonoAfter(clock_->Mono(), kProgressEvery);
    v1::WarmResponse progress;
    FillProgress(count, /*done=*/false, &progress);
    co_return co_await context_->Send(progress);
  }
  const WarmCount& last() const { return last_; }

 private:
  CallContext* const context_;
  const Clock* const clock_;
  MonoNanos next_ = 0;
  WarmCount last_;
};

}  // namespace

Task<absl::Status> AdminHandlers::Warm(CallContext* context, const v1::WarmRequest* request,
                                       v1::WarmResponse* response) {
  CO_RETURN_IF_ERROR(CheckNamespace(request->namespace_()));
  if (request->keys_size() > kWarmKeysMax) {
    co_return FieldError(Reason::kBATCH_INVALID, "keys",
                         StrCat(request->keys_size(), " keys; at most ", kWarmKeysMax));
  }
  if (request->keys().empty() && request->type().empty())
    co_return FieldError(Reason::kREQUEST_INVALID, "type", "neither a type nor keys are given");
  if (!request->type().empty()) {
    const absl::Status known = engine_->options().types->Resolve("", request->type()).status();
    CO_RETURN_IF_ERROR(known);
  }
  for (int i = 0; i < request->keys_size(); ++i) {
    if (absl::Status status = CheckKey(request->keys(i)); !status.ok()) {
      co_return FieldError(Reason::kKEY_INVALID, StrCat("keys[", i, "]"), ToStd(status.message()));
    }
  }
  WarmJob job;
  job.name_space = request->namespace_();
  job.type = request->type();
  job.keys.assign(request->keys().begin(), request->keys().end());
  job.limit = request->limit();
  job.rate = request->rate();
  job.of_part = context->view() != nullptr;
  SentProgress progress(context, engine_->options().clock);
  CO_RETURN_IF_ERROR(co_await warmer_->Run(std::move(job), &progress));
  FillProgress(progress.last(), /*done=*/true, response);
  co_await context->Send(*response);
  co_return absl::OkStatus();
}

}  // namespace larder
