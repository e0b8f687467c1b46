#include "tests/redis/redis_server.h"

#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <limits>
#include <sstream>
#include <thread>

namespace larder {
namespace {

constexpr auto kPatience = std::chrono::seconds(90);
constexpr int kStartsMax = 20;

[[noreturn]] void GiveUp(const std::string& what) {
  std::cerr << "redis for the test: " << what << std::endl;
  std::abort();
}

std::string TextOf(const redisReply* reply) {
  switch (reply->type) {
    case REDIS_REPLY_INTEGER:
      return std::to_string(reply->integer);
    case REDIS_REPLY_NIL:
      return "(nil)";
    case REDIS_REPLY_ARRAY: {
      std::string text;
      for (size_t i = 0; i < reply->elements; ++i) {
        text += (i == 0 ? "" : "\n") + TextOf(reply->element[i]);
      }
      return text;
    }
    default:
      return {reply->str, reply->len};
  }
}

std::string Ask(redisContext* context, const std::vector<std::string>& args) {
  std::vector<const char*> argv;
  std::vector<size_t> lengths;
  for (const std::string& arg : args) {
    argv.push_back(arg.data());
    lengths.push_back(arg.size());
  }
  auto* reply = static_cast<redisReply*>(
      redisCommandArgv(context, static_cast<int>(argv.size()), argv.data(), lengths.data()));
  if (reply == nullptr) return "(no answer)";
  std::string text = TextOf(reply);
  freeReplyObject(reply);
  return text;
}

// Runs the program with its configuration; it dies with this thread.
pid_t Spawn(RedisServer::Kind kind, const std::string& config, const std::string& log) {
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid != 0) return pid;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(1);
  // A test binary may hold signals back, which a child inherits.
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  const int out = open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  dup2(out, STDOUT_FILENO);
  dup2(out, STDERR_FILENO);
  const char* const program =
      kind == RedisServer::Kind::kSentinel ? "redis-sentinel" : "redis-server";
  execlp(program, program, config.c_str(), nullptr);
  _exit(127);
}

}  // namespace

void WaitUntil(const std::string& what, const std::function<bool()>& condition) {
  const auto end = std::chrono::steady_clock::now() + kPatience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) GiveUp("waited in vain: " + what);
    // Other processes give no event that could be waited for.
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

RedisServer::RedisServer(std::vector<std::string> config, Kind kind)
    : kind_(kind), config_(std::move(config)) {
  std::string name = (std::filesystem::temp_directory_path() / "larder-redis-XXXXXX").string();
  if (mkdtemp(name.data()) == nullptr) GiveUp("no temporary directory");
  directory_ = name;
  for (int i = 0; i < kStartsMax; ++i) {
    port_ = FreePort();
    if (TryStart(true)) return;
  }
  std::ifstream log(directory_ + "/log");
  std::ostringstream text;
  text << log.rdbuf();
  GiveUp("the server does not start:\n" + text.str());
}

RedisServer::~RedisServer() {
  Kill();
  std::error_code ignored;
  std::filesystem::remove_all(directory_, ignored);
}

bool RedisServer::TryStart(bool wait) {
  const std::string path = directory_ + "/redis.conf";
  // Sentinels and nodes of a Cluster write into their files what they learn.
  if (kind_ == Kind::kServer || !std::filesystem::exists(path)) {
    std::ofstream file(path, std::ios::trunc);
    file << "port " << port_ << "\nbind 127.0.0.1\ndir " << directory_ << "\nsave \"\"\n";
    bool cluster = false;
    for (const std::string& line : config_) {
      file << line << "\n";
      cluster |= line.rfind("cluster-enabled yes", 0) == 0;
    }
    if (cluster) file << "cluster-port " << FreePort() << "\n";
  }
  pid_ = Spawn(kind_, path, directory_ + "/log");
  if (!wait) return true;
  bool ended = false;
  WaitUntil("redis-server answers", [&] {
    if (Run({"PING"}) != "(no answer)") return true;
    ended = waitpid(pid_, nullptr, WNOHANG) == pid_;
    return ended;
  });
  if (!ended) return true;
  pid_ = -1;
  // A Sentinel's file holds the port that was taken.
  std::error_code ignored;
  std::filesystem::remove(path, ignored);
  return false;
}

