#include "tier/redis_key.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "base/strings.h"
#include "core/key.h"
#include "redis/redis.h"

namespace larder {
namespace {

std::string Full(std::string_view name_space, std::string_view key) {
  return std::string(FullKey(name_space, key).view());
}

TEST(RedisKeys, NameTellsPrefixPartNamespaceAndKey) {
  EXPECT_EQ(RedisKeys("larder", RedisKeys::Part::kEntry).Of(Full("", "user:42")),
            "larder{}:e:7:default:user:42");
  EXPECT_EQ(RedisKeys("a:b", RedisKeys::Part::kLease).Of(Full("shop", "x")), "a:b{}:l:4:shop:x");
}

TEST(RedisKeys, FullKeyIsReadBackFromItsName) {
  const RedisKeys keys("larder", RedisKeys::Part::kEntry);
  for (const char* name_space : {"default", "a", "1", "7", "x-1.y_z"}) {
    for (const char* key : {"k", "4:shop:k", ":", "{}", "{a}", "ключ", "*?[x]\\", "1"}) {
      const std::string full_key = Full(name_space, key);
      EXPECT_EQ(keys.FullKeyOf(keys.Of(full_key)), full_key);
    }
  }
  const std::string longest = Full(std::string(64, 'n'), std::string(1024, 'k'));
  EXPECT_EQ(keys.FullKeyOf(keys.Of(longest)), longest);
}

TEST(RedisKeys, OtherNamesHaveNoFullKey) {
  const RedisKeys keys("larder", RedisKeys::Part::kEntry);
  for (const char* name :
       {"", "larder", "larder{}:e:", "larder{}:e:7", "larder{}:e:7:default",
        "larder{}:e:7:default:", "larder{}:e:8:default:k", "larder{}:e:6:default:k",
        "larder{}:e::default:k", "larder{}:e:07:default:k", "larder{}:e:-7:default:k",
        "larder{}:e:0::k", "larder{}:e:65:default:k", "larder{}:e:99999999999999999999:default:k",
        "larder{}:l:7:default:k", "other{}:e:7:default:k", "xlarder{}:e:7:default:k"}) {
    EXPECT_EQ(keys.FullKeyOf(name), std::nullopt) << name;
  }
}

TEST(RedisKeys, ClientsCannotAimTheirKeysAtOneSlotWithBraces) {
  const RedisKeys keys("larder", RedisKeys::Part::kEntry);
  std::set<uint16_t> slots;
  for (int i = 0; i < 200; ++i) slots.insert(RedisSlot(keys.Of(Full("", StrCat("{x}", i)))));
  EXPECT_GT(slots.size(), 180u);
}

TEST(RedisKeys, PatternTakesItsPrefixLiterally) {
  const RedisKeys keys("larder", RedisKeys::Part::kEntry);
  EXPECT_EQ(keys.MatchUnder("").value(), "larder{}:e:*");
  EXPECT_EQ(keys.MatchUnder(Full("shop", "")).value(), "larder{}:e:4:shop:*");
  EXPECT_EQ(keys.MatchUnder(Full("shop", "a*b?[c]\\^-")).value(),
            "larder{}:e:4:shop:a\\*b\\?\\[c\\]\\\\\\^-*");
  EXPECT_EQ(keys.MatchUnder("\4sho").status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(RedisKeys, PrefixIsChecked) {
  EXPECT_TRUE(RedisKeys::CheckPrefix("larder").ok());
  EXPECT_TRUE(RedisKeys::CheckPrefix(std::string(64, 'x')).ok());
  for (const std::string& prefix : {std::string(), std::string(65, 'x'), std::string("a{b}"),
                                    std::string("a*"), std::string("a b")}) {
    EXPECT_EQ(RedisKeys::CheckPrefix(prefix).code(), absl::StatusCode::kInvalidArgument) << prefix;
  }
}

}  // namespace
}  // namespace larder
