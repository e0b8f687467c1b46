// What a change makes out of date, where the change itself is written behind: two replicas with a
// journal each, over one Redis and one database.

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "tests/e2e/write_fixture.h"

namespace larder {
namespace {

class InvalidateBehindRedisTest : public testing::Test {
 protected:
  InvalidateBehindRedisTest() {
    for (int id = 0; id < 2; ++id) {
      const std::string number = std::to_string(id);
      replicas_.push_back(std::make_unique<Replica>(
          "node: { name: n" + number + ", id: " + number + " }\n" + "data: { path: \"" +
          data_[id].path() + "\" }\nl2: { redis: { url: \"redis://" + redis_.address() +
          "\" } }\nbus: { heartbeat: 100ms, trust: 1s }\n" + "origins: { db: { " +
          documents_->Origin() +
          " } }\n"
          "types:\n"
          "  user:\n    match: [\"user:{id}\"]\n    ttl: { base: 10m }\n    origin: db\n"
          "    sql: " +
          documents_->Sql() +
          "\n    write: { mode: behind, delay: 20ms }\n"
          "    on_change: { invalidate: [\"user:{id}:*\", \"orders:user:{id}:*\", \"users:all\"] "
          "}\n"));
    }
  }

  // Puts what is made from users into every cache.
  void Fill() {
    for (const char* key : {"user:1:posts", "user:2:posts", "orders:user:1:7", "users:all"}) {
      ASSERT_TRUE(replicas_[1]->Set(key, "made from users").ok());
      for (const auto& replica : replicas_)
        ASSERT_TRUE(Eventually([&] { return !replica->Value(key).empty(); })) << key;
    }
  }
  // Which of them the replica has.
  std::string Left(size_t replica) {
    std::string left;
    for (const char* key : {"user:1:posts", "user:2:posts", "orders:user:1:7", "users:all"})
      left += replicas_[replica]->Value(key).empty() ? '-' : '+';
    return left;
  }

  const std::unique_ptr<Documents> documents_ = NewSqliteDocuments();
  RedisServer redis_;
  const TempDir data_[2];
  std::vector<std::unique_ptr<Replica>> replicas_;
};

TEST_F(InvalidateBehindRedisTest,
       AChangeCoversWhatItsTypeSaysOnEveryReplicaAtOnceAndWhenItIsDelivered) {
  Writer one(replicas_[0].get()), two(replicas_[1].get());
  ASSERT_EQ(one.Pause(), "ok");
  Fill();
  ASSERT_EQ(one.Set("user:1", "anna"), "ok");
  EXPECT_EQ(Left(0), "-+--");
  EXPECT_TRUE(Eventually([&] { return Left(1) == "-+--"; })) << Left(1);
  EXPECT_EQ(replicas_[0]->Value("user:1"), "anna");
  EXPECT_EQ(documents_->Body("user:1"), "") << "the origin has it already";
  // What was made while the write waited may be made of what the origin had before it.
  Fill();
  ASSERT_EQ(one.Resume(), "ok");
  ASSERT_EQ(one.Flush(), "ok");
  EXPECT_EQ(documents_->Body("user:1"), "anna");
  EXPECT_EQ(Left(0), "-+--");
  EXPECT_TRUE(Eventually([&] { return Left(1) == "-+--"; })) << Left(1);
  // A removal is a change, on whichever replica it is made.
  Fill();
  ASSERT_EQ(two.Delete("user:1"), "ok");
  EXPECT_EQ(Left(1), "-+--");
  EXPECT_TRUE(Eventually([&] { return Left(0) == "-+--"; })) << Left(0);
  ASSERT_EQ(two.Flush(), "ok");
  EXPECT_EQ(documents_->Body("user:1"), "-");
}

}  // namespace
}  // namespace larder
