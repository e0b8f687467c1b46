#include "origin/sqlite_row.h"

#include <sqlite3.h>

namespace larder {

SqlCell SqliteCurrentRow::Cell(int column) const {
  if (sqlite3_column_type(statement_, column) == SQLITE_NULL) return {};
  // Numbers become text, and bytes and text are what they are.
  const void* const data = sqlite3_column_blob(statement_, column);
  const auto size = static_cast<size_t>(sqlite3_column_bytes(statement_, column));
  return {.null = false, .text = {static_cast<const char*>(data), size}};
}

SqliteKeptRow::SqliteKeptRow(sqlite3_stmt* statement) {
  const SqliteCurrentRow row(statement);
  for (int i = 0; i < sqlite3_column_count(statement); ++i) {
    const SqlCell cell = row.Cell(i);
    cells_.push_back(cell.null ? std::nullopt : std::optional<std::string>(cell.text));
  }
}

SqlCell SqliteKeptRow::Cell(int column) const {
  const std::optional<std::string>& cell = cells_[static_cast<size_t>(column)];
  if (!cell.has_value()) return {};
  return {.null = false, .text = *cell};
}

size_t SqliteKeptRow::bytes() const {
  size_t sum = 0;
  for (const auto& cell : cells_) sum += cell.has_value() ? cell->size() : 0;
  return sum;
}

std::vector<std::string> SqliteColumnNames(sqlite3_stmt* statement) {
  std::vector<std::string> names;
  for (int i = 0; i < sqlite3_column_count(statement); ++i) {
    names.emplace_back(sqlite3_column_name(statement, i));
  }
  return names;
}

}  // namespace larder
