// A changed configuration reaches a running larderd, in every way that it can be brought there.

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "larder/v1/admin.grpc.pb.h"
#include "larder/v1/cache.grpc.pb.h"
#include "tests/e2e/fleet_fixture.h"
#include "tests/e2e/server_process.h"

namespace larder {
namespace {

using testing::HasSubstr;

// `look`: how often the file is looked at.
std::string Text(int seconds, const std::string& look = "off") {
  return "memory: { l1: 32MiB }\nreload: { look: " + look +
         " }\ntypes:\n  user: { match: [\"user:*\"], ttl: { base: " + std::to_string(seconds) +
         "s, jitter: 0% } }\n";
}

void Write(const std::string& path, const std::string& text) { std::ofstream(path) << text; }

class ReloadTest : public testing::Test {
 protected:
  void Start(const std::string& path) {
    path_ = path;
    server_ = std::make_unique<ServerProcess>(std::vector<std::string>{"--config", path});
    ASSERT_TRUE(server_->running());
    const auto channel =
        grpc::CreateChannel(server_->address(), grpc::InsecureChannelCredentials());
    stub_ = v1::Cache::NewStub(channel);
    admin_ = v1::Admin::NewStub(channel);
  }
  void StartWith(const std::string& text) {
    Write(directory_.path() + "/larder.yaml", text);
    Start(directory_.path() + "/larder.yaml");
  }

  // The life that a new entry gets, in seconds; -1: it could not be stored and read.
  static int LifeGiven(v1::Cache::Stub* stub, const std::string& key) {
    v1::SetRequest set;
    set.set_key(key);
    set.set_value("v");
    v1::SetResponse stored;
    if (!stub->Set(Replica::Within().get(), set, &stored).ok()) return -1;
    v1::GetRequest get;
    get.set_key(key);
    v1::GetResponse got;
    if (!stub->Get(Replica::Within().get(), get, &got).ok() || !got.has_hit()) return -1;
    const int64_t life = stored.stored().ttl().seconds();
    // Some of it may be over; another caller may have set the key since.
    if (got.hit().version() == stored.stored().version()) {
      EXPECT_LE(got.hit().remaining_ttl().seconds(), life);
    }
    return static_cast<int>(life);
  }
  // A batch, a lease and a removal.
  static void ExpectOthersWork(v1::Cache::Stub* stub, const std::string& key) {
    v1::BatchGetRequest batch;
    batch.add_keys(key);
    batch.add_keys("cart:" + key);
    v1::BatchGetResponse results;
    EXPECT_TRUE(stub->BatchGet(Replica::Within().get(), batch, &results).ok());
    v1::GetOrLoadRequest load;
    load.set_key("leased:" + key);
    load.mutable_wait()->set_seconds(0);
    v1::GetOrLoadResponse loaded;
    EXPECT_TRUE(stub->GetOrLoad(Replica::Within().get(), load, &loaded).ok());
    v1::InvalidateRequest invalidate;
    invalidate.mutable_keys()->add_keys(key);
    v1::InvalidateResponse invalidated;
    EXPECT_TRUE(stub->Invalidate(Replica::Within().get(), invalidate, &invalidated).ok());
  }
  int Life() { return LifeGiven(stub_.get(), "user:1"); }

  grpc::Status Reload(bool dry_run, v1::ReloadConfigResponse* response) {
    v1::ReloadConfigRequest request;
    request.set_dry_run(dry_run);
    return admin_->ReloadConfig(Replica::Within(30).get(), request, response);
  }

