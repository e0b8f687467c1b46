// Outbox holds the messages that wait to be sent and makes frames of them, numbered without holes
// but for messages that were given up: their absence must be seen. Pure, not thread safe; the bus
// holds its lock.

#ifndef LARDER_BUS_OUTBOX_H_
#define LARDER_BUS_OUTBOX_H_

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "base/clock.h"
#include "bus/fleet_wait.h"
#include "bus/frame.h"

namespace larder {

class Outbox {
 public:
  struct Options {
    size_t messages_max = 0;
    uint64_t bytes_max = 0;
    // Of one frame; one message may be larger.
    size_t frame_messages_max = 0;
    uint64_t frame_bytes_max = 0;
    // A message that waited this long is given up.
    absl::Duration give_up_after;
  };

  // What a frame is made of, besides its head.
  struct Content {
    uint64_t number = 0;
    MonoNanos made = 0;
    std::vector<EncodedMessage> messages;
    FleetWaits::List waits;
  };

  explicit Outbox(const Options& options) : options_(options) {}

  // False, and a hole: there is no room. `wait` may be null.
  bool Push(std::string message, std::shared_ptr<FleetWait> wait, MonoNanos now);
  // The next messages as a frame, perhaps none of them. Those that are too old are given up: their
  // waits go to `failed`.
  Content Take(MonoNanos now, FleetWaits::List* failed);
  // The frame `content` was given up. Whoever waits for it is told by the caller.
  void GaveUp(const Content& content) { given_up_ += content.messages.size(); }
  // Gives up everything that waits.
  void Clear(FleetWaits::List* failed);

  bool empty() const { return queue_.empty(); }
  size_t size() const { return queue_.size(); }
  uint64_t given_up() const { return given_up_; }
  // Every frame that is taken from now on has at least this number.
  uint64_t next_number() const { return next_number_; }

 private:
  struct Item {
    std::string bytes;
    std::shared_ptr<FleetWait> wait;
    MonoNanos queued;
  };

  void GiveUpFront(FleetWaits::List* failed);

  const Options options_;
  std::deque<Item> queue_;
  uint64_t queued_bytes_ = 0;
  uint64_t next_number_ = 1;
  // A message was given up that had no number yet: the next frame skips one.
  bool hole_ = false;
  uint64_t given_up_ = 0;
};

}  // namespace larder

#endif  // LARDER_BUS_OUTBOX_H_
