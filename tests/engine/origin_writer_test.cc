#include "engine/origin_writer.h"

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tests/engine/fake_origin.h"

namespace larder {
namespace {

class OriginWriterTest : public testing::Test {
 protected:
  OriginWriterTest() {
    OriginWriter::Options options;
    options.origin = &origin_;
    options.batch_max = 10;
    options.calls_max = 2;
    options.queue_max = 25;
    options.clock = &clock_;
    options.executor = &executor_;
    writer_ = std::make_unique<OriginWriter>(options);
    origin_.takes = absl::Milliseconds(10);
  }

  using Result = std::shared_ptr<std::optional<OriginWritten>>;
  Result Write(const std::string& key, absl::Duration most = absl::Seconds(5),
               const std::string& type = "user") {
    auto result = std::make_shared<std::optional<OriginWritten>>();
    Spawn(writer_->Write({"default", type}, {key, false, "v", 7, "id"},
                         MonoAfter(clock_.Mono(), most)),
          [result](OriginWritten written) { result->emplace(std::move(written)); });
    executor_.RunReady();
    return result;
  }
  static std::string Outcome(const Result& result) {
    if (!result->has_value()) return "waits";
    switch ((*result)->kind) {
      case OriginWritten::Kind::kDone:
        return "done";
      case OriginWritten::Kind::kFailed:
        return "failed";
      case OriginWritten::Kind::kRefused:
        return "refused";
      case OriginWritten::Kind::kUnknown:
        return "unknown";
    }
    return "";
  }

  ManualClock clock_;
  ManualExecutor executor_{&clock_, 1};
  FakeOrigin origin_{&executor_};
  std::unique_ptr<OriginWriter> writer_;
};

TEST_F(OriginWriterTest, SendsTheFirstAtOnceAndTheRestTogether) {
  std::vector<Result> writes;
  for (int i = 0; i < 12; ++i) writes.push_back(Write(std::to_string(i)));
  EXPECT_EQ(origin_.stores, 2);
  executor_.Advance(absl::Milliseconds(25));
  EXPECT_EQ(origin_.stores, 3);
  for (const Result& write : writes) EXPECT_EQ(Outcome(write), "done");
}

TEST_F(OriginWriterTest, TypesDoNotShareACall) {
  const Result a = Write("a", absl::Seconds(5), "user"), b = Write("b", absl::Seconds(5), "order");
  executor_.Advance(absl::Milliseconds(11));
  ASSERT_EQ(origin_.stored.size(), 2u);
  EXPECT_EQ(origin_.stored[0].call.type, "user");
  EXPECT_EQ(origin_.stored[1].call.type, "order");
}

TEST_F(OriginWriterTest, EachWriteHasItsOwnOutcome) {
  origin_.write_failures["b"] = {OriginStored::Kind::kReject, absl::InvalidArgumentError("no")};
  origin_.write_failures["c"] = {OriginStored::Kind::kRetry, absl::AbortedError("later")};
  const Result x = Write("x"), y = Write("y");
  const Result a = Write("a"), b = Write("b"), c = Write("c");
  executor_.Advance(absl::Milliseconds(30));
  EXPECT_EQ(origin_.stores, 3);
  EXPECT_EQ(Outcome(a), "done");
  EXPECT_EQ(Outcome(b), "refused");
  EXPECT_EQ(Outcome(c), "failed");
}

TEST_F(OriginWriterTest, NobodyKnowsTheEndOfACallWithoutAnAnswer) {
  origin_.store_failure = absl::UnavailableError("connection lost");
  const Result lost = Write("a");
  origin_.store_failure = absl::OkStatus();
  origin_.takes = absl::Seconds(9);
  const Result late = Write("b", absl::Seconds(1));
  executor_.Advance(absl::Seconds(2));
  EXPECT_EQ(Outcome(lost), "unknown");
  EXPECT_EQ(Outcome(late), "unknown");
  executor_.Advance(absl::Seconds(10));
}

TEST_F(OriginWriterTest, WhatWasNeverSentHasFailed) {
  origin_.takes = absl::Seconds(3);
  const Result a = Write("a"), b = Write("b");
  const Result queued = Write("c", absl::Seconds(1));
  executor_.Advance(absl::Seconds(4));
  EXPECT_EQ(origin_.writes, 2) << "nobody waits for the third any more";
  EXPECT_EQ(Outcome(a), "done");
  EXPECT_EQ(Outcome(queued), "failed");
}

TEST_F(OriginWriterTest, ARefusedCallWasNotApplied) {
  origin_.store_failure = absl::FailedPreconditionError("no such statement");
  EXPECT_EQ(Outcome(Write("a")), "waits");
  const Result write = Write("b");
  executor_.Advance(absl::Milliseconds(30));
  EXPECT_EQ(Outcome(write), "refused");
}

TEST_F(OriginWriterTest, RefusesWhatTheQueueHasNoRoomFor) {
  std::vector<Result> writes;
  for (int i = 0; i < 27; ++i) writes.push_back(Write(std::to_string(i)));
  EXPECT_EQ(Outcome(Write("one more")), "failed");
  executor_.Advance(absl::Milliseconds(100));
  for (const Result& write : writes) EXPECT_EQ(Outcome(write), "done");
}

}  // namespace
}  // namespace larder
