#include "client/src/fake_journal.h"

#include <string>
#include <utility>

#include "client/src/status.h"

namespace larder::internal {

template <typename Result>
void FakeJournal::Refuse(const CallOptions& call, Callback<Result> done) {
  Run<Result>(call, std::move(done),
              [](FakeState&, const std::string&, absl::Time) -> absl::StatusOr<Result> {
                return MakeError(absl::StatusCode::kFailedPrecondition, "WRITE_MODE_UNSUPPORTED",
                                 "", "no type writes behind, so there is no journal");
              });
}

void FakeJournal::FlushJournalAsync(const FlushOptions& options, Callback<FlushResult> done) {
  Refuse(options.call, std::move(done));
}

void FakeJournal::PauseDeliveryAsync(const DeliveryOptions& options,
                                     Callback<DeliveryResult> done) {
  Refuse(options.call, std::move(done));
}

void FakeJournal::ResumeDeliveryAsync(const DeliveryOptions& options,
                                      Callback<DeliveryResult> done) {
  Refuse(options.call, std::move(done));
}

void FakeJournal::ListDeadLettersAsync(const ListDeadLettersOptions& options,
                                       Callback<DeadLetterPage> done) {
  Refuse(options.call, std::move(done));
}

void FakeJournal::RetryDeadLettersAsync(const DeadLetterOptions& options,
                                        Callback<DeadLetterCount> done) {
  Refuse(options.call, std::move(done));
}

void FakeJournal::DropDeadLettersAsync(const DeadLetterOptions& options,
                                       Callback<DeadLetterCount> done) {
  Refuse(options.call, std::move(done));
}

void FakeJournal::ExportDeadLettersAsync(const DeadLetterOptions& options, ExportCallback,
                                         Callback<DeadLetterCount> done) {
  Refuse(options.call, std::move(done));
}

}  // namespace larder::internal
