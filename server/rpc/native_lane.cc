// Connections go to the loop that has the fewest and stay there; a loop shares nothing with the
// others but the counters, so that a second core doubles the lane.
//
// Drain closes the listener, has every connection tell its client to go, and waits for calls and
// connections to end by themselves; what is left at the limit is cancelled and closed. Handlers
// that still run then must end before the loops may: they answer to a loop.

#include "rpc/native_lane.h"

#include <unistd.h>

#include <algorithm>
#include <set>
#include <utility>

#include "absl/time/clock.h"
#include "base/mutex.h"
#include "rpc/native_listener.h"
#include "rpc/native_loop.h"
#include "rpc/native_services.h"

namespace larder {
namespace {

// What a hit waits for at most.
constexpr int kAcceptsInOneTurn = 16;
constexpr absl::Duration kLookAgain = absl::Milliseconds(2);
// Clients that were told to go get so long to close before they are closed, calls or not.
constexpr absl::Duration kCloseMost = absl::Seconds(3);

std::vector<std::string> ServiceNames(const MethodTable& methods) {
  std::set<std::string> names;
  for (const Method& method : methods.methods()) names.insert(method.service);
  return {names.begin(), names.end()};
}

class NativeLaneImpl : public NativeLane {
 public:
  NativeLaneImpl(const Options& options, const MethodTable* methods, Dispatcher* dispatcher,
                 std::unique_ptr<NativeListener> listener)
      : listener_(std::move(listener)),
        address_(listener_->address()),
        services_(dispatcher->executor(), ServiceNames(*methods)) {
    shared_.options = options;
    shared_.dispatcher = dispatcher;
    for (const Method& method : methods->methods()) {
      shared_.methods.emplace(method.path, NativeMethod{&method, false, false});
    }
    for (const NativeMethod& method : services_.methods()) {
      shared_.methods.emplace(method.method->path, method);
    }
    for (int i = 0; i < options.loops; ++i) {
      loops_.push_back(std::make_unique<NativeLoop>(&shared_));
    }
    loops_[0]->Listen(listener_->fd(), [this] { AcceptSome(); });
    for (int i = 0; i < options.loops; ++i) loops_[static_cast<size_t>(i)]->Start(i);
  }

  ~NativeLaneImpl() override {
    Drain(absl::ZeroDuration());
    for (const auto& loop : loops_) loop->Stop();
  }

  std::string address() const override { return address_; }
  void SetReady(bool ready) override { services_.SetReady(ready); }

  void Drain(absl::Duration limit) override {
    if (std::exchange(drained_, true)) return;
    SetReady(false);
    services_.Drain();
    const absl::Time end = absl::Now() + limit;
    OnAllLoops([this](NativeLoop* loop) {
      if (loop == loops_[0].get()) loop->StopListening();
    });
    listener_.reset();
    // Connections that the acceptor had handed out are there now.
    OnAllLoops([](NativeLoop* loop) { loop->GoAway(); });
    absl::Time close_at = absl::InfiniteFuture();
    while (Connections() > 0 && absl::Now() < std::min(end, close_at)) {
      if (Calls() == 0 && close_at == absl::InfiniteFuture()) close_at = absl::Now() + kCloseMost;
      if (Calls() > 0) close_at = absl::InfiniteFuture();
      absl::SleepFor(kLookAgain);
    }
    OnAllLoops([](NativeLoop* loop) { loop->CloseAll(); });
    while (Calls() > 0) absl::SleepFor(kLookAgain);
  }

  Stats GetStats() const override {
    Stats stats;
    for (size_t i = 0; i < kNativeCounterNames.size(); ++i) {
      stats.emplace_back(kNativeCounterNames[i], shared_.counters.Sum(i));
    }
    stats.emplace_back("connections", Connections());
    stats.emplace_back("calls", Calls());
    return stats;
  }

 private:
  // On the first loop's thread.
  void AcceptSome() {
    for (int i = 0; i < kAcceptsInOneTurn; ++i) {
      int fd = -1;
      std::string host;
      switch (listener_->Accept(&fd, &host)) {
        case NativeListener::Accepted::kNone:
          return;
        case NativeListener::Accepted::kStuck:
          shared_.counters.Add(NativeCounter::kNoDescriptor);
          return loops_[0]->PauseListening();
        case NativeListener::Accepted::kNoDescriptor:
          shared_.counters.Add(NativeCounter::kNoDescriptor);
          continue;
        case NativeListener::Accepted::kOne:
          break;
      }
      // That is a balancer's, which has yet to say whom it speaks for.
      if (shared_.options.proxied) host.clear();
      if (shared_.connections.load() >= shared_.options.connections_max ||
          !shared_.peers.TryAdd(host, shared_.options.connections_per_peer_max)) {
        shared_.counters.Add(NativeCounter::kRefusedConnections);
        close(fd);
        continue;
      }
      HandOut(fd, std::move(host));
    }
  }

  void HandOut(int fd, std::string host) {
    shared_.connections.fetch_add(1);
    const auto least = std::min_element(
        loops_.begin(), loops_.end(),
        [](const auto& a, const auto& b) { return a->connections() < b->connections(); });
    NativeLoop* const loop = least->get();
    loop->Reserve();
    if (loop->IsThisThread()) return loop->Adopt(fd, std::move(host));
    loop->PostWork(
        [loop, fd, host = std::move(host)]() mutable { loop->Adopt(fd, std::move(host)); });
  }

  // Runs `what` on each loop's thread and waits for it.
  template <typename What>
  void OnAllLoops(What what) {
    struct Done {
      Mutex mu;
      CondVar set;
      bool done ABSL_GUARDED_BY(mu) = false;
    };
    for (const auto& loop : loops_) {
      const auto done = std::make_shared<Done>();
      loop->PostWork([done, &what, loop = loop.get()] {
        what(loop);
        MutexLock lock(&done->mu);
        done->done = true;
        done->set.Signal();
      });
      MutexLock lock(&done->mu);
      while (!done->done) done->set.Wait(&done->mu);
    }
  }

  uint64_t Connections() const {
    uint64_t all = 0;
    for (const auto& loop : loops_) all += loop->connections();
    return all;
  }
  uint64_t Calls() const {
    uint64_t all = 0;
    for (const auto& loop : loops_) all += loop->calls();
    return all;
  }

  NativeShared shared_;
  std::unique_ptr<NativeListener> listener_;  // the first loop's, until Drain
  const std::string address_;
  NativeServices services_;
  bool drained_ = false;
  std::vector<std::unique_ptr<NativeLoop>> loops_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<NativeLane>> NativeLane::Start(const Options& options,
                                                              const MethodTable* methods,
                                                              Dispatcher* dispatcher) {
  absl::StatusOr<std::unique_ptr<NativeListener>> listener = NativeListener::New(options.address);
  if (!listener.ok()) return listener.status();
  return std::make_unique<NativeLaneImpl>(options, methods, dispatcher, *std::move(listener));
}

}  // namespace larder
