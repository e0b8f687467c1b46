// larderd as a process: start, refusal to start, health, shutdown.

#include <signal.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <thread>

#include "tests/admin/http_client.h"
#include "tests/e2e/fleet_fixture.h"
#include "tests/e2e/lane_fixture.h"

namespace larder {
namespace {

using ProcessTest = LaneFixture;

TEST_F(ProcessTest, HealthcheckFollowsTheServer) {
  EXPECT_EQ(RunLarderd({"healthcheck", "--address", server_.address()}).exit_code, 0);
  EXPECT_EQ(RunLarderd({"healthcheck", "--address", server_.address(), "--service", "liveness"})
                .exit_code,
            0);
  EXPECT_EQ(RunLarderd({"healthcheck", "--address", server_.address(), "--service", ""}).exit_code,
            0);
  const std::string address = server_.address();
  server_.Signal(SIGTERM);
  EXPECT_EQ(server_.Wait().exit_code, 0);
  const Ended gone = RunLarderd({"healthcheck", "--address", address, "--timeout", "0.3"});
  EXPECT_EQ(gone.exit_code, 1);
  EXPECT_NE(gone.err.find(address + " does not answer"), std::string::npos) << gone.err;
}

TEST_F(ProcessTest, SecondServerOnThePortIsRefusedWithASentence) {
  const Ended second = RunLarderd({"--set", "listen.grpc=" + server_.address()});
  EXPECT_EQ(second.exit_code, 1);
  EXPECT_NE(second.err.find("cannot listen on " + server_.address()), std::string::npos)
      << second.err;
  EXPECT_TRUE(Set("a", "1").ok());
}

// docs/operations.md lists them; gRPC names its own.
TEST(ProcessDirTest, ThreadsAreCalledWhatTheyAreFor) {
  const TempDir dir;
  const std::string file = dir.path() + "/larder.yaml";
  std::ofstream(file) << "l2: { rocksdb: { path: " << dir.path() << "/l2, threads: 1 } }\n"
                      << "journal: { path: " << dir.path() << "/journal }\n"
                      << "origins: { db: { sqlite: { path: " << dir.path() << "/db } } }\n"
                      << R"(
listen: { loops: 2 }
workers: { threads: 2 }
types:
  a:
    match: ["a:{id}"]
    origin: db
    sql: { load: "SELECT $key.id", store: "SELECT $value, $key.id, $version", delete: "SELECT $key.id, $version" }
    write: { mode: behind }
)";
  ServerProcess server({"--config", file});
  ASSERT_TRUE(server.running()) << server.Wait().err;
  const std::string tasks = "/proc/" + std::to_string(server.pid()) + "/task";
  const auto named = [&tasks] {
    std::map<std::string, int> names;
    std::error_code ended;  // a thread of which the folder is gone
    for (const auto& task : std::filesystem::directory_iterator(tasks, ended)) {
      std::string name;
      std::getline(std::ifstream(task.path() / "comm") >> std::ws, name);
      ++names[name];
    }
    return names;
  };
  // Each names itself when it first runs, which may be after the server is ready. Until then it is
  // called what the first one is.
  std::string wrong;
  EXPECT_TRUE(Eventually([&] {
    const std::map<std::string, int> names = named();
    wrong.clear();
    const auto count = [&names](const std::string& name) {
      const auto it = names.find(name);
      return it == names.end() ? 0 : it->second;
    };
    for (const char* name :
         {"worker-0", "worker-1", "worker-t", "disk", "native-0", "native-1", "accept", "admin",
          "admin-answer", "admin-act", "admin-history", "journal-write", "journal-read-0",
          "journal-read-1", "l2-write", "l2-read", "l2-sweep", "sqlite-read-0", "sqlite-write-0"}) {
      if (count(name) != 1) wrong += std::string(name) + ": " + std::to_string(count(name)) + "\n";
    }
    // The first one, and one of RocksDB's: whoever starts a thread and gives it no name adds to
    // them.
    if (count("larderd") > 2) wrong += "larderd: " + std::to_string(count("larderd")) + "\n";
    return wrong.empty();
  })) << wrong;
}

TEST(ProcessDirTest, OneAddressMayHaveThreeQuartersWhereNothingIsSaid) {
  const auto limit = [](const std::vector<std::string>& args) {
    const ServerProcess server(args);
    const std::string metrics = HttpGet(server.AdminAddress(), "/metrics");
    const std::string name = "\nlarder_calls_address_limit ";
    const size_t at = metrics.find(name);
    return at == metrics.npos
               ? ""
               : metrics.substr(at + name.size(), metrics.find('\n', at + 1) - at - name.size());
  };
  EXPECT_EQ(limit({}), "75000");
  EXPECT_EQ(limit({"--set", "limits.in_flight=1001"}), "750");
  EXPECT_EQ(limit({"--set", "limits.in_flight=1"}), "1");
  EXPECT_EQ(limit({"--set", "limits.in_flight_per_peer=100000"}), "100000");
}

TEST(ProcessDirTest, SecondServerInTheDataDirectoryIsRefusedWithASentence) {
  const TempDir dir;
  const ServerProcess first({"--set", "data.path=" + dir.path()});
  ASSERT_TRUE(first.running());
  const Ended second =
      RunLarderd({"--set", "listen.grpc=127.0.0.1:0", "--set", "data.path=" + dir.path()});
  EXPECT_EQ(second.exit_code, 1);
  EXPECT_NE(second.err.find(dir.path()), std::string::npos) << second.err;
  EXPECT_NE(second.err.find(std::to_string(first.pid())), std::string::npos) << second.err;
}

TEST(ProcessDirTest, VersionsGrowOverARestart) {
  const TempDir dir;
  const auto version = [&dir] {
    ServerProcess server({"--set", "data.path=" + dir.path()});
    const auto cache = v1::Cache::NewStub(
        grpc::CreateChannel(server.address(), grpc::InsecureChannelCredentials()));
    v1::SetRequest request;
    request.set_key("a");
    request.set_value("1");
    v1::SetResponse response;
    grpc::ClientContext context;
    EXPECT_TRUE(cache->Set(&context, request, &response).ok());
    server.Signal(SIGKILL);
    server.Wait();
    return response.stored().version();
  };
  const uint64_t first = version();
  // As if the wall clock had been far ahead before the restart.
  std::ofstream(dir.path() + "/version") << first + (uint64_t{3600'000} << 22);
  EXPECT_GT(version(), first + (uint64_t{3600'000} << 22));
  std::ofstream(dir.path() + "/version") << "garbage";
  const Ended damaged =
      RunLarderd({"--set", "listen.grpc=127.0.0.1:0", "--set", "data.path=" + dir.path()});
  EXPECT_EQ(damaged.exit_code, 1);
  EXPECT_NE(damaged.err.find("damaged"), std::string::npos) << damaged.err;
}

TEST(ProcessConfigTest, WrongConfigurationIsToldAtOnceAndExitsTwo) {
  const TempDir dir;
  const std::string path = dir.path() + "/larder.yaml";
  std::ofstream(path)
      << "listen: {grpc: \"127.0.0.1:0\"}\ntypes:\n  user:\n    ttl: {bas: 5m}\nlogg: {}\n";
  for (const std::vector<std::string>& args :
       {std::vector<std::string>{"--config", path, "--check"},
        std::vector<std::string>{"--config", path}}) {
    const Ended ended = RunLarderd(args);
    EXPECT_EQ(ended.exit_code, 2);
    EXPECT_NE(ended.err.find("larder.yaml:4:11"), std::string::npos) << ended.err;
    EXPECT_NE(ended.err.find("larder.yaml:5:1"), std::string::npos) << ended.err;
    EXPECT_NE(ended.err.find("did you mean \"base\"?"), std::string::npos) << ended.err;
  }
  EXPECT_EQ(RunLarderd({"--no-such-flag"}).exit_code, 2);
  EXPECT_EQ(RunLarderd({"--check"}).exit_code, 0);
  const Ended printed = RunLarderd({"--print-config", "--set", "log.level=debug"});
  EXPECT_EQ(printed.exit_code, 0);
  EXPECT_NE(printed.out.find("level: debug"), std::string::npos) << printed.out;
  EXPECT_NE(printed.out.find("# --set"), std::string::npos) << printed.out;
}

TEST(ProcessMemoryTest, SaysHowMuchMemoryItTakesAndWhy) {
  ServerProcess automatic({"--set", "memory.max=100MiB"});
  automatic.Signal(SIGTERM);
  const Ended ended = automatic.Wait();
  EXPECT_EQ(ended.exit_code, 0);
  EXPECT_NE(ended.err.find("\"event\":\"memory_budget\""), std::string::npos) << ended.err;
  EXPECT_NE(ended.err.find("memory.l1: auto = 100MiB: "), std::string::npos) << ended.err;
  const Ended printed = RunLarderd({"--print-config"});
  EXPECT_NE(printed.out.find("l1: auto  # default; now "), std::string::npos) << printed.out;
}

TEST_F(ProcessTest, TermDrainsTellsWaitersAndExitsZero) {
  v1::GetOrLoadRequest request;
  request.set_key("a");
  v1::GetOrLoadResponse lease;
  ASSERT_TRUE(cache_->GetOrLoad(Within(5).get(), request, &lease).ok());
  ASSERT_TRUE(lease.has_lease());
  grpc::Status waited;
  std::thread waiter([&] {
    v1::GetOrLoadResponse response;
    waited = cache_->GetOrLoad(Within(20).get(), request, &response);
  });
  while (Stats().leases().waiting() == 0) std::this_thread::yield();
  server_.Signal(SIGTERM);
  waiter.join();
  EXPECT_EQ(waited.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(ReasonOf(waited), "DRAINING");
  const Ended ended = server_.Wait();
  EXPECT_EQ(ended.exit_code, 0);
  EXPECT_NE(ended.err.find("\"event\":\"stopped\""), std::string::npos) << ended.err;
}

TEST_F(ProcessTest, SecondSignalEndsItAtOnce) {
  ServerProcess slow({"--set", "shutdown.delay=60s"});
  slow.Signal(SIGINT);
  // The first signal is taken when readiness is off.
  while (RunLarderd({"healthcheck", "--address", slow.address(), "--timeout", "1"}).exit_code ==
         0) {
  }
  EXPECT_EQ(
      RunLarderd({"healthcheck", "--address", slow.address(), "--service", "liveness"}).exit_code,
      0);
  slow.Signal(SIGTERM);
  EXPECT_EQ(slow.Wait().signal, SIGTERM);
}

TEST(ProcessConnectionTest, ConnectionsThatReachTheirAgeFailNoCall) {
  const ServerProcess server({"--set", "connections.max_age=1s"});
  const auto channel = grpc::CreateChannel(server.address(), grpc::InsecureChannelCredentials());
  const auto cache = v1::Cache::NewStub(channel);
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(2500);
  while (std::chrono::steady_clock::now() < end) {
    v1::GetRequest request;
    request.set_key("a");
    v1::GetResponse response;
    grpc::ClientContext context;
    const grpc::Status status = cache->Get(&context, request, &response);
    ASSERT_TRUE(status.ok()) << status.error_code() << " " << status.error_message();
  }
}

TEST(ProcessConnectionTest, ClientsThatPingAsOftenAsAllowedAreKept) {
  const ServerProcess server({"--set", "connections.ping_interval_min=1s"});
  grpc::ChannelArguments pings;
  pings.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 1000);
  pings.SetInt(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  pings.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  const auto channel =
      grpc::CreateCustomChannel(server.address(), grpc::InsecureChannelCredentials(), pings);
  ASSERT_TRUE(
      channel->WaitForConnected(std::chrono::system_clock::now() + std::chrono::seconds(5)));
  // A client that is thought abusive gets GOAWAY after its third ping, and its channel leaves
  // READY.
  EXPECT_FALSE(channel->WaitForStateChange(
      GRPC_CHANNEL_READY, std::chrono::system_clock::now() + std::chrono::milliseconds(5500)));
}

TEST(ProcessDrainTest, CallsGoOnWhileLoadBalancersNotice) {
  ServerProcess server({"--set", "shutdown.delay=12s"});
  const auto cache =
      v1::Cache::NewStub(grpc::CreateChannel(server.address(), grpc::InsecureChannelCredentials()));
  v1::GetOrLoadRequest request;
  request.set_key("a");
  v1::GetOrLoadResponse lease;
  grpc::ClientContext holder;
  ASSERT_TRUE(cache->GetOrLoad(&holder, request, &lease).ok());
  std::thread waiter([&] {
    v1::GetOrLoadResponse response;
    grpc::ClientContext context;
    EXPECT_TRUE(cache->GetOrLoad(&context, request, &response).ok());
    EXPECT_EQ(response.hit().value(), "loaded");
  });
  server.Signal(SIGTERM);
  while (RunLarderd({"healthcheck", "--address", server.address(), "--timeout", "1"}).exit_code ==
         0) {
  }
  v1::SetRequest set;
  set.set_key("a");
  set.set_value("loaded");
  set.set_lease_token(lease.lease().token());
  v1::SetResponse stored;
  grpc::ClientContext context;
  EXPECT_TRUE(cache->Set(&context, set, &stored).ok());
  EXPECT_TRUE(stored.has_stored());
  waiter.join();
  EXPECT_EQ(server.Wait().exit_code, 0);
}

TEST_F(ProcessTest, CallsThatRaceWithTheEndAreAnsweredOrRefused) {
  std::atomic<bool> stop{false};
  std::atomic<int> answered{0};
  std::thread caller([&] {
    while (!stop) {
      v1::GetRequest request;
      request.set_key("a");
      v1::GetResponse response;
      const grpc::Status status = cache_->Get(Within(5).get(), request, &response);
      if (status.ok()) {
        ++answered;
        continue;
      }
      // gRPC answers CANCELLED to calls that reach it between the shutdown and the client's notice
      // of it.
      EXPECT_TRUE(status.error_code() == grpc::StatusCode::UNAVAILABLE ||
                  status.error_code() == grpc::StatusCode::CANCELLED)
          << status.error_code() << " " << status.error_message();
    }
  });
  while (answered < 100) std::this_thread::yield();
  server_.Signal(SIGTERM);
  EXPECT_EQ(server_.Wait().exit_code, 0);
  stop = true;
  caller.join();
}

}  // namespace
}  // namespace larder
