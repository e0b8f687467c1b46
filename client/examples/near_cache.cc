// Reads through a near cache: the second read of a key does not leave this process, until somebody
// changes the key.
//   example_near_cache [HOST:PORT]

#include "larder/near_cache.h"

#include <iostream>

int main(int argc, char** argv) {
  larder::ClientOptions options(argc > 1 ? argv[1] : "127.0.0.1:50051", absl::Seconds(1));
  options.batch.window = absl::Microseconds(100);  // what is missing is asked for together
  absl::StatusOr<std::unique_ptr<larder::Client>> client = larder::Connect(options);
  if (!client.ok()) {
    std::cerr << client.status() << "\n";
    return 1;
  }
  larder::NearCacheOptions near;
  near.prefixes = {"greeting:"};
  near.bytes_max = size_t{16} << 20;
  absl::StatusOr<std::unique_ptr<larder::NearClient>> cache =
      larder::NewNearClient(*std::move(client), near);
  if (!cache.ok()) {
    std::cerr << cache.status() << "\n";
    return 1;
  }
  if (!(*cache)->AwaitLive(absl::Seconds(2))) std::cerr << "no stream of changes yet\n";

  if (absl::StatusOr<larder::SetResult> set = (*cache)->Set("greeting:en", "hello"); !set.ok()) {
    std::cerr << set.status() << "\n";
    return 1;
  }
  for (int i = 0; i < 2; ++i) {
    absl::StatusOr<larder::GetResult> found = (*cache)->Get("greeting:en");
    if (!found.ok()) {
      std::cerr << found.status() << "\n";
      return 1;
    }
    std::cout << (found->hit() ? found->entry->value : "a miss") << "\n";
  }
  const larder::NearStats stats = (*cache)->Near();
  std::cout << stats.hits << " from memory, " << stats.misses << " from the server\n";
  return 0;
}
