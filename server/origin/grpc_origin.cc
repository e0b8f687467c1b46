// A call is its context and its messages, which its coroutine owns and gRPC uses until the call is
// over. Then the origin's own thread, which does nothing but wait for gRPC's completion queue, sets
// the call's Signal, and the coroutine goes on on the executor, where answers are taken apart.
//
// Why not gRPC's callbacks, which need no thread of ours. In gRPC 1.51 the threads that run them
// sleep for a tenth of a second after each second in which nothing happened, and nobody looks at
// the sockets meanwhile: loads of an origin that is asked now and then took 100 ms longer. Nor may
// the last channel of a process end on such a thread, which would join itself.
//
// The deadline travels as one of gRPC's own, on its monotonic clock: gRPC cancels the call when it
// is over, here and at the service, and tells the service how much time there is.
//
// Trace context comes from callers of larder. gRPC ends the process at metadata that it does not
// allow, so that what is not printable ASCII is left out instead.
//
// Bytes. A message that is too large is refused before it is sent; an answer that is too large is
// cut off by gRPC, which then fails the call with RESOURCE_EXHAUSTED, as it has read none of it.

#include "origin/grpc_origin.h"

#include <grpc/support/time.h>
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <atomic>
#include <thread>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "base/mutex.h"
#include "base/status.h"
#include "base/strings.h"
#include "base/task.h"
#include "base/thread_name.h"
#include "larder/v1/origin.grpc.pb.h"
#include "origin/grpc_answers.h"
#include "origin/grpc_channel.h"

namespace larder {
namespace {

using Done = std::shared_ptr<Signal<bool>>;

// REQUIRES: outlives gRPC's use of it.
template <typename Request, typename Response>
struct GrpcCall {
  grpc::ClientContext context;
  Request request;
  Response response;
  grpc::Status status;
  std::unique_ptr<grpc::ClientAsyncResponseReader<Response>> reader;
};

// What the origin shares with its calls.
class GrpcCore {
 public:
  GrpcCore(const GrpcOriginOptions& options, std::vector<std::shared_ptr<grpc::Channel>> channels)
      : options(options), channels_(std::move(channels)) {
    for (const auto& channel : channels_) stubs_.push_back(v1::Origin::NewStub(channel));
    thread_ = std::thread([this] {
      NameThisThread("origin-grpc");
      Run();
    });
  }

  // The stub for the next call.
  v1::Origin::Stub& stub() {
    return *stubs_[turn_.fetch_add(1, std::memory_order_relaxed) % stubs_.size()];
  }

  grpc::CompletionQueue* queue() { return &queue_; }

  // Takes a call into the books while gRPC may use it. What gRPC is to name it by; null after
  // Close.
  void* Enter(grpc::ClientContext* context, Done done) {
    MutexLock lock(&mu_);
    if (closed_) return nullptr;
    under_way_.emplace(++last_call_, Entry{context, std::move(done)});
    return reinterpret_cast<void*>(last_call_);
  }
  // Cancels what is under way, waits for its end, and ends the thread.
  void Close() {
    {
      MutexLock lock(&mu_);
      closed_ = true;
      for (const auto& [call, entry] : under_way_) entry.context->TryCancel();
      while (!under_way_.empty()) idle_.Wait(&mu_);
    }
    queue_.Shutdown();
    thread_.join();
  }

  void Count(const AnswerCounts& counts) {
    item_errors.fetch_add(counts.item_errors, std::memory_order_relaxed);
    bad_answers.fetch_add(counts.bad_answers, std::memory_order_relaxed);
  }
  absl::Status Failed(absl::Status status) {
    errors.fetch_add(1, std::memory_order_relaxed);
    return status;
  }

  OriginStats Stats() const {
    OriginStats stats;
    stats.name = options.name;
    stats.kind = "grpc";
    stats.state = "ok";
    stats.load_calls = load_calls.load(std::memory_order_relaxed);
    stats.load_items = load_items.load(std::memory_order_relaxed);
    stats.store_calls = store_calls.load(std::memory_order_relaxed);
    stats.store_items = store_items.load(std::memory_order_relaxed);
    stats.scan_calls = scan_calls.load(std::memory_order_relaxed);
    stats.errors = errors.load(std::memory_order_relaxed);
    stats.item_errors = item_errors.load(std::memory_order_relaxed);
    stats.bad_answers = bad_answers.load(std::memory_order_relaxed);
    for (const auto& channel : channels_) {
      const grpc_connectivity_state state = channel->GetState(/*try_to_connect=*/false);
      stats.connections += state == GRPC_CHANNEL_READY;
      if (state == GRPC_CHANNEL_TRANSIENT_FAILURE) stats.state = "cannot connect";
    }
    return stats;
  }

