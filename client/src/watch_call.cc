#include "client/src/watch_call.h"

#include <utility>

#include "client/src/callback.h"
#include "client/src/checks.h"
#include "client/src/status.h"
#include "client/src/time.h"

namespace larder::internal {
namespace {

// Reads until the stream ends; deletes itself then.
class WatchReader : public grpc::ClientReadReactor<v1::WatchResponse> {
 public:
  WatchReader(std::shared_ptr<WatchState> state, const void* owner,
              std::function<void(grpc::Status)> done)
      : state_(std::move(state)), owner_(owner), done_(std::move(done)) {}

  void Start(v1::Cache::StubInterface::async_interface* cache, grpc::ClientContext* context) {
    cache->Watch(context, &state_->request, this);
    StartRead(&response_);
    StartCall();
  }

  void OnReadDone(bool ok) override {
    if (!ok) return;
    if (!state_->unwanted()) {
      CallbackScope scope(owner_);
      const WatchEvent event = From(&response_);
      if (!event.resume_token.empty()) state_->end.resume_token = event.resume_token;
      if (!state_->each(event)) state_->Cancel();
    }
    StartRead(&response_);
  }

  void OnDone(const grpc::Status& status) override {
    state_->SetContext(nullptr);
    const std::function<void(grpc::Status)> done = std::move(done_);
    const grpc::Status outcome = status;
    delete this;
    done(outcome);
  }

 private:
  const std::shared_ptr<WatchState> state_;
  const void* const owner_;
  std::function<void(grpc::Status)> done_;
  v1::WatchResponse response_;
};

WatchRule::Kind From(v1::RuleKind kind) {
  switch (kind) {
    case v1::RULE_KIND_TAG:
      return WatchRule::Kind::kTag;
    case v1::RULE_KIND_PREFIX:
      return WatchRule::Kind::kPrefix;
    case v1::RULE_KIND_GLOB:
      return WatchRule::Kind::kGlob;
    case v1::RULE_KIND_TYPE:
      return WatchRule::Kind::kType;
    case v1::RULE_KIND_ALL:
      return WatchRule::Kind::kAll;
    default:
      return WatchRule::Kind::kUnspecified;
  }
}

}  // namespace

void WatchState::Cancel() {
  // Under the lock, so that the context does not go away meanwhile. TryCancel calls nothing back.
  MutexLock lock(&mu_);
  unwanted_ = true;
  if (context_ != nullptr) context_->TryCancel();
}

void WatchState::SetContext(grpc::ClientContext* context) {
  MutexLock lock(&mu_);
  context_ = context;
  if (unwanted_ && context != nullptr) context->TryCancel();
}

bool WatchState::unwanted() const {
  MutexLock lock(&mu_);
  return unwanted_;
}

absl::Status To(const WatchOptions& options, v1::WatchRequest* request) {
  absl::Status valid = CheckUtf8("KEY_INVALID", "keys.keys", options.keys);
  valid.Update(CheckUtf8("SELECTOR_INVALID", "prefix", options.prefix));
  valid.Update(CheckUtf8("SELECTOR_INVALID", "tags.tags", options.tags));
  valid.Update(CheckUtf8("TYPE_UNKNOWN", "type", options.type));
  const int selectors = !options.keys.empty() + !options.prefix.empty() + !options.tags.empty() +
                        !options.type.empty() + options.all;
  if (selectors != 1) {
    valid.Update(FieldError("SELECTOR_INVALID", "selector",
                            "exactly one of keys, prefix, tags, type and all must be set"));
  }
  if (!valid.ok()) return valid;
  if (!options.keys.empty())
    request->mutable_keys()->mutable_keys()->Assign(options.keys.begin(), options.keys.end());
  if (!options.prefix.empty()) request->set_prefix(options.prefix);
  if (!options.tags.empty())
    request->mutable_tags()->mutable_tags()->Assign(options.tags.begin(), options.tags.end());
  if (!options.type.empty()) request->set_type(options.type);
  if (options.all) request->set_all(true);
  request->set_expirations(options.expirations);
  request->set_values(options.values);
  request->set_resume_token(options.resume_token);
  ToProto(options.heartbeat, request->mutable_heartbeat());
  return absl::OkStatus();
}

WatchEvent From(v1::WatchResponse* response) {
  WatchEvent event;
  event.resume_token = std::move(*response->mutable_resume_token());
  if (response->has_put()) {
    v1::ChangePut& put = *response->mutable_put();
    event.kind = WatchEvent::Kind::kPut;
    event.key = std::move(*put.mutable_key());
    event.version = put.version();
    if (put.has_value()) event.value = std::move(*put.mutable_value());
  } else if (response->has_invalidated()) {
    v1::ChangeInvalidated& gone = *response->mutable_invalidated();
    event.kind = WatchEvent::Kind::kInvalidated;
    event.version = gone.version();
    event.key = std::move(*gone.mutable_key());
    event.stale = !event.key.empty() && gone.stale();
    if (event.key.empty())
      event.rule = WatchRule{From(gone.kind()), std::move(*gone.mutable_match()), gone.stale()};
  } else if (response->has_expired()) {
    event.kind = WatchEvent::Kind::kExpired;
    event.key = std::move(*response->mutable_expired()->mutable_key());
    event.version = response->expired().version();
  } else if (response->has_heartbeat()) {
    event.kind = WatchEvent::Kind::kHeartbeat;
    event.time = FromProto(response->heartbeat().time());
  } else if (response->has_gap()) {
    event.kind = WatchEvent::Kind::kGap;
    event.version = response->gap().after_version();
    event.goes_on = response->gap().goes_on();
  }
  return event;
}

void StartWatch(v1::Cache::StubInterface::async_interface* cache, grpc::ClientContext* context,
                std::shared_ptr<WatchState> state, const void* owner,
                std::function<void(grpc::Status)> done) {
  state->SetContext(context);
  (new WatchReader(std::move(state), owner, std::move(done)))->Start(cache, context);
}

absl::StatusOr<WatchEnd> WatchOutcome(const WatchState& state, const absl::Status& status) {
  // The stream of a caller who wants no more ends with the CANCELLED that he caused.
  if (state.unwanted()) return state.end;
  if (!status.ok()) return status;
  return absl::UnavailableError("the server ended the stream without saying why");
}

}  // namespace larder::internal

namespace larder {

std::string_view Name(WatchEvent::Kind kind) {
  switch (kind) {
    case WatchEvent::Kind::kPut:
      return "put";
    case WatchEvent::Kind::kInvalidated:
      return "invalidated";
    case WatchEvent::Kind::kExpired:
      return "expired";
    case WatchEvent::Kind::kHeartbeat:
      return "heartbeat";
    case WatchEvent::Kind::kGap:
      return "gap";
    case WatchEvent::Kind::kUnspecified:
      break;
  }
  return "unspecified";
}

std::string_view Name(WatchRule::Kind kind) {
  switch (kind) {
    case WatchRule::Kind::kTag:
      return "tag";
    case WatchRule::Kind::kPrefix:
      return "prefix";
    case WatchRule::Kind::kGlob:
      return "glob";
    case WatchRule::Kind::kType:
      return "type";
    case WatchRule::Kind::kAll:
      return "all";
    case WatchRule::Kind::kUnspecified:
      break;
  }
  return "unspecified";
}

}  // namespace larder
