#include "tests/fuzz/session_rig.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <chrono>
#include <future>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "larder/v1/admin.pb.h"
#include "larder/v1/cache.pb.h"
#include "tests/fuzz/fuzz_target.h"

namespace larder {
namespace {

constexpr std::chrono::seconds kPatience(10);

// Small enough for a short input to get beyond each of them.
NativeLane::Options SmallLimits() {
  NativeLane::Options options;
  options.loops = 1;
  options.message_bytes_max = 4 << 10;
  options.metadata_bytes_max = 1 << 10;
  options.buffer_bytes_max = 32 << 10;
  options.streams_max = 20;
  options.reply_bytes_max = 16 << 10;
  options.keepalive_time = absl::Seconds(4);
  options.keepalive_timeout = absl::Seconds(1);
  options.ping_interval_min = absl::Seconds(1);
  options.connection_age_max = absl::Seconds(16);
  options.connection_age_grace = absl::Seconds(2);
  options.connection_idle_max = absl::Seconds(8);
  options.handshake_timeout = absl::Seconds(1);
  options.request_timeout = absl::Seconds(2);
  options.stall_timeout = absl::Seconds(2);
  options.resets_burst = 20;
  options.resets_per_second = 5;
  options.idle_frames_burst = 20;
  options.idle_frames_per_second = 5;
  return options;
}

}  // namespace

//   Get         `hit...` is answered on the loop, `large` with an attached value, `error` with an
//               error, `meta:NAME` with what came under that name; all else on the worker
//   GetOrLoad   waits until LetGo, or the caller has gone
//   BatchGet    a thousand bytes for every key, on the worker
//   Warm        streams as many messages as `limit` says
class SessionHandlers {
 public:
  SessionHandlers(Executor* executor, MethodTable* methods)
      : executor_(executor), large_(SharedBytes::Copy(std::string(40 << 10, 'L'))) {
    using H = SessionHandlers;
    methods->On("/larder.v1.Cache/Get", this, &H::Get, &H::TryGet);
    methods->On("/larder.v1.Cache/GetOrLoad", this, &H::GetOrLoad);
    methods->On("/larder.v1.Cache/BatchGet", this, &H::BatchGet);
    methods->On("/larder.v1.Admin/Warm", this, &H::Warm);
  }

  void LetGo() {
    std::vector<std::shared_ptr<Signal<bool>>> all;
    {
      MutexLock lock(&mu_);
      all.swap(waiting_);
    }
    for (const auto& turn : all) turn->TrySet(true);
  }

 private:
  bool TryGet(CallContext* context, const v1::GetRequest& request, v1::GetResponse* response,
              absl::Status* status) {
    const std::string& key = request.key();
    if (key == "error") {
      *status = FieldError(Reason::kKEY_INVALID, "key", "bad: 100%\n\xC3\xA9");
    } else if (key == "large") {
      response->mutable_hit()->set_version(1);
      context->AttachValue(large_);
    } else if (key.starts_with("meta:")) {
      response->mutable_hit()->set_value(std::string(context->Metadata(key.substr(5))));
    } else if (key.starts_with("hit")) {
      response->mutable_hit()->set_value("now");
    } else {
      return false;
    }
    return true;
  }
  Task<absl::Status> Get(CallContext*, const v1::GetRequest* request, v1::GetResponse* response) {
    response->mutable_hit()->set_value("later " + request->key());
    co_return absl::OkStatus();
  }
  Task<absl::Status> GetOrLoad(CallContext* context, const v1::GetOrLoadRequest* request,
                               v1::GetOrLoadResponse* response) {
    const auto turn = std::make_shared<Signal<bool>>(executor_);
    {
      MutexLock lock(&mu_);
      waiting_.push_back(turn);
    }
    context->cancellation().OnCancel([turn] { turn->TrySet(false); });
    const bool go_on = co_await *turn;
    if (!go_on) co_return Error(Reason::kCALL_CANCELLED, "gone");
    response->mutable_hit()->set_value(request->key());
    context->OnUndelivered([] {});
    co_return absl::OkStatus();
  }
  Task<absl::Status> BatchGet(CallContext*, const v1::BatchGetRequest* request,
                              v1::BatchGetResponse* response) {
    for (int i = 0; i < request->keys_size(); ++i) {
      response->add_results()->mutable_hit()->set_value(std::string(1000, 'b'));
    }
    co_return absl::OkStatus();
  }
  Task<absl::Status> Warm(CallContext* context, const v1::WarmRequest* request, v1::WarmResponse*) {
    for (uint64_t i = 0; i < request->limit(); ++i) {
      v1::WarmResponse response;
      response.set_loaded(i);
      const bool sent = co_await context->Send(response);
      if (!sent) co_return Error(Reason::kCALL_CANCELLED, "gone");
    }
    co_return absl::OkStatus();
  }

