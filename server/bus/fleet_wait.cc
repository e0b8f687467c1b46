// Whom to wait for is settled when the sender reads its own frame back, not when it sends it: by
// then it has read everything that lies before the frame in the log, the hello of a replica that it
// did not know yet included. Who joins behind the frame begins to rely on what it holds after the
// change was made, and needs no telling.

#include "bus/fleet_wait.h"

namespace larder {

void FleetWaits::Sent(uint64_t number, const List& waits) {
  for (const std::shared_ptr<FleetWait>& wait : waits) {
    if (wait->answered) continue;
    wait->number = number;
    waits_.emplace(number, wait);
  }
}

void FleetWaits::Echoed(uint64_t number, const std::vector<uint64_t>& alive) {
  for (auto it = waits_.upper_bound(echoed_); it != waits_.end() && it->first <= number;) {
    if (it->first < number) {
      it = Finish(it, false, alive.size());
      continue;
    }
    FleetWait& wait = *it->second;
    wait.echoed = true;
    wait.outstanding.insert(alive.begin(), alive.end());
    wait.ack.replicas = static_cast<uint32_t>(alive.size());
    may_be_complete_ |= alive.empty();
    ++it;
  }
  echoed_ = number;
}

void FleetWaits::Acknowledged(const FrameAck& ack, uint64_t by, Version newest) {
  const auto end = waits_.upper_bound(ack.to);
  for (auto it = waits_.lower_bound(ack.from); it != end; ++it) {
    FleetWait& wait = *it->second;
    if (wait.outstanding.erase(by) == 0) continue;
    ++wait.ack.acknowledged;
    wait.ack.newest = std::max(wait.ack.newest, newest);
    may_be_complete_ |= wait.outstanding.empty();
  }
}

void FleetWaits::Missed(uint64_t incarnation) {
  for (auto& [number, wait] : waits_) {
    if (wait->echoed && wait->outstanding.insert(incarnation).second) ++wait->ack.replicas;
  }
}

void FleetWaits::Remove(uint64_t incarnation, bool left) {
  for (auto& [number, wait] : waits_) {
    if (wait->outstanding.erase(incarnation) == 0) continue;
    if (left) --wait->ack.replicas;
    may_be_complete_ |= wait->outstanding.empty();
  }
}

void FleetWaits::AnswerComplete() {
  if (!std::exchange(may_be_complete_, false)) return;
  for (auto it = waits_.begin(); it != waits_.end();) {
    const FleetWait& wait = *it->second;
    it = wait.echoed && wait.outstanding.empty() ? Finish(it, true, 0) : std::next(it);
  }
}

void FleetWaits::Answer(const std::shared_ptr<FleetWait>& wait, bool sure, size_t alive) {
  if (wait->answered) return;
  const auto [begin, end] = waits_.equal_range(wait->number);
  for (auto it = begin; it != end; ++it) {
    if (it->second != wait) continue;
    Finish(it, sure, alive);
    return;
  }
  wait->answered = true;
  wait->ack.replicas = static_cast<uint32_t>(alive);
  done_.emplace_back(wait, wait->ack);
}

void FleetWaits::AnswerFrame(uint64_t number, size_t alive) {
  const auto end = waits_.upper_bound(number);
  for (auto it = waits_.lower_bound(number); it != end;) it = Finish(it, false, alive);
}

void FleetWaits::AnswerAll(size_t alive) {
  for (auto it = waits_.begin(); it != waits_.end();) it = Finish(it, false, alive);
}

FleetWaits::Waits::iterator FleetWaits::Finish(Waits::iterator place, bool sure, size_t alive) {
  FleetWait& wait = *place->second;
  wait.answered = true;
  wait.ack.known = sure && wait.echoed;
  if (!wait.echoed) wait.ack.replicas = static_cast<uint32_t>(alive);
  done_.emplace_back(place->second, wait.ack);
  return waits_.erase(place);
}

}  // namespace larder
