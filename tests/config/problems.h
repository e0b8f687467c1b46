// What LoadConfig says about a wrong file, for tests that go through many of them.

#ifndef LARDER_TESTS_CONFIG_PROBLEMS_H_
#define LARDER_TESTS_CONFIG_PROBLEMS_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "config/config.h"
#include "tests/config/some_machine.h"

namespace larder {

// The lines of the error; none when the file is right.
inline std::vector<std::string> ProblemsOf(const std::string& text) {
  const auto config = LoadConfig({.file_name = "f", .text = text}, SomeMachine());
  if (config.ok()) return {};
  EXPECT_EQ(config.status().code(), absl::StatusCode::kInvalidArgument);
  return absl::StrSplit(std::string(config.status().message()), '\n');
}

// A file and its only problem.
struct Row {
  std::string text;
  std::string problem;
};

inline void ExpectEach(const std::vector<Row>& rows) {
  for (const Row& row : rows)
    EXPECT_THAT(ProblemsOf(row.text), testing::ElementsAre(row.problem)) << row.text;
}

}  // namespace larder

#endif  // LARDER_TESTS_CONFIG_PROBLEMS_H_
