#include "rpc/quotas.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/clock.h"
#include "core/error.h"

namespace larder {
namespace {

class QuotasTest : public testing::Test {
 protected:
  absl::Status Take(const Quotas& quotas, std::string_view name_space, uint64_t keys,
                    uint64_t bytes = 0) {
    Quotas::Line* const line = quotas.Find(name_space);
    return line == nullptr ? absl::OkStatus() : Quotas::Take(line, keys, bytes, clock_.Mono());
  }
  // Calls of one key that are taken on at this moment.
  int Fill(const Quotas& quotas, std::string_view name_space) {
    int taken = 0;
    while (taken < 100'000 && Take(quotas, name_space, 1).ok()) ++taken;
    return taken;
  }

  ManualClock clock_;
};

TEST_F(QuotasTest, NamespaceWithoutOneAsksForWhatItLikes) {
  const Quotas quotas({{.name_space = "shop", .keys_per_second = 1}});
  EXPECT_EQ(quotas.Find("crm"), nullptr);
  EXPECT_EQ(quotas.Find(""), nullptr);
  EXPECT_TRUE(quotas.any());
  EXPECT_FALSE(Quotas({}).any());
}

TEST_F(QuotasTest, SoManyKeysASecondAfterTheBurst) {
  const Quotas quotas({{.name_space = "shop", .keys_per_second = 100}});
  // What it did not use before, and the one that is owed.
  EXPECT_EQ(Fill(quotas, "shop"), 101);
  const absl::Status refused = Take(quotas, "shop", 1);
  EXPECT_EQ(DetailsOf(refused).reason, "QUOTA_EXCEEDED");
  EXPECT_EQ(std::string(refused.message()),
            "namespace \"shop\" has used its quota of 100 keys a second");
  EXPECT_EQ(DetailsOf(refused).retry_after, absl::Milliseconds(10));
  int taken = 0;
  for (int i = 0; i < 100; ++i) {
    clock_.Advance(absl::Milliseconds(100));
    taken += Fill(quotas, "shop");
  }
  EXPECT_EQ(taken, 1000);
}

TEST_F(QuotasTest, LongPauseEarnsNoMoreThanTheBurst) {
  const Quotas quotas(
      {{.name_space = "shop", .keys_per_second = 100, .burst = absl::Milliseconds(100)}});
  EXPECT_EQ(Fill(quotas, "shop"), 11);
  clock_.Advance(absl::Hours(1));
  EXPECT_EQ(Fill(quotas, "shop"), 11);
}

TEST_F(QuotasTest, BatchLargerThanTheQuotaIsPaidForLater) {
  const Quotas quotas({{.name_space = "shop", .keys_per_second = 100}});
  EXPECT_TRUE(Take(quotas, "shop", 1000).ok());
  EXPECT_FALSE(Take(quotas, "shop", 1).ok());
  clock_.Advance(absl::Seconds(8));
  EXPECT_FALSE(Take(quotas, "shop", 1).ok());
  clock_.Advance(absl::Seconds(1));
  EXPECT_TRUE(Take(quotas, "shop", 1).ok());
}

TEST_F(QuotasTest, BytesOfTheAnswerCount) {
  const Quotas quotas({{.name_space = "default", .bytes_per_second = 1000}});
  EXPECT_TRUE(Take(quotas, "", 1, 10).ok());
  Quotas::Owe(quotas.Find("default"), 5000, clock_.Mono());
  EXPECT_EQ(std::string(Take(quotas, "", 1, 10).message()),
            "namespace \"default\" has used its quota of 1000 bytes a second");
  clock_.Advance(absl::Seconds(5));
  EXPECT_TRUE(Take(quotas, "", 1, 10).ok());
  EXPECT_EQ(quotas.refused(), 1u);
}

TEST_F(QuotasTest, OneNamespaceDoesNotPayForAnother) {
  const Quotas quotas(
      {{.name_space = "a", .keys_per_second = 10}, {.name_space = "b", .keys_per_second = 10}});
  EXPECT_EQ(Fill(quotas, "a"), 11);
  EXPECT_EQ(Fill(quotas, "b"), 11);
}

TEST_F(QuotasTest, NewQuotasKeepWhatIsOwed) {
  Quotas quotas({{.name_space = "a", .keys_per_second = 10}});
  Quotas::Line* const line = quotas.Find("a");
  EXPECT_EQ(Fill(quotas, "a"), 11);
  quotas.Replace(
      {{.name_space = "a", .keys_per_second = 1000}, {.name_space = "b", .keys_per_second = 5}});
  EXPECT_EQ(quotas.Find("a"), line);
  EXPECT_FALSE(Take(quotas, "a", 1).ok());
  clock_.Advance(absl::Milliseconds(101));
  EXPECT_EQ(Fill(quotas, "a"), 2);
  clock_.Advance(absl::Milliseconds(100));
  EXPECT_EQ(Fill(quotas, "a"), 100);
  quotas.Replace({});
  EXPECT_EQ(quotas.Find("a"), nullptr);
  // A call that still holds the line may use it.
  Quotas::Owe(line, 1, clock_.Mono());
}

}  // namespace
}  // namespace larder
