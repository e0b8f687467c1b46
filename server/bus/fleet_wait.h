// FleetWaits keeps the calls that wait until a message has taken effect on every other replica.
// Pure, not thread safe; the bus holds its lock. It wakes nobody itself: TakeDone hands out who is
// to be woken, once the lock is free.

#ifndef LARDER_BUS_FLEET_WAIT_H_
#define LARDER_BUS_FLEET_WAIT_H_

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "base/task.h"
#include "bus/bus.h"
#include "bus/frame.h"

namespace larder {

// One such call.
struct FleetWait {
  explicit FleetWait(Executor* executor) : done(executor) {}

  Signal<FleetAck> done;
  // The rest is FleetWaits'.
  uint64_t number = 0;  // of the frame that it went out in; 0: not yet
  bool echoed = false;  // the frame was read back from the log, so that who must answer is known
  bool answered = false;
  std::set<uint64_t> outstanding;
  FleetAck ack;
};

class FleetWaits {
 public:
  using List = std::vector<std::shared_ptr<FleetWait>>;

  // Their message goes out in frame `number`.
  void Sent(uint64_t number, const List& waits);
  // Frame `number` was read back while `alive` were alive; what was sent before it and was not read
  // back is lost.
  void Echoed(uint64_t number, const std::vector<uint64_t>& alive);
  // `newest`: the version that it said so at.
  void Acknowledged(const FrameAck& ack, uint64_t by, Version newest = kNoVersion);
  // `incarnation` turned out to have been alive all the time.
  void Missed(uint64_t incarnation);
  void Vanished(uint64_t incarnation) { Remove(incarnation, false); }
  // It serves nobody any more, so nobody has to wait for it.
  void Left(uint64_t incarnation) { Remove(incarnation, true); }
  // Answers those who wait for nobody any more.
  void AnswerComplete();
  // Answers as it stands. `sure`: all who are alive are known. `alive`: how many they are now, for
  // a frame that was not read back.
  void Answer(const std::shared_ptr<FleetWait>& wait, bool sure, size_t alive);
  void AnswerFrame(uint64_t number, size_t alive);
  void AnswerAll(size_t alive);

  using Done = std::vector<std::pair<std::shared_ptr<FleetWait>, FleetAck>>;
  Done TakeDone() { return std::exchange(done_, {}); }
  // Calls that were sent and not answered.
  size_t size() const { return waits_.size(); }

 private:
  using Waits = std::multimap<uint64_t, std::shared_ptr<FleetWait>>;

  void Remove(uint64_t incarnation, bool left);
  Waits::iterator Finish(Waits::iterator place, bool sure, size_t alive);

  Waits waits_;          // by the number of their frame
  uint64_t echoed_ = 0;  // all up to this number were read back, or never will be
  bool may_be_complete_ = false;
  Done done_;
};

}  // namespace larder

#endif  // LARDER_BUS_FLEET_WAIT_H_
