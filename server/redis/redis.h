// Redis talks to one Redis installation: a server, a master behind Sentinels, or a Cluster.
// Thread safety: any method, any thread. Nothing blocks: commands are handed to the thread that
// owns the connections, many commands share a connection (pipelined), and the awaiting task goes on
// on the executor. Errors: UNAVAILABLE (no connection, queue full, LOADING, failover under way),
// DEADLINE_EXCEEDED (no answer in time; the command may still be carried out), RESOURCE_EXHAUSTED
// (OOM), PERMISSION_DENIED (NOAUTH, NOPERM, WRONGPASS), INTERNAL (any other error reply, with its
// text). An error reply is an error, never a RedisReply. Connections are made and made again behind
// the scenes; a lost one fails the commands that were sent on it, because nobody knows which of
// them were carried out. Only redirections of a Cluster and missing scripts are followed; nothing
// else is sent twice. Also INVALID_ARGUMENT: an empty command, a cursor that is none.
//
// Commands of one key that are sent one after the other arrive in that order. Before the first
// answer of a Sentinel or a Cluster, while a slot moves, and while a script is loaded, one that is
// still under way may be overtaken; who cannot have that awaits it.

#ifndef LARDER_REDIS_REDIS_H_
#define LARDER_REDIS_REDIS_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/executor.h"
#include "base/random.h"
#include "base/task.h"

namespace larder {

// One command: arguments with lengths, so that any byte may be in them.
struct RedisCommand {
  std::vector<std::string> args;
  // The argument whose hash slot says which node of a Cluster it goes to.
  size_t key_at = 1;
};

struct RedisReply {
  enum class Kind : uint8_t { kNil, kInteger, kString, kArray };
  Kind kind = Kind::kNil;
  int64_t integer = 0;
  std::string text;  // of strings, and of simple strings such as OK
  std::vector<RedisReply> items;
};

// A script that runs on the server in one step. It is loaded where it is missing (NOSCRIPT).
struct RedisScript {
  // Lua; must outlive the Redis. Its SHA-1 is worked out once.
  explicit RedisScript(std::string_view source);
  const std::string_view source;
  const std::string sha1;
};

// A place in a SCAN over all nodes.
struct RedisScanPage {
  std::vector<std::string> keys;
  std::string cursor;  // empty: over
};

struct RedisStats {
  uint64_t commands = 0;
  uint64_t errors = 0;  // of any kind
  uint64_t timeouts = 0;
  uint64_t connects = 0;  // connections that came up
  uint64_t disconnects = 0;
  uint64_t redirections = 0;  // MOVED and ASK followed
  uint64_t topology_changes = 0;
  uint64_t refused = 0;  // because a queue was full
  uint64_t pending = 0;  // now
  int connected = 0;     // connections that are up now
  int nodes = 0;         // known masters
  std::string state;     // `ok`, or the last error
};

class Redis {
 public:
  enum class Topology : uint8_t { kSingle, kSentinel, kCluster };

