#include "policy/type_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "absl/strings/str_cat.h"
#include "core/error.h"

namespace larder {
namespace {

TypePolicy Type(std::string name, std::vector<std::string> patterns = {}) {
  TypePolicy type;
  type.name = std::move(name);
  for (const std::string& text : patterns) type.match.push_back(*Pattern::Parse(text));
  return type;
}

std::shared_ptr<const TypeTable> Table(std::vector<TypePolicy> types) {
  auto table = TypeTable::Make(std::move(types));
  EXPECT_TRUE(table.ok()) << table.status();
  return *std::move(table);
}

std::string TypeOf(const TypeTable& table, std::string_view key) {
  return table.Resolve(key, "")->type->name;
}

TEST(TypeTableTest, DefaultIsAlwaysThereAndFirst) {
  const auto empty = Table({});
  ASSERT_EQ(empty->size(), 1u);
  EXPECT_EQ(empty->Get(0).name, "default");

  TypePolicy configured = Type("default");
  configured.ttl.base = absl::Seconds(7);
  const auto table = Table({Type("user"), configured, Type("otp")});
  ASSERT_EQ(table->size(), 3u);
  EXPECT_EQ(table->Get(0).ttl.base, absl::Seconds(7));
  EXPECT_EQ(table->Get(1).name, "user");
  EXPECT_EQ(table->Get(2).name, "otp");
  for (uint16_t id = 0; id < 3; ++id) EXPECT_EQ(table->Get(id).id, id);
}

TEST(TypeTableTest, RequestedTypeWinsOverPatterns) {
  const auto table = Table({Type("user", {"user:{id}"}), Type("otp")});
  const auto match = table->Resolve("user:1", "otp");
  ASSERT_TRUE(match.ok());
  EXPECT_EQ(match->type->name, "otp");
  EXPECT_EQ(match->kind, TypeMatchKind::kRequest);
  EXPECT_EQ(match->pattern, nullptr);
}

TEST(TypeTableTest, PatternGivesTheTypeAndIsNamed) {
  const auto table = Table({Type("user", {"user:{id}", "u:*"})});
  const auto match = table->Resolve("u:77", "");
  ASSERT_TRUE(match.ok());
  EXPECT_EQ(match->type->name, "user");
  EXPECT_EQ(match->kind, TypeMatchKind::kPattern);
  EXPECT_EQ(match->pattern->text(), "u:*");
}

TEST(TypeTableTest, KeyThatNothingMatchesIsDefault) {
  const auto table = Table({Type("user", {"user:{id}"})});
  const auto match = table->Resolve("user:1:2", "");
  ASSERT_TRUE(match.ok());
  EXPECT_EQ(match->type->name, "default");
  EXPECT_EQ(match->kind, TypeMatchKind::kDefault);
}

TEST(TypeTableTest, MostSpecificPatternWins) {
  const auto table =
      Table({Type("any", {"*"}), Type("order", {"order:*"}), Type("page", {"order:{id}:page:{n}"}),
             Type("vip", {"order:vip:*"}), Type("tail", {"*:page:9"})});
  EXPECT_EQ(TypeOf(*table, "x"), "any");
  EXPECT_EQ(TypeOf(*table, "order:1"), "order");
  EXPECT_EQ(TypeOf(*table, "order:1:page:2"), "page") << "same prefix, more literal bytes";
  EXPECT_EQ(TypeOf(*table, "order:vip:page:2"), "vip")
      << "the longer prefix goes before more literal bytes";
  EXPECT_EQ(TypeOf(*table, "z:page:9"), "tail");
  EXPECT_EQ(TypeOf(*table, "order:1:page:9"), "page");
}

TEST(TypeTableTest, FirstInTheConfigWinsBetweenEquallySpecificPatterns) {
  EXPECT_EQ(TypeOf(*Table({Type("a", {"k:{x}"}), Type("b", {"k:*"})}), "k:1"), "a");
  EXPECT_EQ(TypeOf(*Table({Type("b", {"k:*"}), Type("a", {"k:{x}"})}), "k:1"), "b");
  // `default` has id 0 wherever it stands, but its place counts here.
  EXPECT_EQ(TypeOf(*Table({Type("a", {"k:{x}"}), Type("default", {"k:*"})}), "k:1"), "a");
  EXPECT_EQ(TypeOf(*Table({Type("default", {"k:*"}), Type("a", {"k:{x}"})}), "k:1"), "default");
}

TEST(TypeTableTest, UnknownTypeIsATypedErrorWithASuggestion) {
  const auto table = Table({Type("user"), Type("session")});
  const absl::Status status = table->Resolve("k", "sesion").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), "type \"sesion\" is not configured; did you mean \"session\"?");
  const ErrorDetails details = DetailsOf(status);
  EXPECT_EQ(details.reason, "TYPE_UNKNOWN");
  ASSERT_EQ(details.fields.size(), 1u);
  EXPECT_EQ(details.fields[0].first, "type");
  EXPECT_EQ(table->Resolve("k", "invoice").status().message(),
            "type \"invoice\" is not configured");
}

