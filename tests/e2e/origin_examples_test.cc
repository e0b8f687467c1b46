// The examples that users start from, as they are: examples/demo over SQLite, and the service in
// Python of examples/origin_python.

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "larder/v1/origin.grpc.pb.h"
#include "tests/e2e/origin_fixture.h"

namespace larder {
namespace {

// The database of examples/demo as the first lines of its larder.yaml make it, and larderd.
class OriginDemoTest : public testing::Test {
 protected:
  OriginDemoTest() {
    const std::string command =
        "cd " LARDER_SOURCE_DIR " && python3 -c 'import sqlite3; sqlite3.connect(\"" + database() +
        "\").executescript(open(\"examples/demo/shop.sql\").read())'";
    EXPECT_EQ(std::system(command.c_str()), 0);
    std::ifstream demo(LARDER_SOURCE_DIR "/examples/demo/larder.yaml");
    std::stringstream config;
    config << demo.rdbuf();
    std::string text = config.str();
    for (const std::string name : {"shop.db", "shop-data"}) {
      const std::string path = "path: " + name;
      const size_t at = text.find(path);
      EXPECT_NE(at, std::string::npos) << name;
      text.replace(at, path.size(), "path: \"" + directory_.path() + "/" + name + "\"");
    }
    replica_ = std::make_unique<Replica>(text);
  }
  std::string database() const { return directory_.path() + "/shop.db"; }

