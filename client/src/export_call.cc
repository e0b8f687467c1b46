#include "client/src/export_call.h"

#include <utility>

#include "client/src/callback.h"
#include "client/src/convert.h"

namespace larder::internal {
namespace {

// Reads until the stream ends; deletes itself then.
class ExportReader : public grpc::ClientReadReactor<v1::ExportDeadLettersResponse> {
 public:
  ExportReader(grpc::ClientContext* context, std::shared_ptr<ExportState> state, const void* owner,
               std::function<void(grpc::Status)> done)
      : context_(context), state_(std::move(state)), owner_(owner), done_(std::move(done)) {}

  void Start(v1::Admin::StubInterface::async_interface* admin) {
    admin->ExportDeadLetters(context_, &state_->request, this);
    StartRead(&response_);
    StartCall();
  }

  void OnReadDone(bool ok) override {
    if (!ok) return;
    ExportState& state = *state_;
    if (!state.unwanted) {
      ++state.count.letters;
      CallbackScope scope(owner_);
      state.unwanted = !state.each(From(&response_));
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
  const std::shared_ptr<ExportState> state_;
  const void* const owner_;
  std::function<void(grpc::Status)> done_;
  v1::ExportDeadLettersResponse response_;
};

}  // namespace

void StartExport(v1::Admin::StubInterface::async_interface* admin, grpc::ClientContext* context,
                 std::shared_ptr<ExportState> state, const void* owner,
                 std::function<void(grpc::Status)> done) {
  (new ExportReader(context, std::move(state), owner, std::move(done)))->Start(admin);
}

absl::StatusOr<DeadLetterCount> ExportOutcome(const ExportState& state,
                                              const absl::Status& status) {
  // The stream of a caller who wants no more ends with the CANCELLED that he caused.
  if (state.unwanted || status.ok()) return state.count;
  return status;
}

}  // namespace larder::internal
