// larder_l2_bench measures the tiers themselves, without a server round them. Run by bench/l2/run,
// which starts what they need, takes turns with what they are compared with, and judges.
//
//   larder_l2_bench rocksdb-fill | rocksdb-zipf | rocksdb-uniform | rocksdb-room  PATH
//   larder_l2_bench redis-fill | redis-gets | redis-batches  HOST:PORT
//
// Exits 0 when it has measured, 1 when it cannot, 2 on a usage error.

#include <cstdio>
#include <string>
#include <string_view>

#include "bench/l2/redis_gets.h"
#include "bench/l2/rocksdb_gets.h"

int main(int argc, char** argv) {
  using namespace larder::bench;  // NOLINT: a program of one function
  constexpr double kTurnSeconds = 8;
  const std::string_view mode = argc == 3 ? argv[1] : "";
  const std::string where = argc == 3 ? argv[2] : "";
  if (mode == "rocksdb-fill") {
    FillRocks(where);
  } else if (mode == "rocksdb-zipf") {
    MeasureRocksGets(where, /*zipf=*/true, kTurnSeconds, "rocksdb_zipf_gets");
  } else if (mode == "rocksdb-uniform") {
    MeasureRocksGets(where, /*zipf=*/false, kTurnSeconds, "rocksdb_uniform_gets");
  } else if (mode == "rocksdb-room") {
    MeasureRocksRoom(where);
  } else if (mode == "redis-fill") {
    FillRedis(where);
  } else if (mode == "redis-gets") {
    MeasureRedisGets(where);
  } else if (mode == "redis-batches") {
    MeasureRedisBatches(where);
  } else {
    std::fprintf(stderr,
                 "usage: %s rocksdb-fill | rocksdb-zipf | rocksdb-uniform | rocksdb-room PATH\n"
                 "       %s redis-fill | redis-gets | redis-batches HOST:PORT\n",
                 argv[0], argv[0]);
    return 2;
  }
  return 0;
}