  const GrpcOriginOptions options;
  std::atomic<uint64_t> load_calls{0};
  std::atomic<uint64_t> load_items{0};
  std::atomic<uint64_t> store_calls{0};
  std::atomic<uint64_t> store_items{0};
  std::atomic<uint64_t> scan_calls{0};
  std::atomic<uint64_t> errors{0};
  std::atomic<uint64_t> item_errors{0};
  std::atomic<uint64_t> bad_answers{0};

 private:
  struct Entry {
    grpc::ClientContext* context;
    Done done;
  };

  void Run() {
    void* call = nullptr;
    bool ok = false;
    while (queue_.Next(&call, &ok)) {
      Done done;
      {
        MutexLock lock(&mu_);
        const auto entry = under_way_.find(reinterpret_cast<uintptr_t>(call));
        done = std::move(entry->second.done);
        under_way_.erase(entry);
        if (under_way_.empty()) idle_.SignalAll();
      }
      done->TrySet(ok);
    }
  }

  const std::vector<std::shared_ptr<grpc::Channel>> channels_;
  std::vector<std::unique_ptr<v1::Origin::Stub>> stubs_;
  std::atomic<uint32_t> turn_{0};

  Mutex mu_;
  CondVar idle_;
  bool closed_ ABSL_GUARDED_BY(mu_) = false;
  uintptr_t last_call_ ABSL_GUARDED_BY(mu_) = 0;
  absl::flat_hash_map<uintptr_t, Entry> under_way_ ABSL_GUARDED_BY(mu_);

