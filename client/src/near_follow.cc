// When a stream may be trusted. A heartbeat says that whatever had happened when it was sent has
// been told, so from the first one on the copies under the stream are true, and stay so for as long
// as the stream says anything at all within silence_max: a server that is busy with changes need
// not send heartbeats. A stream that resumes tells what was missed before its first heartbeat;
// until that comes, copies are as suspect as before.
//
// A stream that ends takes the trust with it at once. One whose connection is cut without a word
// keeps it until silence_max after its last one, which the table sees by the clock alone; here the
// call is then cancelled, and another one begun.
//
// An event changes the table before it changes where the stream would resume, so that what a
// resumed stream leaves out has had its effect.
//
// One thread does all the waiting, which is cheap, since it does nothing else.

#include "client/src/near_follow.h"

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>

#include "larder/error.h"

namespace larder::internal {
namespace {

constexpr int64_t kBackoffFirst = 20'000'000;
constexpr int64_t kBackoffMax = 2'000'000'000;
constexpr int64_t kLasting = 1'000'000'000;
constexpr int64_t kNever = INT64_MAX;

int64_t Now() { return std::chrono::steady_clock::now().time_since_epoch().count(); }

}  // namespace

NearFollower::NearFollower(Client* client, NearTable* table, std::vector<WatchOptions> selectors,
                           absl::Duration silence_max, absl::Duration stale_bound)
    : client_(client),
      table_(table),
      silence_max_(absl::ToInt64Nanoseconds(silence_max)),
      stale_bound_(absl::ToInt64Nanoseconds(stale_bound)),
      chance_(std::random_device()()) {
  {
    MutexLock lock(&mu_);
    streams_.resize(selectors.size());
    for (size_t i = 0; i < selectors.size(); ++i) {
      streams_[i].selector = std::move(selectors[i]);
      streams_[i].selector.heartbeat = silence_max / 3;
    }
  }
  thread_ = std::thread([this] { Run(); });
}

NearFollower::~NearFollower() { Stop(); }

void NearFollower::Stop() {
  if (!thread_.joinable()) return;
  {
    MutexLock lock(&mu_);
    stopping_ = true;
    changed_.SignalAll();
  }
  thread_.join();
  std::vector<std::shared_ptr<WatchCall>> calls;
  {
    MutexLock lock(&mu_);
    for (const Stream& stream : streams_) {
      if (stream.running) calls.push_back(stream.call);
    }
  }
  for (const auto& call : calls) call->Cancel();
  MutexLock lock(&mu_);
  while (std::any_of(streams_.begin(), streams_.end(), [](const Stream& s) { return s.running; }))
    changed_.Wait(&mu_);
}

void NearFollower::Run() {
  while (true) {
    std::vector<uint32_t> to_begin;
    std::vector<std::shared_ptr<WatchCall>> to_cancel;
    {
      MutexLock lock(&mu_);
      if (stopping_) return;
      const int64_t now = Now();
      int64_t wake = kNever;
      for (uint32_t i = 0; i < streams_.size(); ++i) {
        Stream& stream = streams_[i];
        const int64_t due = stream.running ? stream.heard + silence_max_ : stream.next_start;
        if (stream.running && stream.cancelled) continue;  // its end will come
        if (due > now) {
          wake = std::min(wake, due);
        } else if (stream.running) {
          stream.cancelled = true;
          to_cancel.push_back(stream.call);
        } else {
          to_begin.push_back(i);
        }
      }
      if (to_begin.empty() && to_cancel.empty()) {
        changed_.WaitUntil(&mu_, wake);
        continue;
      }
    }
    for (const auto& call : to_cancel) call->Cancel();
    for (const uint32_t number : to_begin) Begin(number);
  }
}

void NearFollower::Begin(uint32_t number) {
  WatchOptions selector;
  uint64_t generation;
  {
    MutexLock lock(&mu_);
    Stream& stream = streams_[number];
    generation = ++stream.generation;
    stream.running = true;
    stream.cancelled = false;
    stream.live = false;
    stream.call = nullptr;
    stream.begun = stream.heard = Now();  // the time for the first word runs from here
    selector = stream.selector;
  }
  std::shared_ptr<WatchCall> call = client_->WatchAsync(
      selector,
      [this, number, generation](const WatchEvent& event) {
        return Hear(number, generation, event);
      },
      [this, number, generation](const absl::StatusOr<WatchEnd>& end) {
        End(number, generation, end.status());
      });
  MutexLock lock(&mu_);
  // It may have ended already.
  if (streams_[number].generation == generation) streams_[number].call = std::move(call);
}

bool NearFollower::Hear(uint32_t number, uint64_t generation, const WatchEvent& event) {
  const int64_t now = Now();
  switch (event.kind) {
    case WatchEvent::Kind::kPut:
      table_->Changed(event.key, event.version);
      break;
    case WatchEvent::Kind::kInvalidated:
      if (event.rule.has_value()) {
        table_->Ruled(*event.rule, event.version, now);
      } else if (event.stale) {
        // The same version may be kept again once it has been read anew.
        table_->ChangedUnknown(event.key);
      } else {
        table_->Changed(event.key, event.version + 1);
      }
      break;
    case WatchEvent::Kind::kGap:
      if (!event.goes_on) table_->DropStream(number);
      break;
    default:
      break;
  }
  MutexLock lock(&mu_);
  Stream& stream = streams_[number];
  if (stream.generation != generation || stopping_) return false;
  const bool resumed = !stream.selector.resume_token.empty();
  if (!event.resume_token.empty()) stream.selector.resume_token = event.resume_token;
  stream.heard = now;
  if (event.kind == WatchEvent::Kind::kGap) {
    if (event.goes_on) {
      Suspect(number, now);
      return true;
    }
    ++dropped_;
  }
  if (event.kind == WatchEvent::Kind::kHeartbeat && !stream.live) {
    stream.live = true;
    if (resumed) ++resumed_;
    changed_.SignalAll();
  }
  // From the first word on every change is told, if not yet all of those before.
  if (!event.resume_token.empty()) table_->SetFollowed(number);
  if (stream.live) Trust(number, now + silence_max_ + stale_bound_);
  return true;
}

void NearFollower::End(uint32_t number, uint64_t generation, const absl::Status& status) {
  const std::string reason = ErrorReason(status);
  const bool cannot_resume = reason == "RESUME_TOKEN_OLD" || reason == "RESUME_TOKEN_INVALID";
  if (cannot_resume) table_->DropStream(number);
  MutexLock lock(&mu_);
  Stream& stream = streams_[number];
  if (stream.generation != generation) return;
  const int64_t now = Now();
  ++lost_;
  stream.running = false;
  stream.call = nullptr;
  Suspect(number, now);
  if (cannot_resume) {
    ++dropped_;
    stream.selector.resume_token.clear();
  }
  if (now - stream.begun > kLasting) stream.failures = 0;
  // The first attempt comes at once: a stream that was cut off, or has to begin anew, need not
  // wait.
  int64_t wait = absl::ToInt64Nanoseconds(
      std::min(RetryAfter(status).value_or(absl::ZeroDuration()), absl::Seconds(60)));
  if (stream.failures > 0) {
    const int64_t most = std::min(kBackoffFirst << std::min(stream.failures - 1, 10), kBackoffMax);
    const double part = std::uniform_real_distribution<double>(0.5, 1)(chance_);
    wait = std::max(wait, static_cast<int64_t>(static_cast<double>(most) * part));
  }
  ++stream.failures;
  stream.next_start = now + wait;
  changed_.SignalAll();
}

void NearFollower::Trust(uint32_t number, int64_t until) {
  streams_[number].trusted_until = until;
  table_->SetTrust(number, until);
}

void NearFollower::Suspect(uint32_t number, int64_t now) {
  streams_[number].live = false;
  Trust(number, std::min(streams_[number].trusted_until, now + stale_bound_));
}

bool NearFollower::Live(int64_t now) const {
  return std::all_of(streams_.begin(), streams_.end(), [&](const Stream& stream) {
    return stream.live && now < stream.heard + silence_max_;
  });
}

bool NearFollower::AwaitLive(absl::Duration timeout) {
  const int64_t until = Now() + absl::ToInt64Nanoseconds(std::min(timeout, absl::Hours(24)));
  MutexLock lock(&mu_);
  while (!Live(Now())) {
    if (stopping_ || Now() >= until) return false;
    changed_.WaitUntil(&mu_, until);
  }
  return true;
}

void NearFollower::AddStats(NearStats* stats) const {
  MutexLock lock(&mu_);
  stats->streams_lost += lost_;
  stats->resumed += resumed_;
  stats->dropped_whole += dropped_;
  stats->live = Live(Now());
}

}  // namespace larder::internal
