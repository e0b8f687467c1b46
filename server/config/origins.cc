// A call may wait for a connection only after the guard let it through, so the lines in front of
// the connections hold as many calls as the guard lets through: one place decides what is too much.

#include "config/origins.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "config/text_file.h"

namespace larder {
namespace {

namespace v1 = config::v1;

constexpr size_t kUrlBytesMax = 4096;
constexpr size_t kMetadataBytesMax = 4096;

absl::Duration D(const google::protobuf::Duration& d) {
  return absl::Seconds(d.seconds()) + absl::Nanoseconds(d.nanos());
}

std::vector<SqlType> SqlTypesOf(const Config& config, const std::string& origin) {
  std::vector<SqlType> types;
  for (const TypePolicy& type : config.types->types()) {
    if (type.origin == origin)
      types.push_back(SqlTypeOf(type.name, config.proto->types().at(type.name)));
  }
  return types;
}

absl::Status FillPostgres(const v1::Origin& origin, const std::string& path,
                          PostgresOptions* options) {
  const v1::PostgresOrigin& postgres = origin.postgres();
  options->url = postgres.url();
  if (!postgres.url_file().empty()) {
    ASSIGN_OR_RETURN(options->url,
                     ReadTextFile(path + ".postgres.url_file", postgres.url_file(), kUrlBytesMax));
    if (options->url.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ".postgres.url_file: ", postgres.url_file(), " is empty"));
    }
  }
  options->password_file = postgres.password_file();
  options->pool = static_cast<int>(postgres.pool());
  options->connect_timeout = D(postgres.connect_timeout());
  options->statement_timeout = D(postgres.statement_timeout());
  options->queue_max = std::max<size_t>(options->queue_max, origin.concurrency());
  return absl::OkStatus();
}

absl::Status FillMetadata(const v1::GrpcOrigin& grpc, const std::string& path,
                          GrpcOriginOptions* options) {
  const std::map<std::string, v1::MetadataValue> sorted(grpc.metadata().begin(),
                                                        grpc.metadata().end());
  for (const auto& [name, metadata] : sorted) {
    std::string value = metadata.value();
    if (!metadata.file().empty()) {
      const std::string field = absl::StrCat(path, ".metadata.", name, ".file");
      ASSIGN_OR_RETURN(value, ReadTextFile(field, metadata.file(), kMetadataBytesMax));
      const absl::Status well = CheckMetadataValue(value);
      if (value.empty() || !well.ok()) {
        return absl::InvalidArgumentError(
            absl::StrCat(field, ": what is in ", metadata.file(), " ",
                         value.empty() ? "is empty" : std::string(well.message())));
      }
    }
    options->metadata.emplace_back(name, std::move(value));
  }
  return absl::OkStatus();
}

absl::Status FillGrpc(const Config& config, const v1::Origin& origin, const std::string& path,
                      GrpcOriginOptions* options) {
  const v1::GrpcOrigin& grpc = origin.grpc();
  options->target = grpc.target();
  options->timeout = D(grpc.timeout());
  options->message_bytes_max = grpc.message_bytes();
  options->value_bytes_max = config.proto->limits().value_bytes();
  options->channels = static_cast<int>(grpc.channels());
  options->tls = {.enabled = grpc.tls().enabled(),
                  .ca_file = grpc.tls().ca_file(),
                  .cert_file = grpc.tls().cert_file(),
                  .key_file = grpc.tls().key_file(),
                  .server_name = grpc.tls().server_name()};
  return FillMetadata(grpc, path + ".grpc", options);
}

void FillSqlite(const v1::Origin& origin, SqliteOptions* options) {
  options->path = origin.sqlite().path();
  options->readers = static_cast<int>(origin.sqlite().readers());
  options->busy_timeout = D(origin.sqlite().busy_timeout());
  options->queue_max = std::max<size_t>(options->queue_max, origin.concurrency());
}

