// Two replicas with a journal each, in front of one PostgreSQL and one Redis.

#include <algorithm>
#include <map>
#include <thread>

#include "tests/e2e/origin_fixture.h"
#include "tests/e2e/write_fixture.h"

namespace larder {
namespace {

std::string Key(int i) { return "behind:" + std::to_string(i); }

TEST(WriteFleetPostgresTest, TwoReplicasThatWriteTheSameKeysLeaveTheHighestVersion) {
  const std::unique_ptr<Documents> documents = NewPostgresDocuments();
  RedisServer redis;
  constexpr int kKeys = 20;
  const TempDir data[2];
  std::vector<std::unique_ptr<Replica>> replicas;
  for (int i = 0; i < 2; ++i) {
    replicas.push_back(std::make_unique<Replica>(WritesConfig(
        *documents, data[i].path(), "delay: 20ms",
        "node: { name: n" + std::to_string(i) + ", id: " + std::to_string(i) + " }\n" +
            "l2: { redis: { url: \"" + "redis://" + redis.address() + "/0" + "\" } }\n")));
  }
  // What each was told: per key, the newest version and its value.
  std::map<std::string, std::pair<uint64_t, std::string>> newest[2];
  std::vector<std::thread> threads;
  for (int r = 0; r < 2; ++r) {
    threads.emplace_back([&, r] {
      Writer writer(replicas[r].get());
      for (int i = 0; i < 600; ++i) {
        v1::SetRequest request;
        request.set_key(Key(i % kKeys));
        request.set_value(std::to_string(r) + "-" + std::to_string(i));
        uint64_t version = 0;
        EXPECT_EQ(writer.Set(request, &version, 20), "ok");
        auto& known = newest[r][request.key()];
        if (version > known.first) known = {version, request.value()};
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const auto& replica : replicas) EXPECT_EQ(Writer(replica.get()).Flush(), "ok");
  for (int i = 0; i < kKeys; ++i) {
    const auto& last = std::max(newest[0][Key(i)], newest[1][Key(i)]);
    const auto row = documents->Of(Key(i));
    ASSERT_TRUE(row.has_value());
    EXPECT_EQ(row->version, last.first) << Key(i);
    EXPECT_EQ(row->body, last.second) << Key(i);
    for (const auto& replica : replicas) {
      EXPECT_TRUE(Eventually([&] { return Loaded(replica.get(), Key(i)) == last.second; }))
          << Key(i) << " " << Loaded(replica.get(), Key(i)) << " is not " << last.second;
    }
  }
  EXPECT_EQ(documents->WrongEffects(), 0);
}

// The origin has the deletion, and what Redis has of it nobody knows.
TEST(WriteFleetPostgresTest, ADeletionThatTheSecondTierDoesNotConfirmIsUnknown) {
  const std::unique_ptr<Documents> documents = NewPostgresDocuments();
  RedisServer redis;
  const TempDir data;
  std::string yaml =
      WritesConfig(*documents, data.path(), "",
                   "l2: { redis: { url: \"redis://" + redis.address() + "/0\" } }\n");
  const std::string strict = "match: [\"through:{id}\"]\n";
  yaml.replace(yaml.find(strict), strict.size(), strict + "    tiers: { require_l2: true }\n");
  Replica replica(yaml);
  Writer writer(&replica);
  ASSERT_EQ(writer.Set("through:1", "v"), "ok");
  ASSERT_EQ(writer.Set("invalidate:1", "v"), "ok");
  redis.Kill();
  const CliEnded ended = RunLarder(replica, "delete through:1 invalidate:1");
  EXPECT_EQ(ended.exit_code, 3) << ended.out;
  EXPECT_NE(ended.out.find("unknown: TIER_UNAVAILABLE"), std::string::npos) << ended.out;
  EXPECT_EQ(ended.out.find("not deleted"), std::string::npos) << ended.out;
  EXPECT_EQ(documents->Body("through:1"), "-") << "it is deleted there";
}

}  // namespace
}  // namespace larder
