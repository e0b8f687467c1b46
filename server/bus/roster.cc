// Who a frame is from is its incarnation, not its node id: a restarted replica begins again at 1
// and must not look like one whose numbers went back, and two replicas that share a node id by
// mistake are still two senders.
//
// What counts as missed, once the log is followed:
//   a number that was skipped: the frame was given up by its sender, trimmed, or lost by the log
//   a first frame that is not number 1: its sender existed before and we did not know
//   a number that went back, unless it is the very frame that was heard (an append whose outcome
//     was not known was tried again, and both happened)
//   a replica that fell silent without goodbye, or began again without one: it may have changed
//     things and died before it could tell
// A replica that comes back out of silence with the next number has missed nobody anything.

#include "bus/roster.h"

#include <algorithm>

#include "base/strings.h"

namespace larder {
namespace {

// A few frames of the dead may still be on their way when their node starts again.
constexpr int kFramesOfTheDeadMax = 3;

void AddGap(std::string* gap, std::string why) {
  if (gap->empty()) *gap = std::move(why);
}

}  // namespace

void Roster::SetState(Sender* sender, State state) {
  alive_ -= sender->state == State::kAlive ? 1 : 0;
  sender->state = state;
  alive_ += state == State::kAlive ? 1 : 0;
}

Roster::Verdict Roster::Hear(const Frame& frame, MonoNanos now, bool judge) {
  Verdict verdict;
  const FrameHead& head = frame.head;
  const auto [place, first] = senders_.try_emplace(head.incarnation);
  Sender& sender = place->second;
  if (first) {
    sender.node = head.node;
    Meet(frame, &sender, judge, &verdict);
    sender.run_from = head.number;
  } else if (head.number <= sender.last) {
    Repeated(frame, sender, judge, &verdict);
    return verdict;
  } else if (head.number != sender.last + 1) {
    if (judge) {
      verdict.gap = StrCat("replica ", head.node, " sent ", head.number - sender.last - 1,
                           " frames that did not arrive");
    }
    sender.run_from = head.number;
  }
  verdict.fresh = true;
  sender.last = head.number;
  sender.checks[head.number % kChecks] = frame.check;
  sender.heard = now;
  if (sender.superseded && judge && !head.goodbye && ++sender.frames_since == kFramesOfTheDeadMax)
    verdict.node_id_shared = true;
  if (head.goodbye) {
    SetState(&sender, State::kLeft);
    verdict.left = head.incarnation;
  } else if (sender.state != State::kAlive && (judge || !sender.superseded)) {
    SetState(&sender, State::kAlive);
    verdict.joined = head.incarnation;
  }
  if (first) Forget(now);
  return verdict;
}

// The first frame of `sender`.
void Roster::Meet(const Frame& frame, Sender* sender, bool judge, Verdict* verdict) {
  const bool hello = frame.head.number == 1;
  if (judge && !hello)
    verdict->gap = StrCat("replica ", frame.head.node, " was not known and is not new");
  // What ran under our node id before we did is dead; if it is not, it will be heard again.
  sender->superseded = frame.head.node == options_.node;
  if (!hello) return;
  for (auto& [incarnation, other] : senders_) {
    if (&other == sender || other.node != sender->node || other.state == State::kLeft) continue;
    other.superseded = true;
    if (other.state != State::kAlive) continue;
    SetState(&other, State::kSilent);
    verdict->gone.push_back(incarnation);
    if (judge)
      AddGap(&verdict->gap, StrCat("replica ", other.node, " began again without goodbye"));
  }
}

void Roster::Repeated(const Frame& frame, const Sender& sender, bool judge, Verdict* verdict) {
  const bool same = sender.checks[frame.head.number % kChecks] == frame.check;
  if (judge && !same) {
    verdict->gap = StrCat("frame ", frame.head.number, " of replica ", frame.head.node,
                          " came after its frame ", sender.last);
  }
}

Roster::Verdict Roster::FindSilent(MonoNanos now, MonoNanos steady_since) {
  Verdict verdict;
  for (auto& [incarnation, sender] : senders_) {
    if (sender.state != State::kAlive) continue;
    const MonoNanos since = std::max(sender.heard, steady_since);
    if (now <= MonoAfter(since, options_.alive)) continue;
    SetState(&sender, State::kSilent);
    verdict.gone.push_back(incarnation);
    AddGap(&verdict.gap, StrCat("replica ", sender.node, " was not heard for ",
                                absl::FormatDuration(absl::Trunc(
                                    absl::Nanoseconds(now - sender.heard), absl::Milliseconds(1))),
                                " and said no goodbye"));
  }
  Forget(now);
  return verdict;
}

void Roster::Forget(MonoNanos now) {
  for (auto it = senders_.begin(); it != senders_.end();) {
    const bool over =
        it->second.state != State::kAlive && now > MonoAfter(it->second.heard, options_.remember);
    it = over ? senders_.erase(it) : std::next(it);
  }
  while (senders_.size() > options_.senders_max) {
    const auto oldest = std::min_element(
        senders_.begin(), senders_.end(),
        [](const auto& a, const auto& b) { return a.second.heard < b.second.heard; });
    SetState(&oldest->second, State::kLeft);
    senders_.erase(oldest);
  }
}

FrameAck Roster::RunOf(uint64_t incarnation) const {
  const auto place = senders_.find(incarnation);
  if (place == senders_.end()) return {};
  return {incarnation, place->second.run_from, place->second.last};
}

void Roster::TookEffect(const FrameAck& run, bool acknowledge, MonoNanos now) {
  const auto place = senders_.find(run.incarnation);
  if (place == senders_.end()) return;
  place->second.effect = run;
  if (acknowledge) place->second.acknowledge_until = MonoAfter(now, options_.alive);
}

std::vector<FrameAck> Roster::AcksDue(MonoNanos now) const {
  std::vector<FrameAck> acks;
  for (const auto& [incarnation, sender] : senders_) {
    if (now < sender.acknowledge_until) acks.push_back(sender.effect);
  }
  return acks;
}

std::vector<uint64_t> Roster::Alive() const {
  std::vector<uint64_t> alive;
  for (const auto& [incarnation, sender] : senders_) {
    if (sender.state == State::kAlive) alive.push_back(incarnation);
  }
  return alive;
}

std::vector<BusPeer> Roster::Peers(MonoNanos now) const {
  // Of each node the one that was heard last: what ran before it is no replica any more.
  std::map<uint32_t, const Sender*> last;
  for (const auto& [incarnation, sender] : senders_) {
    const Sender*& known = last[sender.node];
    if (known == nullptr || known->heard < sender.heard) known = &sender;
  }
  std::vector<BusPeer> peers;
  const auto tell = [&](const Sender& sender) {
    const std::string_view state = sender.state == State::kAlive  ? "alive"
                                   : sender.state == State::kLeft ? "left"
                                                                  : "silent";
    peers.push_back({sender.node, state, absl::Nanoseconds(now - sender.heard), sender.last});
  };
  for (const auto& [incarnation, sender] : senders_) {
    if (sender.state == State::kAlive) tell(sender);
  }
  for (const auto& [incarnation, sender] : senders_) {
    // What ran as this node before is not another replica.
    const bool is_last = last[sender.node] == &sender && sender.node != options_.node;
    if (sender.state != State::kAlive && is_last) tell(sender);
  }
  if (peers.size() > kBusPeersMax) peers.resize(kBusPeersMax);
  std::stable_sort(peers.begin(), peers.end(),
                   [](const BusPeer& a, const BusPeer& b) { return a.node < b.node; });
  return peers;
}

}  // namespace larder
