#include "engine/origin_warmer.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "core/error.h"
#include "tests/engine/engine_fixture.h"
#include "tests/engine/fake_origin.h"

namespace larder {
namespace {

class OriginWarmerTest : public EngineFixture, public WarmObserver {
 protected:
  OriginWarmerTest() { Begin({}); }

  void Begin(WarmPolicy warm, uint64_t memory = 64 << 20) {
    TypePolicy type = Type("user", "user:{id}", absl::Minutes(5));
    type.origin = "shop";
    type.warm = warm;
    type.compress.codec = CodecChoice::kNone;
    Engine::Options options;
    options.memory_bytes = memory;
    OriginLink link;
    link.name = "shop";
    link.origin = &origin_;
    options.origins = {link};
    std::vector<TypePolicy> types;
    types.push_back(std::move(type));
    Make(options, std::move(types));
    warmer_ = std::make_unique<OriginWarmer>(OriginWarmer::Options{.engine = engine_.get()});
  }
  void Fill(int count, size_t bytes = 10) {
    for (int i = 0; i < count; ++i)
      origin_.values["user:" + std::to_string(i)] = {std::string(bytes, 'v')};
  }
  absl::Status Run(WarmJob job, absl::Duration most = absl::Minutes(1)) {
    std::optional<absl::Status> status;
    Spawn(warmer_->Run(std::move(job), this), [&](const absl::Status& ended) { status = ended; });
    for (absl::Duration spent; spent < most && !status.has_value(); spent += absl::Seconds(1))
      executor_.Advance(absl::Seconds(1));
    return status.value_or(absl::UnknownError("it does not end"));
  }
  Task<bool> OnProgress(const WarmCount& count) override {
    progress_.push_back(count);
    co_return wanted_;
  }
  static WarmJob OfType() {
    WarmJob job;
    job.type = "user";
    return job;
  }

