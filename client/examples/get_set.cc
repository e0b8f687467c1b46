// Stores a value, reads it back and changes it only if nobody else has.
//   example_get_set [HOST:PORT]

#include <iostream>

#include "larder/client.h"

int main(int argc, char** argv) {
  const larder::ClientOptions options(argc > 1 ? argv[1] : "127.0.0.1:50051", absl::Seconds(1));
  absl::StatusOr<std::unique_ptr<larder::Client>> client = larder::Connect(options);
  if (!client.ok()) {
    std::cerr << client.status() << "\n";
    return 1;
  }

  larder::SetOptions five_minutes;
  five_minutes.ttl = absl::Minutes(5);
  five_minutes.tags = {"greetings"};
  absl::StatusOr<larder::SetResult> stored = (*client)->Set("greeting:en", "hello", five_minutes);
  if (!stored.ok()) {
    std::cerr << stored.status() << " " << larder::ErrorReason(stored.status()) << "\n";
    return 1;
  }

  absl::StatusOr<larder::GetResult> found = (*client)->Get("greeting:en");
  if (!found.ok()) {
    std::cerr << found.status() << "\n";
    return 1;
  }
  if (!found->hit()) {
    std::cout << "miss: " << larder::Name(found->miss.reason) << "\n";
    return 0;
  }
  std::cout << found->entry->value << ", fresh for " << found->entry->remaining_ttl << "\n";

  larder::SetOptions unless_changed;
  unless_changed.condition = larder::Condition::IfVersion(found->entry->version);
  stored = (*client)->Set("greeting:en", "hi", unless_changed);
  if (!stored.ok()) {
    std::cerr << stored.status() << "\n";
    return 1;
  }
  std::cout << (stored->stored ? "changed it" : "somebody else was faster") << "\n";
  return 0;
}
