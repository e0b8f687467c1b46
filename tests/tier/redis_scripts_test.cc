#include "tier/redis_scripts.h"

#include <gtest/gtest.h>

#include <random>

#include "base/strings.h"
#include "tests/tier/redis_rig.h"

namespace larder {
namespace {

using Outcome = TierChange::Outcome;
using ExpectKind = Expect::Kind;

RedisReply TextReply(std::string text) {
  RedisReply reply;
  reply.kind = RedisReply::Kind::kString;
  reply.text = std::move(text);
  return reply;
}

TEST(RedisScripts, AnswersThatAreNoneAreErrors) {
  const std::string version(8, '\1');
  EXPECT_TRUE(ParseChange(TextReply("d--" + version)).ok());
  EXPECT_FALSE(ParseChange(TextReply("x--" + version)).ok());
  EXPECT_FALSE(ParseChange(TextReply("d--")).ok());
  EXPECT_FALSE(ParseChange(TextReply("")).ok());
  EXPECT_FALSE(ParseChange(RedisReply()).ok());
  EXPECT_FALSE(ParseLeaseTake(TextReply("1")).ok());
  EXPECT_FALSE(ParseYes(TextReply("1")).ok());
}

TEST(RedisScripts, LeaseThatNeverEndsIsHeldForEver) {
  RedisReply reply;
  reply.kind = RedisReply::Kind::kInteger;
  reply.integer = -1;
  EXPECT_EQ(ParseLeaseTake(reply).value(), absl::InfiniteDuration());
  reply.integer = 1500;
  EXPECT_EQ(ParseLeaseTake(reply).value(), absl::Milliseconds(1500));
}

// What the script is to answer, from the head as C++ reads it.
ChangeAnswer Expected(const std::string& raw, Version version, bool removal, const Expect& expect,
                      int64_t wall_ms) {
  const auto head = DecodeEnvelopeHead(raw);
  ChangeAnswer answer;
  answer.found_bad = !raw.empty() && !head.ok();
  const Version current = head.ok() ? head->version : kNoVersion;
  const bool there = head.ok() && wall_ms < head->usable_until_ms;
  const bool live = head.ok() && head->live(wall_ms);
  const bool known = there || (head.ok() && !head->tombstone);
  answer.change.existed = live;
  bool holds = there && current == version;
  switch (expect.kind) {
    case ExpectKind::kAny:
      holds = true;
      break;
    case ExpectKind::kAbsent:
      holds |= !live;
      break;
    case ExpectKind::kPresent:
      holds |= live;
      break;
    case ExpectKind::kVersion:
      holds |= live && current == expect.version;
      break;
    case ExpectKind::kUnchanged:
      holds |= !known || current == expect.version;
      break;
  }
  if (!holds) {
    answer.change.outcome = Outcome::kConditionFailed;
    answer.change.current = known ? current : kNoVersion;
  } else if (version < current || (!removal && there && head->tombstone && version == current)) {
    answer.change.outcome = Outcome::kNewerExists;
    answer.change.current = current;
  } else {
    answer.change.outcome = Outcome::kDone;
    answer.change.current = version;
  }
  return answer;
}

// The script knows the layout of the head by itself. Whatever lies under a key, it decides as
// DecodeEnvelopeHead would have it decide.
TEST(RedisScripts, ChangeDecidesAsTheHeadSays) {
  RedisServer server;
  Replica replica({server.address()});
  const std::string key = Key("k");
  constexpr int64_t kNowMs = 1'700'000'000'000;
  // Few of each kind, so that equal ones and neighbours meet.
  const std::vector<Version> versions = {0,          1,          255,        256,
                                         0xffffffff, 1ull << 32, 1ull << 53, (1ull << 53) + 1,
                                         1ull << 63, ~0ull - 1,  ~0ull};
  const std::vector<int64_t> times = {0, kNowMs - 1, kNowMs, kNowMs + 1, INT64_MAX};
  std::mt19937 random(20);
  const auto pick = [&](const auto& from) { return from[random() % from.size()]; };
  for (int round = 0; round < 3000; ++round) {
    std::string raw = EncodeTombstone(key, pick(versions), absl::FromUnixMillis(kNowMs));
    raw += "the rest";
    const auto usable = static_cast<uint64_t>(pick(times));
    for (int i = 0; i < 8; ++i) raw[16 + i] = static_cast<char>(usable >> (8 * (7 - i)));
    raw[5] = static_cast<char>(pick(std::vector<int>{0, 0, 0, 1, 2, 3, 4, 8, 64, 127, 128, 255}));
    switch (random() % 8) {
      case 0:
        raw.resize(random() % (kEnvelopeHeadBytes + 2));
        break;
      case 1: {
        char& byte = raw[random() % kEnvelopeHeadBytes];
        byte = static_cast<char>(byte ^ (1 << (random() % 8)));
        break;
      }
      default:
        break;
    }
    const Version version = pick(versions);
    const Expect expect{static_cast<ExpectKind>(random() % 5), pick(versions)};
    replica.Do({"SET", "name", raw});
    std::string envelope = EncodeTombstone(key, version, absl::InfiniteFuture());
    const bool removal = random() % 2 == 0;
    if (!removal) envelope[5] = 0;
    std::vector<Redis::ScriptCall> calls;
    calls.push_back(ChangeCall("name", envelope, absl::Minutes(1), kNowMs, expect));
    const auto replies = Wait(replica.redis().RunMany(ChangeScript(), std::move(calls), Soon()));
    ASSERT_TRUE(replies[0].ok()) << replies[0].status();
    const ChangeAnswer answer = ParseChange(*replies[0]).value();
    const ChangeAnswer expected = Expected(raw, version, removal, expect, kNowMs);
    ASSERT_EQ(answer.change.outcome, expected.change.outcome) << "round " << round;
    ASSERT_EQ(answer.change.existed, expected.change.existed) << "round " << round;
    ASSERT_EQ(answer.change.current, expected.change.current) << "round " << round;
    ASSERT_EQ(answer.found_bad, expected.found_bad) << "round " << round;
  }
}

}  // namespace
}  // namespace larder
