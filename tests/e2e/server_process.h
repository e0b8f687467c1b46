// A larderd of its own for a test: started on a free port, stopped and awaited at the end.

#ifndef LARDER_TESTS_E2E_SERVER_PROCESS_H_
#define LARDER_TESTS_E2E_SERVER_PROCESS_H_

#include <sys/types.h>

#include <string>
#include <vector>

namespace larder {

// What a program printed and how it ended.
struct Ended {
  int exit_code = -1;  // -1: ended by a signal
  int signal = 0;
  std::string out;
  std::string err;
};

// Runs `larderd` with `args` to its end. Kills it after 30 s.
Ended RunLarderd(const std::vector<std::string>& args);

// An empty directory that is removed with everything in it.
class TempDir {
 public:
  TempDir();
  ~TempDir();
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

class ServerProcess {
 public:
  // Waits until it says that it is ready. `args` come after --set listen.grpc=127.0.0.1:0.
  explicit ServerProcess(const std::vector<std::string>& args = {});
  ~ServerProcess();

  bool running() const { return pid_ > 0; }
  pid_t pid() const { return pid_; }
  // Of its reference lane, or of the one that LARDER_TEST_LANE in the environment names.
  const std::string& address() const { return address_; }
  // Of the lane "reference" or "native".
  std::string AddressOf(const std::string& lane) const;
  // Of its admin port.
  std::string AdminAddress() const;

  void Signal(int signal) const;
  // Waits for the end.
  Ended Wait();

 private:
  // What a line of the log that holds `text` names.
  std::string AddressAfter(const std::string& text) const;

  pid_t pid_ = -1;
  int err_fd_ = -1;
  std::string err_;
  std::string address_;
};

}  // namespace larder

#endif  // LARDER_TESTS_E2E_SERVER_PROCESS_H_
