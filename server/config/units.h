// How values are written: text to value and back. Every Write function writes what its Parse
// function reads to the same value again. Thread safety: pure functions. Errors: InvalidArgument
// says what is wrong with the text and how to write it, beginning with the quoted text. OutOfRange:
// well written, but negative or larger than the type holds; the caller knows the range to name.

#ifndef LARDER_CONFIG_UNITS_H_
#define LARDER_CONFIG_UNITS_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace larder {

// `250ms`, `1.5s`, `1h30m`: units d, h, m, s, ms, from large to small, each at most once; `0` needs
// none. Exact to the nanosecond, up to 100,000 days.
absl::StatusOr<absl::Duration> ParseDuration(const std::string& text);
std::string WriteDuration(absl::Duration duration);

// `256B`, `1.5MiB`, `20GB`: B, KiB, MiB, GiB, TiB in powers of 1,024; kB, MB, GB, TB in powers of
// 1,000; `0` needs none.
absl::StatusOr<uint64_t> ParseBytes(const std::string& text);
std::string WriteBytes(uint64_t bytes);

// `10%` or `0.1`.
absl::StatusOr<double> ParseRatio(const std::string& text);
std::string WriteRatio(double ratio);

absl::StatusOr<double> ParseReal(const std::string& text);
std::string WriteReal(double value);

absl::StatusOr<uint64_t> ParseWhole(const std::string& text);

// `host:port`, `1.2.3.4:port`, `[::1]:port`; port 0 to 65535.
absl::Status CheckAddress(const std::string& text);

// 1 to 253 letters, digits, '.', '_' and '-'.
absl::Status CheckHostName(const std::string& text);

// `unavailable`, `deadline_exceeded`: the codes of gRPC that are errors.
absl::StatusOr<absl::StatusCode> ParseErrorCode(const std::string& text);

// `read`, `write`, `invalidate` or `admin`.
absl::Status CheckPermission(const std::string& text);

// 64 hexadecimal digits. The text, which may be a secret in the wrong place, is not repeated.
absl::Status CheckSha256(const std::string& text);

// A name of gRPC metadata that calls may carry: a-z or a digit, then up to 63 of a-z, 0-9, '_' and
// '-'. Not `grpc-...`, nor `...-bin`.
bool IsMetadataName(const std::string& text);

}  // namespace larder

#endif  // LARDER_CONFIG_UNITS_H_
