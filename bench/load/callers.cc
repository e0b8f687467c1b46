#include "bench/load/callers.h"

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <thread>
#include <utility>

#include "bench/report.h"
#include "larder/v1/cache.grpc.pb.h"

namespace larder::bench {
namespace {

void Read(const grpc::Status& status, const v1::GetOrLoadResponse& response, Answer* answer) {
  answer->ended = Now();
  answer->ok = status.ok() && response.has_hit();
  if (answer->ok) {
    answer->stale = response.hit().stale();
    answer->loaded = response.hit().tier() == v1::TIER_ORIGIN;
  } else {
    answer->error = status.ok() ? "no hit" : status.error_message();
  }
}

struct Pending {
  grpc::ClientContext context;
  v1::GetOrLoadResponse response;
  grpc::Status status;
  std::unique_ptr<grpc::ClientAsyncResponseReader<v1::GetOrLoadResponse>> reader;
  Answer answer;
  std::function<void(const Answer&)> done;
};

}  // namespace

struct Callers::Parts {
  size_t connections = 1;
  std::vector<std::shared_ptr<grpc::Channel>> channels;  // replica by replica
  std::vector<std::unique_ptr<v1::Cache::Stub>> stubs;
  std::atomic<size_t> turn{0};
  grpc::CompletionQueue queue;
  std::thread thread;
};

Callers::Callers(const std::vector<std::string>& addresses, int connections)
    : parts_(std::make_unique<Parts>()) {
  parts_->connections = static_cast<size_t>(connections);
  for (const std::string& address : addresses) {
    for (int i = 0; i < connections; ++i) {
      grpc::ChannelArguments args;
      args.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
      args.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
      args.SetInt(GRPC_ARG_MAX_CONCURRENT_STREAMS, 10'000);
      parts_->channels.push_back(
          grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), args));
      if (!parts_->channels.back()->WaitForConnected(std::chrono::system_clock::now() +
                                                     std::chrono::seconds(10))) {
        Broken(("cannot connect to " + address).c_str());
      }
      parts_->stubs.push_back(v1::Cache::NewStub(parts_->channels.back()));
    }
  }
  parts_->thread = std::thread([queue = &parts_->queue] {
    void* tag = nullptr;
    bool ok = false;
    while (queue->Next(&tag, &ok)) {
      const std::unique_ptr<Pending> pending(static_cast<Pending*>(tag));
      Read(pending->status, pending->response, &pending->answer);
      pending->done(pending->answer);
    }
  });
}

Callers::~Callers() {
  parts_->queue.Shutdown();
  parts_->thread.join();
}

size_t Callers::replicas() const { return parts_->stubs.size() / parts_->connections; }

void Callers::Call(size_t replica, const std::string& key, std::chrono::milliseconds timeout,
                   std::function<void(const Answer&)> done) {
  auto* const pending = new Pending;
  pending->done = std::move(done);
  v1::GetOrLoadRequest request;
  request.set_key(key);
  pending->context.set_deadline(std::chrono::system_clock::now() + timeout);
  pending->answer.began = Now();
  const size_t turn = parts_->turn.fetch_add(1, std::memory_order_relaxed);
  const size_t stub = replica * parts_->connections + turn % parts_->connections;
  pending->reader = parts_->stubs[stub]->AsyncGetOrLoad(&pending->context, request, &parts_->queue);
  pending->reader->Finish(&pending->response, &pending->status, pending);
}

Answer Callers::CallBatch(const std::vector<std::string>& keys, std::chrono::milliseconds timeout) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + timeout);
  v1::BatchGetOrLoadRequest request;
  for (const std::string& key : keys) request.add_keys(key);
  v1::BatchGetOrLoadResponse response;
  Answer answer;
  answer.began = Now();
  const grpc::Status status = parts_->stubs[0]->BatchGetOrLoad(&context, request, &response);
  answer.ended = Now();
  answer.ok = status.ok() && response.results_size() == static_cast<int>(keys.size());
  answer.error = status.error_message();
  for (const v1::GetOrLoadResult& result : response.results()) {
    answer.ok = answer.ok && result.has_hit();
  }
  return answer;
}

}  // namespace larder::bench
