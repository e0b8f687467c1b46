// What a durable write is measured against, without a larderd: PostgreSQL, RocksDB, and larder's
// journal in this process. Each runs for `seconds` with as many callers, every one of whom writes
// 200 bytes under one of kKeys keys and waits until they are safe, again and again. They answer
// writes a second, and end the program when it does not work.

#ifndef LARDER_BENCH_WRITEBEHIND_LOCAL_H_
#define LARDER_BENCH_WRITEBEHIND_LOCAL_H_

#include <cstdint>
#include <string>

namespace larder::bench {

inline constexpr int kKeys = 100'000;
inline constexpr size_t kValueBytes = 200;

inline std::string KeyOf(uint64_t number) { return "item:" + std::to_string(number); }
inline std::string ValueOf(uint64_t number) {
  std::string value = std::to_string(number);
  value.resize(kValueBytes, 'x');
  return value;
}

// Single-row upserts by libpq, a connection for each caller.
double Upserts(const std::string& url, int callers, double seconds);
// Puts with `sync`, a thread for each caller.
double RocksdbPuts(const std::string& folder, int callers, double seconds);
// Appends, a task for each caller. Nothing is delivered.
double JournalAppends(const std::string& folder, int callers, double seconds);

}  // namespace larder::bench

#endif  // LARDER_BENCH_WRITEBEHIND_LOCAL_H_
