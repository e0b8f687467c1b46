#include "tests/e2e/write_fixture.h"

#include <sqlite3.h>
#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <fstream>

#include "tests/e2e/origin_fixture.h"
#include "tests/origin/postgres_server.h"

namespace larder {
namespace {

constexpr char kLoad[] = "SELECT body FROM docs WHERE id = $key";

std::string Upsert(const std::string& body) {
  return "INSERT INTO docs (id, body, version) VALUES ($key, " + body +
         ", $version) ON CONFLICT (id) DO UPDATE SET body = excluded.body, "
         "version = excluded.version WHERE docs.version < excluded.version";
}

class PostgresDocuments : public Documents {
 public:
  PostgresDocuments() {
    Run("DROP TABLE IF EXISTS docs, effects, busy; DROP FUNCTION IF EXISTS look, note;"
        "CREATE TABLE docs (id text PRIMARY KEY, body text, version bigint NOT NULL);"
        "CREATE TABLE effects (n bigserial, id text, body text, version bigint);"
        "CREATE TABLE busy (what text);"
        "CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF NEW.body = 'poison' THEN RAISE EXCEPTION 'this body is refused'; END IF;"
        " IF NEW.body = 'later' AND EXISTS (SELECT FROM busy) THEN"
        "  RAISE EXCEPTION 'not now' USING ERRCODE = '55P03'; END IF;"
        " IF NEW.body = 'slow' THEN PERFORM pg_sleep(1); END IF;"
        " RETURN NEW; END $$;"
        "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " INSERT INTO effects (id, body, version) VALUES (NEW.id, NEW.body, NEW.version);"
        " RETURN NULL; END $$;"
        "CREATE TRIGGER look BEFORE INSERT OR UPDATE ON docs FOR EACH ROW EXECUTE FUNCTION look();"
        "CREATE TRIGGER note AFTER INSERT OR UPDATE ON docs FOR EACH ROW EXECUTE FUNCTION note()");
  }
  std::string Origin() const override { return SharedPostgresOrigin(directory_.path()); }
  std::string Sql() const override {
    return std::string("{ load: \"") + kLoad + "\", store: \"" + Upsert("$value") +
           "\", delete: \"" + Upsert("NULL") + "\" }";
  }
  void Run(const std::string& sql) const override { SharedPostgres().Run(sql); }
  std::string Ask(const std::string& sql) const override { return SharedPostgres().Ask(sql); }

