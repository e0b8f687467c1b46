// examples/demo: its database can be made, its configuration loads, and the database understands
// every statement of it.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sqlite3.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "config/origins.h"
#include "config/sql_problem.h"
#include "tests/config/some_machine.h"

namespace larder {
namespace {

std::string ReadFile(const std::string& path) {
  std::ifstream in(std::string(LARDER_SOURCE_DIR) + "/" + path);
  EXPECT_TRUE(in.good()) << path;
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

class DemoTest : public testing::Test {
 protected:
  DemoTest() {
    std::string name = (std::filesystem::temp_directory_path() / "larder-demo-XXXXXX").string();
    EXPECT_NE(mkdtemp(name.data()), nullptr);
    root_ = name;
  }
  ~DemoTest() override { std::filesystem::remove_all(root_); }

  // Twice, as each start does; in between products were stored, as `./dev run` says how.
  void MakeDatabase() {
    sqlite3* database = nullptr;
    ASSERT_EQ(sqlite3_open((root_ / "shop.db").c_str(), &database), SQLITE_OK);
    for (int times = 0; times < 2; ++times) {
      char* error = nullptr;
      sqlite3_exec(database, ReadFile("examples/demo/shop.sql").c_str(), nullptr, nullptr, &error);
      EXPECT_EQ(error, nullptr) << error;
      sqlite3_free(error);
      sqlite3_exec(database,
                   "UPDATE products SET body = 'mine' WHERE id = '7';"
                   "UPDATE products SET body = x'ff00' WHERE id = '8';"
                   "UPDATE products SET body = NULL WHERE id = '9'",
                   nullptr, nullptr, nullptr);
    }
    EXPECT_EQ(Count(database, "products"), 1000);
    EXPECT_EQ(Count(database, "categories"), 10);
    EXPECT_EQ(sqlite3_close(database), SQLITE_OK);
  }

  static int Count(sqlite3* database, const std::string& table) {
    sqlite3_stmt* statement = nullptr;
    const std::string text = "SELECT count(*) FROM " + table;
    EXPECT_EQ(sqlite3_prepare_v2(database, text.c_str(), -1, &statement, nullptr), SQLITE_OK);
    EXPECT_EQ(sqlite3_step(statement), SQLITE_ROW);
    const int count = sqlite3_column_int(statement, 0);
    sqlite3_finalize(statement);
    return count;
  }

  std::filesystem::path root_;
};

TEST_F(DemoTest, DatabaseUnderstandsEveryStatement) {
  MakeDatabase();
  const auto config =
      LoadConfig({.file_name = "examples/demo/larder.yaml",
                  .text = ReadFile("examples/demo/larder.yaml"),
                  .overrides = {{"origins.shop.sqlite.path", (root_ / "shop.db").string()}}},
                 SomeMachine());
  ASSERT_TRUE(config.ok()) << config.status().message();
  const auto origins = OriginsOf(*config);
  ASSERT_TRUE(origins.ok()) << origins.status();
  ASSERT_EQ(origins->size(), 1u);
  EXPECT_EQ((*origins)[0].sqlite.types.size(), 2u);
  const auto problems = CheckSqliteStatements((*origins)[0].sqlite);
  ASSERT_TRUE(problems.ok()) << problems.status();
  for (const SqlProblem& problem : *problems) ADD_FAILURE() << SqlProblemLine(*config, problem);
}

}  // namespace
}  // namespace larder
