// The modes of larder_l2_bench that need a redis-server, which bench/l2/run starts. Their figures
// go out as bench/report.h says, and what they read is checked.

#ifndef LARDER_BENCH_L2_REDIS_GETS_H_
#define LARDER_BENCH_L2_REDIS_GETS_H_

#include <string>

namespace larder::bench {

// Puts the entries that the others read into the server at `address`, host:port.
void FillRedis(const std::string& address);

// How many Gets a second a Redis tier serves to so many callers that each wait for their answer
// before they ask again, in several turns of which the script has redis-benchmark run one each in
// between. One line on standard input begins a turn, its figure ends it; the end of the input ends
// the program.
void MeasureRedisGets(const std::string& address);

// The same with batches of 100 keys, one after the other, for the script to count what the server
// sees of them. The figure is how many batches there were.
void MeasureRedisBatches(const std::string& address);

}  // namespace larder::bench

#endif  // LARDER_BENCH_L2_REDIS_GETS_H_
