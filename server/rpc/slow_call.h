// Writes a slow call down: what it asked for and the way that it took. Thread safety: a function
// without state; the call is the caller's.

#ifndef LARDER_RPC_SLOW_CALL_H_
#define LARDER_RPC_SLOW_CALL_H_

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "policy/type_table.h"
#include "rpc/call.h"

namespace larder {

// `types`, which may be null, tells the type of keys for which the call names none. REQUIRES: the
// call is not answered yet.
void LogSlowCall(Call* call, const absl::Status& status, absl::Duration took,
                 const TypeTable* types);

}  // namespace larder

#endif  // LARDER_RPC_SLOW_CALL_H_
