// The calls of the fake that load: GetOrLease, its batch, and Warm. An origin is the test's code
// and runs without the lock. Thread safety: any method, any thread.

#ifndef LARDER_CLIENT_SRC_FAKE_LOADS_H_
#define LARDER_CLIENT_SRC_FAKE_LOADS_H_

#include <string>
#include <vector>

#include "client/src/fake_base.h"

namespace larder::internal {

class FakeLoads : public FakeBase {
 public:
  void GetOrLeaseAsync(std::string_view key, const LoadOptions& options,
                       Callback<LeaseResult> done) override;
  void BatchGetOrLeaseAsync(const std::vector<std::string>& keys, const LoadOptions& options,
                            Callback<BatchLeaseResult> done) override;
  void WarmAsync(const WarmOptions& options, WarmCallback progress,
                 Callback<WarmProgress> done) override;

 protected:
  using FakeBase::FakeBase;

 private:
  class Batch;

  // What is asked for, with everything checked.
  struct Asked {
    std::string ns;
    FakeType type;
    absl::Duration lease_ttl;
    absl::Time until;  // how long to wait for others
  };

  // Checks a call of GetOrLease or its batch.
  absl::Status Ask(const LoadOptions& options, const absl::Status& keys, Asked* asked)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Answers `done` as GetOrLease does: at once, or when it need not wait any more.
  void Look(const std::string& key, const Asked& asked, Callback<LeaseResult> done);

  absl::Status CheckWarm(const WarmOptions& options, std::string* ns, FakeType* type)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Whether the key is there now.
  bool WarmOne(const std::string& key, const std::string& ns, const FakeType& type);
};

}  // namespace larder::internal

#endif  // LARDER_CLIENT_SRC_FAKE_LOADS_H_
