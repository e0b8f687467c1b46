// JournalSinkOfEngine delivers the journal's writes to the engine's origins, and tells the engine
// what became of them. Thread safety: any method, any thread.

#ifndef LARDER_ENGINE_JOURNAL_SINK_H_
#define LARDER_ENGINE_JOURNAL_SINK_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "base/task.h"
#include "core/version.h"
#include "journal/journal.h"

namespace larder {

class Engine;

class JournalSinkOfEngine : public JournalSink {
 public:
  explicit JournalSinkOfEngine(Engine* engine) : engine_(engine) {}

  Task<absl::StatusOr<std::vector<JournalDelivered>>> Deliver(JournalDelivery delivery,
                                                              MonoNanos deadline) override;
  void OnDelivered(const JournalRecord&, absl::Duration) override {}
  void OnDead(const DeadLetter& letter) override;
  void OnFound(const JournalRecord& write) override;

 private:
  Engine* const engine_;
};

// The same for every attempt to bring a write to its origin.
std::string IdempotencyId(std::string_view request_id, Version version);

}  // namespace larder

#endif  // LARDER_ENGINE_JOURNAL_SINK_H_
