// Roster is what one replica knows of the others from their frames: who is alive, up to which frame
// each was heard, and what must be missing. Pure: it takes the time as an argument. Not thread
// safe; the bus holds its lock.

#ifndef LARDER_BUS_ROSTER_H_
#define LARDER_BUS_ROSTER_H_

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "base/clock.h"
#include "bus/frame.h"

namespace larder {

class Roster {
 public:
  struct Options {
    uint32_t node = 0;  // our own
    // A replica that was not heard for this long is gone.
    absl::Duration alive = absl::Seconds(2);
    // Replicas that are gone are remembered for this long, and at most so many of them all.
    absl::Duration remember = absl::Minutes(10);
    size_t senders_max = 4096;
  };

  // What hearing a frame, or nothing, comes to.
  struct Verdict {
    bool fresh = false;           // the frame was not heard before: its messages count
    std::string gap;              // not empty: something was missed, and what
    std::vector<uint64_t> gone;   // incarnations that were alive and vanished
    uint64_t left = 0;            // the incarnation that said goodbye; 0 is none
    uint64_t joined = 0;          // the incarnation that was not alive and is now; 0 is none
    bool node_id_shared = false;  // its node id is used by another live replica; told once each
  };

  explicit Roster(const Options& options) : options_(options) {}

  // A frame of another replica, in the order of the log. While `judge` is false the log is not
  // followed yet, so that nothing counts as missed: the frame only says where its sender is.
  Verdict Hear(const Frame& frame, MonoNanos now, bool judge);
  // Looks for replicas that have fallen silent. A replica counts from `steady_since` on when it was
  // heard before: nobody can be heard while the log is slow.
  Verdict FindSilent(MonoNanos now, MonoNanos steady_since);

  // The unbroken run of frames of `incarnation` that were heard last.
  FrameAck RunOf(uint64_t incarnation) const;
  // The frames of `run` have taken effect; `acknowledge`: their sender wants to know.
  void TookEffect(const FrameAck& run, bool acknowledge, MonoNanos now);
  // What has taken effect of the senders that wanted to know of late. An acknowledgement may get
  // lost, so it is repeated for as long as a replica counts as alive.
  std::vector<FrameAck> AcksDue(MonoNanos now) const;

  std::vector<uint64_t> Alive() const;
  size_t alive() const { return alive_; }
  // One for each node, those alive first to be told; two where two of a node are alive. By node.
  std::vector<BusPeer> Peers(MonoNanos now) const;

 private:
  enum class State { kAlive, kSilent, kLeft };
  static constexpr size_t kChecks = 16;

  struct Sender {
    uint32_t node = 0;
    State state = State::kSilent;
    uint64_t run_from = 0;
    uint64_t last = 0;
    MonoNanos heard = 0;
    // Another incarnation with the same node id began after this one: it should be dead.
    bool superseded = false;
    int frames_since = 0;
    // Checks of the last frames, by number: a frame that comes again has the same.
    std::array<uint64_t, kChecks> checks = {};
    FrameAck effect;
    MonoNanos acknowledge_until = 0;
  };

  void Meet(const Frame& frame, Sender* sender, bool judge, Verdict* verdict);
  void Repeated(const Frame& frame, const Sender& sender, bool judge, Verdict* verdict);
  void SetState(Sender* sender, State state);
  void Forget(MonoNanos now);

  const Options options_;
  std::map<uint64_t, Sender> senders_;
  size_t alive_ = 0;
};

}  // namespace larder

#endif  // LARDER_BUS_ROSTER_H_
