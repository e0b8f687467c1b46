// A program outside of larder: stores, reads, loads, first with the fake, then with the server
// given as argument. Prints `consumer: ok` when everything was as expected.

#include <larder/client.h>
#include <larder/fake.h>

#include <iostream>

namespace {

bool Works(larder::Client* client) {
  larder::SetOptions options;
  options.ttl = absl::Minutes(1);
  const absl::StatusOr<larder::SetResult> stored = client->Set("consumer:1", "hello", options);
  if (!stored.ok() || !stored->stored) {
    std::cerr << "set: " << stored.status() << "\n";
    return false;
  }
  const absl::StatusOr<larder::GetResult> found = client->Get("consumer:1");
  if (!found.ok() || !found->hit() || found->entry->value != "hello") {
    std::cerr << "get: " << found.status() << "\n";
    return false;
  }
  const absl::StatusOr<larder::LoadResult> loaded = client->GetOrLoad(
      "consumer:2", [](const larder::LoadCall& call) -> absl::StatusOr<larder::Loaded> {
        larder::Loaded value;
        value.value = "loaded " + call.key;
        return value;
      });
  if (!loaded.ok() || !loaded->hit() || loaded->entry->value != "loaded consumer:2") {
    std::cerr << "load: " << loaded.status() << "\n";
    return false;
  }
  const absl::Status refused = client->Get("").status();
  if (larder::ErrorReason(refused) != "KEY_INVALID") {
    std::cerr << "get of an empty key: " << refused << "\n";
    return false;
  }
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  if (!Works(larder::NewFakeClient().get())) return 1;
  if (argc > 1) {
    absl::StatusOr<std::unique_ptr<larder::Client>> client =
        larder::Connect(larder::ClientOptions(argv[1], absl::Seconds(5)));
    if (!client.ok()) {
      std::cerr << "connect: " << client.status() << "\n";
      return 1;
    }
    if (!Works(client->get())) return 1;
  }
  std::cout << "consumer: ok" << std::endl;
  return 0;
}