  grpc::CompletionQueue queue_;
  std::thread thread_;
};

absl::Status ToStatus(const GrpcOriginOptions& options, const grpc::Status& status) {
  const auto code = status.error_code() == grpc::StatusCode::UNIMPLEMENTED
                        ? absl::StatusCode::kFailedPrecondition
                        : static_cast<absl::StatusCode>(status.error_code());
  return absl::Status(code,
                      StrCat("origin ", options.name, ": ", TheirWords(status.error_message())));
}

void AddMetadata(const GrpcOriginOptions& options, const OriginCall& call,
                 grpc::ClientContext* context) {
  for (const auto& [key, value] : options.metadata) context->AddMetadata(key, value);
  const auto add = [context](const char* key, const std::string& value) {
    if (!value.empty() && CheckMetadata(key, value).ok()) context->AddMetadata(key, value);
  };
  add("traceparent", call.trace_parent);
  // Without its parent it means nothing.
  if (!call.trace_parent.empty()) add("tracestate", call.trace_state);
}

template <typename Request, typename Response>
using Method = std::unique_ptr<grpc::ClientAsyncResponseReader<Response>> (v1::Origin::Stub::*)(
    grpc::ClientContext*, const Request&, grpc::CompletionQueue*);

// Makes the call whose request is filled in. OK when `call->response` is there.
template <typename Request, typename Response>
Task<absl::Status> Ask(std::shared_ptr<GrpcCore> core,
                       std::shared_ptr<GrpcCall<Request, Response>> call,
                       Method<Request, Response> method, OriginCall terms, MonoNanos deadline) {
  const GrpcOriginOptions& options = core->options;
  const MonoNanos now = options.clock->Mono();
  if (now >= deadline) {
    co_return core->Failed(absl::DeadlineExceededError(
        StrCat("origin ", options.name, ": the time was over before the call")));
  }
  if (const size_t bytes = call->request.ByteSizeLong(); bytes > options.message_bytes_max) {
    co_return core->Failed(
        absl::ResourceExhaustedError(StrCat("origin ", options.name, ": the request is ", bytes,
                                            " bytes; at most ", options.message_bytes_max)));
  }
  const MonoNanos end = std::min(deadline, MonoAfter(now, options.timeout));
  call->context.set_deadline(
      gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_nanos(end - now, GPR_TIMESPAN)));
  AddMetadata(options, terms, &call->context);
  const auto done = std::make_shared<Signal<bool>>(options.executor);
  void* const name = core->Enter(&call->context, done);
  if (name == nullptr) {
    co_return core->Failed(
        absl::UnavailableError(StrCat("origin ", options.name, " is being closed")));
  }
  call->reader = (core->stub().*method)(&call->context, call->request, core->queue());
  call->reader->Finish(&call->response, &call->status, name);
  const bool whole = co_await *done;
  if (!call->status.ok()) co_return core->Failed(ToStatus(options, call->status));
  if (!whole) {
    // gRPC then says OK, and leaves in the message what it could read of it.
    co_return core->Failed(
        absl::DataLossError(StrCat("origin ", options.name, ": the answer is no valid message")));
  }
  co_return absl::OkStatus();
}

absl::Status TooMany(size_t items) {
  return absl::InvalidArgumentError(
      StrCat("a call of ", items, " items; at most ", kOriginItemsMax));
}

Task<absl::StatusOr<std::vector<OriginLoaded>>> AskLoad(std::shared_ptr<GrpcCore> core,
                                                        OriginLoad load, MonoNanos deadline) {
  core->load_calls.fetch_add(1, std::memory_order_relaxed);
  core->load_items.fetch_add(load.items.size(), std::memory_order_relaxed);
  if (load.items.size() > kOriginItemsMax) co_return core->Failed(TooMany(load.items.size()));
  if (load.items.empty()) co_return std::vector<OriginLoaded>();
  const auto call = std::make_shared<GrpcCall<v1::LoadRequest, v1::LoadResponse>>();
  OriginCall terms = load.call;
  FillLoad(std::move(load), &call->request);
  const absl::Status status = co_await Ask<v1::LoadRequest, v1::LoadResponse>(
      core, call, &v1::Origin::Stub::AsyncLoad, std::move(terms), deadline);
  if (!status.ok()) co_return status;
  AnswerCounts counts;
  std::vector<OriginLoaded> loaded =
      ReadLoad(call->request, &call->response, core->options.value_bytes_max, &counts);
  core->Count(counts);
  co_return loaded;
}

Task<absl::StatusOr<std::vector<OriginStored>>> AskStore(std::shared_ptr<GrpcCore> core,
                                                         OriginStore store, MonoNanos deadline) {
  core->store_calls.fetch_add(1, std::memory_order_relaxed);
  core->store_items.fetch_add(store.writes.size(), std::memory_order_relaxed);
  if (store.writes.size() > kOriginItemsMax) co_return core->Failed(TooMany(store.writes.size()));
  if (store.writes.empty()) co_return std::vector<OriginStored>();
  const auto call = std::make_shared<GrpcCall<v1::StoreRequest, v1::StoreResponse>>();
  OriginCall terms = store.call;
  FillStore(std::move(store), &call->request);
  const absl::Status status = co_await Ask<v1::StoreRequest, v1::StoreResponse>(
      core, call, &v1::Origin::Stub::AsyncStore, std::move(terms), deadline);
  if (!status.ok()) co_return status;
  AnswerCounts counts;
  std::vector<OriginStored> stored = ReadStore(call->request, &call->response, &counts);
  core->Count(counts);
  co_return stored;
}

Task<absl::StatusOr<OriginPage>> AskScan(std::shared_ptr<GrpcCore> core, OriginScan scan,
                                         MonoNanos deadline) {
  core->scan_calls.fetch_add(1, std::memory_order_relaxed);
  if (scan.limit < 1 || scan.limit > kOriginPageMax) {
    co_return core->Failed(absl::InvalidArgumentError(
        StrCat("a page of ", scan.limit, " items; 1 to ", kOriginPageMax)));
  }
  const auto call = std::make_shared<GrpcCall<v1::ScanRequest, v1::ScanResponse>>();
  FillScan(scan, &call->request);
  const absl::Status status = co_await Ask<v1::ScanRequest, v1::ScanResponse>(
      core, call, &v1::Origin::Stub::AsyncScan, std::move(scan.call), deadline);
  if (!status.ok()) co_return status;
  AnswerCounts counts;
  absl::StatusOr<OriginPage> page =
      ReadScan(call->request, &call->response, core->options.value_bytes_max, &counts);
  core->Count(counts);
  if (!page.ok()) co_return core->Failed(page.status());
  co_return page;
}

class GrpcOrigin : public Origin {
 public:
  explicit GrpcOrigin(std::shared_ptr<GrpcCore> core) : core_(std::move(core)) {}
  ~GrpcOrigin() override { core_->Close(); }

  Task<absl::StatusOr<std::vector<OriginLoaded>>> Load(OriginLoad load,
                                                       MonoNanos deadline) override {
    return AskLoad(core_, std::move(load), deadline);
  }
  Task<absl::StatusOr<std::vector<OriginStored>>> Store(OriginStore store,
                                                        MonoNanos deadline) override {
    return AskStore(core_, std::move(store), deadline);
  }
  Task<absl::StatusOr<OriginPage>> Scan(OriginScan scan, MonoNanos deadline) override {
    return AskScan(core_, std::move(scan), deadline);
  }
  OriginStats Stats() const override { return core_->Stats(); }

 private:
  const std::shared_ptr<GrpcCore> core_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Origin>> NewGrpcOrigin(const GrpcOriginOptions& options) {
  ASSIGN_OR_RETURN(auto channels, NewGrpcChannels(options));
  return std::make_unique<GrpcOrigin>(std::make_shared<GrpcCore>(options, std::move(channels)));
}

}  // namespace larder
