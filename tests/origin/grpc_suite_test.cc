// The suite that every origin passes, on a gRPC origin with a real server, alone and behind its
// guard.

#include <memory>

#include "origin/grpc_origin.h"
#include "origin/origin_guard.h"
#include "tests/conformance/origin_suite.h"
#include "tests/origin/origin_service.h"

namespace larder {
namespace {

class GrpcRig : public OriginRig {
 public:
  explicit GrpcRig(bool guarded) {
    GrpcOriginOptions options;
    options.name = "profiles";
    options.target = service_.target();
    options.executor = executor_.get();
    auto origin = NewGrpcOrigin(options);
    EXPECT_TRUE(origin.ok()) << origin.status();
    origin_ = *std::move(origin);
    if (!guarded) return;
    OriginGuardOptions guard;
    guard.executor = executor_.get();
    origin_ = NewOriginGuard(std::move(origin_), guard);
  }

  Origin& origin() override { return *origin_; }
  void Put(const std::string& key, const OriginHeld& held) override { service_.Put(key, held); }
  std::optional<OriginHeld> Held(const std::string& key) override { return service_.Held(key); }
  void SetFault(const std::string& key, OriginFault fault) override {
    service_.SetFault(key, fault);
  }

 private:
  OriginService service_;
  const std::unique_ptr<ThreadPool> executor_ = ThreadPool::New({.threads = 2});
  std::unique_ptr<Origin> origin_;
};

INSTANTIATE_TEST_SUITE_P(
    Grpc, OriginSuite,
    testing::Values(OriginMaker{"Grpc", [] { return std::make_unique<GrpcRig>(false); }, "grpc"},
                    // Whether the guard or gRPC ends a call that hangs is a draw, and so is what
                    // counts it first.
                    OriginMaker{"GuardedGrpc",
                                [] { return std::make_unique<GrpcRig>(true); },
                                "grpc",
                                {OriginFault::kHangs}}),
    OriginSuite::Name);

}  // namespace
}  // namespace larder
