// AdminHandlers answers the calls of larder.v1.Admin that this version knows: ServerInfo,
// Explain, HotKeys, Warm, and those about the journal (journal_handlers.cc). Thread safety: any
// method, any thread; none of them blocks.

#ifndef LARDER_RPC_ADMIN_HANDLERS_H_
#define LARDER_RPC_ADMIN_HANDLERS_H_

#include <atomic>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/task.h"
#include "engine/engine.h"
#include "engine/origin_warmer.h"
#include "journal/journal.h"
#include "larder/v1/admin.pb.h"
#include "rpc/call.h"
#include "rpc/convert.h"
#include "rpc/methods.h"

namespace larder {

class AdminHandlers {
 public:
  struct Options {
    std::string version;
    std::string node_name;
    RequestLimits limits;
    absl::Time started;
  };

  // All outlive the handlers. `methods` gets the handlers entered.
  AdminHandlers(const Options& options, Engine* engine, OriginWarmer* warmer, MethodTable* methods);

  Task<absl::Status> ServerInfo(CallContext* context, const v1::ServerInfoRequest* request,
                                v1::ServerInfoResponse* response);
  Task<absl::Status> Explain(CallContext* context, const v1::ExplainRequest* request,
                             v1::ExplainResponse* response);
  Task<absl::Status> HotKeys(CallContext* context, const v1::HotKeysRequest* request,
                             v1::HotKeysResponse* response);
  // A stream.
  Task<absl::Status> Warm(CallContext* context, const v1::WarmRequest* request,
                          v1::WarmResponse* response);

  Task<absl::Status> FlushJournal(CallContext* context, const v1::FlushJournalRequest* request,
                                  v1::FlushJournalResponse* response);
  Task<absl::Status> PauseDelivery(CallContext* context, const v1::PauseDeliveryRequest* request,
                                   v1::PauseDeliveryResponse* response);
  Task<absl::Status> ResumeDelivery(CallContext* context, const v1::ResumeDeliveryRequest* request,
                                    v1::ResumeDeliveryResponse* response);
  Task<absl::Status> ListDeadLetters(CallContext* context,
                                     const v1::ListDeadLettersRequest* request,
                                     v1::ListDeadLettersResponse* response);
  Task<absl::Status> RetryDeadLetters(CallContext* context,
                                      const v1::RetryDeadLettersRequest* request,
                                      v1::RetryDeadLettersResponse* response);
  Task<absl::Status> DropDeadLetters(CallContext* context,
                                     const v1::DropDeadLettersRequest* request,
                                     v1::DropDeadLettersResponse* response);
  // A stream.
  Task<absl::Status> ExportDeadLetters(CallContext* context,
                                       const v1::ExportDeadLettersRequest* request,
                                       v1::ExportDeadLettersResponse* response);

 private:
  void EnterJournal(MethodTable* methods);
  // WRITE_MODE_UNSUPPORTED when no type writes behind.
  absl::StatusOr<Journal*> TheJournal() const;
  // What the origin has of the key, or why it does not tell. Always true or false by that.
  Task<bool> ExplainOrigin(Origin* origin, MonoNanos deadline, const v1::ExplainRequest* request,
                           v1::ExplainResponse* response) const;
  // The write of the key that waits in the journal.
  Task<absl::Status> ExplainPending(const v1::ExplainRequest* request,
                                    v1::ExplainResponse* response) const;

  // What callers with admin of a part have under way.
  static constexpr int kPartialExportsMax = 4;
  static constexpr int kPartialFlushesMax = 32;
  std::atomic<int> partial_exports_{0};
  std::atomic<int> partial_flushes_{0};

  const Options options_;
  Engine* const engine_;
  OriginWarmer* const warmer_;
};

}  // namespace larder

#endif  // LARDER_RPC_ADMIN_HANDLERS_H_