  struct Options {
    Topology topology = Topology::kSingle;
    // host:port, 1 to 100; of Sentinels or of Cluster nodes to begin with in those topologies.
    std::vector<std::string> addresses;
    std::string master_name;  // kSentinel
    std::string user;         // empty: the default user
    // Read again for each connection, so that a rotated password needs no restart. Empty: none.
    std::string password_file;
    std::string sentinel_password_file;
    int database = 0;  // kSingle and kSentinel
    bool tls = false;
    std::string tls_ca_file;    // empty: the system's
    std::string tls_cert_file;  // for mutual TLS
    std::string tls_key_file;
    std::string tls_server_name;
    int connections_per_node = 2;  // 1 to 64
    // Commands without an answer, also those whose caller has gone. 1 to 10 million.
    size_t pending_per_connection_max = 10'000;
    // Of all requests without an answer. 1 KiB to 1 TiB.
    uint64_t pending_bytes_max = 64 << 20;
    // Of one attempt, with the greeting; commands wait for it. 1 ms to 1 h.
    absl::Duration connect_timeout = absl::Seconds(1);
    // Between attempts to connect, doubling from the first to the second, with jitter; meanwhile
    // commands fail at once. 1 ms to 1 h.
    absl::Duration reconnect_min = absl::Milliseconds(20);
    absl::Duration reconnect_max = absl::Seconds(2);
    // Nothing moved on a connection for so long while commands wait for answers: it is given up and
    // made again. An idle one asks PING that often. 100 ms to 1 h.
    absl::Duration silence_max = absl::Seconds(3);
    // Of one answer; a connection that brings more is ended. 1 MiB to 4 GiB.
    uint64_t reply_bytes_max = 512 << 20;
    // Between two questions about the topology: at least this long, however many errors ask for
    // one, and at most `topology_poll` when none does. 10 ms to 10 s, and to 10 min.
    absl::Duration topology_pause = absl::Milliseconds(100);
    absl::Duration topology_poll = absl::Seconds(5);
    int redirections_max = 5;  // of one command, 0 to 16
    size_t lanes_max = 16;     // of CallBlocking, 1 to 1,024
    Random* random = Random::System();
    Clock* clock = Clock::System();
    Executor* executor = nullptr;  // where tasks go on
  };

  // InvalidArgument: options that cannot work, such as TLS with a hiredis that has none. Does not
  // wait for a connection.
  static absl::StatusOr<std::unique_ptr<Redis>> New(const Options& options);
  // Answers what is under way with UNAVAILABLE and joins the thread.
  virtual ~Redis() = default;

  // `deadline` is of clock->Mono().
  virtual Task<absl::StatusOr<RedisReply>> Call(RedisCommand command, MonoNanos deadline) = 0;
  // One answer each, in order. Commands for the same node travel at the same time: one round trip a
  // node, redirections apart. More than pending_per_connection_max for one connection are refused.
  virtual Task<std::vector<absl::StatusOr<RedisReply>>> CallMany(std::vector<RedisCommand> commands,
                                                                 MonoNanos deadline) = 0;
  // The same for commands that change nothing and need not wait their turn: they may overtake a
  // change of their key that is still under way. What goes to one node goes on one connection, one
  // write and one read on either side, however many connections there are.
  virtual Task<std::vector<absl::StatusOr<RedisReply>>> ReadMany(std::vector<RedisCommand> commands,
                                                                 MonoNanos deadline) = 0;
  // args of each command: the keys, then the other arguments (without the count of keys).
  struct ScriptCall {
    std::vector<std::string> keys;  // of one slot
    std::vector<std::string> args;
  };
  virtual Task<std::vector<absl::StatusOr<RedisReply>>> RunMany(const RedisScript* script,
                                                                std::vector<ScriptCall> calls,
                                                                MonoNanos deadline) = 0;
  // The command to every master: one answer each, in no order; one error when none is known.
  virtual Task<std::vector<absl::StatusOr<RedisReply>>> CallMasters(RedisCommand command,
                                                                    MonoNanos deadline) = 0;
  // Walks the keys that match the Redis glob `match` with SCAN, over all masters, in steps of about
  // `count`. `cursor` empty: from the start. What moves with its slot to another master during the
  // walk is walked there, and may come twice; keys that are on their way may be missing.
  virtual Task<absl::StatusOr<RedisScanPage>> Scan(std::string cursor, std::string match,
                                                   size_t count, MonoNanos deadline) = 0;
  // A command that may wait on the server (XREAD BLOCK): on a connection of its own to the node
  // that holds its key, one at a time per `lane` name; FAILED_PRECONDITION when the lane is busy,
  // or one lane too many. One that runs out of time may still be carried out, its answer lost.
  virtual Task<absl::StatusOr<RedisReply>> CallBlocking(std::string lane, RedisCommand command,
                                                        MonoNanos deadline) = 0;

  virtual RedisStats Stats() const = 0;
  // That of Stats alone, which is cheap.
  virtual uint64_t disconnects() const = 0;
};

// The slot of a key in a Cluster, hash tags included.
uint16_t RedisSlot(std::string_view key);

}  // namespace larder

#endif  // LARDER_REDIS_REDIS_H_
