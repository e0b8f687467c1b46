// What LoadConfig says about values that do not go together.

#include "config/checks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "config/config.h"
#include "tests/config/problems.h"

namespace larder {
namespace {

using testing::ElementsAre;

TEST(ConfigChecksTest, RulesBetweenFields) {
  ExpectEach({
      {"types: {a: {ttl: {min: 2h, max: 1h}}}",
       "f:1:24: types.a.ttl.min is 2h, more than types.a.ttl.max, which is 1h"},
      {"types: {a: {ttl: {min: 40d}}}",
       "f:1:24: types.a.ttl.min is 40d, more than types.a.ttl.max, which is 30d"},
      {"types: {a: {ttl: {base: 2h, max: 1h}}}",
       "f:1:25: types.a.ttl.base is 2h, more than types.a.ttl.max, which is 1h"},
      {"types: {a: {ttl: {min: 1m, base: 2s}}}",
       "f:1:24: types.a.ttl.min is 1m, more than types.a.ttl.base, which is 2s"},
      {"types: {a: {ttl: {max: 1m, absent: 2m}}}",
       "f:1:36: types.a.ttl.absent is 2m, more than types.a.ttl.max, which is 1m"},
      {"types: {a: {ttl: {forever: true, base: 1h}}}",
       "f:1:40: types.a.ttl.base has no effect, because types.a.ttl.forever is true"},
      {"types: {a: {ttl: {forever: true, adapt: {size: true}}}}",
       "f:1:48: types.a.ttl.adapt.size.enabled has no effect, because types.a.ttl.forever is true"},
      {"types: {a: {ttl: {adapt: {access: {gain: 1, steps: [{hits: 1}]}}}}}",
       "f:1:42: types.a.ttl.adapt.access.gain has no effect, because "
       "types.a.ttl.adapt.access.steps takes its place"},
      {"types: {a: {ttl: {adapt: {access: {steps: [{hits: 5}, {hits: 5}]}}}}}",
       "f:1:62: types.a.ttl.adapt.access.steps[1].hits is 5, no more than that of the step before"},
      {"types: {a: {ttl: {adapt: {size: {bands: []}}}}}",
       "f:1:41: types.a.ttl.adapt.size.bands needs at least one band"},
      {"types: {a: {ttl: {adapt: {size: {bands: [{below: 1MiB}]}}}}}",
       "f:1:42: types.a.ttl.adapt.size.bands[0] is the last band and takes all larger values; it "
       "must have no `below`"},
      {"types: {a: {ttl: {adapt: {size: {bands: [{below: 2KiB}, {below: 1KiB}, {}]}}}}}",
       "f:1:65: types.a.ttl.adapt.size.bands[1].below must be more than that of the band before"},
      {"types: {a: {share: {min: 30%, max: 20%}}}",
       "f:1:26: types.a.share.min is 30%, more than types.a.share.max, which is 20%"},
      {"types:\n  a: {share: {min: 60%}}\n  b: {share: {min: 40%}}\n  c: {share: {min: 1%}}\n"
       "  d: {share: {min: 1%}}",
       "f:4:20: types.c.share.min is 1%; with those of the types before it, that is more than "
       "100%"},
      {"leases: {ttl: 20s, max: 10s}",
       "f:1:15: leases.ttl is 20s, more than leases.max, which is 10s"},
      {"leases: {max: 5s}", "f:1:15: leases.ttl is 10s, more than leases.max, which is 5s"},
      {"limits: {value_bytes: 16MiB}",
       "f:1:23: limits.message_bytes is 16MiB; limits.value_bytes of 16MiB needs at least "
       "16448KiB"},
      {"limits: {value_bytes: 2MiB}\nmemory: {l1: 15MiB}",
       "f:1:23: memory.l1 is 15MiB; limits.value_bytes of 2MiB needs at least 16MiB"},
      {"memory: {l1: 7MiB}",
       "f:1:14: memory.l1 is 7MiB; limits.value_bytes of 1MiB needs at least 8MiB"},
      {"limits: {value_bytes: 2MiB}\nmemory: {min: 15MiB}",
       "f:1:23: memory.min is 15MiB; limits.value_bytes of 2MiB needs at least 16MiB"},
      {"memory: {max: 4MiB}",
       "f:1:15: memory.max is 4MiB; limits.value_bytes of 1MiB needs at least 8MiB"},
      {"memory: {min: 2GiB, max: 1GiB}",
       "f:1:15: memory.min is 2GiB, more than memory.max, which is 1GiB"},
      {"memory: {l1: 1GiB, max: 2GiB}",
       "f:1:25: memory.max has no effect, because memory.l1 is 1GiB and not auto"},
      {"memory: {min: 8GiB}",
       "f:1:15: memory.min needs a memory of 8GiB, which does not fit into the machine's memory "
       "8GiB"},
  });
}

TEST(ConfigChecksTest, LeastSharesMayAddUpToEverything) {
  EXPECT_THAT(ProblemsOf("types: {a: {share: {min: 10%}}, b: {share: {min: 20%}}, c: {share: {min: "
                         "70%, max: 70%}}}"),
              ElementsAre());
  std::string ten = "types:\n";
  for (int i = 0; i < 10; ++i) absl::StrAppend(&ten, "  t", i, ": {share: {min: 0.1}}\n");
  EXPECT_THAT(ProblemsOf(ten), ElementsAre());
}

// Eight of the largest values have to fit into a container; the default of 1MiB is not refused.
TEST(ConfigChecksTest, ValuesThatTheMachineCannotHold) {
  const Machine container{.memory = MemoryOf(64 << 20, MemorySource::kCgroupV2)};
  const auto problem = [&](const std::string& text) {
    const auto config = LoadConfig({.file_name = "f", .text = text}, container);
    return config.ok() ? "ok" : std::string(config.status().message());
  };
  EXPECT_EQ(problem("limits: {value_bytes: 8MiB}"),
            "f:1:23: limits.value_bytes needs a memory of 64MiB, which does not fit into the "
            "cgroup v2 limit 64MiB");
  EXPECT_EQ(problem("limits: {value_bytes: 4MiB}"), "ok");
  const Machine tiny{.memory = MemoryOf(4 << 20)};
  EXPECT_TRUE(LoadConfig({}, tiny).ok());
}

// A type that only lowers its max, or only raises its min, need not name its base as well.
TEST(ConfigChecksTest, DefaultsNeverContradictWhatIsWritten) {
  EXPECT_THAT(
      ProblemsOf("types: {a: {ttl: {max: 1s}}, b: {ttl: {min: 1h}}, c: {ttl: {forever: true}}}"),
      ElementsAre());
}

}  // namespace
}  // namespace larder
