#include "tests/client/larderd.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <regex>

namespace larder::testing {
namespace {

constexpr char kBinary[] = LARDER_BIN_DIR "/larderd";

// The first address that the server logs with the event lane_listening; empty when it ends without.
std::string ReadAddress(int fd) {
  static const std::regex kAddress(R"re(lane_listening.*address"?[=:]\s*"?([0-9.]+:[0-9]+))re");
  std::string log;
  char buffer[4096];
  std::smatch match;
  while (true) {
    const ssize_t read_bytes = read(fd, buffer, sizeof buffer);
    if (read_bytes <= 0) {
      ADD_FAILURE() << "larderd did not come up: " << log;
      return "";
    }
    log.append(buffer, static_cast<size_t>(read_bytes));
    const size_t whole_lines = log.rfind('\n');
    if (whole_lines == std::string::npos) continue;
    const std::string lines = log.substr(0, whole_lines);
    if (std::regex_search(lines, match, kAddress)) return match[1];
  }
}

}  // namespace

Larderd::Larderd(pid_t pid, int log_fd, std::string address)
    : pid_(pid), log_fd_(log_fd), address_(std::move(address)), log_reader_([log_fd] {
        char buffer[4096];
        while (read(log_fd, buffer, sizeof buffer) > 0) {
        }
      }) {}

bool Larderd::IsBuilt() { return access(kBinary, X_OK) == 0; }

std::unique_ptr<Larderd> Larderd::Start() {
  int log[2];
  EXPECT_EQ(pipe2(log, O_CLOEXEC), 0);
  const pid_t pid = fork();
  if (pid == 0) {
    dup2(log[1], STDERR_FILENO);
    execl(kBinary, kBinary, "--set", "listen.grpc=127.0.0.1:0", nullptr);
    _exit(127);
  }
  close(log[1]);
  std::string address = ReadAddress(log[0]);
  return std::unique_ptr<Larderd>(new Larderd(pid, log[0], std::move(address)));
}

Larderd::~Larderd() {
  kill(pid_, SIGTERM);
  waitpid(pid_, nullptr, 0);
  log_reader_.join();
  close(log_fd_);
}

}  // namespace larder::testing
