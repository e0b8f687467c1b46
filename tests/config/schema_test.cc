// Holds together what says the same thing in several places: the rules in config.proto, its
// comments, docs/config.md, examples/larder.yaml.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <functional>
#include <limits>
#include <set>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "config/config.h"
#include "config/overrides.h"
#include "config/value.h"
#include "larder/config/v1/config.pb.h"
#include "tests/config/some_machine.h"

namespace larder {
namespace {

using testing::HasSubstr;

std::string ReadFile(const std::string& path) {
  std::ifstream in(std::string(LARDER_SOURCE_DIR) + "/" + path);
  EXPECT_TRUE(in.good()) << path;
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

// Calls `visit` for every field of the schema with its path, in which names in maps are `<name>`
// and list elements `[]`.
void Walk(const google::protobuf::Descriptor* type, const std::string& path,
          const std::function<void(const std::string&, const FieldDescriptor*)>& visit) {
  for (int i = 0; i < type->field_count(); ++i) {
    const FieldDescriptor* const field = type->field(i);
    std::string field_path = path.empty() ? field->name() : absl::StrCat(path, ".", field->name());
    visit(field_path, field);
    if (field->is_map()) {
      Walk(field->message_type()->map_value()->message_type(), field_path + ".<name>", visit);
    } else if (IsSectionList(field)) {
      Walk(field->message_type(), field_path + "[]", visit);
    } else if (IsSection(field)) {
      Walk(field->message_type(), field_path, visit);
    }
  }
}

void WalkAll(const std::function<void(const std::string&, const FieldDescriptor*)>& visit) {
  Walk(config::v1::Config::descriptor(), "", visit);
}

bool IsSingle(const FieldDescriptor* field) { return !field->is_repeated() && !IsSection(field); }

// The line of `text` that starts with `start`; empty when there is none.
std::string LineThatStartsWith(const std::string& text, const std::string& start) {
  const size_t at = ("\n" + text).find("\n" + start);
  return at == std::string::npos ? "" : text.substr(at, text.find('\n', at) - at);
}

TEST(SchemaTest, EveryDefaultAndLimitCanBeRead) {
  WalkAll([](const std::string& path, const FieldDescriptor* field) {
    const config::v1::Rules& rules = RulesOf(field);
    EXPECT_EQ(rules.min().empty(), rules.max().empty()) << path;
    if (field->is_repeated()) {
      EXPECT_GT(rules.items_max(), 0u) << path << " is a list or map without a limit";
      return;
    }
    if (!IsSingle(field)) return;
    if (!rules.min().empty()) {
      const auto min = ParseValue(field, path, rules.min(), false);
      const auto max = ParseValue(field, path, rules.max(), false);
      ASSERT_TRUE(min.ok() && max.ok()) << path;
      EXPECT_LT(*min, *max) << path;
    }
    if (rules.default_value() != "auto" || rules.auto_from() == config::v1::AUTO_UNSPECIFIED) {
      EXPECT_TRUE(ParseValue(field, path, rules.default_value(), false).ok()) << path;
    }
  });
}

TEST(SchemaTest, EveryNumberAndDurationHasLimitsThatItsTypeHolds) {
  WalkAll([](const std::string& path, const FieldDescriptor* field) {
    const bool number = IsDuration(field) ||
                        (IsSingle(field) && (field->cpp_type() == FieldDescriptor::CPPTYPE_UINT32 ||
                                             field->cpp_type() == FieldDescriptor::CPPTYPE_UINT64 ||
                                             field->cpp_type() == FieldDescriptor::CPPTYPE_DOUBLE));
    if (!number) return;
    ASSERT_FALSE(RulesOf(field).max().empty()) << path;
    const auto max = ParseValue(field, path, RulesOf(field).max(), false);
    ASSERT_TRUE(max.ok()) << path;
    if (field->cpp_type() == FieldDescriptor::CPPTYPE_UINT32) {
      EXPECT_LE(std::get<uint64_t>(*max), std::numeric_limits<uint32_t>::max()) << path;
    }
  });
}

TEST(SchemaTest, OnlyTypesThatTheReaderKnowsAreUsed) {
  WalkAll([](const std::string& path, const FieldDescriptor* field) {
    switch (field->cpp_type()) {
      case FieldDescriptor::CPPTYPE_BOOL:
      case FieldDescriptor::CPPTYPE_DOUBLE:
      case FieldDescriptor::CPPTYPE_ENUM:
      case FieldDescriptor::CPPTYPE_STRING:
      case FieldDescriptor::CPPTYPE_UINT32:
      case FieldDescriptor::CPPTYPE_UINT64:
      case FieldDescriptor::CPPTYPE_MESSAGE:
        break;
      default:
        ADD_FAILURE() << path << " is of a type that the reader does not know";
    }
    if (field->is_repeated() && !field->is_map() && !IsSectionList(field)) {
      EXPECT_EQ(field->cpp_type(), FieldDescriptor::CPPTYPE_STRING)
          << path << ": lists hold texts or sections";
    }
    const std::string& shorthand = RulesOf(field).shorthand_for();
    if (!shorthand.empty()) {
      const FieldDescriptor* const target = field->message_type()->FindFieldByName(shorthand);
      ASSERT_NE(target, nullptr) << path;
      EXPECT_EQ(target->cpp_type(), FieldDescriptor::CPPTYPE_BOOL) << path;
    }
  });
}

TEST(SchemaTest, EnvironmentNamesAreDistinctAndNoneLooksLikeOneOfKubernetes) {
  std::set<std::string> names;
  for (const EnvironmentName& name : EnvironmentNames()) {
    EXPECT_TRUE(names.insert(name.variable).second) << name.variable;
    EXPECT_EQ(name.variable.find("_PORT"), std::string::npos) << name.variable;
    EXPECT_EQ(name.variable.find("_SERVICE_"), std::string::npos) << name.variable;
  }
  EXPECT_TRUE(names.contains("LARDER_LISTEN_GRPC"));
  EXPECT_TRUE(names.contains("LARDER_CONNECTIONS_MAX_AGE_GRACE"));
}

// The comment of a field says its default and its limits in the words of its rules.
TEST(SchemaTest, CommentsOfTheProtoSayDefaultAndLimits) {
  std::istringstream in(ReadFile("proto/larder/config/v1/config.proto"));
  std::string message, comment;
  size_t checked = 0;
  for (std::string line; std::getline(in, line);) {
    const size_t start = line.find_first_not_of(' ');
    const std::string code = start == std::string::npos ? "" : line.substr(start);
    std::istringstream words(code);
    std::string first, second, third;
    words >> first >> second >> third;
    if (first == "message") message = second;
    if (first == "//") {
      comment += code.substr(2);
      continue;
    }
    const bool repeated = first == "repeated";
    const std::string name = repeated ? third : second;
    const auto* const type =
        config::v1::Config::descriptor()->file()->FindMessageTypeByName(message);
    const FieldDescriptor* const field = type == nullptr ? nullptr : type->FindFieldByName(name);
    if (field != nullptr && first != "message" && !comment.empty()) {
      const config::v1::Rules& rules = RulesOf(field);
      if (IsSingle(field) && !rules.default_value().empty()) {
        EXPECT_THAT(comment, HasSubstr(absl::StrCat("Default ", rules.default_value())))
            << message << "." << name;
      }
      if (!rules.min().empty()) {
        EXPECT_THAT(comment, HasSubstr(absl::StrCat(rules.min(), " to ", rules.max())))
            << message << "." << name;
      }
      ++checked;
    }
    comment.clear();
  }
  EXPECT_GT(checked, 40u);
}

// docs/config.md has one table row for each field: | `path` | default | allowed | what |
TEST(SchemaTest, ReferenceHasEveryFieldWithDefaultAndLimits) {
  const std::string docs = ReadFile("docs/config.md");
  WalkAll([&](const std::string& path, const FieldDescriptor* field) {
    if (field->is_map() || (IsSection(field) && RulesOf(field).shorthand_for().empty())) return;
    const std::string row = LineThatStartsWith(docs, absl::StrCat("| `", path, "` |"));
    ASSERT_FALSE(row.empty()) << "docs/config.md has no row for " << path;
    const config::v1::Rules& rules = RulesOf(field);
    if (IsSingle(field) && !rules.default_value().empty()) {
      EXPECT_THAT(row, HasSubstr(absl::StrCat("| `", rules.default_value(), "` |"))) << path;
    }
    if (!RangeOf(field).empty()) {
      EXPECT_THAT(row, HasSubstr(absl::StrCat("| ", RangeOf(field), " |"))) << path;
    }
    if (field->enum_type() != nullptr) {
      for (const std::string& name : EnumNames(field->enum_type())) {
        EXPECT_THAT(row, HasSubstr("`" + name + "`")) << path;
      }
    }
  });
  for (const EnvironmentName& name : EnvironmentNames()) {
    EXPECT_NE(docs.find("`" + name.variable + "`"), std::string::npos)
        << "docs/config.md does not list " << name.variable;
  }
}

TEST(SchemaTest, ReferenceHasNoFieldThatDoesNotExist) {
  std::set<std::string> known;
  WalkAll([&](const std::string& path, const FieldDescriptor*) { known.insert(path); });
  std::istringstream docs(ReadFile("docs/config.md"));
  for (std::string line; std::getline(docs, line);) {
    if (!line.starts_with("| `") || line.starts_with("| `LARDER_")) continue;
    const std::string path = line.substr(3, line.find('`', 3) - 3);
    if (path.find('.') == std::string::npos) continue;
    EXPECT_TRUE(known.contains(path)) << path;
  }
}

Machine SomeMachine() {
  return {.hostname = "example-0", .memory = MemoryOf(uint64_t{4} << 30), .cpus = 2};
}

TEST(SchemaTest, ExampleLoads) {
  const auto config =
      LoadConfig({.file_name = "examples/larder.yaml", .text = ReadFile("examples/larder.yaml")},
                 SomeMachine());
  ASSERT_TRUE(config.ok()) << config.status().message();
  for (const char* const type : {"user", "session", "otp"})
    EXPECT_NE(config->types->Find(type), nullptr) << type;
  const auto match = config->types->Resolve("user:42", "");
  ASSERT_TRUE(match.ok());
  EXPECT_EQ(match->type->name, "user");
}

// What the example shows behind a comment sign, as in `#  max_age: off`, works as well.
TEST(SchemaTest, ExampleLoadsWithItsOptionalLinesSwitchedOn) {
  const std::string text = absl::StrReplaceAll(ReadFile("examples/larder.yaml"), {{"\n#|", "\n"}});
  const auto config =
      LoadConfig({.file_name = "examples/larder.yaml", .text = text}, SomeMachine());
  EXPECT_TRUE(config.ok()) << config.status().message() << "\n" << text;
}

// Every YAML block of these pages is a configuration that loads.
TEST(SchemaTest, ExamplesInTheDocumentsLoad) {
  for (const std::string page : {"docs/config.md", "docs/origins.md", "docs/policies.md"}) {
    const std::string docs = ReadFile(page);
    size_t blocks = 0;
    for (size_t at = 0; (at = docs.find("```yaml\n", at)) != std::string::npos; ++blocks) {
      at += 8;
      const std::string text = docs.substr(at, docs.find("```", at) - at);
      const auto config = LoadConfig({.file_name = page, .text = text}, SomeMachine());
      EXPECT_TRUE(config.ok()) << config.status().message() << "\n" << text;
    }
    EXPECT_GE(blocks, 2u);
  }
}

}  // namespace
}  // namespace larder
