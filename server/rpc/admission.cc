// How many calls the server can do is not known beforehand: it depends on what they ask for, and on
// what is slow just now. What tells is how long they wait for a worker. A burst makes some of them
// wait; when even the one that waits least in half a second has to wait, or in less while more and
// more of them wait, there is a queue that does not go away, and each further call only makes it
// longer. From then on so many are let wait that those wait a part of the allowed time, on average,
// and more and more again when they wait less. Calls that a worker has begun and that wait for an
// origin, or for each other, are not in that queue.
//
// To count a call by its address takes a lock that all calls of that address share, and a call that
// memory answers after all would pay as much for that as for the rest. So the first calls are
// counted by nobody's: all of them together are a sixteenth of what one address may have, and that
// much less it may have beside them. An address is refused a little early where others had come
// before it, and never too late. Rejected: a counter of its own for each connection's address,
// which each loop would write to for each call.
//
// What has come before the limit falls is a queue of its own: to do all of it keeps those behind it
// waiting as long, and its callers have most likely given it up.

#include "rpc/admission.h"

#include <algorithm>

#include "base/strings.h"
#include "core/error.h"

namespace larder {
namespace {

constexpr absl::Duration kComeAgain = absl::Milliseconds(100);
// So long after a call was refused others are likely to be.
constexpr absl::Duration kRefusesOn = absl::Milliseconds(50);
// What an overload has taught is forgotten when no call has waited for so long.
constexpr absl::Duration kForgotten = absl::Seconds(1);
constexpr absl::Duration kMemoryAgain = absl::Seconds(1);
// Of the limit, what each class may fill.
constexpr std::array<double, 4> kShares = {1.0, 0.9, 0.8, 0.6};
// Who waits less than this part of what is aimed at has found a worker that had nothing to do.
constexpr int kIdlePart = 8;
// In one window.
constexpr double kRise = 1.04;
constexpr double kFall = 0.5;

}  // namespace

Admission::Admission(const Limits& limits, Clock* clock)
    : clock_(clock),
      limits_(limits),
      most_(limits.in_flight),
      most_per_peer_(limits.in_flight_per_peer),
      most_bytes_(limits.buffer_bytes),
      most_peer_bytes_(limits.buffer_bytes_per_peer),
      adaptive_(limits.adaptive),
      queue_time_(absl::ToInt64Nanoseconds(limits.queue_time)),
      limit_(limits.in_flight),
      window_ends_(MonoAfter(clock->Mono(), kWindow)) {}

void Admission::Replace(const Limits& limits) {
  {
    MutexLock lock(&replacing_);
    // What was learned stays where nothing is different.
    if (limits == limits_) return;
    limits_ = limits;
  }
  most_ = limits.in_flight;
  most_per_peer_ = limits.in_flight_per_peer;
  most_bytes_ = limits.buffer_bytes;
  most_peer_bytes_ = limits.buffer_bytes_per_peer;
  adaptive_ = limits.adaptive;
  queue_time_ = absl::ToInt64Nanoseconds(limits.queue_time);
  limit_ = limits.in_flight;
}

uint64_t Admission::PartOf(uint64_t limit, CallClass what) {
  const double part = kShares[static_cast<size_t>(what)] * static_cast<double>(limit);
  return std::max<uint64_t>(static_cast<uint64_t>(part), 1);
}

absl::Status Admission::Enter(CallClass what, const std::string& peer, bool waits) {
  if (what != CallClass::kRead && tight_.load(std::memory_order_relaxed)) return Refuse(kMemory);
  const uint64_t most = PartOf(most_.load(std::memory_order_relaxed), what);
  if (under_way_.fetch_add(1, std::memory_order_relaxed) >= most) {
    under_way_.fetch_sub(1, std::memory_order_relaxed);
    return Refuse(kInFlight);
  }
  if (waits && waiting() >= PartOf(limit(), what)) {
    under_way_.fetch_sub(1, std::memory_order_relaxed);
    return Refuse(kQueueTime);
  }
  if (waits && waiting_.fetch_add(1, std::memory_order_relaxed) == 0) ForgetWhenIdle();
  if (peer.empty()) return absl::OkStatus();
  Shard& shard = ShardOf(peer);
  const uint64_t most_of_peer = most_per_peer_.load(std::memory_order_relaxed);
  {
    MutexLock lock(&shard.mu);
    uint64_t& calls = shard.calls[peer];
    if (calls < most_of_peer - Uncounted(most_of_peer)) {
      ++calls;
      return absl::OkStatus();
    }
  }
  if (waits) waiting_.fetch_sub(1, std::memory_order_relaxed);
  under_way_.fetch_sub(1, std::memory_order_relaxed);
  return Refuse(kPeer);
}

// Calls that came long ago say nothing about those that come now.
void Admission::ForgetWhenIdle() {
  const uint64_t most = most_.load(std::memory_order_relaxed);
  if (limit() >= most) return;
  const MonoNanos ended = window_ends_.load(std::memory_order_relaxed);
  if (clock_->Mono() > MonoAfter(ended, kForgotten)) limit_.store(most, std::memory_order_relaxed);
}

void Admission::Leave(const std::string& peer) {
  under_way_.fetch_sub(1, std::memory_order_relaxed);
  if (peer.empty()) return;
  Shard& shard = ShardOf(peer);
  MutexLock lock(&shard.mu);
  const auto it = shard.calls.find(peer);
  if (--it->second == 0) shard.calls.erase(it);
}

absl::Status Admission::Hold(std::string peer, uint64_t bytes, Held* held) {
  if (bytes == 0) return absl::OkStatus();
  const uint64_t all = held_bytes_.fetch_add(bytes, std::memory_order_relaxed);
  // To refuse the only message would be to refuse it for ever.
  if (all != 0 && all + bytes > most_bytes_.load(std::memory_order_relaxed)) {
    held_bytes_.fetch_sub(bytes, std::memory_order_relaxed);
    return Refuse(kBytes);
  }
  if (!peer.empty()) {
    Shard& shard = ShardOf(peer);
    MutexLock lock(&shard.mu);
    const auto it = shard.bytes.find(peer);
    const uint64_t of_peer = it == shard.bytes.end() ? 0 : it->second;
    if (of_peer != 0 && of_peer + bytes > most_peer_bytes_.load(std::memory_order_relaxed)) {
      held_bytes_.fetch_sub(bytes, std::memory_order_relaxed);
      return Refuse(kPeerBytes);
    }
    shard.bytes[peer] = of_peer + bytes;
  }
  *held = {std::move(peer), bytes};
  return absl::OkStatus();
}

void Admission::HoldAnyway(std::string peer, uint64_t bytes, Held* held) {
  held_bytes_.fetch_add(bytes, std::memory_order_relaxed);
  if (!peer.empty() && bytes > 0) {
    Shard& shard = ShardOf(peer);
    MutexLock lock(&shard.mu);
    shard.bytes[peer] += bytes;
  }
  *held = {std::move(peer), bytes};
}

void Admission::LetGo(Held* held) {
  const uint64_t bytes = std::exchange(held->bytes, 0);
  if (bytes == 0) return;
  held_bytes_.fetch_sub(bytes, std::memory_order_relaxed);
  if (held->peer.empty()) return;
  Shard& shard = ShardOf(held->peer);
  MutexLock lock(&shard.mu);
  const auto it = shard.bytes.find(held->peer);
  it->second -= bytes;
  if (it->second == 0) shard.bytes.erase(it);
}

absl::Status Admission::Waited(MonoNanos nanos) {
  waiting_.fetch_sub(1, std::memory_order_relaxed);
  NoteWait(nanos);
  const bool refusing = adaptive_.load(std::memory_order_relaxed) &&
                        limit() < most_.load(std::memory_order_relaxed) && waiting() >= kLeast;
  if (refusing && nanos / kPatience > queue_time_.load(std::memory_order_relaxed))
    return Refuse(kQueueTime);
  return absl::OkStatus();
}

void Admission::NoteWait(MonoNanos nanos) {
  MonoNanos least = least_wait_.load(std::memory_order_relaxed);
  while (nanos < least &&
         !least_wait_.compare_exchange_weak(least, nanos, std::memory_order_relaxed)) {
  }
  waits_.fetch_add(nanos, std::memory_order_relaxed);
  waited_.fetch_add(1, std::memory_order_relaxed);
  const MonoNanos now = clock_->Mono();
  MonoNanos ends = window_ends_.load(std::memory_order_relaxed);
  if (now < ends) return;
  if (!window_ends_.compare_exchange_strong(ends, MonoAfter(now, kWindow),
                                            std::memory_order_relaxed)) {
    return;
  }
  const uint64_t count = std::max<uint64_t>(waited_.exchange(0, std::memory_order_relaxed), 1);
  const MonoNanos mean =
      waits_.exchange(0, std::memory_order_relaxed) / static_cast<MonoNanos>(count);
  MoveLimit(least_wait_.exchange(INT64_MAX, std::memory_order_relaxed), mean);
}

bool Admission::StandsStill(MonoNanos least) {
  const uint64_t now = waiting();
  const bool growing = now > waiting_before_.exchange(now, std::memory_order_relaxed);
  const bool late = least > queue_time_.load(std::memory_order_relaxed);
  const int windows_late = late ? windows_late_.load(std::memory_order_relaxed) + 1 : 0;
  const int windows_growing =
      late && growing ? windows_growing_.load(std::memory_order_relaxed) + 1 : 0;
  windows_late_.store(windows_late, std::memory_order_relaxed);
  windows_growing_.store(windows_growing, std::memory_order_relaxed);
  return windows_late >= kWindowsLate || windows_growing >= kWindowsGrowing;
}

void Admission::MoveLimit(MonoNanos least, MonoNanos mean) {
  const uint64_t most = most_.load(std::memory_order_relaxed);
  const uint64_t now = limit();
  const MonoNanos aim = queue_time_.load(std::memory_order_relaxed) / kPartWaited;
  if (least == INT64_MAX) return;  // nobody waited in so short a window
  const bool still = StandsStill(least);
  if (!adaptive_.load(std::memory_order_relaxed)) {
    limit_.store(most, std::memory_order_relaxed);
  } else if (now >= most) {
    if (!still) return;
    const double part = static_cast<double>(aim) / static_cast<double>(least);
    const auto in_time = static_cast<uint64_t>(part * static_cast<double>(waiting()));
    limit_.store(std::min(most, std::max(in_time, kLeast)), std::memory_order_relaxed);
  } else {
    // Where somebody hardly waited, workers had time: the others came in bursts.
    const MonoNanos wait = least < aim / kIdlePart ? least : mean;
    const double part =
        static_cast<double>(aim) / static_cast<double>(std::max<MonoNanos>(wait, 1));
    const auto moved =
        static_cast<uint64_t>(std::clamp(part, kFall, kRise) * static_cast<double>(now) + 1);
    limit_.store(std::min(most, std::max(moved, kLeast)), std::memory_order_relaxed);
  }
}

absl::Status Admission::Refuse(Why why) {
  refused_.Add(why);
  switch (why) {
    case kPeer:
      return RetryableError(Reason::kOVERLOADED, kComeAgain,
                            StrCat("too many calls of this address are under way (limits."
                                   "in_flight_per_peer is ",
                                   most_per_peer_.load(std::memory_order_relaxed), ")"));
    case kBytes:
      return RetryableError(Reason::kOVERLOADED, kComeAgain,
                            StrCat("the calls under way hold too many bytes (limits.buffer_bytes "
                                   "is ",
                                   most_bytes_.load(std::memory_order_relaxed), ")"));
    case kPeerBytes:
      return RetryableError(
          Reason::kOVERLOADED, kComeAgain,
          StrCat("the calls of this address hold too many bytes (limits.buffer_bytes_per_peer is ",
                 most_peer_bytes_.load(std::memory_order_relaxed), ")"));
    case kQueueTime: {
      refuses_until_.store(MonoAfter(clock_->Mono(), kRefusesOn), std::memory_order_relaxed);
      // One for all: in a flood to make it anew costs as much as what is refused.
      static const auto& refusal = *new absl::Status(RetryableError(
          Reason::kOVERLOADED, kComeAgain, "calls wait too long for a worker (limits.queue_time)"));
      return refusal;
    }
    case kMemory:
      return RetryableError(Reason::kOVERLOADED, kMemoryAgain,
                            "the memory of the container is nearly used up, and only single reads "
                            "and what takes entries away are taken on until there is more");
    default:
      return RetryableError(Reason::kOVERLOADED, kComeAgain,
                            StrCat("too many calls are under way (limits.in_flight is ",
                                   most_.load(std::memory_order_relaxed), ")"));
  }
}

std::vector<std::pair<std::string_view, uint64_t>> Admission::Refused() const {
  return {{"in_flight", refused_.Sum(kInFlight)},   {"peer", refused_.Sum(kPeer)},
          {"bytes", refused_.Sum(kBytes)},          {"peer_bytes", refused_.Sum(kPeerBytes)},
          {"queue_time", refused_.Sum(kQueueTime)}, {"memory", refused_.Sum(kMemory)}};
}

}  // namespace larder
