// What the native lane serves beside the method table: health (Check, Watch) and reflection (v1 and
// v1alpha), as handlers like the others. Thread safety: any method, any thread.

#ifndef LARDER_RPC_NATIVE_SERVICES_H_
#define LARDER_RPC_NATIVE_SERVICES_H_

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/executor.h"
#include "base/mutex.h"
#include "base/task.h"
#include "rpc/call.h"
#include "rpc/methods.h"
#include "rpc/reflection.h"

namespace larder {

struct NativeMethod {
  const Method* method = nullptr;
  // Its handler begins with the call and takes each message by NativeCall::Receive.
  bool takes_stream = false;
  // Its errors may have no reason of ours; the others' without one are bugs.
  bool may_be_plain = false;
};

class NativeServices {
 public:
  // `executor` is where those who watch go on. `services`: what reflection lists beside these.
  NativeServices(Executor* executor, std::vector<std::string> services);

  void SetReady(bool ready);
  // Ends the calls of those who watch: the server goes.
  void Drain();
  std::vector<NativeMethod> methods() const;

 private:
  Method& Add(std::string path, const google::protobuf::Message* request,
              const google::protobuf::Message* response);
  // Wakes those who watch; `go_on`: to look again.
  void WakeWatchers(bool go_on);
  // As HealthCheckResponse has it.
  int StatusOf(const std::string& service) const;
  bool TryCheck(Call* call, absl::Status* status) const;
  Task<absl::Status> Watch(Call* call);
  Task<absl::Status> Reflect(Call* call);

  Executor* const executor_;
  const Reflection reflection_;
  std::deque<Method> methods_;
  std::vector<const Method*> taking_streams_;

  mutable Mutex mu_;
  bool ready_ ABSL_GUARDED_BY(mu_) = false;
  bool draining_ ABSL_GUARDED_BY(mu_) = false;
  // Those who watch, by an arbitrary number.
  std::map<uint64_t, std::shared_ptr<Signal<bool>>> watchers_ ABSL_GUARDED_BY(mu_);
  uint64_t next_watcher_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace larder

#endif  // LARDER_RPC_NATIVE_SERVICES_H_
