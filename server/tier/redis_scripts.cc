// Put and Erase are one script, because they are one question: is what comes at least as new as
// what is there? A tombstone is an envelope like another. The script reads the head alone, never
// the value, so its time does not grow with what it replaces.
//
// Which clock says whether what is there is live, which conditions need to know? The caller's, not
// the server's TIME. The caller read that entry, or missed it, by his own clock a moment ago, and a
// condition that contradicts what the same replica just read is the worse surprise; clocks that
// disagree shift the end of a life by as much in either case, as they do for reads. It also keeps
// tests the owners of time.
//
// Lua 5.1 compares strings with strcoll, by the locale that redis-server was started in, and its
// numbers are doubles, which hold 53 bits: versions are compared as two numbers of 32 bits, equal
// ones as strings, and travel as bytes.
//
// A change that is sent a second time, because its answer was lost, must not fail on its own first
// try: whatever `expect` says, what has the very same version and has not ended is what this change
// made.
//
// A removal of a version is final for that version: it says that its value is not to be had. So a
// put of the version that is late stays away.
//
// SET may be refused while Redis is out of memory. An entry that was to be replaced must not go on
// being served by everybody who asks Redis, and DEL is always allowed, so it goes; the caller gets
// the error.

#include "tier/redis_scripts.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "absl/strings/str_cat.h"

namespace larder {
namespace {

// Knows the layout of the head (envelope.cc): magic and format at 1, flags at 6 with a tombstone's
// bit 0 and a negative entry's bit 1, version at 9, usable until at 17, fresh until at 25, counted
// from 1. What DecodeEnvelopeHead refuses is nothing here.
constexpr char kChange[] = R"lua(
local none = '\0\0\0\0\0\0\0\0'
local function less(a, b)
  local a_high, a_low = struct.unpack('>I4I4', a)
  local b_high, b_low = struct.unpack('>I4I4', b)
  return a_high < b_high or a_high == b_high and a_low < b_low
end

local envelope, px, now, expect = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local version = string.sub(envelope, 9, 16)

local head = redis.pcall('GETRANGE', KEYS[1], 0, 31)
local bad = '-'
if type(head) == 'table' or head ~= '' and (#head < 32 or
    string.sub(head, 1, 5) ~= string.sub(envelope, 1, 5) or
    string.byte(head, 17) > 127 or string.byte(head, 25) > 127) then
  head = ''
  bad = 'b'
end
local current, there, live, known, buried = none, false, false, false, false
if head ~= '' then
  current = string.sub(head, 9, 16)
  there = less(now, string.sub(head, 17, 24))
  local tombstone_or_negative = string.byte(head, 6) % 4 ~= 0
  live = there and not tombstone_or_negative
  buried = there and string.byte(head, 6) % 2 == 1
  known = there or string.byte(head, 6) % 2 == 0
end
local existed = live and 'l' or '-'

local kind, expected = string.sub(expect, 1, 1), string.sub(expect, 2)
local again = there and current == version
local holds = again or kind == '' or
    kind == 'a' and not live or
    kind == 'p' and live or
    kind == 'v' and live and current == expected or
    kind == 'u' and (not known or current == expected)
if not holds then
  return 'c' .. existed .. bad .. (known and current or none)
end
local same_removed = buried and current == version and string.byte(envelope, 6) % 2 == 0
if less(version, current) or same_removed then
  return 'n' .. existed .. bad .. current
end

local set
if px == '' then
  set = redis.pcall('SET', KEYS[1], envelope)
else
  set = redis.pcall('SET', KEYS[1], envelope, 'PX', px)
end
if set.err then
  redis.pcall('DEL', KEYS[1])
  return set
end
return 'd' .. existed .. bad .. version
)lua";

constexpr char kRemoveSame[] = R"lua(
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0
)lua";

// PTTL may round down to 0 what is still there.
constexpr char kLeaseTake[] = R"lua(
if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then
  return 0
end
local left = redis.call('PTTL', KEYS[1])
if left == 0 then
  return 1
end
return left
)lua";

constexpr char kLeaseExtend[] = R"lua(
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 0
)lua";

constexpr size_t kVersionBytes = 8;
constexpr size_t kAnswerBytes = 3 + kVersionBytes;

