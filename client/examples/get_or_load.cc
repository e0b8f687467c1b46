// Reads a user through the cache. However many of these programs ask for the same user at once, one
// of them loads it.
//   example_get_or_load [HOST:PORT [USER]]

#include <iostream>
#include <string>

#include "larder/client.h"

namespace {

// Stands for a database.
absl::StatusOr<larder::Loaded> ReadUser(const std::string& key) {
  std::cerr << "loading " << key << "\n";
  if (key == "user:0") return larder::Loaded::Absent();
  larder::Loaded loaded;
  loaded.value = "{\"key\": \"" + key + "\"}";
  loaded.ttl = absl::Minutes(1);
  return loaded;
}

}  // namespace

int main(int argc, char** argv) {
  const larder::ClientOptions options(argc > 1 ? argv[1] : "127.0.0.1:50051", absl::Seconds(1));
  absl::StatusOr<std::unique_ptr<larder::Client>> client = larder::Connect(options);
  if (!client.ok()) {
    std::cerr << client.status() << "\n";
    return 1;
  }

  const std::string key = std::string("user:") + (argc > 2 ? argv[2] : "42");
  absl::StatusOr<larder::LoadResult> user =
      (*client)->GetOrLoad(key, [](const larder::LoadCall& call) { return ReadUser(call.key); });
  if (!user.ok()) {
    std::cerr << user.status() << "\n";
    return 1;
  }
  // The cache may be down; the value is there all the same.
  if (!user->cache_status.ok()) std::cerr << "without the cache: " << user->cache_status << "\n";
  if (!user->hit()) {
    std::cout << "no such user\n";
    return 0;
  }
  std::cout << user->entry->value << (user->loaded ? " (loaded)" : " (cached)") << "\n";
  return 0;
}
