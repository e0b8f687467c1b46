#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "bus/log_bus.h"
#include "bus/redis_log.h"

namespace larder {
namespace {

using testing::HasSubstr;

TEST(LogBusOptionsTest, NamesTheOptionThatIsOutOfItsRange) {
  ManualClock clock;
  ManualExecutor executor(&clock, 1);
  const auto problem = [&](LogBusOptions options) {
    options.executor = &executor;
    return CheckLogBusOptions(options).ToString();
  };
  EXPECT_EQ(problem({}), "OK");
  EXPECT_EQ(problem({.node = 1023}), "OK");
  EXPECT_THAT(problem({.node = 1024}), HasSubstr("node"));
  EXPECT_THAT(problem({.heartbeat = absl::Milliseconds(9)}), HasSubstr("heartbeat"));
  EXPECT_THAT(problem({.heartbeat = absl::Seconds(11)}), HasSubstr("heartbeat"));
  EXPECT_THAT(problem({.lost_after = absl::Milliseconds(599)}), HasSubstr("lost_after"));
  EXPECT_THAT(problem({.alive = absl::Milliseconds(1899)}), HasSubstr("alive"));
  EXPECT_EQ(problem({.alive = absl::Milliseconds(1900)}), "OK");
  EXPECT_THAT(problem({.give_up_after = absl::Milliseconds(99)}), HasSubstr("give_up_after"));
  EXPECT_THAT(problem({.attempt_timeout = absl::Milliseconds(1501)}), HasSubstr("attempt_timeout"));
  EXPECT_THAT(problem({.retry_min = absl::Seconds(1)}), HasSubstr("retry_min"));
  EXPECT_THAT(problem({.queue_messages_max = 0}), HasSubstr("at least 1"));
  EXPECT_THAT(problem({.waits_max = 0}), HasSubstr("at least 1"));
  EXPECT_THAT(CheckLogBusOptions({}).ToString(), HasSubstr("executor"));
}

TEST(RedisLogOptionsTest, NamesTheOptionThatIsOutOfItsRange) {
  EXPECT_TRUE(CheckRedisLogOptions({.prefix = "p"}).ok());
  EXPECT_TRUE(CheckRedisLogOptions({.prefix = "p", .items_max = 1'000}).ok());
  EXPECT_THAT(CheckRedisLogOptions({.prefix = "p", .items_max = 999}).ToString(),
              HasSubstr("items_max"));
  EXPECT_THAT(CheckRedisLogOptions({.prefix = "p", .items_max = 100'000'001}).ToString(),
              HasSubstr("items_max"));
  EXPECT_THAT(CheckRedisLogOptions({.prefix = "p", .bytes_max = (1 << 20) - 1}).ToString(),
              HasSubstr("bytes_max"));
}

}  // namespace
}  // namespace larder
