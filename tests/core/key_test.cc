#include "core/key.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "core/error.h"

namespace larder {
namespace {

std::string ReasonOf(const absl::Status& status) { return DetailsOf(status).reason; }

TEST(KeyTest, AcceptsOneByteToTheLimitAndRefusesOnePast) {
  EXPECT_TRUE(CheckKey("k").ok());
  EXPECT_TRUE(CheckKey(std::string(kKeyBytesMax, 'k')).ok());
  const absl::Status status = CheckKey(std::string(kKeyBytesMax + 1, 'k'));
  EXPECT_EQ(ReasonOf(status), "KEY_INVALID");
  EXPECT_EQ(std::string(status.message()), "key is 1025 bytes; at most 1024");
  EXPECT_EQ(DetailsOf(status).fields[0].first, "key");
}

TEST(KeyTest, RefusesEmptyControlCharactersAndBrokenUtf8) {
  for (const std::string& key :
       {std::string(), std::string("a\nb"), std::string("a\0b", 3), std::string("\x7f"),
        std::string("\xC2\x85"), std::string("\xC3"), std::string("\xC3(", 2),
        std::string("\xC0\xAF"), std::string("\xE0\x80\xAF"), std::string("\xED\xA0\x80"),
        std::string("\xF4\x90\x80\x80"), std::string("\xFF"), std::string("\x80")}) {
    EXPECT_EQ(ReasonOf(CheckKey(key)), "KEY_INVALID") << testing::PrintToString(key);
  }
}

TEST(KeyTest, AcceptsTextOfAllLengthsOfUtf8) {
  for (const char* key :
       {"user:42", "straße", "ключ", "鍵", "🗝", " ", "\xC2\xA0", "\xF4\x8F\xBF\xBF"}) {
    EXPECT_TRUE(CheckKey(key).ok()) << key;
  }
}

TEST(NamespaceTest, AcceptsItsAlphabetAndRefusesTheRest) {
  EXPECT_TRUE(CheckNamespace("").ok());
  EXPECT_TRUE(CheckNamespace("shop.prod_2-a").ok());
  EXPECT_TRUE(CheckNamespace(std::string(kNamespaceBytesMax, 'n')).ok());
  EXPECT_EQ(ReasonOf(CheckNamespace(std::string(kNamespaceBytesMax + 1, 'n'))),
            "NAMESPACE_INVALID");
  for (const char* name : {"a b", "a/b", "a:b", "ä", "a\n"}) {
    EXPECT_EQ(ReasonOf(CheckNamespace(name)), "NAMESPACE_INVALID") << name;
  }
}

TEST(FullKeyTest, DifferentPairsNeverJoinToTheSameString) {
  std::set<std::string> seen;
  for (const char* name_space : {"a", "ab", "abc", "default"}) {
    for (const char* key : {"a", "b", "bc", "c", "abc", "cab"}) {
      EXPECT_TRUE(seen.insert(std::string(FullKey(name_space, key).view())).second)
          << name_space << " " << key;
    }
  }
}

TEST(FullKeyTest, EmptyNamespaceIsDefaultAndPartsComeBack) {
  const FullKey empty("", "user:1");
  const FullKey named("default", "user:1");
  EXPECT_EQ(empty.view(), named.view());
  EXPECT_EQ(FullKey::NamespaceOf(empty.view()), "default");
  EXPECT_EQ(FullKey::KeyOf(empty.view()), "user:1");
}

}  // namespace
}  // namespace larder
