// OriginService is a real gRPC server in this process that implements larder.v1.Origin over a map,
// as a user's would, and misbehaves as a test says: for all calls, or for some keys. Thread safety:
// any method, any thread; the hooks are set before the first call.

#ifndef LARDER_TESTS_ORIGIN_ORIGIN_SERVICE_H_
#define LARDER_TESTS_ORIGIN_ORIGIN_SERVICE_H_

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "base/mutex.h"
#include "larder/v1/origin.grpc.pb.h"
#include "tests/conformance/origin_suite.h"

namespace larder {

class OriginService : public v1::Origin::CallbackService {
 public:
  // What a call brought along.
  struct Seen {
    std::multimap<std::string, std::string> metadata;
    absl::Duration time_left;
    v1::LoadRequest load;
    v1::StoreRequest store;
  };

  explicit OriginService(
      std::shared_ptr<grpc::ServerCredentials> credentials = grpc::InsecureServerCredentials());
  ~OriginService() override { Stop(); }

  // `127.0.0.1:port`, the same after Stop and Start.
  std::string target() const;
  // Ends the server: connections are closed, new ones refused.
  void Stop();
  void Start();

  void Put(const std::string& key, const OriginHeld& held);
  std::optional<OriginHeld> Held(const std::string& key) const;
  void SetFault(const std::string& key, OriginFault fault);

  // Calls end so from now on, without having done anything; OK: as they should.
  void Fail(grpc::Status status);
  // Calls are not answered from now on, until the client gives up.
  void Hang(bool hang);
  // Calls that hang, now.
  int hanging() const { return hanging_; }
  // Calls that the client gave up.
  int cancelled() const { return cancelled_; }
  int calls() const { return calls_; }
  Seen last() const;

  // Change the right answer into another.
  std::function<void(v1::LoadResponse*)> on_load;
  std::function<void(v1::StoreResponse*)> on_store;
  std::function<void(v1::ScanResponse*)> on_scan;

 private:
  class Hanging;

  grpc::ServerUnaryReactor* Load(grpc::CallbackServerContext* context,
                                 const v1::LoadRequest* request,
                                 v1::LoadResponse* response) override;
  grpc::ServerUnaryReactor* Store(grpc::CallbackServerContext* context,
                                  const v1::StoreRequest* request,
                                  v1::StoreResponse* response) override;
  grpc::ServerUnaryReactor* Scan(grpc::CallbackServerContext* context,
                                 const v1::ScanRequest* request,
                                 v1::ScanResponse* response) override;

  // Takes notes. The status by which the call ends without having done anything, or OK.
  grpc::Status Enter(const grpc::CallbackServerContext& context, bool* hangs);
  grpc::ServerUnaryReactor* Hold();
  void Answer(const v1::LoadItem& item, v1::LoadResult* result) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Apply(const v1::StoreItem& item, v1::StoreResult* result) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  OriginFault FaultOf(const std::string& key) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const std::shared_ptr<grpc::ServerCredentials> credentials_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
  std::atomic<int> hanging_{0};
  std::atomic<int> cancelled_{0};
  std::atomic<int> calls_{0};

  mutable Mutex mu_;
  struct Row {
    OriginHeld held;
    bool removed = false;
  };
  std::map<std::string, Row> rows_ ABSL_GUARDED_BY(mu_);
  std::map<std::string, OriginFault> faults_ ABSL_GUARDED_BY(mu_);
  grpc::Status fail_ ABSL_GUARDED_BY(mu_);
  bool hang_ ABSL_GUARDED_BY(mu_) = false;
  Seen last_ ABSL_GUARDED_BY(mu_);
};

}  // namespace larder

#endif  // LARDER_TESTS_ORIGIN_ORIGIN_SERVICE_H_
