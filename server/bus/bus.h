// The bus tells the replicas of a fleet what changed. Messages arrive at every replica in the order
// of one log, at least once; a replica that missed some knows it. Thread safety: any method, any
// thread; none blocks. The listener is called on the executor, one call at a time, never under a
// lock.
//
// A change is told after it is in the tier that the fleet shares. Whoever hears of it drops its own
// older copy, so a message that comes twice, or late, does no harm.

#ifndef LARDER_BUS_BUS_H_
#define LARDER_BUS_BUS_H_

#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/task.h"
#include "core/version.h"

namespace larder {

// What happened to one key, for those who watch it.
struct KeyChange {
  enum class What : uint8_t {
    kUnknown = 0,  // it was put or removed; said by releases that did not know yet
    kPut = 1,
    kRemoved = 2,
    kRevised = 3,  // the same entry has other times
  };
  What what = What::kUnknown;
  // `tags` are all that the entry had before a removal.
  bool tags_known = false;
  // Its own version, where the message has one that is above those of several keys; else
  // kNoVersion.
  Version version = kNoVersion;
  std::string type;  // the name; empty: not known
  std::vector<std::string> tags;

  bool operator==(const KeyChange&) const = default;
};

struct BusMessage {
  enum class Kind : uint8_t {
    kChanged = 1,   // keys: full keys that have a new value or were removed, all at `version`
    kRule = 2,      // rule: an invalidation by anything else, in the engine's own form
    kReleased = 3,  // keys: fleet leases that were given back or fulfilled
    kRevised =
        4,  // keys: full keys whose entries of `version` have other times, and no other value
  };
  Kind kind = Kind::kChanged;
  Version version = kNoVersion;
  std::vector<std::string> keys;
  std::string rule;
  // Who sent it: filled in by the bus.
  uint32_t node = 0;
  // Of kChanged and kRevised: one for each key, in their order; or none where nothing is known.
  std::vector<KeyChange> changes = {};
  // Of kChanged: what a load brought, which is no change of what there is. False where a release
  // said it that did not know yet.
  bool loaded = false;
};

class BusListener {
 public:
  virtual ~BusListener() = default;
  // Messages of other replicas, in order. When it returns they have taken effect here.
  virtual void OnMessages(const std::vector<BusMessage>& messages) = 0;
  // Messages may have been missed, or the log cannot be followed any more (`why`, for people). From
  // here to the next OnFollowing nothing can be relied on: entries whose last check began before
  // that OnFollowing cannot be trusted. OnMessages may come in between.
  virtual void OnGap(std::string_view why) = 0;
  // What is published from now on is seen again: the log is being followed and nothing is known to
  // be missing since. Comes once at the start, and after every OnGap, often at once.
  virtual void OnFollowing() = 0;
  // The newest version that was made or heard of here; and one that was elsewhere. Called at any
  // time, from any thread, also under the bus's lock: one atomic each.
  virtual Version NewestVersion() const { return kNoVersion; }
  virtual void SawVersion(Version /*version*/) {}
};

// Who answered a PublishAndWait.
struct FleetAck {
  uint32_t replicas = 0;  // others that were alive when it was sent, those that left since excepted
  uint32_t acknowledged = 0;
  // The newest version that one of them knew of when it said so.
  Version newest = kNoVersion;
  // The message is in the log and who is alive was known, so that `replicas` is all of them.
  bool known = false;
  // Every replica that relies on what it was told has had the message.
  bool all() const { return known && acknowledged >= replicas; }
};

constexpr size_t kBusPeersMax = 256;

// Another replica, as far as it was heard. One that began again is the one that runs now.
struct BusPeer {
  uint32_t node = 0;
  // `alive`; `silent`: not heard any more, without goodbye; `left`: with one.
  std::string_view state;
  absl::Duration heard_ago;
  uint64_t frames = 0;  // that it has sent since its start
};

struct BusStats {
  std::string state;  // `following`, `behind`, `lost: ...`, `stopped`
  uint64_t published = 0;
  uint64_t publish_failed = 0;  // given up: the others see a gap
  uint64_t received = 0;        // messages of others
  uint64_t repeated = 0;        // came a second time
  uint64_t gaps = 0;
  uint64_t bad_messages = 0;   // could not be read; counts as a gap
  uint64_t append_errors = 0;  // attempts to write to the log that failed
  uint64_t read_errors = 0;
  uint64_t node_id_shared = 0;  // replicas found that use the node id of another live one
  uint64_t queued = 0;          // to be published, now
  uint32_t replicas = 0;        // others alive now
  // By node, at most kBusPeersMax. Those that are gone are told for as long as they are remembered.
  std::vector<BusPeer> peers;
  absl::Duration lag;  // of the last message: from its sending to its effect here
  absl::Duration lag_p99;
};

class Bus {
 public:
  virtual ~Bus() = default;

  // Begins to follow and to send heartbeats. `listener` outlives the bus. Once.
  virtual void Start(BusListener* listener) = 0;
  // Sends what is queued, as far as that goes before the deadline, says goodbye, and stops: the
  // listener is not called after it. DeadlineExceeded: not everything was sent, which the others
  // notice. Once.
  virtual Task<absl::Status> Stop(MonoNanos deadline) = 0;

  // Queues a message and returns. When it cannot be sent in the end, the other replicas learn that
  // they missed something.
  virtual void Publish(BusMessage message) = 0;
  // The same, and answers when every other live replica has said that it took effect there, or at
  // the deadline with those that did. For a short while after OnFollowing it waits until it is
  // certain who is alive.
  virtual Task<FleetAck> PublishAndWait(BusMessage message, MonoNanos deadline) = 0;

  // Until when (of the clock's Mono) what was told can be relied on. It moves on with every
  // heartbeat and lies in the past while nothing can be relied on. OnGap follows soon after it has
  // passed; a process that was stopped for a while, whose threads all go on at once, sees it here
  // first. One atomic load.
  virtual MonoNanos ReliableUntil() const { return std::numeric_limits<MonoNanos>::max(); }

  virtual BusStats Stats() const = 0;
};

}  // namespace larder

#endif  // LARDER_BUS_BUS_H_
