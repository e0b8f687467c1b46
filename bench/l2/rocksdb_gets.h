// The modes of larder_l2_bench for the RocksDB tier. They print figures (bench/report.h).

#ifndef LARDER_BENCH_L2_ROCKSDB_GETS_H_
#define LARDER_BENCH_L2_ROCKSDB_GETS_H_

#include <string>

namespace larder::bench {

// Puts 2 million entries of 200 bytes into a tier in the folder `path`.
void FillRocks(const std::string& path);

// Gets of the tier in `path` a second, for so long, of keys drawn by Zipf or uniformly. `name` is
// the figure's.
void MeasureRocksGets(const std::string& path, bool zipf, double seconds, const char* name);

// Overwrites a tier of 512 MiB in `path` with 2 GiB, and tells how large the folder was at most.
void MeasureRocksRoom(const std::string& path);

}  // namespace larder::bench

#endif  // LARDER_BENCH_L2_ROCKSDB_GETS_H_