OriginGuardOptions GuardOf(const Config& config, const std::string& name,
                           const v1::Origin& origin) {
  OriginGuardOptions options;
  options.concurrency = origin.concurrency();
  options.queue_max = origin.queue();
  // A load and a write may take as long as their type says.
  for (const TypePolicy& type : config.types->types()) {
    if (type.origin != name) continue;
    options.call_max = std::max(options.call_max, type.freshness.hard_timeout);
    if (type.write.mode != WriteMode::kCacheOnly)
      options.call_max = std::max(options.call_max, type.write.timeout);
  }
  const v1::OriginBreaker& breaker = origin.breaker();
  options.breaker.failures = breaker.failures();
  options.breaker.window = D(breaker.window());
  options.breaker.min_calls = breaker.min_calls();
  options.breaker.open_min = D(breaker.open_min());
  options.breaker.open_max = D(breaker.open_max());
  if (const absl::Duration slow_after = D(breaker.slow_after());
      slow_after > absl::ZeroDuration()) {
    options.breaker.slow = breaker.slow();
    options.breaker.slow_after = slow_after;
  }
  options.retry_budget.ratio = origin.retry_budget().ratio();
  options.retry_budget.burst = origin.retry_budget().burst();
  return options;
}

absl::StatusOr<OriginConfig> OriginOf(const Config& config, const std::string& name,
                                      const v1::Origin& origin) {
  const std::string path = absl::StrCat("origins.", name);
  const std::optional<OriginKind> kind = OriginKindOf(origin);
  if (!kind) return absl::InvalidArgumentError(absl::StrCat(path, " is of no kind"));
  OriginConfig one;
  one.name = one.postgres.name = one.grpc.name = one.sqlite.name = name;
  one.kind = *kind;
  one.guard = GuardOf(config, name, origin);
  one.batch_keys = origin.batch().keys();
  one.batch_delay = D(origin.batch().delay());
  switch (*kind) {
    case OriginKind::kPostgres:
      RETURN_IF_ERROR(FillPostgres(origin, path, &one.postgres));
      one.postgres.types = SqlTypesOf(config, name);
      break;
    case OriginKind::kGrpc:
      RETURN_IF_ERROR(FillGrpc(config, origin, path, &one.grpc));
      break;
    case OriginKind::kSqlite:
      FillSqlite(origin, &one.sqlite);
      one.sqlite.types = SqlTypesOf(config, name);
      break;
  }
  return one;
}

}  // namespace

absl::StatusOr<std::vector<OriginConfig>> OriginsOf(const Config& config) {
  const std::map<std::string, v1::Origin> sorted(config.proto->origins().begin(),
                                                 config.proto->origins().end());
  std::vector<OriginConfig> origins;
  for (const auto& [name, origin] : sorted) {
    ASSIGN_OR_RETURN(OriginConfig one, OriginOf(config, name, origin));
    origins.push_back(std::move(one));
  }
  return origins;
}

const char* OriginKindName(OriginKind kind) {
  switch (kind) {
    case OriginKind::kPostgres:
      return "postgres";
    case OriginKind::kGrpc:
      return "grpc";
    case OriginKind::kSqlite:
      break;
  }
  return "sqlite";
}

std::optional<OriginKind> OriginKindOf(const config::v1::Origin& origin) {
  if (origin.postgres().enabled()) return OriginKind::kPostgres;
  if (origin.grpc().enabled()) return OriginKind::kGrpc;
  if (origin.sqlite().enabled()) return OriginKind::kSqlite;
  return std::nullopt;
}

SqlType SqlTypeOf(const std::string& name, const config::v1::Type& type) {
  SqlType sql;
  sql.name = name;
  for (const std::string& text : type.match()) {
    absl::StatusOr<Pattern> pattern = Pattern::Parse(text);
    if (pattern.ok()) sql.match.push_back(*std::move(pattern));
  }
  sql.load = type.sql().load();
  sql.store = type.sql().store();
  sql.remove = type.sql().delete_();
  sql.scan = type.sql().scan();
  return sql;
}

absl::Status CheckMetadataValue(const std::string& value) {
  if (value.size() > kMetadataBytesMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("is ", value.size(), " bytes; at most ", kMetadataBytesMax));
  }
  const bool printable =
      std::all_of(value.begin(), value.end(), [](char c) { return c >= 0x20 && c <= 0x7E; });
  return printable ? absl::OkStatus() : absl::InvalidArgumentError("must be printable ASCII");
}

}  // namespace larder
