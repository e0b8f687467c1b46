// A frame is one item of the log: messages of one replica that were waiting together, with what the
// replicas tell each other about themselves. It is appended as a whole or not at all.
// Thread safety: values and pure functions.

#ifndef LARDER_BUS_FRAME_H_
#define LARDER_BUS_FRAME_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "bus/bus.h"

namespace larder {

// "The frames `from` to `to` of that incarnation have taken effect here, each of them."
struct FrameAck {
  uint64_t incarnation = 0;
  uint64_t from = 0;
  uint64_t to = 0;

  bool operator==(const FrameAck&) const = default;
};

struct FrameHead {
  uint32_t node = 0;
  // Drawn by lot when a process starts; says who sent it, where a node id only says its name.
  uint64_t incarnation = 0;
  // 1, 2, 3 and so on. A number that never comes is a frame that was lost or given up.
  uint64_t number = 0;
  absl::Time sent;          // wall time, to the microsecond
  MonoNanos sent_mono = 0;  // means something to its sender alone
  bool goodbye = false;     // the last frame: nothing is missing after it
  bool wants_ack = false;
  // That the sender had made or heard of; kNoVersion: not said.
  Version newest = kNoVersion;
  std::vector<FrameAck> acks;
};

struct FrameMessage {
  BusMessage message;
  absl::Time published;
};

struct Frame {
  FrameHead head;
  std::vector<FrameMessage> messages;
  // Of the bytes: two frames of one number with different checks are not the same frame.
  uint64_t check = 0;
};

// A message as it lies in a frame, all but the time it waited.
std::string EncodeMessage(const BusMessage& message);

struct EncodedMessage {
  std::string bytes;      // of EncodeMessage
  absl::Duration waited;  // from Publish to the frame's `sent`
};
std::string EncodeFrame(const FrameHead& head, const std::vector<EncodedMessage>& messages);

// Puts the check of a frame's bytes where it belongs, after the bytes were changed. For tests, too.
// REQUIRES: as long as the shortest frame.
void SealFrame(std::string* bytes);

// DataLoss: these bytes are no frame, or one of a later release.
absl::StatusOr<Frame> DecodeFrame(std::string_view bytes);

}  // namespace larder

#endif  // LARDER_BUS_FRAME_H_
