// Turns `origins`, and what types say about them, into the options of what is built from them.
// Executors and clocks are left to whoever builds it. Thread safety: any thread.

#ifndef LARDER_CONFIG_ORIGINS_H_
#define LARDER_CONFIG_ORIGINS_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "config/config.h"
#include "larder/config/v1/config.pb.h"
#include "origin/grpc_origin.h"
#include "origin/origin_guard.h"
#include "origin/postgres_origin.h"
#include "origin/sql.h"
#include "origin/sqlite_origin.h"

namespace larder {

enum class OriginKind : uint8_t { kPostgres, kGrpc, kSqlite };

// `postgres`, `grpc`, `sqlite`.
const char* OriginKindName(OriginKind kind);

// Nothing when none is enabled.
std::optional<OriginKind> OriginKindOf(const config::v1::Origin& origin);

struct OriginConfig {
  std::string name;
  OriginKind kind;
  PostgresOptions postgres;  // kPostgres
  GrpcOriginOptions grpc;    // kGrpc
  SqliteOptions sqlite;      // kSqlite
  OriginGuardOptions guard;
  // Most keys of one call, and how long a key waits for others.
  size_t batch_keys = 100;
  absl::Duration batch_delay;
};

// All origins, by name. Reads the files of urls and metadata, and blocks on the disk for it. Errors
// begin with the field: FailedPrecondition, a file cannot be read; InvalidArgument, its content is
// nothing for the field.
absl::StatusOr<std::vector<OriginConfig>> OriginsOf(const Config& config);

// The type as an SQL origin is told of it. REQUIRES: its patterns can be parsed.
SqlType SqlTypeOf(const std::string& name, const config::v1::Type& type);

// Printable ASCII, at most 4,096 bytes; else InvalidArgument, without the value, which may be a
// secret.
absl::Status CheckMetadataValue(const std::string& value);

}  // namespace larder

#endif  // LARDER_CONFIG_ORIGINS_H_
