// The origin suite's rig in an SQLite database of its own. Thread safety: as OriginRig.

#ifndef LARDER_TESTS_ORIGIN_SQLITE_RIG_H_
#define LARDER_TESTS_ORIGIN_SQLITE_RIG_H_

#include <memory>
#include <string>
#include <vector>

#include "base/executor.h"
#include "origin/sqlite_origin.h"
#include "tests/conformance/origin_suite.h"

struct sqlite3;

namespace larder {

// A database file in a temporary directory, and the test's own connection to it. Aborts the test
// when a statement of the test's fails.
class SqliteFile {
 public:
  SqliteFile();
  ~SqliteFile();
  SqliteFile(const SqliteFile&) = delete;
  SqliteFile& operator=(const SqliteFile&) = delete;

  std::string path() const { return directory_ + "/shop.db"; }
  // Statements, separated by ';'.
  void Run(const std::string& sql);
  // `sql` with these values as ?1, ?2 and so on; bytes. The first column of the first row, if there
  // is one.
  std::optional<std::string> Ask(const std::string& sql, const std::vector<std::string>& values);

 private:
  std::string directory_;
  sqlite3* database_ = nullptr;
};

class SqliteRig : public OriginRig {
 public:
  SqliteRig();

  Origin& origin() override { return *origin_; }
  void Put(const std::string& key, const OriginHeld& held) override;
  void PutAll(const std::vector<std::pair<std::string, OriginHeld>>& all) override;
  std::optional<OriginHeld> Held(const std::string& key) override;
  void SetFault(const std::string& key, OriginFault fault) override;

 private:
  SqliteFile file_;
  const std::unique_ptr<ThreadPool> executor_ = ThreadPool::New({.threads = 2});
  std::unique_ptr<Origin> origin_;
};

std::unique_ptr<OriginRig> NewSqliteRig();

}  // namespace larder

#endif  // LARDER_TESTS_ORIGIN_SQLITE_RIG_H_
