// The client's parts that need no server: repeats, targets, options, error details, encoding.

#include <gtest/gtest.h>

#include <cmath>

#include "client/src/checks.h"
#include "client/src/health.h"
#include "client/src/request_id.h"
#include "client/src/retry.h"
#include "client/src/status.h"
#include "client/src/targets.h"
#include "client/src/time.h"
#include "larder/client.h"

namespace larder::internal {
namespace {

const absl::Status kDown = absl::UnavailableError("down");

TEST(Retry, BackoffDoublesUpToItsMaximumAndIsJittered) {
  RetryPolicy policy;
  policy.attempts_max = 10;
  policy.backoff_first = absl::Milliseconds(10);
  policy.backoff_max = absl::Milliseconds(50);
  const absl::Duration expected[] = {absl::Milliseconds(10), absl::Milliseconds(20),
                                     absl::Milliseconds(40), absl::Milliseconds(50),
                                     absl::Milliseconds(50)};
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(WaitBefore(i + 2, kDown, absl::Hours(1), policy, 1.0), expected[i]);
    EXPECT_EQ(WaitBefore(i + 2, kDown, absl::Hours(1), policy, 0.0), expected[i] / 2);
  }
}

TEST(Retry, StopsAtTheLastAttempt) {
  RetryPolicy policy;
  policy.attempts_max = 2;
  EXPECT_TRUE(WaitBefore(2, kDown, absl::Hours(1), policy, 0).has_value());
  EXPECT_FALSE(WaitBefore(3, kDown, absl::Hours(1), policy, 0).has_value());
  policy.attempts_max = 1;
  EXPECT_FALSE(WaitBefore(2, kDown, absl::Hours(1), policy, 0).has_value());
}

TEST(Retry, StopsWhenTheWaitWouldUseUpTheDeadline) {
  RetryPolicy policy;
  policy.backoff_first = absl::Milliseconds(10);
  EXPECT_FALSE(WaitBefore(2, kDown, absl::Milliseconds(10), policy, 1.0).has_value());
  EXPECT_TRUE(WaitBefore(2, kDown, absl::Milliseconds(11), policy, 1.0).has_value());
}

TEST(Retry, BudgetIsEarnedByCallsAndBounded) {
  RetryBudget budget(0.5, 2);
  EXPECT_TRUE(budget.TrySpend());
  EXPECT_TRUE(budget.TrySpend());
  EXPECT_FALSE(budget.TrySpend());
  budget.Earn();
  EXPECT_FALSE(budget.TrySpend());
  budget.Earn();
  EXPECT_TRUE(budget.TrySpend());
  for (int i = 0; i < 100; ++i) budget.Earn();
  EXPECT_TRUE(budget.TrySpend());
  EXPECT_TRUE(budget.TrySpend());
  EXPECT_FALSE(budget.TrySpend());
}

TEST(Targets, SplitAtCommas) {
  EXPECT_EQ(*SplitTargets(" a:1 , dns:///b:2,unix:/run/l.sock "),
            (std::vector<std::string>{"a:1", "dns:///b:2", "unix:/run/l.sock"}));
  EXPECT_EQ(*SplitTargets("ipv4:10.0.0.1:1,10.0.0.2:1"),
            std::vector<std::string>{"ipv4:10.0.0.1:1,10.0.0.2:1"});
  for (const char* bad : {"", "  ", ",", "a:1,", "a:1,,b:1"})
    EXPECT_FALSE(SplitTargets(bad).ok()) << bad;
  std::string many = "a:1";
  for (size_t i = 1; i < kTargetsMax; ++i) many += ",a:1";
  EXPECT_TRUE(SplitTargets(many).ok());
  EXPECT_FALSE(SplitTargets(many + ",a:1").ok());
}

TEST(Options, DefaultsAreValid) {
  EXPECT_TRUE(ValidateClientOptions({"a:1", absl::Seconds(1)}).ok());
}

TEST(Options, RefuseAClientWithoutADeadline) {
  for (const absl::Duration deadline :
       {absl::ZeroDuration(), absl::InfiniteDuration(), absl::Seconds(-1),
        absl::Hours(1) + absl::Nanoseconds(1), absl::Microseconds(999)}) {
    const absl::Status status = Connect({"a:1", deadline}).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(FieldViolations(status).at(0).field, "default_deadline");
  }
  EXPECT_TRUE(ValidateClientOptions({"a:1", absl::Hours(1)}).ok());
  EXPECT_TRUE(ValidateClientOptions({"a:1", absl::Milliseconds(1)}).ok());
}

TEST(Options, LimitsAreCheckedAtTheirEdges) {
  const auto field = [](const std::function<void(ClientOptions*)>& change) -> std::string {
    ClientOptions options("a:1", absl::Seconds(1));
    change(&options);
    const absl::Status status = ValidateClientOptions(options);
    return status.ok() ? "" : FieldViolations(status).at(0).field;
  };
  EXPECT_EQ(field([](auto* o) { o->target = ""; }), "target");
  EXPECT_EQ(field([](auto* o) { o->ns = "a b"; }), "ns");
  EXPECT_EQ(field([](auto* o) { o->ns = std::string(64, 'n'); }), "");
  EXPECT_EQ(field([](auto* o) { o->ns = std::string(65, 'n'); }), "ns");
  EXPECT_EQ(field([](auto* o) { o->message_bytes_max = 65536; }), "");
  EXPECT_EQ(field([](auto* o) { o->message_bytes_max = 65535; }), "message_bytes_max");
  EXPECT_EQ(field([](auto* o) { o->message_bytes_max = size_t{1} << 30; }), "");
  EXPECT_EQ(field([](auto* o) { o->message_bytes_max = (size_t{1} << 30) + 1; }),
            "message_bytes_max");
  EXPECT_EQ(field([](auto* o) { o->user_agent = "a\nb"; }), "user_agent");
  EXPECT_EQ(field([](auto* o) { o->retry.attempts_max = 0; }), "retry.attempts_max");
  EXPECT_EQ(field([](auto* o) { o->retry.attempts_max = 11; }), "retry.attempts_max");
  EXPECT_EQ(field([](auto* o) { o->retry.backoff_first = absl::ZeroDuration(); }),
            "retry.backoff_first");
  EXPECT_EQ(field([](auto* o) { o->retry.backoff_max = absl::Milliseconds(19); }),
            "retry.backoff_max");
  EXPECT_EQ(field([](auto* o) { o->retry.backoff_max = absl::InfiniteDuration(); }),
            "retry.backoff_max");
  EXPECT_EQ(field([](auto* o) { o->retry.budget_ratio = NAN; }), "retry.budget_ratio");
  EXPECT_EQ(field([](auto* o) { o->retry.budget_ratio = 1.01; }), "retry.budget_ratio");
  EXPECT_EQ(field([](auto* o) { o->retry.budget_max = -1; }), "retry.budget_max");
}

TEST(Errors, DetailsSurviveInTheStatus) {
  const absl::Status status = FieldError("KEY_INVALID", "items[3].key", "key is empty");
  EXPECT_EQ(ErrorReason(status), "KEY_INVALID");
  ASSERT_EQ(FieldViolations(status).size(), 1u);
  EXPECT_EQ(FieldViolations(status)[0].field, "items[3].key");
  EXPECT_EQ(FieldViolations(status)[0].description, "key is empty");
  EXPECT_EQ(RetryAfter(status), std::nullopt);
}

TEST(Errors, StatusWithoutDetailsHasNone) {
  for (const absl::Status& status :
       {absl::OkStatus(), absl::UnavailableError("x"), FromWire(14, "x", "")}) {
    EXPECT_EQ(ErrorReason(status), "");
    EXPECT_TRUE(FieldViolations(status).empty());
    EXPECT_EQ(RetryAfter(status), std::nullopt);
  }
}

TEST(Errors, CodesThatGrpcDoesNotDefineAreUnknown) {
  EXPECT_EQ(FromWire(99, "x", "").code(), absl::StatusCode::kUnknown);
  EXPECT_EQ(FromWire(-1, "x", "").code(), absl::StatusCode::kUnknown);
}

TEST(Utf8, AcceptsAndRefusesByTheStandard) {
  for (const char* good : {"", "a", "\x7F", "\u00e9", "\u20ac", "\U0001F511", "\U0010FFFF"})
    EXPECT_TRUE(IsUtf8(good));
  for (const char* bad :
       {"\x80", "\xC0\x80", "\xC1\xBF", "\xC3", "\xE0\x80\x80", "\xED\xA0\x80", "\xF0\x80\x80\x80",
        "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xE2\x82", "a\xFF"}) {
    EXPECT_FALSE(IsUtf8(bad)) << bad;
  }
}

TEST(Time, DurationsSurviveTheWire) {
  for (const absl::Duration duration :
       {absl::ZeroDuration(), absl::Nanoseconds(1), absl::Milliseconds(-1500),
        absl::Seconds(1) + absl::Nanoseconds(999'999'999), absl::Hours(100'000)}) {
    google::protobuf::Duration proto;
    ToProto(duration, &proto);
    EXPECT_EQ(FromProto(proto), duration);
    EXPECT_TRUE((proto.seconds() >= 0) == (proto.nanos() >= 0) || proto.seconds() == 0 ||
                proto.nanos() == 0);
  }
  google::protobuf::Duration proto;
  ToProto(absl::InfiniteDuration(), &proto);
  EXPECT_EQ(proto.seconds(), 315'576'000'000);
  EXPECT_EQ(proto.nanos(), 0);
}

TEST(Health, SpeaksTheHealthProtocol) {
  EXPECT_EQ(HealthRequest(""), "");
  EXPECT_EQ(HealthRequest("abc"),
            "\x0A\x03"
            "abc");
  EXPECT_EQ(HealthRequest(std::string(200, 'x')).substr(0, 3), "\x0A\xC8\x01");
  EXPECT_TRUE(*IsServing("\x08\x01"));
  EXPECT_FALSE(*IsServing("\x08\x02"));
  EXPECT_FALSE(*IsServing(""));
  EXPECT_FALSE(IsServing("\x08").ok());
  EXPECT_FALSE(IsServing("\xFF\xFF").ok());
}

TEST(RequestIds, AreNewEachTimeAndInEachClient) {
  RequestIds one, two;
  EXPECT_NE(one.Next(), one.Next());
  EXPECT_NE(one.Next().substr(0, 32), two.Next().substr(0, 32));
  EXPECT_LE(one.Next().size(), 64u);
}

}  // namespace
}  // namespace larder::internal