TEST(TypeTableTest, UnknownTypeIsQuotedShortAndWithoutControlCharacters) {
  const auto table = Table({});
  const std::string message(table->Resolve("k", std::string(100'000, '\n')).status().message());
  EXPECT_LT(message.size(), 200u);
  EXPECT_EQ(message.find('\n'), std::string::npos);
}

TEST(TypeTableTest, FindsByName) {
  const auto table = Table({Type("user")});
  EXPECT_EQ(table->Find("user"), &table->Get(1));
  EXPECT_EQ(table->Find("default"), &table->Get(0));
  EXPECT_EQ(table->Find("users"), nullptr);
}

TEST(TypeTableTest, RefusesBadTables) {
  const auto error = [](std::vector<TypePolicy> types) {
    return std::string(TypeTable::Make(std::move(types)).status().message());
  };
  EXPECT_EQ(error({Type("user"), Type("user")}), "type user occurs twice");
  EXPECT_EQ(error({Type("User")}), "\"User\" is no name for a type");
  EXPECT_EQ(error({Type("a", {"k:{x}"}), Type("b", {"k:{y}"})}),
            "pattern \"k:{y}\" of type b matches the same keys as one of type a");
}

TEST(TypeTableTest, TakesAThousandTypesAndNoMore) {
  std::vector<TypePolicy> types;
  for (int i = 1; i < 1000; ++i)
    types.push_back(Type(absl::StrCat("t", i), {absl::StrCat("t", i, ":{id}")}));
  const auto table = Table(types);
  EXPECT_EQ(table->size(), TypeTable::kTypesMax);
  EXPECT_EQ(TypeOf(*table, "t999:1"), "t999");
  EXPECT_EQ(TypeOf(*table, "t99:1"), "t99");
  types.push_back(Type("one-more"));
  EXPECT_EQ(TypeTable::Make(types).status().message(),
            "there are 1001 types, `default` included; at most 1000");
}

TEST(TypeTableTest, NamesAreLowerCaseAndAtMost64Bytes) {
  EXPECT_TRUE(TypeTable::IsName("a"));
  EXPECT_TRUE(TypeTable::IsName("user_2-x"));
  EXPECT_TRUE(TypeTable::IsName(std::string(64, 'a')));
  EXPECT_FALSE(TypeTable::IsName(std::string(65, 'a')));
  for (const char* const bad : {"", "2a", "-a", "_a", "A", "a.b", "a b", "\xC3\xA9"}) {
    EXPECT_FALSE(TypeTable::IsName(bad)) << bad;
  }
}

TEST(TypeTableReplaceTest, TypesKeepTheirIdsByName) {
  const auto table = *TypeTable::Make({Type("user", {"user:*"}), Type("otp", {"otp:*"})});
  const TypePolicy* const before = table->Resolve("user:1", "")->type;
  TypePolicy user = Type("user", {"user:*", "u:*"});
  user.ttl.base = absl::Seconds(7);
  const auto next = Table({Type("cart", {"cart:*"}), user});
  ASSERT_TRUE(table->Replace(*next).ok());

  EXPECT_EQ(TypeOf(*table, "u:1"), "user");
  EXPECT_EQ(table->Find("user")->id, before->id);
  EXPECT_EQ(table->Get(before->id).ttl.base, absl::Seconds(7));
  EXPECT_EQ(TypeOf(*table, "cart:1"), "cart");
  EXPECT_EQ(table->Find("cart")->id, 3);
  for (uint16_t id = 0; id < table->size(); ++id) EXPECT_EQ(table->Get(id).id, id);
  // Whoever has the old policy goes on with it.
  EXPECT_NE(before->ttl.base, absl::Seconds(7));
  EXPECT_EQ(before->match.size(), 1u);
}

TEST(TypeTableReplaceTest, TypeThatGoesIsKnownByItsIdAlone) {
  const auto table = *TypeTable::Make({Type("user", {"user:*"}), Type("otp", {"otp:*"})});
  const uint16_t id = table->Find("otp")->id;
  ASSERT_TRUE(table->Replace(*Table({Type("user", {"user:*"})})).ok());
  EXPECT_EQ(TypeOf(*table, "otp:1"), "default");
  EXPECT_TRUE(table->Get(id).retired);
  EXPECT_EQ(table->Get(id).name, "otp");
  const auto refused = table->Resolve("otp:1", "otp");
  EXPECT_THAT(std::string(refused.status().message()),
              testing::HasSubstr("type \"otp\" is not configured"));
  // It comes back as what it was.
  ASSERT_TRUE(table->Replace(*Table({Type("otp", {"otp:*"})})).ok());
  EXPECT_EQ(table->Find("otp")->id, id);
  EXPECT_FALSE(table->Get(id).retired);
  EXPECT_EQ(TypeOf(*table, "otp:1"), "otp");
}

TEST(TypeTableReplaceTest, RoomForMoreTypesHasAnEnd) {
  const auto table = *TypeTable::Make({Type("user", {"user:*"})});
  std::vector<TypePolicy> many;
  for (size_t i = 0; i < TypeTable::kTypesToCome; ++i)
    many.push_back(Type(absl::StrCat("t", i), {absl::StrCat("t", i, ":*")}));
  ASSERT_TRUE(table->Replace(*Table(many)).ok());
  EXPECT_EQ(table->size(), table->capacity());
  many.push_back(Type("more", {"more:*"}));
  const absl::Status refused = table->Replace(*Table(many));
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition) << refused;
  EXPECT_EQ(table->Find("more"), nullptr);
  EXPECT_EQ(TypeOf(*table, "t0:1"), "t0");
}

TEST(TypeTableReplaceTest, OthersReadTheOldOnesOrTheNewOnes) {
  TypePolicy even = Type("user", {"user:*"}), odd = Type("user", {"user:*"});
  even.ttl.base = even.ttl.max = absl::Seconds(2);
  odd.ttl.base = odd.ttl.max = absl::Seconds(3);
  const auto table = *TypeTable::Make({even});
  const auto evens = Table({even}), odds = Table({Type("first", {"first:*"}), odd});
  std::atomic<bool> stop = false;
  std::vector<std::thread> readers;
  for (int i = 0; i < 3; ++i) {
    readers.emplace_back([&] {
      while (!stop) {
        const TypePolicy& type = *table->Resolve("user:1", "")->type;
        ASSERT_EQ(type.name, "user");
        ASSERT_EQ(type.ttl.base, type.ttl.max);
        ASSERT_EQ(table->Get(type.id).name, "user");
      }
    });
  }
  for (int i = 0; i < 500; ++i) ASSERT_TRUE(table->Replace(i % 2 == 0 ? *odds : *evens).ok());
  stop = true;
  for (std::thread& reader : readers) reader.join();
}

}  // namespace
}  // namespace larder