void RedisServer::Kill() {
  if (pid_ <= 0) return;
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

void RedisServer::Start(bool wait) {
  if (!TryStart(wait)) GiveUp("the server does not start again on its port");
}

void RedisServer::Freeze() {
  kill(pid_, SIGSTOP);
  int status = 0;
  waitpid(pid_, &status, WUNTRACED);
}
void RedisServer::Thaw() { kill(pid_, SIGCONT); }

std::string RedisServer::Run(const std::vector<std::string>& args) const {
  redisContext* const context = redisConnectWithTimeout("127.0.0.1", port_, {5, 0});
  if (context == nullptr) return "(no answer)";
  std::string answer = "(no answer)";
  if (context->err == 0) {
    redisSetTimeout(context, {5, 0});
    if (!password_for_run.empty()) Ask(context, {"AUTH", password_for_run});
    answer = Ask(context, args);
  }
  redisFree(context);
  return answer;
}

std::string RedisServer::Info(const std::string& field) const {
  const std::string text = "\n" + Run({"INFO", "everything"});
  const size_t at = text.find("\n" + field + ":");
  if (at == std::string::npos) return {};
  const size_t begin = at + field.size() + 2;
  return text.substr(begin, text.find_first_of("\r\n", begin) - begin);
}

// ---- Sentinels

RedisSentinelServers::RedisSentinelServers(const std::vector<std::string>& config,
                                           const std::vector<std::string>& sentinel_config) {
  std::vector<std::string> replica = config;
  replica.emplace_back("repl-diskless-sync-delay 0");
  servers_.push_back(std::make_unique<RedisServer>(replica));
  replica.push_back("replicaof 127.0.0.1 " + std::to_string(servers_[0]->port()));
  servers_.push_back(std::make_unique<RedisServer>(replica));
  const std::string name = kMasterName;
  std::vector<std::string> lines = {
      "sentinel monitor " + name + " 127.0.0.1 " + std::to_string(servers_[0]->port()) + " 2",
      // No machine that stalls may make the replica a master before the test has begun.
      "sentinel down-after-milliseconds " + name + " 30000",
      "sentinel failover-timeout " + name + " 1000",
  };
  lines.insert(lines.end(), sentinel_config.begin(), sentinel_config.end());
  for (int i = 0; i < 3; ++i) {
    sentinels_.push_back(std::make_unique<RedisServer>(lines, RedisServer::Kind::kSentinel));
    // The Sentinels of a password are asked with it too.
    for (const std::string& line : sentinel_config) {
      if (line.rfind("requirepass ", 0) == 0) sentinels_[i]->password_for_run = line.substr(12);
    }
    // They look at each other every few seconds otherwise, and a test would wait for that.
    sentinels_[i]->Run({"SENTINEL", "DEBUG", "INFO-PERIOD", "100", "PING-PERIOD", "100",
                        "ASK-PERIOD", "100", "PUBLISH-PERIOD", "100", "ELECTION-TIMEOUT", "1000"});
  }
  for (const auto& sentinel : sentinels_) {
    WaitUntil("the Sentinels know each other and the replica", [&] {
      const std::string text = "\n" + sentinel->Run({"SENTINEL", "MASTER", name}) + "\n";
      return text.find("\nnum-other-sentinels\n2\n") != std::string::npos &&
             text.find("\nnum-slaves\n1\n") != std::string::npos;
    });
    WaitUntil("the Sentinels see the replica in step", [&] {
      const std::string text = "\n" + sentinel->Run({"SENTINEL", "REPLICAS", name}) + "\n";
      return text.find("\nmaster-link-status\nok\n") != std::string::npos;
    });
  }
  // Four times this is how long a new master has to be known by all, or they make it a replica
  // again.
  for (const auto& sentinel : sentinels_) {
    sentinel->Run({"SENTINEL", "DEBUG", "PUBLISH-PERIOD", "1000"});
  }
}

void RedisSentinelServers::LetReplicaTakeOver() {
  for (const auto& sentinel : sentinels_) {
    if (sentinel->pid() <= 0) continue;
    const std::string answer =
        sentinel->Run({"SENTINEL", "SET", kMasterName, "down-after-milliseconds", "500"});
    if (answer != "OK") GiveUp("SENTINEL SET: " + answer);
  }
}

std::vector<std::string> RedisSentinelServers::addresses() const {
  std::vector<std::string> all;
  for (const auto& sentinel : sentinels_) all.push_back(sentinel->address());
  return all;
}

int RedisSentinelServers::MasterPort() {
  for (const auto& sentinel : sentinels_) {
    if (sentinel->pid() <= 0) continue;
    const std::string text = sentinel->Run({"SENTINEL", "GET-MASTER-ADDR-BY-NAME", kMasterName});
    const size_t at = text.find('\n');
    if (at != std::string::npos) return std::atoi(text.c_str() + at + 1);
  }
  return 0;
}

// ---- Cluster

RedisClusterServers::RedisClusterServers(const std::vector<std::string>& config) {
  // With a short time they find each other soon, but no machine that stalls may make a replica a
  // master before the tests have begun.
  std::vector<std::string> lines = {
      "cluster-enabled yes", "cluster-node-timeout 1000", "cluster-replica-no-failover yes",
      "cluster-replica-validity-factor 0", "repl-diskless-sync-delay 0"};
  lines.insert(lines.end(), config.begin(), config.end());
  for (int i = 0; i < 6; ++i) {
    nodes_.push_back(std::make_unique<RedisServer>(lines));
    ids_.push_back(nodes_.back()->Run({"CLUSTER", "MYID"}));
    nodes_.back()->Run({"CLUSTER", "SET-CONFIG-EPOCH", std::to_string(i + 1)});
  }
  const int bounds[] = {0, 5461, 10923, 16384};
  for (int i = 0; i < 3; ++i) {
    node(i).Run(
        {"CLUSTER", "ADDSLOTSRANGE", std::to_string(bounds[i]), std::to_string(bounds[i + 1] - 1)});
  }
  for (int i = 1; i < 6; ++i) {
    const size_t at = static_cast<size_t>(i);
    std::string bus;
    std::ifstream file(nodes_[at]->directory() + "/redis.conf");
    for (std::string line; std::getline(file, line);) {
      if (line.rfind("cluster-port ", 0) == 0) bus = line.substr(13);
    }
    node(0).Run({"CLUSTER", "MEET", "127.0.0.1", std::to_string(node(i).port()), bus});
  }
  for (int i = 3; i < 6; ++i) {
    WaitUntil("the replica is one",
              [&] { return node(i).Run({"CLUSTER", "REPLICATE", id(i - 3)}) == "OK"; });
  }
  WaitUntilOk();
  for (int i = 3; i < 6; ++i) {
    WaitUntil("the replica is in step", [&] { return node(i).Info("master_link_status") == "up"; });
  }
  SetOnAll("cluster-node-timeout", "30000");
}

void RedisClusterServers::LetReplicasTakeOver() {
  SetOnAll("cluster-node-timeout", "1000");
  SetOnAll("cluster-replica-no-failover", "no");
}

void RedisClusterServers::SetOnAll(const std::string& name, const std::string& value) {
  for (const auto& each : nodes_) {
    const std::string answer = each->Run({"CONFIG", "SET", name, value});
    if (answer != "OK") GiveUp("CONFIG SET " + name + ": " + answer);
  }
}

std::vector<std::string> RedisClusterServers::addresses() const {
  std::vector<std::string> all;
  for (const auto& node : nodes_) all.push_back(node->address());
  return all;
}

void RedisClusterServers::WaitUntilOk() {
  for (const auto& node : nodes_) {
    if (node->pid() <= 0) continue;
    WaitUntil("the cluster is ok", [&] {
      const std::string text = node->Run({"CLUSTER", "INFO"});
      return text.find("cluster_state:ok") != std::string::npos &&
             text.find("cluster_known_nodes:6") != std::string::npos;
    });
  }
}

std::vector<int> RedisClusterServers::FewestReads(const std::function<void()>& work) {
  // The question is read, and so is the end of its connection.
  constexpr int kOfAQuestion = 2;
  std::vector<int> fewest(3, std::numeric_limits<int>::max());
  for (int round = 0; round < 10; ++round) {
    std::vector<int> before;
    for (int i = 0; i < 3; ++i) before.push_back(std::stoi(node(i).Info("total_reads_processed")));
    work();
    for (int i = 0; i < 3; ++i) {
      const int reads = std::stoi(node(i).Info("total_reads_processed")) - before[i] - kOfAQuestion;
      fewest[i] = std::min(fewest[i], reads);
    }
  }
  return fewest;
}

int RedisClusterServers::OwnerOf(int slot, int asked) {
  // Lines of `first last ip port id ...`, flat: the text is read number by number.
  redisContext* const context = redisConnectWithTimeout("127.0.0.1", node(asked).port(), {5, 0});
  if (context == nullptr || context->err != 0) {
    if (context != nullptr) redisFree(context);
    return -1;
  }
  redisSetTimeout(context, {5, 0});
  int64_t port = -1;
  if (auto* reply = static_cast<redisReply*>(redisCommand(context, "CLUSTER SLOTS"))) {
    for (size_t i = 0; i < reply->elements; ++i) {
      redisReply** const range = reply->element[i]->element;
      if (range[0]->integer <= slot && slot <= range[1]->integer) {
        port = range[2]->element[1]->integer;
      }
    }
    freeReplyObject(reply);
  }
  redisFree(context);
  for (int i = 0; i < 6; ++i) {
    if (node(i).port() == port && node(i).pid() > 0) return i;
  }
  return -1;
}

void RedisClusterServers::BeginMigration(int slot, int from, int to) {
  node(to).Run({"CLUSTER", "SETSLOT", std::to_string(slot), "IMPORTING", id(from)});
  node(from).Run({"CLUSTER", "SETSLOT", std::to_string(slot), "MIGRATING", id(to)});
}

void RedisClusterServers::MoveSlot(int slot, int from, int to) {
  BeginMigration(slot, from, to);
  // Gossip from before may take it back for a moment: said again until everybody agrees.
  WaitUntil("the nodes agree on the slot", [&] {
    bool agreed = true;
    for (const int each : {to, from, 0}) {
      if (OwnerOf(slot, each) == to) continue;
      agreed = false;
      node(each).Run({"CLUSTER", "SETSLOT", std::to_string(slot), "NODE", id(to)});
    }
    return agreed;
  });
}

}  // namespace larder
