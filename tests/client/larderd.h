// Larderd runs the real server for a test: a process of its own on a free port.
// Thread safety: none; one owner. Start blocks until the server listens; the destructor ends it and
// waits.

#ifndef LARDER_TESTS_CLIENT_LARDERD_H_
#define LARDER_TESTS_CLIENT_LARDERD_H_

#include <sys/types.h>

#include <memory>
#include <string>
#include <thread>

namespace larder::testing {

class Larderd {
 public:
  static bool IsBuilt();
  // A server that does not come up fails the test. REQUIRES: IsBuilt().
  static std::unique_ptr<Larderd> Start();
  // The same with a type `item` whose origin is an SQLite database: keys i000 to i299, each with
  // the value `value of KEY`. The origin fails for the key `bad`.
  static std::unique_ptr<Larderd> StartWithOrigin();
  ~Larderd();
  Larderd(const Larderd&) = delete;
  Larderd& operator=(const Larderd&) = delete;

  // host:port.
  const std::string& address() const { return address_; }

 private:
  Larderd(pid_t pid, int log_fd, std::string address, std::string directory);
  static std::unique_ptr<Larderd> Start(std::string directory);

  const pid_t pid_;
  const int log_fd_;
  const std::string address_;
  const std::string directory_;  // of the origin; empty = there is none
  std::thread log_reader_;       // so that the server never waits for a full pipe
};

}  // namespace larder::testing

#endif  // LARDER_TESTS_CLIENT_LARDERD_H_
