// FakeClient is a larder without a server, for the tests of programs that use one: the same
// answers, limits and error reasons, in memory, at a time that the test decides. One suite of tests
// runs on it and on a real server.
//
// Thread safety: any method, any thread. Callbacks run before FooAsync returns, on the same thread;
// the callback of a GetOrLeaseAsync that has to wait runs on the thread whose Set, Delete,
// Invalidate, ReleaseLease or Advance ends the wait. GetOrLease blocks while another caller holds
// the lease, so a test that wants that needs a second thread. A FakeType's origin and scan run on
// the thread whose call needs them, outside of the fake's lock; they may call the fake's FooAsync
// methods, and must not throw. What it leaves out: patterns (a key's
// type is what the call says, else `default`), TTL arithmetic other than the type's TTL, eviction,
// latency figures, hot keys, stale values, refreshing ahead, filters, the rate of Warm, what
// Explain asks origins, and writing to origins: its types are all cache_only.

#ifndef LARDER_FAKE_H_
#define LARDER_FAKE_H_

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "larder/client.h"

namespace larder {

// A data type of the fake.
struct FakeType {
  std::string name = {};
  // The TTL of a Set that says none.
  absl::Duration ttl = absl::Minutes(5);
  // The TTL of a SetAbsent that says none.
  absl::Duration ttl_absent = absl::Seconds(10);
  // Longer TTLs are cut to this.
  absl::Duration ttl_max = absl::Hours(24 * 30);
  // Where missing keys are loaded from, one at a time and once for all who wait; unset = the type
  // has no origin and gives leases. An error reaches every caller as the server's would:
  // UNAVAILABLE with reason ORIGIN_UNAVAILABLE, DEADLINE_EXCEEDED with ORIGIN_TIMEOUT, all else as
  // ORIGIN_REFUSED.
  std::function<absl::StatusOr<Loaded>(const LoadCall& call)> origin = {};
  // The keys that Warm loads of this type; unset = none.
  std::function<std::vector<std::string>()> scan = {};
};

struct FakeOptions {
  // Tells the time, which may only grow. Unset: a clock that stands still until
  // FakeClient::Advance.
  std::function<absl::Time()> now = {};
  // Types beside `default`; an entry named `default` replaces that one.
  std::vector<FakeType> types = {};
  // As in ClientOptions. The deadline runs on the fake's clock.
  std::string ns = {};
  absl::Duration default_deadline = absl::Seconds(1);
  // Largest value in bytes.
  size_t value_bytes_max = size_t{1} << 20;
};

class FakeClient : public Client {
 public:
  // Moves the fake's own clock on and answers the waiters whose time has come. REQUIRES: by >= 0,
  // no FakeOptions::now.
  virtual void Advance(absl::Duration by) = 0;

  // Answers the waiters whose time has come. Call it after the clock behind FakeOptions::now has
  // moved.
  virtual void Tick() = 0;

  // Makes every further call fail with `status`, as if the server were in trouble; OK ends that.
  virtual void FailCalls(absl::Status status) = 0;

  // How many calls have been made, failed ones included.
  virtual size_t Calls() const = 0;
};

std::unique_ptr<FakeClient> NewFakeClient(FakeOptions options = {});

}  // namespace larder

#endif  // LARDER_FAKE_H_
