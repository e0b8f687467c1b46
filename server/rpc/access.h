// Access decides, before its handler hears of it, whether a call is from somebody who is known and
// may do what it asks for. A caller is known by a token in `authorization: Bearer ...`, else by the
// certificate of its connection. Each denial and each act of an operator is written down.
// Thread safety: any method, any thread. Check never blocks; Replace waits for another one.
// Errors: NOT_AUTHENTICATED, NOT_ALLOWED.

#ifndef LARDER_RPC_ACCESS_H_
#define LARDER_RPC_ACCESS_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "base/counters.h"
#include "base/mutex.h"
#include "policy/type_table.h"
#include "rpc/access_needs.h"
#include "rpc/access_table.h"
#include "rpc/call.h"

namespace larder {

class Access {
 public:
  // `types` outlives it. Until the first Replace everybody may do everything.
  explicit Access(const TypeTable* types);

  // The callers from now on; null: everybody may do everything. Calls that begin after it returns
  // are judged by `table`; streams that go on are judged again before their next event.
  void Replace(std::shared_ptr<const AccessTable> table);

  // Whether the call may go on. Gives it what its handler needs to know of its caller.
  // REQUIRES: on the lane's thread.
  absl::Status Check(Call* call);

  // What somebody asks of the admin port over HTTP.
  struct HttpAsk {
    std::string_view what = {};  // `GET /config.json`
    std::string_view authorization = {};
    std::string_view peer = {};
    std::string_view traceparent = {};
    bool changes = false;
  };
  // Whether an operator asks: by `Bearer TOKEN`, or by `Basic` with the token as password. Where
  // everybody may do everything, that is everybody. Whoever asks for a change needs the former in
  // any case: browsers send the latter by themselves, whatever page has them ask.
  absl::Status CheckOperator(const HttpAsk& ask);
  // Writes down that somebody was refused for what has nothing to do with who that is.
  static void WriteRefused(const HttpAsk& ask, std::string_view why);

  // Whether callers are known at all.
  bool is_on() const { return stamp_.load(std::memory_order_acquire) != kOpen; }

  struct Stats {
    // By permission.
    std::vector<std::pair<std::string_view, uint64_t>> denied;
    // Calls of nobody who is known.
    uint64_t unknown = 0;
  };
  Stats GetStats() const;

 private:
  struct ThreadMemory;
  static constexpr uint64_t kOpen = 0;
  enum Counter : size_t { kUnknown, kDenied, kCounters = kDenied + kPermissions };

  // What this thread remembers of the table in effect.
  ThreadMemory& Remembered(uint64_t stamp);
  // Null, with the reason: nobody who is let in.
  static const KnownCaller* WhoIs(const CallContext& call, ThreadMemory* memory,
                                  absl::Status* unknown);
  absl::Status Judge(Call* call, uint64_t stamp, const std::string* again);
  void LookAgainAfterReplace(Call* call, uint64_t stamp);

  const TypeTable* const types_;
  CounterBlock counters_;
  // Of the table in effect, and never of another one in this process.
  std::atomic<uint64_t> stamp_{kOpen};
  Mutex mu_;
  std::shared_ptr<const AccessTable> table_ ABSL_GUARDED_BY(mu_);
};

}  // namespace larder

#endif  // LARDER_RPC_ACCESS_H_
