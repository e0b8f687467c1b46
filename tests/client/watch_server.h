// WatchServer is a small cache in this process that speaks gRPC, with streams of changes that a
// test cuts, silences or makes lose changes, and answers that it holds back. What the real server
// does is tested elsewhere; this one does what a test needs to happen at a certain moment. Thread
// safety: any method, any thread.

#ifndef LARDER_TESTS_CLIENT_WATCH_SERVER_H_
#define LARDER_TESTS_CLIENT_WATCH_SERVER_H_

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "larder/v1/cache.grpc.pb.h"
#include "tests/client/scripted_server.h"

namespace larder::testing {

class WatchServer : public v1::Cache::CallbackService {
 public:
  // On `port`, 0 = a free one.
  explicit WatchServer(int port = 0) {
    grpc::ServerBuilder builder;
    // A port that was just given up is to be had again.
    builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 1);
    builder.AddListeningPort("127.0.0.1:" + std::to_string(port), grpc::InsecureServerCredentials(),
                             &port_);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }
  ~WatchServer() override {
    AnswerHeld();
    CutStreams();
    server_->Shutdown(std::chrono::system_clock::now());
  }

  int port() const { return port_; }
  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }

  // Changes by others. Each answers the new version.
  uint64_t Put(const std::string& key, const std::string& value,
               std::vector<std::string> tags = {}) {
    std::lock_guard lock(mu_);
    return PutLocked(key, value, std::move(tags), true);
  }
  uint64_t Remove(const std::string& key) {
    std::lock_guard lock(mu_);
    data_.erase(key);
    return TellGone(key, v1::RULE_KIND_UNSPECIFIED, "");
  }
  // Without a word to the streams: as if the one that tells of it were late.
  uint64_t PutSilently(const std::string& key, const std::string& value) {
    std::lock_guard lock(mu_);
    return PutLocked(key, value, {}, false);
  }
  // A rule, and what it covers is gone.
  void Rule(v1::RuleKind kind, const std::string& match,
            const std::function<bool(const std::string& key)>& covers) {
    std::lock_guard lock(mu_);
    for (auto at = data_.begin(); at != data_.end();)
      at = covers(at->first) ? data_.erase(at) : std::next(at);
    TellGone("", kind, match);
  }
  // The event of a put that happened earlier, or never.
  void TellPut(const std::string& key, uint64_t version) {
    std::lock_guard lock(mu_);
    v1::WatchResponse event;
    event.mutable_put()->set_key(key);
    event.mutable_put()->set_version(version);
    Tell(std::move(event));
  }

  void Heartbeat() {
    std::lock_guard lock(mu_);
    for (Stream* stream : streams_) Beat(stream);
  }
  void Gap(bool goes_on) {
    std::lock_guard lock(mu_);
    v1::WatchResponse event;
    event.mutable_gap()->set_goes_on(goes_on);
    Tell(std::move(event));
  }
  // Ends all streams; what changes until they come back is told then.
  void CutStreams(const grpc::Status& status = grpc::Status(grpc::StatusCode::UNAVAILABLE, "cut")) {
    std::lock_guard lock(mu_);
    for (Stream* stream : streams_) stream->End(status);
    streams_.clear();
  }
  // New streams end at once, until said otherwise.
  void RefuseStreams(bool refuse) {
    std::lock_guard lock(mu_);
    refuse_ = refuse;
  }
  // From now on no stream can go on where an earlier one ended.
  void ForgetHistory() {
    std::lock_guard lock(mu_);
    oldest_ = log_.size() + 1;
    log_.push_back({});  // so that no token that was given is the newest one
  }
  // Streams say nothing, as if their connection were dead.
  void Silence(bool silent) {
    std::lock_guard lock(mu_);
    silent_ = silent;
  }

  // From now on Gets are answered with what is there at their time, but only after AnswerHeld.
  void HoldGets() {
    std::lock_guard lock(mu_);
    hold_ = true;
  }
  void AnswerHeld() {
    std::vector<grpc::ServerUnaryReactor*> held;
    {
      std::lock_guard lock(mu_);
      hold_ = false;
      held.swap(held_);
    }
    for (auto* reactor : held) reactor->Finish(grpc::Status::OK);
  }
  void SetTtl(double seconds) {
    std::lock_guard lock(mu_);
    ttl_seconds_ = seconds;
  }
  void AnswerStale(bool stale) {
    std::lock_guard lock(mu_);
    stale_ = stale;
  }

  // Keys that Gets and BatchGets asked for.
  size_t reads() const {
    std::lock_guard lock(mu_);
    return reads_;
  }
  size_t batches() const {
    std::lock_guard lock(mu_);
    return batches_;
  }
  size_t watches() const {
    std::lock_guard lock(mu_);
    return watches_.size();
  }
  v1::WatchRequest watch(size_t i) const {
    std::lock_guard lock(mu_);
    return watches_.at(i);
  }
  void WaitForReads(size_t count) {
    std::unique_lock lock(mu_);
    changed_.wait(lock, [&] { return reads_ >= count; });
  }
  void WaitForWatches(size_t count) {
    std::unique_lock lock(mu_);
    changed_.wait(lock, [&] { return watches_.size() >= count; });
  }
  // Metadata of the last Get.
  std::string metadata(const std::string& name) const {
    std::lock_guard lock(mu_);
    const auto at = metadata_.find(name);
    return at == metadata_.end() ? "" : at->second;
  }

  grpc::ServerUnaryReactor* Get(grpc::CallbackServerContext* context, const v1::GetRequest* request,
                                v1::GetResponse* response) override {
    auto* const reactor = new Unary;
    std::lock_guard lock(mu_);
    ++reads_;
    metadata_.clear();
    for (const auto& [name, value] : context->client_metadata()) {
      metadata_[std::string(name.data(), name.size())] = std::string(value.data(), value.size());
    }
    if (request->key() == "invalid") {
      reactor->Finish(Refusal(grpc::StatusCode::INVALID_ARGUMENT, "KEY_INVALID"));
      return reactor;
    }
    Answer(request->key(), response);
    changed_.notify_all();
    if (hold_) {
      held_.push_back(reactor);
    } else {
      reactor->Finish(grpc::Status::OK);
    }
    return reactor;
  }
  grpc::ServerUnaryReactor* BatchGet(grpc::CallbackServerContext*,
                                     const v1::BatchGetRequest* request,
                                     v1::BatchGetResponse* response) override {
    auto* const reactor = new Unary;
    std::lock_guard lock(mu_);
    reads_ += static_cast<size_t>(request->keys_size());
    ++batches_;
    changed_.notify_all();
    for (const std::string& key : request->keys()) {
      if (key == "invalid") {
        reactor->Finish(Refusal(grpc::StatusCode::INVALID_ARGUMENT, "KEY_INVALID"));
        return reactor;
      }
      Answer(key, response->add_results());
    }
    if (hold_) {
      held_.push_back(reactor);
    } else {
      reactor->Finish(grpc::Status::OK);
    }
    return reactor;
  }
  grpc::ServerUnaryReactor* Set(grpc::CallbackServerContext*, const v1::SetRequest* request,
                                v1::SetResponse* response) override {
    auto* const reactor = new Unary;
    std::lock_guard lock(mu_);
    response->mutable_stored()->set_version(PutLocked(request->key(), request->value(), {}, false));
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }
  grpc::ServerUnaryReactor* GetOrLoad(grpc::CallbackServerContext*,
                                      const v1::GetOrLoadRequest* request,
                                      v1::GetOrLoadResponse* response) override {
    auto* const reactor = new Unary;
    std::lock_guard lock(mu_);
    ++reads_;
    if (data_.count(request->key()) > 0) {
      Answer(request->key(), response);
    } else {
      response->mutable_lease()->set_token("lease");
    }
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }

  grpc::ServerWriteReactor<v1::WatchResponse>* Watch(grpc::CallbackServerContext*,
                                                     const v1::WatchRequest* request) override {
    std::lock_guard lock(mu_);
    watches_.push_back(*request);
    changed_.notify_all();
    auto* const stream = new Stream(this, request->prefix());
    const std::string& token = request->resume_token();
    const bool mine = token.rfind(boot_, 0) == 0;
    const size_t from = token.empty() ? log_.size()
                        : mine        ? std::stoul(token.substr(boot_.size()))
                                      : 0;
    if (refuse_) {
      stream->End(grpc::Status(grpc::StatusCode::UNAVAILABLE, "refused"));
    } else if (from < oldest_ || (!token.empty() && !mine)) {
      stream->End(Refusal(grpc::StatusCode::FAILED_PRECONDITION, "RESUME_TOKEN_OLD"));
    } else {
      streams_.insert(stream);
      if (!silent_) {
        for (size_t i = from; i < log_.size(); ++i) Send(stream, i);
        Beat(stream);
      }
    }
    return stream;
  }

 private:
  struct Value {
    std::string value;
    uint64_t version;
    std::vector<std::string> tags;
  };

  class Unary : public grpc::ServerUnaryReactor {
   public:
    void OnDone() override { delete this; }
  };

  // Writes what it is given, one after the other.
  class Stream : public grpc::ServerWriteReactor<v1::WatchResponse> {
   public:
    Stream(WatchServer* server, std::string prefix) : server_(server), prefix_(std::move(prefix)) {}
    void Send(v1::WatchResponse event) {
      std::lock_guard lock(mu_);
      if (ended_) return;
      queue_.push_back(std::move(event));
      if (queue_.size() == 1) StartWrite(&queue_.front());
    }
    // What is being written is written, the rest is not.
    void End(const grpc::Status& status) {
      std::lock_guard lock(mu_);
      if (ended_) return;
      ended_ = true;
      end_ = status;
      if (queue_.empty()) Finish(end_);
    }
    bool Wants(const std::string& key) const { return key.rfind(prefix_, 0) == 0; }
    void OnWriteDone(bool) override {
      std::lock_guard lock(mu_);
      queue_.pop_front();
      if (ended_) {
        Finish(end_);
      } else if (!queue_.empty()) {
        StartWrite(&queue_.front());
      }
    }
    void OnCancel() override {
      server_->Forget(this);
      End(grpc::Status::CANCELLED);
    }
    void OnDone() override {
      server_->Forget(this);
      delete this;
    }

   private:
    WatchServer* const server_;
    const std::string prefix_;
    std::mutex mu_;
    std::deque<v1::WatchResponse> queue_;
    bool ended_ = false;
    grpc::Status end_;
  };

  static std::string NewBoot() {
    static std::atomic<int> boots{0};
    return "boot" + std::to_string(++boots) + ":";
  }

  void Forget(Stream* stream) {
    std::lock_guard lock(mu_);
    streams_.erase(stream);
  }

  template <typename Response>
  void Answer(const std::string& key, Response* response) {
    const auto at = data_.find(key);
    if (at == data_.end()) {
      response->mutable_miss()->set_reason(v1::MISS_REASON_ABSENT);
      return;
    }
    v1::Hit& hit = *response->mutable_hit();
    hit.set_value(at->second.value);
    hit.set_version(at->second.version);
    hit.set_value_bytes(at->second.value.size());
    hit.set_stale(stale_);
    hit.mutable_remaining_ttl()->set_seconds(static_cast<int64_t>(ttl_seconds_));
    hit.mutable_remaining_ttl()->set_nanos(
        static_cast<int32_t>((ttl_seconds_ - static_cast<int64_t>(ttl_seconds_)) * 1e9));
    for (const std::string& tag : at->second.tags) hit.add_tags(tag);
  }

  uint64_t PutLocked(const std::string& key, const std::string& value,
                     std::vector<std::string> tags, bool tell) {
    data_[key] = {value, ++version_, std::move(tags)};
    v1::WatchResponse event;
    event.mutable_put()->set_key(key);
    event.mutable_put()->set_version(version_);
    if (tell) Tell(std::move(event));
    return version_;
  }
  uint64_t TellGone(const std::string& key, v1::RuleKind kind, const std::string& match) {
    v1::WatchResponse event;
    event.mutable_invalidated()->set_key(key);
    event.mutable_invalidated()->set_version(++version_);
    event.mutable_invalidated()->set_kind(kind);
    event.mutable_invalidated()->set_match(match);
    Tell(std::move(event));
    return version_;
  }
  void Tell(v1::WatchResponse event) {
    log_.push_back(std::move(event));
    for (Stream* stream : streams_) Send(stream, log_.size() - 1);
  }
  void Send(Stream* stream, size_t number) {
    v1::WatchResponse event = log_[number];
    event.set_resume_token(boot_ + std::to_string(number + 1));
    if (silent_ || (event.has_put() && !stream->Wants(event.put().key()))) return;
    stream->Send(std::move(event));
  }
  void Beat(Stream* stream) {
    v1::WatchResponse event;
    event.mutable_heartbeat();
    event.set_resume_token(boot_ + std::to_string(log_.size()));
    if (!silent_) stream->Send(std::move(event));
  }

  mutable std::mutex mu_;
  std::condition_variable changed_;
  std::map<std::string, Value> data_;
  uint64_t version_ = 1000;
  double ttl_seconds_ = 60;
  bool stale_ = false;
  // Tokens of another server, or of one that was on this port before, are too old.
  const std::string boot_ = NewBoot();
  std::vector<v1::WatchResponse> log_;
  size_t oldest_ = 0;  // tokens below it are too old
  std::set<Stream*> streams_;
  std::vector<v1::WatchRequest> watches_;
  bool refuse_ = false;
  bool silent_ = false;
  bool hold_ = false;
  std::vector<grpc::ServerUnaryReactor*> held_;
  size_t reads_ = 0;
  size_t batches_ = 0;
  std::map<std::string, std::string> metadata_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace larder::testing

#endif  // LARDER_TESTS_CLIENT_WATCH_SERVER_H_