  const TempDir directory_;
  std::unique_ptr<Replica> replica_;
};

TEST_F(OriginDemoTest, ProductsAreWarmLoadedAndKnownToBeMissing) {
  // ready_share 100%: what was to be warmed is there.
  const v1::StatsResponse begun = replica_->Stats();
  ASSERT_EQ(begun.origin_warm_size(), 1);
  EXPECT_EQ(begun.origin_warm(0).type(), "product");
  EXPECT_EQ(begun.origin_warm(0).loaded(), 500u);
  EXPECT_EQ(begun.origin_warm(0).failed(), 0u);
  EXPECT_EQ(begun.origins(0).kind(), "sqlite");

  const std::string seven = Loaded(replica_.get(), "product:7");
  EXPECT_NE(seven.find("\"name\":\"Product 7\""), std::string::npos) << seven;
  std::vector<std::string> keys;
  for (int i = 1; i <= 1000; ++i) keys.push_back("product:" + std::to_string(i));
  const v1::BatchGetOrLoadResponse all = replica_->BatchGetOrLoad(keys);
  for (int i = 1; i <= 1000; ++i) {
    const std::string id = "{\"id\":" + std::to_string(i) + ",";
    EXPECT_EQ(Shown(all.results(i - 1)).rfind(id, 0), 0u) << i;
  }

  EXPECT_TRUE(Eventually([&] {
    const v1::StatsResponse stats = replica_->Stats();
    for (const v1::TypeStats& type : stats.types()) {
      if (type.type() == "product") return type.filter().ready() && type.filter().keys() == 1000;
    }
    return false;
  }));
  const uint64_t calls = replica_->Stats().origins(0).load_calls();
  int asked = 0;
  for (int i = 0; i < 100; ++i)
    EXPECT_EQ(Loaded(replica_.get(), "product:none" + std::to_string(i)), "NEGATIVE");
  asked = static_cast<int>(replica_->Stats().origins(0).load_calls() - calls);
  EXPECT_LE(asked, 10);  // 1% is what the filter lets through
}

TEST_F(OriginDemoTest, WritesReachTheDatabaseAndDeletionsStay) {
  const auto flush = [this] {
    v1::FlushJournalResponse flushed;
    const grpc::Status status =
        replica_->admin().FlushJournal(Replica::Within().get(), {}, &flushed);
    EXPECT_TRUE(status.ok()) << status.error_message();
    // Nothing is left but what the database has.
    v1::InvalidateResponse removed;
    EXPECT_TRUE(replica_->Invalidate({"product:7", "product:8"}, /*fleet=*/false, &removed).ok());
  };
  ASSERT_TRUE(replica_->Set("product:7", "{\"price\":42}").ok());
  ASSERT_TRUE(replica_->Delete("product:8").ok());
  // At once, whatever the database has.
  EXPECT_EQ(Loaded(replica_.get(), "product:7"), "{\"price\":42}");
  flush();
  v1::GetOrLoadResponse response;
  ASSERT_TRUE(replica_->GetOrLoad("product:7", &response).ok());
  EXPECT_EQ(response.hit().value(), "{\"price\":42}");
  EXPECT_EQ(response.hit().tier(), v1::TIER_ORIGIN);
  EXPECT_EQ(Loaded(replica_.get(), "product:8"), "NEGATIVE");
  const v1::JournalStats journal = replica_->Stats().journal();
  EXPECT_EQ(journal.depth(), 0u);
  EXPECT_EQ(journal.dead_letters(), 0u);
  ASSERT_EQ(journal.types_size(), 1);
  EXPECT_EQ(journal.types(0).delivered(), 2u);
  // What was deleted may come again.
  ASSERT_TRUE(replica_->Set("product:8", "new").ok());
  flush();
  EXPECT_EQ(Loaded(replica_.get(), "product:8"), "new");
}

TEST_F(OriginDemoTest, CategoriesHaveTheirOwnTtl) {
  v1::GetOrLoadResponse response;
  ASSERT_TRUE(replica_->GetOrLoad("category:c3", &response).ok());
  EXPECT_EQ(response.hit().value().rfind("[\"product:", 0), 0u) << response.hit().value();
  EXPECT_EQ(response.hit().tier(), v1::TIER_ORIGIN);
  // ttl 600, and jitter.
  EXPECT_GE(response.hit().remaining_ttl().seconds(), 530);
  EXPECT_LE(response.hit().remaining_ttl().seconds(), 660);
  EXPECT_EQ(Loaded(replica_.get(), "category:none"), "NEGATIVE");
}

TEST(OriginPythonTest, ExampleServesThroughAWholeLarderdAndMayDie) {
  const TempDir directory;
  std::vector<std::string> command = PythonOrigin();
  command.insert(command.end(), {"--database", directory.path() + "/items.db"});
  OriginProcess origin(command);
  Replica replica("origins: { items: { grpc: { target: \"" + origin.target() +
                  "\", timeout: 2s } } }\n"
                  "types:\n"
                  "  item:\n"
                  "    match: [\"item:{id}\"]\n"
                  "    origin: items\n"
                  "    ttl: { base: 100ms, jitter: 0%, absent: 1ms }\n"
                  "    freshness: { stale_if_error: 1h, soft_timeout: 500ms }\n");
  const auto stub =
      v1::Origin::NewStub(grpc::CreateChannel(origin.target(), grpc::InsecureChannelCredentials()));
  const auto store = [&](const std::string& value, uint64_t version) {
    v1::StoreRequest request;
    request.set_namespace_("default");
    request.set_type("item");
    v1::StoreItem* const item = request.add_items();
    item->set_key("item:1");
    item->set_value(value);
    item->set_version(version);
    v1::StoreResponse response;
    const auto context = Replica::Within();
    context->set_wait_for_ready(true);
    const grpc::Status status = stub->Store(context.get(), request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    EXPECT_EQ(response.results(0).outcome(), v1::STORE_OUTCOME_OK);
  };
  EXPECT_EQ(Loaded(&replica, "item:1"), "NEGATIVE");
  store("one", 1);
  EXPECT_TRUE(Eventually([&] { return Loaded(&replica, "item:1") == "one"; }));
  // It knows by the validator that larder has the value.
  EXPECT_TRUE(Eventually([&] {
    EXPECT_EQ(Loaded(&replica, "item:1"), "one");
    return replica.Stats().total().loads_unchanged() >= 2;
  }));
  origin.Kill();
  EXPECT_TRUE(Eventually([&] {
    v1::GetOrLoadResponse response;
    EXPECT_EQ(Shown(replica.GetOrLoad("item:1", &response), response), "one");
    return response.hit().stale();
  }));
  origin.Start();
  store("two", 2);
  EXPECT_TRUE(Eventually([&] { return Loaded(&replica, "item:1") == "two"; }));
}

}  // namespace
}  // namespace larder
