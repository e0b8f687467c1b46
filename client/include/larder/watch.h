// What Client::Watch follows, and what it tells: plain values, nothing to release.
//
// A stream tells of every change of the keys that it follows, on whichever replica it happens.
// Changes of one key need not come in the order of their versions, and one may come twice: the
// largest version counts. What leaves memory to make room is no change.

#ifndef LARDER_WATCH_H_
#define LARDER_WATCH_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/time/time.h"
#include "larder/options.h"

namespace larder {

struct WatchOptions {
  // Which keys; exactly one of these five is set.
  std::vector<std::string> keys = {};  // these; at most 1,000
  std::string prefix = {};             // those that begin with this
  std::vector<std::string> tags = {};  // entries with one of these tags; at most 16
  std::string type = {};               // entries of this data type
  bool all = false;                    // the whole namespace

  // True also tells of entries that expired in the replica's memory; see docs/api.md for what it
  // may miss.
  bool expirations = false;
  // True sends the value with a put, where the replica still has it.
  bool values = false;
  // Where an earlier stream of the same replica ended: the last one that it told. Empty = from now.
  // A replica that cannot go on from there answers RESUME_TOKEN_OLD: drop or check what you have,
  // and begin anew without one.
  std::string resume_token = {};
  // How often to hear from the server while nothing changes; 100 ms to 60 s.
  absl::Duration heartbeat = absl::Seconds(5);
  // A deadline, 1 ms to 24 h, ends the stream. Unset = none, and not the client's default.
  CallOptions call = {};
};

// What an invalidation by something else than keys covers.
struct WatchRule {
  // kUnspecified: a kind that this client does not know; it may cover any entry.
  enum class Kind { kUnspecified, kTag, kPrefix, kGlob, kType, kAll };

  Kind kind = Kind::kUnspecified;
  // The tag, prefix, glob or type.
  std::string match = {};
  // What it covers is not gone but stale, where its type serves stale values.
  bool stale = false;
};

struct WatchEvent {
  enum class Kind {
    kUnspecified,  // one that this client does not know
    kPut,          // a new version of a key: it was set, loaded or counted
    kInvalidated,  // this version of a key, or of what the rule covers, and all older ones are gone
    kExpired,      // a version outlived its TTL
    kHeartbeat,    // all that had happened when it was sent has been told
    kGap,          // changes were lost: what was learned from the stream cannot be trusted
  };

  Kind kind = Kind::kUnspecified;
  std::string key = {};
  // Of kGap: changes above it may have been missed.
  uint64_t version = 0;
  // Of kPut, when values were asked for and the replica has it.
  std::optional<std::string> value = {};
  // Of kInvalidated without a key.
  std::optional<WatchRule> rule = {};
  // Of kInvalidated with a key: the version is not gone, but has another TTL, which may be over.
  bool stale = false;
  // Of kGap: true while changes go on being lost, until a gap that says false.
  bool goes_on = false;
  // Of kHeartbeat: the server's time.
  absl::Time time = absl::UnixEpoch();
  // Where to resume after this event.
  std::string resume_token = {};
};

// As in the command line's output: "put", "heartbeat". The text lives for ever.
std::string_view Name(WatchEvent::Kind kind);
std::string_view Name(WatchRule::Kind kind);

// Hears the events one after the other. False ends the stream.
using WatchCallback = absl::AnyInvocable<bool(const WatchEvent&)>;

// How a stream ended that its hearer ended.
struct WatchEnd {
  // Where to resume; empty when nothing was told.
  std::string resume_token = {};
};

// A stream under way.
// Thread safety: any method, any thread, also inside callbacks. May outlive the client.
class WatchCall {
 public:
  virtual ~WatchCall() = default;
  // Ends the stream soon, as if its hearer had said false.
  virtual void Cancel() = 0;
};

}  // namespace larder

#endif  // LARDER_WATCH_H_
