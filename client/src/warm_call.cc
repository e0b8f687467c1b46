#include "client/src/warm_call.h"

#include <utility>

#include "client/src/callback.h"
#include "client/src/convert.h"

namespace larder::internal {
namespace {

// Reads until the stream ends; deletes itself then.
class WarmReader : public grpc::ClientReadReactor<v1::WarmResponse> {
 public:
  WarmReader(grpc::ClientContext* context, std::shared_ptr<WarmState> state, const void* owner,
             std::function<void(grpc::Status)> done)
      : context_(context), state_(std::move(state)), owner_(owner), done_(std::move(done)) {}

  void Start(v1::Admin::StubInterface::async_interface* admin) {
    admin->Warm(context_, &state_->request, this);
    StartRead(&response_);
    StartCall();
  }

  void OnReadDone(bool ok) override {
    if (!ok) return;
    WarmState& state = *state_;
    state.heard = true;
    state.last = From(response_);
    if (state.progress != nullptr && !state.unwanted) {
      CallbackScope scope(owner_);
      state.unwanted = !state.progress(state.last);
      if (state.unwanted) context_->TryCancel();
    }
    StartRead(&response_);
  }

  void OnDone(const grpc::Status& status) override {
    const std::function<void(grpc::Status)> done = std::move(done_);
    const grpc::Status outcome = status;
    delete this;
    done(outcome);
  }

 private:
  grpc::ClientContext* const context_;
  const std::shared_ptr<WarmState> state_;
  const void* const owner_;
  std::function<void(grpc::Status)> done_;
  v1::WarmResponse response_;
};

}  // namespace

void StartWarm(v1::Admin::StubInterface::async_interface* admin, grpc::ClientContext* context,
               std::shared_ptr<WarmState> state, const void* owner,
               std::function<void(grpc::Status)> done) {
  (new WarmReader(context, std::move(state), owner, std::move(done)))->Start(admin);
}

absl::StatusOr<WarmProgress> WarmOutcome(const WarmState& state, const absl::Status& status) {
  // The stream of a caller who wants no more ends with the CANCELLED that he caused.
  if (state.unwanted || (status.ok() && state.last.done)) return state.last;
  if (!status.ok()) return status;
  return absl::InternalError("the server ended the progress without its last message");
}

}  // namespace larder::internal
