// What LoadConfig says about files that are wrong: place and words of every message.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "config/config.h"
#include "tests/config/problems.h"

namespace larder {
namespace {

using testing::ElementsAre;

TEST(ConfigErrorsTest, NamesOfFields) {
  ExpectEach({
      {"limit: {}", "f:1:1: unknown field \"limit\"; did you mean \"limits\"?"},
      {"types:\n  user:\n    ttll: {}",
       "f:3:5: unknown field \"ttll\" in types.user; did you mean \"ttl\"?"},
      {"log: {LEVEL: info}", "f:1:7: unknown field \"LEVEL\" in log; did you mean \"level\"?"},
      {"log: {colour: red}",
       "f:1:7: unknown field \"colour\" in log; there is level, format, "
       "hash_keys, lines_per_second, slow_call"},
      {"types: {a: {ttl: {adapt: {access: {gains: 1}}}}}",
       "f:1:36: unknown field \"gains\" in types.a.ttl.adapt.access; did you mean \"gain\"?"},
      {"types: {a: {ttl: {adapt: {size: {bands: [{factr: 1}]}}}}}",
       "f:1:43: unknown field \"factr\" in types.a.ttl.adapt.size.bands[0]; did you mean "
       "\"factor\"?"},
      {"log: {level: info, level: warn}",
       "f:1:20: duplicate field \"level\" in log; it stands also in line 1"},
      {"log: {}\nlimits: {}\nlog: {}", "f:3:1: duplicate field \"log\"; it stands also in line 1"},
      {"types:\n  a: {}\n  b: {}\n  a: {}",
       "f:4:3: duplicate name \"a\" in types; it stands also in line 2"},
      {"types: {User: {}}",
       "f:1:9: \"User\" is no name for a type: a-z, then up to 63 of a-z, 0-9, '_' and '-'"},
      {"types: {\"a\\nb\": {}}",
       "f:1:9: \"a\\x0ab\" is no name for a type: a-z, then up to 63 of a-z, 0-9, '_' and '-'"},
      {"\"" + std::string(200, 'x') + "\": 1",
       "f:1:1: unknown field \"" + std::string(64, 'x') +
           "...\"; there is listen, node, data, memory, l2, bus, warm, journal, invalidation, "
           "limits, quotas, auth, reload, leases, "
           "connections, workers, log, "
           "shutdown, origins, types"},
  });
}

TEST(ConfigErrorsTest, KindsOfValues) {
  ExpectEach({
      {"just text", "f:1:1: the configuration must be a section, not a single value"},
      {"- a\n- b", "f:1:1: the configuration must be a section, not a list"},
      {"limits: 5", "f:1:9: limits must be a section, not a single value"},
      {"limits: [5]", "f:1:9: limits must be a section, not a list"},
      {"limits: {queue: {a: 1}}", "f:1:17: limits.queue must be a single value, not a section"},
      {"limits: {queue: [1]}", "f:1:17: limits.queue must be a single value, not a list"},
      {"shutdown: {drain: {seconds: 5}}",
       "f:1:19: shutdown.drain must be a single value, not a section"},
      {"types: {a: {match: 'a:*'}}", "f:1:20: types.a.match must be a list, not a single value"},
      {"types: {a: {match: [{b: c}]}}",
       "f:1:21: types.a.match[0] must be a single value, not a section"},
      {"types: [a]", "f:1:8: types must be a section, not a list"},
      {"types: {a: 5m}", "f:1:12: types.a must be a section, not a single value"},
      {"types: {a: {ttl: {adapt: {access: [true]}}}}",
       "f:1:35: types.a.ttl.adapt.access must be a section, not a list"},
      {"types: {a: {ttl: {adapt: {access: sometimes}}}}",
       "f:1:35: types.a.ttl.adapt.access.enabled: \"sometimes\" is neither true nor false"},
      {"types: {a: {ttl: {adapt: {access: {steps: [5]}}}}}",
       "f:1:44: types.a.ttl.adapt.access.steps[0] must be a section, not a single value"},
  });
}

TEST(ConfigErrorsTest, Nulls) {
  ExpectEach({
      {"limits:\n", "f:1:1: limits is empty; leave it out or write {}"},
      {"limits: ~", "f:1:1: limits is empty; leave it out or write {}"},
      {"log: {level: null}", "f:1:7: log.level has no value; leave it out to get the default"},
      {"log:\n  level:\n", "f:2:3: log.level has no value; leave it out to get the default"},
      {"types: {a: }", "f:1:9: types.a is empty; leave it out or write {}"},
      {"types: {a: {match: }}",
       "f:1:13: types.a.match has no value; leave it out to get the default"},
      {"types: {a: {match: [~]}}",
       "f:1:21: types.a.match[0] has no value; leave it out to get the default"},
      {"{: 5}", "f:1:2: a field name is missing"},
      {"? [a, b]\n: 5", "f:1:3: a field name must be a single word"},
  });
}

TEST(ConfigErrorsTest, UnitsAndRanges) {
  ExpectEach({
      {"shutdown: {drain: 20}", "f:1:19: shutdown.drain: \"20\" needs a unit: ms, s, m, h or d"},
      {"shutdown: {drain: 1KiB}",
       "f:1:19: shutdown.drain: \"1KiB\" has an unknown unit \"KiB\"; use ms, s, m, h or d"},
      {"shutdown: {drain: 11m}",
       "f:1:19: shutdown.drain: \"11m\" is out of range; allowed is 0s to 10m"},
      {"shutdown: {drain: -1s}",
       "f:1:19: shutdown.drain: \"-1s\" is out of range; allowed is 0s to 10m"},
      {"connections: {max_age: 10ms}",
       "f:1:24: connections.max_age: \"10ms\" is out of range; allowed is 1s to 7d, or off"},
      {"connections: {keepalive_time: off}",
       "f:1:31: connections.keepalive_time: \"off\" is no duration; write it like 250ms, 30s, 5m, "
       "2h, 7d or 1h30m"},
      {"memory: {l1: 1000000000}",
       "f:1:14: memory.l1: \"1000000000\" needs a unit: B, KiB, MiB, GiB, TiB (or kB, MB, GB, TB "
       "in powers of 1000)"},
      {"memory: {l1: 1023KiB}",
       "f:1:14: memory.l1: \"1023KiB\" is out of range; allowed is 1MiB to 16TiB, or auto"},
      {"memory: {l1: 10m}",
       "f:1:14: memory.l1: \"10m\" has an unknown unit \"m\"; use B, KiB, MiB, GiB, TiB (or kB, "
       "MB, GB, TB in powers of "
       "1000)"},
      {"limits: {value_bytes: 65MiB, message_bytes: 128MiB}",
       "f:1:23: limits.value_bytes: \"65MiB\" is out of range; allowed is 1KiB to 64MiB"},
      {"limits: {batch_keys: 10001}",
       "f:1:22: limits.batch_keys: \"10001\" is out of range; allowed is 1 to 10000"},
      {"limits: {batch_keys: 0}",
       "f:1:22: limits.batch_keys: \"0\" is out of range; allowed is 1 to 10000"},
      {"limits: {batch_keys: -3}",
       "f:1:22: limits.batch_keys: \"-3\" is out of range; allowed is 1 to 10000"},
      {"limits: {batch_keys: 99999999999999999999999}",
       "f:1:22: limits.batch_keys: \"99999999999999999999999\" is out of range; allowed is 1 to "
       "10000"},
      {"limits: {batch_keys: 1e3}", "f:1:22: limits.batch_keys: \"1e3\" is no whole number"},
      {"limits: {batch_keys: auto}", "f:1:22: limits.batch_keys: \"auto\" is no whole number"},
      {"node: {id: 1024}", "f:1:12: node.id: \"1024\" is out of range; allowed is 0 to 1023"},
      {"node: {name: 'a b'}",
       "f:1:14: node.name: \"a b\" is no host name: 1 to 253 letters, digits, '.', '_' and '-'"},
      {"listen: {grpc: 50051}",
       "f:1:16: listen.grpc: \"50051\" is no address; write host:port, such as 0.0.0.0:50051 or "
       "[::1]:50051"},
      {"log: {level: verbose}",
       "f:1:14: log.level: \"verbose\" is none of debug, info, warn, error"},
      {"log: {level: unspecified}",
       "f:1:14: log.level: \"unspecified\" is none of debug, info, warn, error"},
      {"types: {a: {ttl: {jitter: 51%}}}",
       "f:1:27: types.a.ttl.jitter: \"51%\" is out of range; allowed is 0% to 50%"},
      {"types: {a: {ttl: {jitter: -1%}}}",
       "f:1:27: types.a.ttl.jitter: \"-1%\" is out of range; allowed is 0% to 50%"},
      {"types: {a: {ttl: {jitter: much}}}",
       "f:1:27: types.a.ttl.jitter: \"much\" is no ratio; write it like 10% or 0.1"},
      {"types: {a: {ttl: {multiplier: nan}}}",
       "f:1:31: types.a.ttl.multiplier: \"nan\" is no number"},
      {"types: {a: {ttl: {forever: yes}}}",
       "f:1:28: types.a.ttl.forever: \"yes\" is neither true nor false"},
      {"types: {a: {share: {max: 0%}}}",
       "f:1:26: types.a.share.max: \"0%\" is out of range; allowed is 0.1% to 100%"},
      {"types: {a: {share: {min: 101%}}}",
       "f:1:26: types.a.share.min: \"101%\" is out of range; allowed is 0% to 100%"},
      {"types: {a: {ttl: {adapt: {access: {half_life: 31d}}}}}",
       "f:1:47: types.a.ttl.adapt.access.half_life: \"31d\" is out of range; allowed is 1s to 30d"},
      {"types: {a: {ttl: {sliding: 1h}}}",
       "f:1:28: types.a.ttl.sliding: \"1h\" is neither true nor false"},
      {"types: {a: {tiers: {require_l3: false}}}",
       "f:1:21: unknown field \"require_l3\" in types.a.tiers; did you mean \"require_l2\"?"},
      {"types: {a: {ttl: {base: 1us}}}",
       "f:1:25: types.a.ttl.base: \"1us\" has an unknown unit \"us\"; use ms, s, m, h or d"},
      {"types: {a: {ttl: {base: 0.5ms}}}",
       "f:1:25: types.a.ttl.base: \"0.5ms\" is out of range; allowed is 1ms to 3650d"},
      {"data: {path: \"a\\0b\"}",
       "f:1:14: data.path: must be UTF-8 text without control characters"},
      {"data: {path: \"" + std::string(4097, 'x') + "\"}",
       "f:1:14: data.path: is 4097 bytes; at most 4096"},
  });
}

TEST(ConfigErrorsTest, Patterns) {
  std::string many = "'p0'";
  for (int i = 1; i <= 100; ++i) absl::StrAppend(&many, ",'p", i, "'");
  ExpectEach({
      {"types:\n  user:\n    match:\n      - 'user:{id'",
       "f:4:9: types.user.match[0]: pattern \"user:{id\" is wrong at byte 6: '{' is not closed; "
       "write \\{ for a literal "
       "one"},
      {"types: {a: {match: ['']}}", "f:1:21: types.a.match[0]: pattern is empty"},
      {"types: {a: {match: ['x:{id}', 'y']}, b: {match: ['z', 'x:{name}']}}",
       "f:1:55: types.b.match[1]: pattern \"x:{name}\" matches the same keys as types.a.match[0]"},
      {"types: {a: {match: ['x', 'x']}}",
       "f:1:26: types.a.match[1]: pattern \"x\" matches the same keys as types.a.match[0]"},
      {"types: {a: {match: [" + many + "]}}", "f:1:20: types.a.match has 101 entries; at most 100"},
  });
}

TEST(ConfigErrorsTest, PartsOfYamlThatAreNotSupported) {
  ExpectEach({
      {"log: &a {level: info}",
       "f:1:6: anchors (&name) are not supported; write the value where it is needed"},
      {"types: {a: !mine {}}", "f:1:12: tags (!name) are not supported"},
      {"log: {level: !!str info}", "f:1:14: tags (!name) are not supported"},
      {"types: {a: {<<: {}}}", "f:1:13: merge keys (<<) are not supported; write the fields out"},
      {"log: {level: info}\n---\nlog: {level: warn}",
       "f:2:1: a second document begins here; a configuration is one"},
  });
}

TEST(ConfigErrorsTest, AliasesAreRefusedWhereverTheyStand) {
  EXPECT_THAT(
      ProblemsOf("types:\n  a: &x {}\n  b: *x\n"),
      ElementsAre("f:2:6: anchors (&name) are not supported; write the value where it is needed",
                  "f:3:6: aliases (*name) are not supported; write the value out"));
  // An alias inside its own anchor: what other readers recurse into.
  EXPECT_THAT(
      ProblemsOf("types: &t\n  a: *t\n"),
      ElementsAre("f:1:8: anchors (&name) are not supported; write the value where it is needed",
                  "f:2:6: aliases (*name) are not supported; write the value out"));
}

TEST(ConfigErrorsTest, TextThatIsNotYaml) {
  ExpectEach({
      {"log: {level: info", "f:1:6: not YAML: end of map flow not found"},
      {"log: [", "f:1:6: not YAML: end of sequence flow not found"},
      {"log:\n  level: \"info\n", "f:2:10: not YAML: the quote is not closed"},
      {"log: {level: 'info", "f:1:19: not YAML: illegal EOF in scalar"},
      {"data:\n  path: 'it''s\n", "f:2:9: not YAML: the quote is not closed"},
      {"data:\n  path: \"x\\\"\n", "f:2:9: not YAML: the quote is not closed"},
      {"[", "f:1:1: not YAML: end of sequence flow not found"},
      {"a: &x b\nc: [", "f:2:1: not YAML: end of sequence flow not found"},
      {"a: b: c", "f:1:5: not YAML: illegal map value"},
      {"log: *nowhere", "f:1:6: not YAML: the referenced anchor is not defined"},
      {"log:\n\tlevel: info", "f:2:1: a tab indents the line; use spaces"},
      {"log:\n  \tlevel: info", "f:2:3: a tab indents the line; use spaces"},
      {std::string("log: {}\0", 8), "f:1:8: control characters are not allowed"},
      {"log:\n  level: \xFF", "f:2:10: the text is not UTF-8"},
      {"log: {} # \xC0\x80", "f:1:11: the text is not UTF-8"},
      {"\xFF\xFEl\0o\0g\0", "f:1:1: the text is not UTF-8"},
  });
}

TEST(ConfigErrorsTest, TabsThatDoNotIndentAreFine) {
  EXPECT_THAT(ProblemsOf("log:\n  level: info\t# a comment\n\t\n\t# another\r\n"), ElementsAre());
}

TEST(ConfigErrorsTest, QuotesThatAreClosedAtTheVeryEndAreFine) {
  for (const char* const text :
       {"data:\n  path: 'it''s'", "data:\n  path: \"\\\"\"", "data: {path: ''}",
        "\xEF\xBB\xBF"
        "data:\r\n  path: \"x\"\r\n",
        "data:\n  path: >-\n    x"}) {
    EXPECT_THAT(ProblemsOf(text), ElementsAre()) << text;
  }
}

TEST(ConfigErrorsTest, DepthIsBounded) {
  std::string text = "types: {a: {match: ";
  const std::vector<std::string> problems =
      ProblemsOf(text + std::string(40, '[') + std::string(40, ']') + "}}");
  EXPECT_THAT(problems, ElementsAre("f:1:21: types.a.match[0] must be a single value, not a list",
                                    "f:1:49: nested deeper than 32 levels"));
  for (const char* const unit : {"[", "{a: ", "- ", "? ", "a:\n "}) {
    std::string deep;
    while (deep.size() < 256 << 10) deep += unit;
    EXPECT_FALSE(ProblemsOf(deep).empty()) << unit;
  }
}

TEST(ConfigErrorsTest, EverythingAtOnceSortedByPosition) {
  const std::string text = R"(
types:
  user:
    match: ["user:{id", "u:*"]
    ttll: { base: 5m }
    ttl: { base: 5x, jitter: 10, min: 1h, max: 1m }
  User: {}
  session:
    match: ["u:*"]
limits:
  queue: lots
  queue: 5
  value_bytes: 1024
log: debug
lisden: {}
)";
  auto config = LoadConfig({.file_name = "larder.yaml",
                            .text = text,
                            .environment = {{"LARDER_LOG_LEVLE", "x"}},
                            .overrides = {{"limits.leases", "0"}}},
                           SomeMachine());
  const std::vector<std::string> problems =
      absl::StrSplit(std::string(config.status().message()), '\n');
  EXPECT_THAT(
      problems,
      ElementsAre(
          "larder.yaml:4:13: types.user.match[0]: pattern \"user:{id\" is wrong at byte 6: '{' is "
          "not closed; write \\{ "
          "for a literal one",
          "larder.yaml:5:5: unknown field \"ttll\" in types.user; did you mean \"ttl\"?",
          "larder.yaml:6:18: types.user.ttl.base: \"5x\" has an unknown unit \"x\"; use ms, s, m, "
          "h or d",
          "larder.yaml:6:30: types.user.ttl.jitter: \"10\" is out of range; allowed is 0% to 50%",
          "larder.yaml:6:39: types.user.ttl.min is 1h, more than types.user.ttl.max, which is 1m",
          "larder.yaml:7:3: \"User\" is no name for a type: a-z, then up to 63 of a-z, 0-9, '_' "
          "and '-'",
          "larder.yaml:9:13: types.session.match[0]: pattern \"u:*\" matches the same keys as "
          "types.user.match[0]",
          "larder.yaml:11:10: limits.queue: \"lots\" is no whole number",
          "larder.yaml:12:3: duplicate field \"queue\" in limits; it stands also in line 11",
          "larder.yaml:13:16: limits.value_bytes: \"1024\" needs a unit: B, KiB, MiB, GiB, TiB (or "
          "kB, MB, GB, TB in "
          "powers of 1000)",
          "larder.yaml:14:6: log must be a section, not a single value",
          "larder.yaml:15:1: unknown field \"lisden\"; did you mean \"listen\"?",
          "LARDER_LOG_LEVLE: the variable names no setting; did you mean LARDER_LOG_LEVEL?",
          "--set limits.leases: limits.leases: \"0\" is out of range; allowed is 1 to 10000000"));
}

TEST(ConfigErrorsTest, ShowsAHundredProblemsAndCountsTheRest) {
  std::string text;
  for (int i = 0; i < 20'000; ++i) absl::StrAppend(&text, "nothing-", i, ": 1\n");
  const std::vector<std::string> problems = ProblemsOf(text);
  ASSERT_EQ(problems.size(), 101u);
  EXPECT_EQ(problems.back(), "and 19900 more");
  EXPECT_TRUE(problems[99].starts_with("f:100:1: unknown field"));
}

TEST(ConfigErrorsTest, TypesAreLimited) {
  std::string text = "types:\n";
  for (int i = 0; i < 999; ++i) absl::StrAppend(&text, "  t", i, ": {}\n");
  EXPECT_THAT(ProblemsOf(text), ElementsAre());
  EXPECT_THAT(ProblemsOf(text + "  t999: {}\n"),
              ElementsAre("f:2:3: types has 1000 entries; at most 999"));
}

}  // namespace
}  // namespace larder