  FakeOrigin origin_{&executor_};
  std::unique_ptr<OriginWarmer> warmer_;
  std::vector<WarmCount> progress_;
  bool wanted_ = true;
};

TEST_F(OriginWarmerTest, LoadsWhatTheOriginListsUpToTheLimit) {
  Fill(5000);
  WarmJob job = OfType();
  job.limit = 3000;
  ASSERT_TRUE(Run(job).ok());
  EXPECT_EQ(progress_.back().loaded, 3000u);
  EXPECT_EQ(engine_->Stats().memory.total.entries, 3000u);
  EXPECT_EQ(engine_->Stats().total.counts[static_cast<size_t>(Usage::kMisses)], 0u);
  EXPECT_LE(origin_.under_way_most, 16);
}

TEST_F(OriginWarmerTest, TellsHowManyThereAreFromTheFirstPageOn) {
  Fill(2500);
  ASSERT_TRUE(Run(OfType()).ok());
  ASSERT_EQ(progress_.size(), 3u);
  for (const WarmCount& count : progress_) EXPECT_EQ(count.total, 2500u);
  EXPECT_EQ(progress_.back().loaded, 2500u);

  progress_.clear();
  WarmJob job = OfType();
  job.limit = 1200;
  ASSERT_TRUE(Run(job).ok());
  for (const WarmCount& count : progress_) EXPECT_EQ(count.total, 1200u) << "no more are wanted";

  progress_.clear();
  origin_.counts = false;
  ASSERT_TRUE(Run(OfType()).ok());
  for (const WarmCount& count : progress_) EXPECT_EQ(count.total, 0u) << "nobody knows";
}

TEST_F(OriginWarmerTest, KeepsToItsRate) {
  Fill(1000);
  WarmJob job = OfType();
  job.rate = 100;
  std::optional<absl::Status> status;
  Spawn(warmer_->Run(job, this), [&](const absl::Status& ended) { status = ended; });
  executor_.Advance(absl::Seconds(5));
  EXPECT_NEAR(static_cast<double>(progress_.back().loaded), 500, 20);
  executor_.Advance(absl::Seconds(6));
  EXPECT_TRUE(status.has_value());
}

TEST_F(OriginWarmerTest, LoadsTheKeysOfAList) {
  Fill(10);
  WarmJob job;
  job.keys = {"user:1", "user:2", "other:1"};
  ASSERT_TRUE(Run(job).ok());
  EXPECT_EQ(progress_.back().loaded, 2u);
  EXPECT_EQ(progress_.back().failed, 1u) << "a key without an origin that nobody has stored";
  EXPECT_EQ(progress_.back().total, 3u);
  EXPECT_EQ(Get("user:1"), "vvvvvvvvvv");
}

TEST_F(OriginWarmerTest, KeysThatNobodyHasAreAskedForOnce) {
  WarmJob job;
  job.keys = {"other:1", "other:2"};
  ASSERT_TRUE(Run(job, absl::Seconds(1)).ok());
  ASSERT_EQ(progress_.size(), 1u);
  EXPECT_EQ(progress_.back().failed, 2u);
}

TEST_F(OriginWarmerTest, SaysThatATypeHasNoOrigin) {
  WarmJob job;
  job.type = "default";
  EXPECT_EQ(DetailsOf(Run(job)).reason, "TYPE_WITHOUT_ORIGIN");
}

TEST_F(OriginWarmerTest, EndsWhenNobodyWantsItAnyMore) {
  Fill(5000);
  wanted_ = false;
  ASSERT_TRUE(Run(OfType()).ok());
  EXPECT_EQ(progress_.back().loaded, 1000u);
}

TEST_F(OriginWarmerTest, EndsWhenMemoryIsFull) {
  Begin({}, 4 << 20);
  Fill(20'000, 1000);
  WarmJob job = OfType();
  job.limit = 20'000;
  ASSERT_TRUE(Run(job).ok());
  EXPECT_TRUE(progress_.back().full);
  EXPECT_LT(progress_.back().loaded, 8000u);
}

TEST_F(OriginWarmerTest, GivesUpOnAnOriginThatIsAwayAndSaysWhy) {
  Fill(10);
  origin_.failure = absl::UnavailableError("away");
  EXPECT_EQ(Run(OfType()).message(), "away");
  EXPECT_GT(origin_.scans, 1);
}

TEST_F(OriginWarmerTest, AShortOutageOnlyDelaysIt) {
  Fill(10);
  origin_.failure = absl::UnavailableError("away");
  std::optional<absl::Status> status;
  Spawn(warmer_->Run(OfType(), this), [&](const absl::Status& ended) { status = ended; });
  executor_.Advance(absl::Milliseconds(300));
  origin_.failure = absl::OkStatus();
  executor_.Advance(absl::Seconds(30));
  ASSERT_TRUE(status.has_value());
  EXPECT_TRUE(status->ok()) << *status;
  EXPECT_EQ(progress_.back().loaded, 10u);
}

// A job may go on for a day: tenants must not keep others from theirs, nor the server from its own.
TEST_F(OriginWarmerTest, JobsOfAPartLeavePlacesForOthers) {
  Fill(1000);
  const auto started = [this](const char* name_space, bool of_part) {
    auto status = std::make_shared<std::optional<absl::Status>>();
    WarmJob job = OfType();
    job.name_space = name_space;
    job.rate = 10;
    job.of_part = of_part;
    Spawn(warmer_->Run(job, this), [status](const absl::Status& ended) { *status = ended; });
    executor_.Advance(absl::Milliseconds(1));
    return status;
  };
  const auto refused = [](const auto& status) {
    return status->has_value() ? DetailsOf(**status).reason : "";
  };
  const auto a = started("a", true);
  EXPECT_EQ(refused(a), "");
  EXPECT_EQ(refused(started("a", true)), "OVERLOADED") << "one of a namespace";
  const auto b = started("", true);
  EXPECT_EQ(refused(b), "");
  EXPECT_EQ(refused(started("c", true)), "OVERLOADED") << "the last two are kept";
  const auto c = started("a", false);
  const auto d = started("a", false);
  EXPECT_EQ(refused(c) + refused(d), "");
  EXPECT_EQ(refused(started("a", false)), "OVERLOADED") << "there are four";
  executor_.Advance(absl::Minutes(10));
  for (const auto& job : {a, b, c, d}) {
    ASSERT_TRUE(job->has_value());
    EXPECT_TRUE((*job)->ok()) << **job;
  }
  EXPECT_EQ(refused(started("a", true)), "") << "the place is free again";
  EXPECT_EQ(refused(started("default", true)), "");
  EXPECT_EQ(refused(started("", true)), "OVERLOADED");
  executor_.Advance(absl::Minutes(10));
}

TEST_F(OriginWarmerTest, WarmsTypesAtTheStartAndSaysHow) {
  WarmPolicy warm;
  warm.on_start = true;
  warm.limit = 100;
  warm.ready_share = 1;
  Begin(warm);
  Fill(100);
  warmer_->Start();
  EXPECT_FALSE(warmer_->ready());
  executor_.Advance(absl::Seconds(1));
  EXPECT_TRUE(warmer_->ready());
  const auto stats = warmer_->Stats();
  ASSERT_EQ(stats.size(), 1u);
  EXPECT_EQ(stats[0].state, "done");
  EXPECT_EQ(stats[0].count.loaded, 100u);
}

}  // namespace
}  // namespace larder
