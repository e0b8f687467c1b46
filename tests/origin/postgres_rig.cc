#include "tests/origin/postgres_rig.h"

#include "absl/strings/escaping.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "base/strings.h"
#include "tests/origin/postgres_server.h"

namespace larder {
namespace {

constexpr const char* kSchema = R"sql(
  CREATE TABLE IF NOT EXISTS doc (key text PRIMARY KEY, body bytea, ttl double precision,
                                  tags text[], depends_on text[], validator text,
                                  version bigint NOT NULL);
  CREATE TABLE IF NOT EXISTS faults (key text PRIMARY KEY, fault text NOT NULL);
  TRUNCATE doc, faults;
  CREATE OR REPLACE FUNCTION fault_of(k text) RETURNS text LANGUAGE sql VOLATILE AS
    'SELECT fault FROM faults WHERE key = k';
  CREATE OR REPLACE FUNCTION may_load(k text) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
    BEGIN
      IF fault_of(k) = 'fails' THEN RAISE data_exception USING MESSAGE = 'made to fail'; END IF;
      WHILE fault_of(k) = 'hangs' LOOP PERFORM pg_sleep(0.01); END LOOP;
      RETURN true;
    END $$;
  CREATE OR REPLACE FUNCTION may_store() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      IF fault_of(NEW.key) = 'rejects' THEN RAISE check_violation USING MESSAGE = 'never'; END IF;
      IF fault_of(NEW.key) = 'retries' THEN
        RAISE serialization_failure USING MESSAGE = 'not now';
      END IF;
      RETURN NEW;
    END $$;
  CREATE OR REPLACE TRIGGER may_store BEFORE INSERT OR UPDATE ON doc FOR EACH ROW
    EXECUTE FUNCTION may_store();
)sql";

constexpr const char* kColumns =
    "body, CASE WHEN fault_of(key) = 'garbage' THEN 'soon' ELSE ttl::text END AS ttl, tags, "
    "depends_on, validator";

std::string Array(const std::vector<std::string>& elements) {
  if (elements.empty()) return "NULL";
  std::string text;
  for (const std::string& each : elements) StrAppend(&text, text.empty() ? "" : ",", Quoted(each));
  return StrCat("ARRAY[", text, "]");
}

}  // namespace

std::string Quoted(const std::string& text) {
  return StrCat("'", absl::StrReplaceAll(text, {{"'", "''"}}), "'");
}

SqlType SqlTypeOf(std::string name, const std::vector<std::string>& patterns) {
  SqlType type;
  type.name = std::move(name);
  for (const std::string& pattern : patterns) type.match.push_back(*Pattern::Parse(pattern));
  return type;
}

std::unique_ptr<Origin> NewPostgres(PostgresOptions options, Executor* executor) {
  if (options.name.empty()) options.name = "shop-db";
  if (options.url.empty()) options.url = SharedPostgres().url();
  options.executor = executor;
  auto origin = NewPostgresOrigin(options);
  EXPECT_TRUE(origin.ok()) << origin.status();
  return *std::move(origin);
}

PostgresRig::PostgresRig(const std::string& load) {
  SharedPostgres().Run(kSchema);
  PostgresOptions options;
  options.pool = 4;
  SqlType doc = SqlTypeOf("doc", {"doc:{id}"});
  doc.load = load;
  doc.store =
      "INSERT INTO doc AS held (key, body, version) VALUES ($key, $value, $version) ON CONFLICT "
      "(key) DO UPDATE SET body = excluded.body, version = excluded.version WHERE held.version < "
      "excluded.version";
  doc.remove = "DELETE FROM doc WHERE key = 'doc:' || $key.id AND version < $version";
  doc.scan =
      StrCat("SELECT key, ", kColumns, " FROM doc WHERE key > $cursor ORDER BY key LIMIT $limit");
  SqlType sealed = SqlTypeOf("sealed", {"doc:{id}"});
  sealed.load = load;
  options.types = {doc, sealed};
  origin_ = NewPostgres(options, executor_.get());
}

void PostgresRig::PutAll(const std::vector<std::pair<std::string, OriginHeld>>& all) {
  std::string values;
  for (const auto& [key, held] : all) {
    StrAppend(&values, values.empty() ? "" : ",\n", "(", Quoted(key), ", '\\x",
              absl::BytesToHexString(held.value), "'::bytea, ",
              held.ttl ? StrCat(absl::ToDoubleSeconds(*held.ttl)) : "NULL", "::double precision, ",
              Array(held.tags), "::text[], ", Array(held.depends_on), "::text[], ",
              held.validator.empty() ? "NULL" : Quoted(held.validator), ", ", held.version, ")");
  }
  SharedPostgres().Run(StrCat(
      "INSERT INTO doc (key, body, ttl, tags, depends_on, validator, version) VALUES ", values,
      " ON CONFLICT (key) DO UPDATE SET body = excluded.body, ttl = excluded.ttl, tags = "
      "excluded.tags, depends_on = excluded.depends_on, validator = excluded.validator, "
      "version = excluded.version"));
}

std::optional<OriginHeld> PostgresRig::Held(const std::string& key) {
  const std::string text = SharedPostgres().Ask(
      StrCat("SELECT encode(body, 'hex') || '/' || version FROM doc WHERE key = ", Quoted(key)));
  if (text.empty()) return std::nullopt;
  const std::vector<std::string> parts = absl::StrSplit(text, '/');
  OriginHeld held;
  held.value = absl::HexStringToBytes(parts[0]);
  held.version = std::stoull(parts[1]);
  return held;
}

void PostgresRig::SetFault(const std::string& key, OriginFault fault) {
  const char* name = nullptr;
  switch (fault) {
    case OriginFault::kNone:
      return SharedPostgres().Run(StrCat("DELETE FROM faults WHERE key = ", Quoted(key)));
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
      name = "retries";
      break;
  }
  SharedPostgres().Run(StrCat("INSERT INTO faults VALUES (", Quoted(key), ", '", name, "')"));
}

std::unique_ptr<OriginRig> NewPostgresRig() {
  return std::make_unique<PostgresRig>(
      StrCat("SELECT ", kColumns, " FROM doc WHERE key = $key AND may_load(key)"));
}

std::unique_ptr<OriginRig> NewPostgresKeysRig() {
  return std::make_unique<PostgresRig>(
      StrCat("SELECT key, ", kColumns, " FROM doc WHERE key = ANY($keys) AND may_load(key)"));
}

std::unique_ptr<OriginRig> NewPostgresCapturesRig() {
  return std::make_unique<PostgresRig>(
      StrCat("SELECT id, ", kColumns,
             " FROM unnest($keys.id::text[]) AS id JOIN doc ON key = 'doc:' || id WHERE "
             "may_load(key)"));
}

}  // namespace larder
