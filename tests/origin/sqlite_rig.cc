#include "tests/origin/sqlite_rig.h"

#include <sqlite3.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <iostream>

#include "base/strings.h"
#include "tests/origin/postgres_rig.h"

namespace larder {
namespace {

[[noreturn]] void GiveUp(const std::string& what) {
  std::cerr << "SqliteFile: " << what << std::endl;
  std::abort();
}

constexpr const char* kSchema = R"sql(
  CREATE TABLE doc (key TEXT PRIMARY KEY, body BLOB, ttl REAL, tags TEXT, depends_on TEXT,
                    validator TEXT, version INTEGER NOT NULL);
  CREATE TABLE faults (key TEXT PRIMARY KEY, fault TEXT NOT NULL);
  CREATE TRIGGER may_insert BEFORE INSERT ON doc
    WHEN EXISTS (SELECT 1 FROM faults WHERE key = NEW.key AND fault = 'rejects')
    BEGIN SELECT RAISE(ABORT, 'never'); END;
)sql";

// A fault of a load: an error of a function, or a query that goes on for ever.
constexpr const char* kLoad = R"sql(
  SELECT body, CASE fault WHEN 'garbage' THEN 'soon' ELSE ttl END AS ttl, tags, depends_on,
         validator,
         CASE fault
           WHEN 'fails' THEN json('{')
           WHEN 'hangs' THEN (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)
                              SELECT count(*) FROM n)
         END AS version
  FROM doc LEFT JOIN faults USING (key) WHERE key = $key)sql";

std::string Json(const std::vector<std::string>& elements) {
  std::string text;
  for (const std::string& element : elements) {
    StrAppend(&text, text.empty() ? "[\"" : ",\"");
    for (const char c : element) {
      if (c == '\n') {
        text += "\\n";
        continue;
      }
      if (c == '"' || c == '\\') text.push_back('\\');
      text.push_back(c);
    }
    text.push_back('"');
  }
  return text.empty() ? "" : text + "]";
}

}  // namespace

SqliteFile::SqliteFile() {
  std::string name = (std::filesystem::temp_directory_path() / "larder-sqlite-XXXXXX").string();
  if (mkdtemp(name.data()) == nullptr) GiveUp("no temporary directory");
  directory_ = name;
  if (sqlite3_open(path().c_str(), &database_) != SQLITE_OK) GiveUp("open");
  sqlite3_busy_timeout(database_, 10'000);
}

SqliteFile::~SqliteFile() {
  sqlite3_close_v2(database_);
  std::error_code ignored;
  std::filesystem::remove_all(directory_, ignored);
}

void SqliteFile::Run(const std::string& sql) {
  if (sqlite3_exec(database_, sql.c_str(), nullptr, nullptr, nullptr) != SQLITE_OK) {
    GiveUp(StrCat(sql, ": ", sqlite3_errmsg(database_)));
  }
}

std::optional<std::string> SqliteFile::Ask(const std::string& sql,
                                           const std::vector<std::string>& values) {
  sqlite3_stmt* statement = nullptr;
  if (sqlite3_prepare_v2(database_, sql.c_str(), -1, &statement, nullptr) != SQLITE_OK) {
    GiveUp(StrCat(sql, ": ", sqlite3_errmsg(database_)));
  }
  for (size_t i = 0; i < values.size(); ++i) {
    sqlite3_bind_blob64(statement, static_cast<int>(i) + 1, values[i].data(), values[i].size(),
                        SQLITE_STATIC);
  }
  std::optional<std::string> answer;
  const int code = sqlite3_step(statement);
  if (code == SQLITE_ROW) {
    const void* const data = sqlite3_column_blob(statement, 0);
    const auto size = static_cast<size_t>(sqlite3_column_bytes(statement, 0));
    answer = size == 0 ? "" : std::string(static_cast<const char*>(data), size);
  } else if (code != SQLITE_DONE) {
    GiveUp(StrCat(sql, ": ", sqlite3_errmsg(database_)));
  }
  sqlite3_finalize(statement);
  return answer;
}

SqliteRig::SqliteRig() {
  file_.Run(kSchema);
  SqliteOptions options;
  options.name = "shop-file";
  options.path = file_.path();
  options.executor = executor_.get();
  SqlType doc = SqlTypeOf("doc", {"doc:{id}"});
  doc.load = kLoad;
  doc.store =
      "INSERT INTO doc (key, body, version) VALUES ($key, $value, $version) ON CONFLICT (key) DO "
      "UPDATE SET body = excluded.body, version = excluded.version WHERE version < "
      "excluded.version";
  doc.remove = "DELETE FROM doc WHERE key = 'doc:' || $key.id AND version < $version";
  doc.scan =
      "SELECT key, body, ttl, tags, depends_on, validator FROM doc WHERE key > $cursor ORDER BY "
      "key LIMIT $limit";
  SqlType sealed = SqlTypeOf("sealed", {"doc:{id}"});
  sealed.load = kLoad;
  options.types = {doc, sealed};
  auto origin = NewSqliteOrigin(options);
  EXPECT_TRUE(origin.ok()) << origin.status();
  origin_ = *std::move(origin);
}

void SqliteRig::Put(const std::string& key, const OriginHeld& held) {
  file_.Ask(
      "INSERT OR REPLACE INTO doc VALUES (CAST(?1 AS TEXT), ?2, CAST(nullif(CAST(?3 AS TEXT), '') "
      "AS REAL), nullif(CAST(?4 AS TEXT), ''), nullif(CAST(?5 AS TEXT), ''), nullif(CAST(?6 AS "
      "TEXT), ''), CAST(CAST(?7 AS TEXT) AS INTEGER))",
      {key, held.value, held.ttl ? StrCat(absl::ToDoubleSeconds(*held.ttl)) : "", Json(held.tags),
       Json(held.depends_on), held.validator, StrCat(held.version)});
}

void SqliteRig::PutAll(const std::vector<std::pair<std::string, OriginHeld>>& all) {
  file_.Run("BEGIN");
  for (const auto& [key, held] : all) Put(key, held);
  file_.Run("COMMIT");
}

std::optional<OriginHeld> SqliteRig::Held(const std::string& key) {
  auto value = file_.Ask("SELECT body FROM doc WHERE key = CAST(?1 AS TEXT)", {key});
  if (!value.has_value()) return std::nullopt;
  OriginHeld held;
  held.value = *std::move(value);
  held.version =
      std::stoull(*file_.Ask("SELECT version FROM doc WHERE key = CAST(?1 AS TEXT)", {key}));
  return held;
}

void SqliteRig::SetFault(const std::string& key, OriginFault fault) {
  const char* name = "";
  switch (fault) {
    case OriginFault::kNone:
      file_.Ask("DELETE FROM faults WHERE key = CAST(?1 AS TEXT)", {key});
      return;
    case OriginFault::kLoadFails:
      name = "fails";
      break;
    case OriginFault::kGarbage:
      name = "garbage";
      break;
    case OriginFault::kHangs:
      name = "hangs";
      break;
    case OriginFault::kStoreRejects:
      name = "rejects";
      break;
    case OriginFault::kStoreRetries:
      GiveUp("a write that only one key cannot have now does not exist in SQLite");
  }
  file_.Ask("INSERT INTO faults VALUES (CAST(?1 AS TEXT), CAST(?2 AS TEXT))", {key, name});
}

std::unique_ptr<OriginRig> NewSqliteRig() { return std::make_unique<SqliteRig>(); }

}  // namespace larder
