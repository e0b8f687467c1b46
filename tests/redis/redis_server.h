// Real redis-server processes for tests: alone, a master with replicas behind Sentinels, a Cluster.
// Each listens on a free port of 127.0.0.1, keeps its files in a temporary directory, and is killed
// when its object or the thread that made it ends. Everything here blocks, and aborts the test when
// a server does not start or what it waits for does not happen in 90 s. Thread safety: none.

#ifndef LARDER_TESTS_REDIS_REDIS_SERVER_H_
#define LARDER_TESTS_REDIS_REDIS_SERVER_H_

#include <sys/types.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tests/base/free_port.h"

namespace larder {

// Until `condition` holds; aborts with `what` when it does not within 90 s. Polls: other processes
// give no event.
void WaitUntil(const std::string& what, const std::function<bool()>& condition);

class RedisServer {
 public:
  enum class Kind { kServer, kSentinel };

  // `config`: lines of redis.conf, such as "maxmemory 10mb".
  explicit RedisServer(std::vector<std::string> config = {}, Kind kind = Kind::kServer);
  ~RedisServer();
  RedisServer(const RedisServer&) = delete;
  RedisServer& operator=(const RedisServer&) = delete;

  int port() const { return port_; }
  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }
  pid_t pid() const { return pid_; }
  const std::string& directory() const { return directory_; }

  // kill -9, and wait for the end.
  void Kill();
  // Starts it again after Kill, on its port, with what is on its disk. `wait` false: returns when
  // the process runs, whether or not it answers.
  void Start(bool wait = true);
  // SIGSTOP and SIGCONT.
  void Freeze();
  void Thaw();

  // Sends one command, on a connection of its own, and returns the answer as text: integers and
  // errors too, items of arrays on lines of their own, "(nil)" for nil. "(no answer)" when the
  // server cannot be reached. Logs in with `password_for_run` when it is set.
  std::string Run(const std::vector<std::string>& args) const;
  // One field of INFO; empty when it is not there.
  std::string Info(const std::string& field) const;
  std::string password_for_run;

 private:
  bool TryStart(bool wait);

  const Kind kind_;
  const std::vector<std::string> config_;
  std::string directory_;
  int port_ = 0;
  pid_t pid_ = -1;
};

// A master `larder-test`, one replica, three Sentinels with a quorum of two. The servers keep their
// parts, however slow the machine is, until LetReplicaTakeOver.
class RedisSentinelServers {
 public:
  // `config` of both servers; `sentinel_config` of the Sentinels.
  explicit RedisSentinelServers(const std::vector<std::string>& config = {},
                                const std::vector<std::string>& sentinel_config = {});

  static constexpr const char* kMasterName = "larder-test";
  std::vector<std::string> addresses() const;
  RedisServer& server(int i) { return *servers_[static_cast<size_t>(i)]; }  // 0: the first master
  RedisServer& sentinel(int i) { return *sentinels_[static_cast<size_t>(i)]; }
  // From now on the Sentinels take a master for dead after half a second.
  void LetReplicaTakeOver();
  // Of the master that the Sentinels name.
  int MasterPort();

 private:
  std::vector<std::unique_ptr<RedisServer>> servers_;
  std::vector<std::unique_ptr<RedisServer>> sentinels_;
};

// A Cluster of three masters (0 to 2) with a replica each (3 to 5). They keep their parts, however
// slow the machine is, until LetReplicasTakeOver.
class RedisClusterServers {
 public:
  explicit RedisClusterServers(const std::vector<std::string>& config = {});

  std::vector<std::string> addresses() const;
  RedisServer& node(int i) { return *nodes_[static_cast<size_t>(i)]; }
  std::string id(int i) const { return ids_[static_cast<size_t>(i)]; }
  // Index of the master that serves the slot, as node `asked` sees it; -1: none that runs.
  int OwnerOf(int slot, int asked = 0);
  // Moves a slot without keys to another master.
  void MoveSlot(int slot, int from, int to);
  // Marks a slot as on its way, so that keys which `from` does not have are asked for at `to`.
  void BeginMigration(int slot, int from, int to);
  void WaitUntilOk();
  // From now on a node is taken for dead after a second, and its replica becomes a master.
  void LetReplicasTakeOver();
  // How often each master reads from its connections while `work` is done: the fewest of ten times,
  // because replicas and clients' looks at the topology come in between now and then.
  std::vector<int> FewestReads(const std::function<void()>& work);

 private:
  void SetOnAll(const std::string& name, const std::string& value);

  std::vector<std::unique_ptr<RedisServer>> nodes_;
  std::vector<std::string> ids_;
};

}  // namespace larder

#endif  // LARDER_TESTS_REDIS_REDIS_SERVER_H_
