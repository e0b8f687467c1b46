// A call costs the client and the server some ten times what a key in a batch costs them. So a Get
// waits a little for others to go with it: until the window of the first of them is over, or until
// there are keys_max.
//
// Only Gets that differ in nothing but the key go together. One bad key must not fail the others: a
// batch that the server refuses for what is in it, or that is too large to be answered, is sent
// again key by key. The deadline of a batch is that of its first Get, so nobody waits longer than
// he said; the last ones to come wait up to a window less.

#include "client/src/batching_client.h"

#include <algorithm>
#include <chrono>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "client/src/callback.h"
#include "client/src/checks.h"
#include "client/src/forwarding_client.h"
#include "client/src/mutex.h"
#include "larder/error.h"
#include "larder/metrics.h"

namespace larder::internal {
namespace {

// Kinds of Gets that are gathered at a time; others go by themselves.
constexpr size_t kGroupsMax = 16;

int64_t Now() { return std::chrono::steady_clock::now().time_since_epoch().count(); }

struct Group {
  GetOptions options;
  int64_t begun = 0;
  int64_t due = 0;
  std::vector<std::string> keys;
  std::vector<Callback<GetResult>> waiting;
};

bool SameKind(const GetOptions& a, const GetOptions& b) {
  return a.type == b.type && a.metadata_only == b.metadata_only &&
         a.call.deadline == b.call.deadline && a.call.ns == b.call.ns;
}

class BatchingClient : public ForwardingClient<Client> {
 public:
  BatchingClient(std::unique_ptr<Client> to, const ClientOptions& options)
      : ForwardingClient(std::move(to)),
        window_(absl::ToInt64Nanoseconds(options.batch.window)),
        keys_max_(static_cast<size_t>(options.batch.keys_max)),
        default_deadline_(options.default_deadline),
        metrics_(options.metrics),
        thread_([this] { Run(); }) {}

  ~BatchingClient() override {
    CheckNotDestroyedByCallback(this);
    std::vector<std::unique_ptr<Group>> left;
    {
      MutexLock lock(&mu_);
      closing_ = true;
      left.swap(groups_);
      changed_.SignalAll();
    }
    thread_.join();
    for (const auto& group : left) {
      CallbackScope scope(this);
      for (auto& done : group->waiting)
        done(absl::CancelledError("the larder client was destroyed"));
    }
    End();
  }

  void GetAsync(std::string_view key, const GetOptions& options,
                Callback<GetResult> done) override {
    std::unique_ptr<Group> full;
    if (!options.call.traceparent.empty() || !Join(key, options, &done, &full)) {
      to()->GetAsync(key, options, std::move(done));
      return;
    }
    if (full != nullptr) Send(std::move(full));
  }

 private:
  // False: the Get goes by itself. `full` is a group that this key has filled.
  bool Join(std::string_view key, const GetOptions& options, Callback<GetResult>* done,
            std::unique_ptr<Group>* full) {
    MutexLock lock(&mu_);
    if (closing_) return false;
    auto at = std::find_if(groups_.begin(), groups_.end(), [&options](const auto& group) {
      return SameKind(group->options, options);
    });
    if (at == groups_.end()) {
      if (groups_.size() >= kGroupsMax) return false;
      auto group = std::make_unique<Group>();
      group->options = options;
      group->begun = Now();
      group->due = group->begun + window_;
      group->keys.reserve(keys_max_);
      groups_.push_back(std::move(group));
      at = groups_.end() - 1;
      // The thread waits for the oldest group, which comes first; one more is later than that.
      if (groups_.size() == 1) changed_.SignalAll();
    }
    (*at)->keys.emplace_back(key);
    (*at)->waiting.push_back(std::move(*done));
    if ((*at)->keys.size() >= keys_max_) {
      *full = std::move(*at);
      groups_.erase(at);
    }
    return true;
  }

  void Run() {
    while (true) {
      std::unique_ptr<Group> due;
      {
        MutexLock lock(&mu_);
        if (closing_) return;
        if (groups_.empty()) {
          changed_.Wait(&mu_);
        } else if (groups_.front()->due > Now()) {
          changed_.WaitUntil(&mu_, groups_.front()->due);
        } else {
          due = std::move(groups_.front());
          groups_.erase(groups_.begin());
        }
      }
      if (due != nullptr) Send(std::move(due));
    }
  }

  void Send(std::unique_ptr<Group> owned) {
    const std::shared_ptr<Group> group = std::move(owned);
    // A deadline that is out of range is the server's client's to refuse.
    absl::Duration& deadline = group->options.call.deadline.emplace(
        group->options.call.deadline.value_or(default_deadline_));
    if (deadline >= kDeadlineMin && deadline <= kDeadlineMax)
      deadline = std::max(kDeadlineMin, deadline - absl::Nanoseconds(Now() - group->begun));
    if (metrics_ != nullptr) metrics_->OnBatch(group->keys.size());
    if (group->keys.size() == 1) {
      to()->GetAsync(group->keys[0], group->options, std::move(group->waiting[0]));
      return;
    }
    to()->BatchGetAsync(group->keys, group->options,
                        [this, group](absl::StatusOr<std::vector<GetResult>> results) {
                          Answered(*group, std::move(results));
                        });
  }

  void Answered(Group& group, absl::StatusOr<std::vector<GetResult>> results) {
    const absl::StatusCode code = results.status().code();
    const bool refused =
        code == absl::StatusCode::kInvalidArgument ||
        (code == absl::StatusCode::kResourceExhausted && !RetryAfter(results.status()).has_value());
    for (size_t i = 0; i < group.keys.size(); ++i) {
      if (results.ok()) {
        group.waiting[i](std::move((*results)[i]));
      } else if (refused) {
        to()->GetAsync(group.keys[i], group.options, std::move(group.waiting[i]));
      } else {
        group.waiting[i](results.status());
      }
    }
    group.waiting.clear();
  }

  const int64_t window_;
  const size_t keys_max_;
  const absl::Duration default_deadline_;
  const std::shared_ptr<ClientMetrics> metrics_;

  Mutex mu_;
  CondVar changed_;
  bool closing_ ABSL_GUARDED_BY(mu_) = false;
  std::vector<std::unique_ptr<Group>> groups_ ABSL_GUARDED_BY(mu_);  // oldest first

  std::thread thread_;
};

}  // namespace

std::unique_ptr<Client> NewBatchingClient(std::unique_ptr<Client> to,
                                          const ClientOptions& options) {
  return std::make_unique<BatchingClient>(std::move(to), options);
}

}  // namespace larder::internal
