// Damaged configurations: whatever the text is, loading it either succeeds or says where it is
// wrong.

#include <gtest/gtest.h>

#include <fstream>
#include <random>
#include <sstream>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "config/config.h"
#include "tests/config/some_machine.h"

namespace larder {
namespace {

constexpr char kFile[] = "fuzz.yaml";

std::string Example(const std::string& path) {
  std::ifstream in(std::string(LARDER_SOURCE_DIR) + "/examples/" + path);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

// Pieces that mean something to YAML or to the schema.
const std::vector<std::string> kPieces = {":",
                                          ": ",
                                          "- ",
                                          "-",
                                          "\n",
                                          "\n  ",
                                          "\n\t",
                                          "{",
                                          "}",
                                          "[",
                                          "]",
                                          ",",
                                          "#",
                                          "'",
                                          "\"",
                                          "&a ",
                                          "*a",
                                          "<<: ",
                                          "!!x ",
                                          "---\n",
                                          "...",
                                          "? ",
                                          "| \n",
                                          "> \n",
                                          "%YAML ",
                                          "\\",
                                          "~",
                                          "null",
                                          "5m",
                                          "-1",
                                          "1e9",
                                          "64KB",
                                          "10%",
                                          "auto",
                                          "off",
                                          "true",
                                          "types",
                                          "ttl",
                                          "base",
                                          "match",
                                          "default",
                                          "{id}",
                                          "origins",
                                          "sqlite",
                                          "postgres: {",
                                          "sql",
                                          "$key",
                                          "errors: [",
                                          "\xFF",
                                          "\xEF\xBB\xBF",
                                          "\r\n",
                                          "\xC3\xA9",
                                          "999999999999999999999",
                                          "limits: {queue: 5}\n"};

std::string Mutate(std::string text, std::mt19937_64& random) {
  for (size_t i = 0, n = 1 + random() % 6; i < n; ++i) {
    const size_t at = text.empty() ? 0 : random() % text.size();
    const size_t length = std::min<size_t>(random() % 40, text.size() - at);
    switch (random() % 6) {
      case 0:
        text.erase(at, length);
        break;
      case 1:
        text.insert(at, kPieces[random() % kPieces.size()]);
        break;
      case 2:
        text.insert(at, text.substr(random() % (text.size() + 1), length));
        break;
      case 3:
        if (!text.empty()) text[at] = static_cast<char>(random());
        break;
      case 4:
        text.replace(at, length, kPieces[random() % kPieces.size()]);
        break;
      default:
        if (random() % 20 == 0) text.resize(at);
        break;
    }
  }
  return text;
}

// `fuzz.yaml:LINE:COLUMN: words`
bool HasPosition(const std::string& problem) {
  const std::vector<std::string> parts = absl::StrSplit(problem, absl::MaxSplits(':', 3));
  int line = 0, column = 0;
  return parts.size() == 4 && parts[0] == kFile && absl::SimpleAtoi(parts[1], &line) && line >= 1 &&
         absl::SimpleAtoi(parts[2], &column) && column >= 1 && parts[3].size() > 1;
}

// By seed: 20,000 texts in all.
class ConfigFuzzTest : public testing::TestWithParam<uint64_t> {};

INSTANTIATE_TEST_SUITE_P(Seeds, ConfigFuzzTest, testing::Values(20261121, 1, 2, 3));

TEST_P(ConfigFuzzTest, DamagedConfigurationLoadsOrSaysWhereItIsWrong) {
  const uint64_t seed = GetParam();
  std::mt19937_64 random(seed);
  const std::vector<std::string> examples = {Example("larder.yaml"), Example("demo/larder.yaml")};
  for (const std::string& example : examples) ASSERT_FALSE(example.empty());
  const Machine machine{.hostname = "fuzz", .memory = MemoryOf(uint64_t{1} << 30), .cpus = 1};
  size_t loaded = 0;
  std::string kept;
  for (int round = 0; round < 5'000; ++round) {
    // Damage grows for some rounds, so that texts far from the examples are seen as well.
    const std::string& example = examples[round / 8 % examples.size()];
    const std::string text = Mutate(round % 8 == 0 ? example : kept, random);
    kept = text;
    const auto config = LoadConfig({.file_name = kFile, .text = text}, machine);
    if (config.ok()) {
      ++loaded;
      ASSERT_TRUE(LoadConfig({.text = PrintConfig(*config)}, machine).ok()) << text;
      continue;
    }
    ASSERT_TRUE(absl::IsInvalidArgument(config.status())) << config.status() << "\n" << text;
    const std::vector<std::string> problems =
        absl::StrSplit(std::string(config.status().message()), '\n');
    for (const std::string& problem : problems) {
      const bool summary = problem.starts_with("and ") && &problem == &problems.back();
      ASSERT_TRUE(HasPosition(problem) || summary) << problem << "\n" << text;
    }
  }
  EXPECT_GT(loaded, 150u) << "too few of the damaged texts load to prove anything about those";
  EXPECT_LT(loaded, 4'750u);
}

TEST(ConfigOverridesFuzzTest, DamagedOverridesLoadOrAreNamed) {
  const uint64_t seed = 7;
  SCOPED_TRACE(seed);
  std::mt19937_64 random(seed);
  const std::vector<std::string> paths = {"types.user.match",
                                          "types.user.ttl",
                                          "limits.queue",
                                          "types",
                                          "log",
                                          "types.user.ttl.adapt.access.steps",
                                          "listen.grpc",
                                          "x"};
  for (int round = 0; round < 5'000; ++round) {
    const std::string path = paths[random() % paths.size()];
    const std::string value =
        Mutate("{base: 5m, adapt: {access: {steps: [{hits: 1, ttl: 5m}]}}}", random);
    const auto config = LoadConfig({.overrides = {{path, value}}}, Machine{});
    if (!config.ok()) {
      ASSERT_TRUE(config.status().message().substr(0, 6) == "--set ") << config.status();
    }
  }
}

}  // namespace
}  // namespace larder