  const TempDir directory_;
  std::string path_;
  std::unique_ptr<ServerProcess> server_;
  std::unique_ptr<v1::Cache::Stub> stub_;
  std::unique_ptr<v1::Admin::Stub> admin_;
};

TEST_F(ReloadTest, OnSighup) {
  StartWith(Text(100));
  EXPECT_EQ(Life(), 100);
  Write(path_, Text(200));
  server_->Signal(SIGHUP);
  EXPECT_TRUE(Eventually([&] { return Life() == 200; }));
  server_->Signal(SIGTERM);
  const Ended ended = server_->Wait();
  EXPECT_EQ(ended.exit_code, 0);
  EXPECT_THAT(ended.err, HasSubstr("\"event\":\"config_changed\",\"path\":\"types.user.ttl.base\","
                                   "\"before\":\"1m40s\",\"after\":\"3m20s\""));
  EXPECT_THAT(ended.err, HasSubstr("\"event\":\"config_reloaded\",\"why\":\"SIGHUP\""));
}

TEST_F(ReloadTest, WhenTheFileChanges) {
  StartWith(Text(100, "100ms"));
  EXPECT_EQ(Life(), 100);
  Write(path_, Text(200, "100ms"));
  EXPECT_TRUE(Eventually([&] { return Life() == 200; }));
  // By a file that takes the place of the old one.
  Write(path_ + ".new", Text(300, "100ms"));
  std::filesystem::rename(path_ + ".new", path_);
  EXPECT_TRUE(Eventually([&] { return Life() == 300; }));
}

// As Kubernetes replaces the content of a ConfigMap.
TEST_F(ReloadTest, WhenALinkOnTheWayLeadsElsewhere) {
  namespace fs = std::filesystem;
  const fs::path directory = directory_.path();
  const auto publish = [&](const std::string& version, int seconds) {
    fs::create_directory(directory / version);
    Write((directory / version / "larder.yaml").string(), Text(seconds, "100ms"));
    fs::create_symlink(version, directory / "..data_tmp");
    fs::rename(directory / "..data_tmp", directory / "..data");
  };
  publish("..1", 100);
  fs::create_symlink("..data/larder.yaml", directory / "larder.yaml");
  Start((directory / "larder.yaml").string());
  EXPECT_EQ(Life(), 100);
  publish("..2", 200);
  fs::remove_all(directory / "..1");
  EXPECT_TRUE(Eventually([&] { return Life() == 200; }));
}

TEST_F(ReloadTest, ByRpcWhichSaysWhatChanges) {
  StartWith(Text(100));
  Write(path_, Text(200) + "limits: { value_bytes: 2MiB }\n");
  v1::ReloadConfigResponse would;
  ASSERT_TRUE(Reload(/*dry_run=*/true, &would).ok());
  EXPECT_EQ(Life(), 100);
  v1::ReloadConfigResponse did;
  ASSERT_TRUE(Reload(/*dry_run=*/false, &did).ok());
  EXPECT_EQ(Life(), 200);
  EXPECT_EQ(would.SerializeAsString(), did.SerializeAsString());
  ASSERT_EQ(did.changes_size(), 2);
  EXPECT_EQ(did.changes(0).path(), "limits.value_bytes");
  EXPECT_TRUE(did.changes(0).needs_restart());
  EXPECT_EQ(did.changes(1).path(), "types.user.ttl.base");
  EXPECT_EQ(did.changes(1).before(), "1m40s");
  EXPECT_EQ(did.changes(1).after(), "3m20s");
  EXPECT_FALSE(did.changes(1).needs_restart());
}

TEST_F(ReloadTest, WrongFileChangesNothing) {
  StartWith(Text(100, "100ms"));
  Write(path_, Text(200) + "limitz: {}\n");
  v1::ReloadConfigResponse response;
  const grpc::Status refused = Reload(/*dry_run=*/false, &response);
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(ReasonOf(refused), "CONFIG_INVALID");
  EXPECT_THAT(refused.error_message(), HasSubstr("unknown field \"limitz\""));
  EXPECT_EQ(Life(), 100);
  std::filesystem::remove(path_);
  EXPECT_EQ(ReasonOf(Reload(/*dry_run=*/true, &response)), "CONFIG_INVALID");
  Write(path_, Text(300));
  EXPECT_TRUE(Eventually([&] { return Life() == 300; }));
}

// What a full disk, or a copy that is not done, leaves: it changes nothing, and above all not who
// may do what.
TEST_F(ReloadTest, FileWithoutItsContentOpensNoDoor) {
  // The sum of `canary-app`.
  const std::string auth =
      "auth:\n  roles: { app: { namespaces: [\"*\"], allow: [admin] } }\n"
      "  callers: { app: { roles: [app], token_sha256: "
      "[387aa642edf4b4868e4a3a6265e95615828b3cce9a5d09a390cecc5997668021] } }\n";
  StartWith(Text(100) + auth);
  const auto reload = [&] {
    const auto context = Replica::Within(30);
    context->AddMetadata("authorization", "Bearer canary-app");
    v1::ReloadConfigResponse response;
    return admin_->ReloadConfig(context.get(), {}, &response);
  };
  for (const std::string& broken : {std::string(), Text(200)}) {
    Write(path_, broken);
    EXPECT_EQ(ReasonOf(reload()), "CONFIG_INVALID") << broken;
    v1::GetRequest get;
    get.set_key("user:1");
    v1::GetResponse got;
    EXPECT_EQ(ReasonOf(stub_->Get(Replica::Within().get(), get, &got)), "NOT_AUTHENTICATED");
  }
  Write(path_, Text(200) + auth);
  const grpc::Status status = reload();
  EXPECT_TRUE(status.ok()) << status.error_message();
}

// Types come, go and change while calls of every kind go on. Not one of them fails, and each sees
// what one of the files said.
TEST_F(ReloadTest, UnderLoad) {
  StartWith(Text(100));
  std::atomic<bool> stop = false;
  std::atomic<int> calls = 0;
  std::vector<std::thread> callers;
  for (const std::string lane : {"reference", "native"}) {
    for (int i = 0; i < 2; ++i) {
      callers.emplace_back([&, lane, i] {
        const auto stub = v1::Cache::NewStub(
            grpc::CreateChannel(server_->AddressOf(lane), grpc::InsecureChannelCredentials()));
        for (int n = 0; !stop; ++n) {
          const int life =
              LifeGiven(stub.get(), "user:" + lane + std::to_string(i) + std::to_string(n % 100));
          EXPECT_TRUE(life == 100 || life == 200) << life;
          EXPECT_GT(LifeGiven(stub.get(), "cart:" + lane + std::to_string(n % 100)), 0);
          ExpectOthersWork(stub.get(), "user:" + lane + std::to_string(n % 7));
          ++calls;
        }
      });
    }
  }
  for (int i = 0; i < 60; ++i) {
    const std::string text =
        i % 2 == 0 ? Text(200) + "  cart: { match: [\"cart:*\"], ttl: { base: 9s } }\n" : Text(100);
    if (i % 3 == 0) {
      Write(path_, text);
      v1::ReloadConfigResponse response;
      const grpc::Status status = Reload(/*dry_run=*/false, &response);
      ASSERT_TRUE(status.ok()) << status.error_message();
      EXPECT_EQ(response.changes_size(), 2);
    } else {
      // As a link is set to something else; then a signal.
      Write(path_ + ".new", text);
      std::filesystem::rename(path_ + ".new", path_);
      server_->Signal(SIGHUP);
      ASSERT_TRUE(Eventually([&] { return Life() == (i % 2 == 0 ? 200 : 100); }));
    }
    const int before = calls;
    ASSERT_TRUE(Eventually([&] { return calls > before + 4; }));
  }
  stop = true;
  for (std::thread& caller : callers) caller.join();
}

TEST_F(ReloadTest, DrainEndsTheServerInOrder) {
  StartWith(Text(100));
  v1::DrainRequest request;
  request.mutable_timeout()->set_seconds(700);
  v1::DrainResponse response;
  EXPECT_EQ(ReasonOf(admin_->Drain(Replica::Within().get(), request, &response)),
            "REQUEST_INVALID");
  request.mutable_timeout()->set_seconds(5);
  const grpc::Status status = admin_->Drain(Replica::Within().get(), request, &response);
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response.running(), 0u);
  EXPECT_EQ(server_->Wait().exit_code, 0);
}

}  // namespace
}  // namespace larder