 private:
  const TempDir directory_;
};

class SqliteDocuments : public Documents {
 public:
  SqliteDocuments() {
    Run("CREATE TABLE docs (id TEXT PRIMARY KEY, body TEXT, version INTEGER NOT NULL);"
        "CREATE TABLE effects (n INTEGER PRIMARY KEY, id TEXT, body TEXT, version INTEGER);"
        "CREATE TRIGGER look1 BEFORE INSERT ON docs WHEN NEW.body = 'poison'"
        " BEGIN SELECT RAISE(ABORT, 'this body is refused'); END;"
        "CREATE TRIGGER look2 BEFORE UPDATE ON docs WHEN NEW.body = 'poison'"
        " BEGIN SELECT RAISE(ABORT, 'this body is refused'); END;"
        "CREATE TRIGGER note1 AFTER INSERT ON docs BEGIN"
        " INSERT INTO effects (id, body, version) VALUES (NEW.id, NEW.body, NEW.version); END;"
        "CREATE TRIGGER note2 AFTER UPDATE ON docs BEGIN"
        " INSERT INTO effects (id, body, version) VALUES (NEW.id, NEW.body, NEW.version); END");
  }
  std::string Origin() const override { return "sqlite: { path: \"" + path() + "\" }"; }
  std::string Sql() const override {
    return std::string("{ load: \"") + kLoad + "\", store: \"" + Upsert("CAST($value AS TEXT)") +
           "\", delete: \"" + Upsert("NULL") + "\" }";
  }
  void Run(const std::string& sql) const override { Ask(sql); }
  std::string Ask(const std::string& sql) const override {
    sqlite3* db = nullptr;
    EXPECT_EQ(sqlite3_open(path().c_str(), &db), SQLITE_OK);
    sqlite3_busy_timeout(db, 10'000);
    std::optional<std::string> first;
    char* error = nullptr;
    sqlite3_exec(
        db, sql.c_str(),
        [](void* to, int count, char** values, char** /*names*/) {
          auto* const text = static_cast<std::optional<std::string>*>(to);
          if (!text->has_value() && count > 0) *text = values[0] == nullptr ? "" : values[0];
          return 0;
        },
        &first, &error);
    EXPECT_EQ(error, nullptr) << error;
    sqlite3_free(error);
    sqlite3_close(db);
    return first.value_or("");
  }

 private:
  std::string path() const { return directory_.path() + "/docs.db"; }

  const TempDir directory_;
};

}  // namespace

std::string SharedPostgresOrigin(const std::string& folder) {
  const std::string password = folder + "/password";
  std::ofstream(password) << "secret\n";
  return "postgres: { url: \"" + SharedPostgres().url_without_password() + "\", password_file: \"" +
         password + "\" }";
}

std::unique_ptr<Documents> NewPostgresDocuments() { return std::make_unique<PostgresDocuments>(); }
std::unique_ptr<Documents> NewSqliteDocuments() { return std::make_unique<SqliteDocuments>(); }

int64_t Documents::Count(const std::string& sql) const { return std::atoll(Ask(sql).c_str()); }

std::optional<Documents::Row> Documents::Of(const std::string& key) const {
  const std::string where = " FROM docs WHERE id = '" + key + "'";
  const std::string version = Ask("SELECT version" + where);
  if (version.empty()) return std::nullopt;
  Row row;
  row.version = std::strtoull(version.c_str(), nullptr, 10);
  row.removed = Ask("SELECT CASE WHEN body IS NULL THEN 1 ELSE 0 END" + where) == "1";
  row.body = Ask("SELECT body" + where);
  return row;
}

std::string Documents::Body(const std::string& key) const {
  const std::optional<Row> row = Of(key);
  if (!row.has_value()) return "";
  return row->removed ? "-" : row->body;
}

int64_t Documents::Effects(const std::string& key) const {
  return Count("SELECT count(*) FROM effects WHERE id = '" + key + "'");
}

int64_t Documents::WrongEffects() const {
  return Count(
      "SELECT count(*) FROM (SELECT version, max(version) OVER (PARTITION BY id ORDER BY n ROWS "
      "BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before FROM effects) AS e "
      "WHERE e.before >= e.version");
}

std::string WritesConfig(const Documents& documents, const std::string& data,
                         const std::string& behind, const std::string& more) {
  std::string yaml = "data: { path: \"" + data + "\" }\nmemory: { l1: 64MiB }\n" +
                     "origins: { db: { " + documents.Origin() + " } }\ntypes:\n";
  for (const std::string mode : {"through", "invalidate", "around", "behind"}) {
    yaml += "  " + mode + ":\n    match: [\"" + mode + ":{id}\"]\n    ttl: { base: 10m }\n" +
            "    origin: db\n    sql: " + documents.Sql() + "\n    write: { mode: " + mode +
            (mode == "behind" && !behind.empty() ? ", " + behind : "") + " }\n";
  }
  return yaml + more;
}

// ---- Writer

std::string Writer::Shown(const grpc::Status& status) {
  status_ = status;
  if (status.ok()) return "ok";
  const std::string reason = ReasonOf(status);
  return reason.empty()
             ? "code " + std::to_string(status.error_code()) + ": " + status.error_message()
             : reason;
}

std::string Writer::Set(const std::string& key, const std::string& value, double seconds) {
  v1::SetRequest request;
  request.set_key(key);
  request.set_value(value);
  uint64_t version = 0;
  return Set(request, &version, seconds);
}

std::string Writer::Set(const v1::SetRequest& request, uint64_t* version, double seconds) {
  v1::SetResponse response;
  const grpc::Status status =
      replica_->stub().Set(Replica::Within(seconds).get(), request, &response);
  *version = response.stored().version();
  if (status.ok() && !response.has_stored()) {
    return v1::NotStoredReason_Name(response.not_stored().reason())
        .substr(std::string("NOT_STORED_REASON_").size());
  }
  return Shown(status);
}

std::string Writer::Delete(const std::string& key, double seconds) {
  v1::DeleteRequest request;
  request.set_key(key);
  v1::DeleteResponse response;
  return Shown(replica_->stub().Delete(Replica::Within(seconds).get(), request, &response));
}

std::string Writer::Flush(double seconds, const std::string& type) {
  v1::FlushJournalRequest request;
  request.set_type(type);
  v1::FlushJournalResponse response;
  return Shown(replica_->admin().FlushJournal(Replica::Within(seconds).get(), request, &response));
}

std::string Writer::Pause() {
  v1::PauseDeliveryResponse response;
  return Shown(replica_->admin().PauseDelivery(Replica::Within().get(), {}, &response));
}

std::string Writer::Resume() {
  v1::ResumeDeliveryResponse response;
  return Shown(replica_->admin().ResumeDelivery(Replica::Within().get(), {}, &response));
}

v1::JournalStats Writer::Journal() { return replica_->Stats().journal(); }

CliEnded RunLarder(const Replica& replica, const std::string& arguments) {
  const std::string command = std::string(LARDER_BIN_DIR "/larder --server ") + replica.address() +
                              " " + arguments + " 2>&1";
  CliEnded ended;
  FILE* const pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) return ended;
  std::array<char, 4096> buffer;
  while (const size_t n = fread(buffer.data(), 1, buffer.size(), pipe)) {
    ended.out.append(buffer.data(), n);
  }
  const int status = pclose(pipe);
  if (WIFEXITED(status)) ended.exit_code = WEXITSTATUS(status);
  return ended;
}

}  // namespace larder
