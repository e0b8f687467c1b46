#include "bench/writebehind/callers.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <thread>

#include "bench/report.h"
#include "larder/v1/admin.grpc.pb.h"
#include "larder/v1/cache.grpc.pb.h"

namespace larder::bench {
namespace {

constexpr auto kTimeout = std::chrono::seconds(20);
constexpr auto kLong = std::chrono::seconds(120);
constexpr size_t kBatch = 1'000;

double MsOf(const google::protobuf::Duration& duration) {
  return static_cast<double>(duration.seconds()) * 1e3 + duration.nanos() / 1e6;
}

void Must(const grpc::Status& status, const char* what) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s: %s\n", what, status.error_message().c_str());
  Broken("larderd does not do as asked");
}

// One call that is under way.
struct Pending {
  virtual ~Pending() = default;
  virtual bool Ok() const = 0;
  grpc::ClientContext context;
  grpc::Status status;
  Time began;
  Callers::Done done;
};

template <typename Response>
struct PendingOf : Pending {
  bool Ok() const override;
  Response response;
  std::unique_ptr<grpc::ClientAsyncResponseReader<Response>> reader;
};
template <>
bool PendingOf<v1::SetResponse>::Ok() const {
  return status.ok() && response.has_stored();
}
template <>
bool PendingOf<v1::GetResponse>::Ok() const {
  return status.ok() && response.has_hit();
}

}  // namespace

struct Callers::Parts {
  std::vector<std::unique_ptr<v1::Cache::Stub>> stubs;
  std::unique_ptr<v1::Admin::Stub> admin;
  std::atomic<size_t> turn{0};
  std::atomic<int64_t> under_way{0};
  std::atomic<bool> told{false};
  grpc::CompletionQueue queue;
  std::thread thread;

  v1::Cache::Stub& stub() { return *stubs[turn.fetch_add(1) % stubs.size()]; }
  template <typename Response>
  PendingOf<Response>* New(Done done) {
    auto* const pending = new PendingOf<Response>;
    pending->done = std::move(done);
    pending->context.set_deadline(std::chrono::system_clock::now() + kTimeout);
    pending->began = Now();
    under_way.fetch_add(1);
    return pending;
  }
  void Run() {
    void* tag = nullptr;
    bool ok = false;
    while (queue.Next(&tag, &ok)) {
      const std::unique_ptr<Pending> pending(static_cast<Pending*>(tag));
      if (!pending->Ok() && !told.exchange(true)) {
        std::fprintf(stderr, "first error: %s\n", pending->status.error_message().c_str());
      }
      pending->done(pending->Ok(), Ms(Now() - pending->began));
      under_way.fetch_sub(1);
    }
  }
};

Callers::Callers(const std::string& address, int connections) : parts_(std::make_unique<Parts>()) {
  for (int i = 0; i < connections; ++i) {
    grpc::ChannelArguments args;
    args.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    args.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
    const auto channel =
        grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), args);
    if (!channel->WaitForConnected(std::chrono::system_clock::now() + std::chrono::seconds(10))) {
      Broken("cannot connect");
    }
    parts_->stubs.push_back(v1::Cache::NewStub(channel));
    parts_->admin = v1::Admin::NewStub(channel);
  }
  parts_->thread = std::thread([parts = parts_.get()] { parts->Run(); });
}

Callers::~Callers() {
  parts_->queue.Shutdown();
  parts_->thread.join();
}

void Callers::Set(const std::string& key, const std::string& value, Done done) {
  v1::SetRequest request;
  request.set_key(key);
  request.set_value(value);
  auto* const call = parts_->New<v1::SetResponse>(std::move(done));
  call->reader = parts_->stub().AsyncSet(&call->context, request, &parts_->queue);
  call->reader->Finish(&call->response, &call->status, static_cast<Pending*>(call));
}

void Callers::Get(const std::string& key, Done done) {
  v1::GetRequest request;
  request.set_key(key);
  auto* const call = parts_->New<v1::GetResponse>(std::move(done));
  call->reader = parts_->stub().AsyncGet(&call->context, request, &parts_->queue);
  call->reader->Finish(&call->response, &call->status, static_cast<Pending*>(call));
}

void Callers::AwaitAll() {
  // Every call has a time limit, and to wait a little longer costs nothing.
  while (parts_->under_way > 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

void Callers::SetAll(const std::vector<std::pair<std::string, std::string>>& items) {
  for (size_t begin = 0; begin < items.size(); begin += kBatch) {
    v1::BatchSetRequest request;
    for (size_t i = begin; i < std::min(items.size(), begin + kBatch); ++i) {
      request.add_items()->set_key(items[i].first);
      request.mutable_items()->rbegin()->set_value(items[i].second);
    }
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + kTimeout);
    v1::BatchSetResponse response;
    Must(parts_->stub().BatchSet(&context, request, &response), "BatchSet");
    for (const v1::SetResult& result : response.results()) {
      if (!result.has_stored()) Broken("an item of a batch was not stored");
    }
  }
}

void Callers::PauseDelivery() {
  grpc::ClientContext context;
  v1::PauseDeliveryResponse response;
  Must(parts_->admin->PauseDelivery(&context, {}, &response), "PauseDelivery");
}

void Callers::ResumeDelivery() {
  grpc::ClientContext context;
  v1::ResumeDeliveryResponse response;
  Must(parts_->admin->ResumeDelivery(&context, {}, &response), "ResumeDelivery");
}

void Callers::Flush() {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kLong);
  v1::FlushJournalResponse response;
  Must(parts_->admin->FlushJournal(&context, {}, &response), "FlushJournal");
}

Waiting Callers::Stats() {
  grpc::ClientContext context;
  v1::StatsResponse response;
  Must(parts_->stub().Stats(&context, {}, &response), "Stats");
  if (response.journal().types_size() != 1) Broken("larderd tells nothing of its journal");
  const v1::JournalTypeStats& type = response.journal().types(0);
  Waiting waiting;
  waiting.depth = static_cast<double>(type.depth());
  waiting.delivered = static_cast<double>(type.delivered());
  waiting.coalesced = static_cast<double>(type.coalesced());
  waiting.dead = static_cast<double>(type.dead());
  waiting.lag_p50_ms = MsOf(type.lag().p50());
  waiting.lag_p99_ms = MsOf(type.lag().p99());
  return waiting;
}

}  // namespace larder::bench
