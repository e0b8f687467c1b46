// The calls of the fake about the journal. None of its types writes behind, so all of them answer
// what a server of which that is true answers. Thread safety: any method, any thread.

#ifndef LARDER_CLIENT_SRC_FAKE_JOURNAL_H_
#define LARDER_CLIENT_SRC_FAKE_JOURNAL_H_

#include "client/src/fake_loads.h"

namespace larder::internal {

class FakeJournal : public FakeLoads {
 public:
  void FlushJournalAsync(const FlushOptions& options, Callback<FlushResult> done) override;
  void PauseDeliveryAsync(const DeliveryOptions& options, Callback<DeliveryResult> done) override;
  void ResumeDeliveryAsync(const DeliveryOptions& options, Callback<DeliveryResult> done) override;
  void ListDeadLettersAsync(const ListDeadLettersOptions& options,
                            Callback<DeadLetterPage> done) override;
  void RetryDeadLettersAsync(const DeadLetterOptions& options,
                             Callback<DeadLetterCount> done) override;
  void DropDeadLettersAsync(const DeadLetterOptions& options,
                            Callback<DeadLetterCount> done) override;
  void ExportDeadLettersAsync(const DeadLetterOptions& options, ExportCallback each,
                              Callback<DeadLetterCount> done) override;

 protected:
  using FakeLoads::FakeLoads;

 private:
  template <typename Result>
  void Refuse(const CallOptions& call, Callback<Result> done);
};

}  // namespace larder::internal

#endif  // LARDER_CLIENT_SRC_FAKE_JOURNAL_H_
