// The rows of an SQLite statement. Thread safety: none; the statement's thread.

#ifndef LARDER_ORIGIN_SQLITE_ROW_H_
#define LARDER_ORIGIN_SQLITE_ROW_H_

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "origin/sql_row.h"

struct sqlite3_stmt;

namespace larder {

// The row that a statement stands at, until its next step.
class SqliteCurrentRow : public SqlRow {
 public:
  explicit SqliteCurrentRow(sqlite3_stmt* statement) : statement_(statement) {}
  SqlCell Cell(int column) const override;

 private:
  sqlite3_stmt* const statement_;
};

// A copy of one.
class SqliteKeptRow : public SqlRow {
 public:
  explicit SqliteKeptRow(sqlite3_stmt* statement);
  SqlCell Cell(int column) const override;
  size_t bytes() const;

 private:
  std::vector<std::optional<std::string>> cells_;
};

std::vector<std::string> SqliteColumnNames(sqlite3_stmt* statement);

}  // namespace larder

#endif  // LARDER_ORIGIN_SQLITE_ROW_H_