  Executor* const executor_;
  const SharedBytes large_;
  Mutex mu_;
  std::vector<std::shared_ptr<Signal<bool>>> waiting_ ABSL_GUARDED_BY(mu_);
};

SessionRig::SessionRig()
    : pool_(ThreadPool::New({.threads = 1})),
      handlers_(std::make_unique<SessionHandlers>(pool_.get(), &methods_)),
      dispatcher_(&clock_, pool_.get()),
      services_(pool_.get(), {"larder.v1.Cache"}) {
  shared_.options = SmallLimits();
  shared_.dispatcher = &dispatcher_;
  for (const Method& method : methods_.methods()) {
    shared_.methods.emplace(method.path, NativeMethod{&method, false, false});
  }
  for (const NativeMethod& method : services_.methods()) {
    shared_.methods.emplace(method.method->path, method);
  }
  services_.SetReady(true);
  loop_ = std::make_unique<NativeLoop>(&shared_);
  loop_->Start(/*number=*/0);
}

SessionRig::~SessionRig() {
  loop_->Stop();
  pool_->Shutdown();
}

int SessionRig::Connect() {
  int ends[2];
  FuzzRequire(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0, "no sockets");
  fcntl(ends[1], F_SETFL, O_NONBLOCK);
  shared_.connections.fetch_add(1);
  loop_->Reserve();
  loop_->PostWork([this, fd = ends[1]] { loop_->Adopt(fd, ""); });
  return ends[0];
}

void SessionRig::OnLoop(absl::AnyInvocable<void()> work) {
  std::promise<void> done;
  const std::future<void> is_done = done.get_future();
  loop_->PostWork([&work, done = std::move(done)]() mutable {
    work();
    done.set_value();
  });
  FuzzRequire(is_done.wait_for(kPatience) == std::future_status::ready, "the loop stands still");
}

void SessionRig::AwaitTurns() {
  // The first turn may have looked at its sockets before what it is to see was there.
  OnLoop([] {});
  OnLoop([] {});
}

void SessionRig::Settle() {
  AwaitTurns();
  std::promise<void> done;
  const std::future<void> is_done = done.get_future();
  pool_->Post([done = std::move(done)]() mutable { done.set_value(); });
  FuzzRequire(is_done.wait_for(kPatience) == std::future_status::ready, "the worker stands still");
  AwaitTurns();
}

void SessionRig::Advance(absl::Duration by) {
  clock_.Advance(by);
  AwaitTurns();
}

void SessionRig::LetGo() { handlers_->LetGo(); }

void SessionRig::ExpectEmpty() {
  const auto end = std::chrono::steady_clock::now() + kPatience;
  while (loop_->connections() > 0 || loop_->calls() > 0) {
    FuzzRequire(std::chrono::steady_clock::now() < end, "connections or calls that nobody has");
    AwaitTurns();
  }
  // Calls that were cancelled have ended by now.
  LetGo();
  FuzzRequire(shared_.connections.load() == 0, "a connection is counted that is gone");
  OnLoop([this] {
    const size_t all = shared_.options.buffer_bytes_max;
    NativePeer* const nobody = loop_->AddToPeer("");
    FuzzRequire(loop_->TryCharge(nobody, all), "bytes are charged to calls that are gone");
    FuzzRequire(!loop_->TryCharge(nobody, 1), "more bytes were given back than were charged");
    loop_->Discharge(nobody, all);
    loop_->RemoveFromPeer(nobody);
  });
}

}  // namespace larder
