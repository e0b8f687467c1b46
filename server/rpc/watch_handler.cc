// Where there is nothing to tell yet, the first heartbeat is sent at once, so that a client knows
// from when on it is told, and has a token for the case that its connection is cut before anything
// happens.
//
// Values are read from memory when their event is sent, and only while they are of that version: a
// slow client then gets what is new, instead of the server keeping what is old for it.
//
// Messages are made outside the call's arena: a stream may go on for days, and an arena gives
// nothing back before its end.

#include "rpc/watch_handler.h"

#include <utility>

#include "base/status.h"
#include "base/strings.h"
#include "core/error.h"
#include "core/key.h"

namespace larder {
namespace {

constexpr int kWatchTagsMax = 100;
constexpr absl::Duration kHeartbeatDefault = absl::Seconds(5);
constexpr absl::Duration kHeartbeatMin = absl::Milliseconds(100);
constexpr absl::Duration kHeartbeatMax = absl::Seconds(60);

v1::RuleKind KindToProto(Rule::Kind kind) {
  switch (kind) {
    case Rule::Kind::kTag:
      return v1::RULE_KIND_TAG;
    case Rule::Kind::kPrefix:
      return v1::RULE_KIND_PREFIX;
    case Rule::Kind::kGlob:
      return v1::RULE_KIND_GLOB;
    case Rule::Kind::kType:
      return v1::RULE_KIND_TYPE;
    case Rule::Kind::kAll:
      return v1::RULE_KIND_ALL;
  }
  return v1::RULE_KIND_UNSPECIFIED;
}

absl::Status BadSelector(std::string_view field, std::string_view what) {
  return FieldError(Reason::kSELECTOR_INVALID, field, what);
}

absl::Status CheckTagsOf(const v1::WatchRequest& request) {
  const auto& tags = request.tags().tags();
  if (tags.empty() || tags.size() > kWatchTagsMax)
    return BadSelector("tags.tags", StrCat(tags.size(), " tags; 1 to ", kWatchTagsMax));
  for (int i = 0; i < tags.size(); ++i) {
    if (const absl::Status status = CheckTag(tags[i]); !status.ok()) {
      return FieldError(Reason::kTAG_INVALID, StrCat("tags.tags[", i, "]"),
                        ToStd(status.message()));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<absl::Duration> HeartbeatFrom(const v1::WatchRequest& request) {
  if (!request.has_heartbeat()) return kHeartbeatDefault;
  ASSIGN_OR_RETURN(const absl::Duration heartbeat, DurationFrom(request.heartbeat(), "heartbeat"));
  if (heartbeat < kHeartbeatMin || heartbeat > kHeartbeatMax) {
    return FieldError(Reason::kREQUEST_INVALID, "heartbeat",
                      StrCat("heartbeat is ", absl::FormatDuration(heartbeat), "; 100ms to 60s"));
  }
  return heartbeat;
}

}  // namespace

WatchHandler::WatchHandler(const RequestLimits& limits, Engine* engine, MethodTable* methods)
    : limits_(limits), engine_(engine) {
  methods->On("/larder.v1.Cache/Watch", this, &WatchHandler::Watch);
}

absl::Status WatchHandler::CheckKeysOf(const v1::WatchRequest& request) const {
  const auto& keys = request.keys().keys();
  if (keys.empty()) return BadSelector("keys.keys", "the list of keys is empty");
  RETURN_IF_ERROR(CheckBatchSize(keys.size(), limits_, "keys.keys"));
  for (int i = 0; i < keys.size(); ++i) {
    if (const absl::Status status = CheckKey(keys[i]); !status.ok()) {
      return FieldError(Reason::kKEY_INVALID, StrCat("keys.keys[", i, "]"),
                        ToStd(status.message()));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<WatchSelector> WatchHandler::SelectorFrom(const v1::WatchRequest& request) const {
  RETURN_IF_ERROR(CheckNamespace(request.namespace_()));
  WatchSelector selector;
  selector.name_space = request.namespace_();
  selector.expirations = request.expirations();
  switch (request.selector_case()) {
    case v1::WatchRequest::kKeys:
      RETURN_IF_ERROR(CheckKeysOf(request));
      selector.kind = WatchSelector::Kind::kKeys;
      selector.names.assign(request.keys().keys().begin(), request.keys().keys().end());
      return selector;
    case v1::WatchRequest::kPrefix:
      if (const absl::Status status = CheckKey(request.prefix()); !status.ok())
        return BadSelector("prefix", ToStd(status.message()));
      selector.kind = WatchSelector::Kind::kPrefix;
      selector.names = {request.prefix()};
      return selector;
    case v1::WatchRequest::kTags:
      RETURN_IF_ERROR(CheckTagsOf(request));
      selector.kind = WatchSelector::Kind::kTags;
      selector.names.assign(request.tags().tags().begin(), request.tags().tags().end());
      return selector;
    case v1::WatchRequest::kType: {
      if (request.type().empty()) return BadSelector("type", "the type has no name");
      ASSIGN_OR_RETURN(const TypeMatch match,
                       engine_->options().types->Resolve("", request.type()));
      selector.kind = WatchSelector::Kind::kType;
      selector.names = {match.type->name};
      return selector;
    }
    case v1::WatchRequest::kAll:
      if (!request.all()) return BadSelector("all", "false selects nothing");
      selector.kind = WatchSelector::Kind::kAll;
      return selector;
    case v1::WatchRequest::SELECTOR_NOT_SET:
      break;
  }
  return BadSelector("selector", "no selector is set");
}

void WatchHandler::Fill(const Change& change, bool values, v1::WatchResponse* to) const {
  const auto key = [&change] { return std::string(FullKey::KeyOf(change.full_key)); };
  switch (change.kind) {
    case Change::Kind::kPut: {
      v1::ChangePut* const put = to->mutable_put();
      put->set_key(key());
      put->set_version(change.version);
      std::string value;
      if (values && engine_->PeekValue(change.full_key, change.version, &value))
        put->set_value(std::move(value));
      return;
    }
    case Change::Kind::kRemoved:
    case Change::Kind::kRevised:
      to->mutable_invalidated()->set_key(key());
      to->mutable_invalidated()->set_version(change.version);
      to->mutable_invalidated()->set_stale(change.kind == Change::Kind::kRevised);
      return;
    case Change::Kind::kExpired:
      to->mutable_expired()->set_key(key());
      to->mutable_expired()->set_version(change.version);
      return;
    case Change::Kind::kRule:
      to->mutable_invalidated()->set_version(change.version);
      to->mutable_invalidated()->set_kind(KindToProto(change.rule->kind));
      to->mutable_invalidated()->set_match(change.rule->match);
      to->mutable_invalidated()->set_stale(change.rule->stale);
      return;
    case Change::Kind::kGap:
      to->mutable_gap()->set_goes_on(change.goes_on);
      return;
  }
}

Task<bool> WatchHandler::SendEvent(Stream* stream, const ChangeFeed::Event* event) {
  v1::WatchResponse message;
  Fill(*event->change, stream->request->values(), &message);
  message.set_resume_token(engine_->changes().TokenAt(event->position));
  const bool sent = co_await stream->context->Send(message);
  stream->beat = MonoAfter(Now(), absl::Nanoseconds(stream->interval));
  co_return sent;
}

Task<bool> WatchHandler::SendHeartbeat(Stream* stream, uint64_t position) {
  stream->beat = MonoAfter(Now(), absl::Nanoseconds(stream->interval));
  if (!engine_->coherence().HeardSince(Now())) co_return true;
  v1::WatchResponse message;
  ToProto(engine_->options().clock->Now(), message.mutable_heartbeat()->mutable_time());
  message.set_resume_token(engine_->changes().TokenAt(position));
  co_return co_await stream->context->Send(message);
}

Task<absl::Status> WatchHandler::Watch(CallContext* context, const v1::WatchRequest* request,
                                       v1::WatchResponse*) {
  CO_ASSIGN_OR_RETURN(WatchSelector selector, SelectorFrom(*request));
  CO_ASSIGN_OR_RETURN(const absl::Duration heartbeat, HeartbeatFrom(*request));
  ChangeFeed& feed = engine_->changes();
  CO_ASSIGN_OR_RETURN(const std::unique_ptr<ChangeFeed::Watcher> watcher,
                      engine_->Watch(std::move(selector), request->resume_token()));
  const absl::Status gone = Error(Reason::kCALL_CANCELLED, "the caller has gone");
  Stream stream{context, request, absl::ToInt64Nanoseconds(heartbeat), 0};
  bool begun = false;
  while (true) {
    // Without a wait the first time: what there is already, or where it begins.
    ChangeFeed::News news =
        co_await feed.Next(watcher.get(), begun ? stream.beat : 0, &context->cancellation());
    if (context->cancellation().IsCancelled()) co_return gone;
    CO_RETURN_IF_ERROR(context->StillAllowed());
    for (const ChangeFeed::Event& event : news.events) {
      const bool sent = co_await SendEvent(&stream, &event);
      if (!sent) co_return gone;
    }
    const bool last = !news.end.ok();
    const bool due = news.events.empty() && Now() >= stream.beat;
    if (due || last) {
      const bool sent = co_await SendHeartbeat(&stream, news.position);
      if (!sent) co_return gone;
    }
    if (last) co_return news.end;
    begun = true;
  }
}

}  // namespace larder