std::string BigEndian(uint64_t number) {
  std::string bytes(sizeof(number), '\0');
  for (size_t i = 0; i < sizeof(number); ++i) {
    bytes[i] = static_cast<char>(number >> (8 * (sizeof(number) - 1 - i)));
  }
  return bytes;
}

uint64_t FromBigEndian(std::string_view bytes) {
  uint64_t number = 0;
  for (const char byte : bytes) number = number << 8 | static_cast<unsigned char>(byte);
  return number;
}

std::string ExpectArgument(const Expect& expect) {
  switch (expect.kind) {
    case Expect::Kind::kAny:
      return "";
    case Expect::Kind::kAbsent:
      return "a";
    case Expect::Kind::kPresent:
      return "p";
    case Expect::Kind::kVersion:
      return "v" + BigEndian(expect.version);
    case Expect::Kind::kUnchanged:
      return "u" + BigEndian(expect.version);
  }
  std::abort();
}

std::string Milliseconds(absl::Duration duration) {
  return absl::StrCat(std::max<int64_t>(1, absl::ToInt64Milliseconds(duration)));
}

}  // namespace

const RedisScript* ChangeScript() {
  static const auto* const script = new RedisScript(kChange);
  return script;
}

Redis::ScriptCall ChangeCall(std::string name, std::string envelope, absl::Duration life,
                             int64_t wall_ms, Expect expect) {
  Redis::ScriptCall call;
  call.keys.push_back(std::move(name));
  call.args.reserve(4);
  call.args.push_back(std::move(envelope));
  call.args.push_back(life == absl::InfiniteDuration() ? "" : Milliseconds(life));
  call.args.push_back(BigEndian(static_cast<uint64_t>(std::max<int64_t>(0, wall_ms))));
  call.args.push_back(ExpectArgument(expect));
  return call;
}

absl::StatusOr<ChangeAnswer> ParseChange(const RedisReply& reply) {
  const std::string& text = reply.text;
  ChangeAnswer answer;
  const bool fits = reply.kind == RedisReply::Kind::kString && text.size() == kAnswerBytes;
  switch (fits ? text[0] : '\0') {
    case 'd':
      answer.change.outcome = TierChange::Outcome::kDone;
      break;
    case 'n':
      answer.change.outcome = TierChange::Outcome::kNewerExists;
      break;
    case 'c':
      answer.change.outcome = TierChange::Outcome::kConditionFailed;
      break;
    default:
      return absl::InternalError("the answer of a put in Redis cannot be read");
  }
  answer.change.existed = text[1] == 'l';
  answer.found_bad = text[2] == 'b';
  answer.change.current = FromBigEndian(std::string_view(text).substr(3));
  return answer;
}

const RedisScript* RemoveSameScript() {
  static const auto* const script = new RedisScript(kRemoveSame);
  return script;
}

Redis::ScriptCall RemoveSameCall(std::string name, std::string bytes) {
  return {{std::move(name)}, {std::move(bytes)}};
}

const RedisScript* LeaseTakeScript() {
  static const auto* const script = new RedisScript(kLeaseTake);
  return script;
}

Redis::ScriptCall LeaseTakeCall(std::string name, std::string token, absl::Duration ttl) {
  return {{std::move(name)}, {std::move(token), Milliseconds(ttl)}};
}

absl::StatusOr<absl::Duration> ParseLeaseTake(const RedisReply& reply) {
  if (reply.kind != RedisReply::Kind::kInteger) {
    return absl::InternalError("the answer of a lease in Redis cannot be read");
  }
  if (reply.integer < 0) return absl::InfiniteDuration();
  return absl::Milliseconds(reply.integer);
}

const RedisScript* LeaseExtendScript() {
  static const auto* const script = new RedisScript(kLeaseExtend);
  return script;
}

Redis::ScriptCall LeaseExtendCall(std::string name, std::string token, absl::Duration ttl) {
  return {{std::move(name)}, {std::move(token), Milliseconds(ttl)}};
}

const RedisScript* LeaseReleaseScript() { return RemoveSameScript(); }

Redis::ScriptCall LeaseReleaseCall(std::string name, std::string token) {
  return RemoveSameCall(std::move(name), std::move(token));
}

absl::StatusOr<bool> ParseYes(const RedisReply& reply) {
  if (reply.kind != RedisReply::Kind::kInteger) {
    return absl::InternalError("the answer of a script in Redis cannot be read");
  }
  return reply.integer != 0;
}

}  // namespace larder
