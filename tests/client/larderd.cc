#include "tests/client/larderd.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <regex>

namespace larder::testing {
namespace {

constexpr char kBinary[] = LARDER_BIN_DIR "/larderd";

constexpr char kConfig[] = R"yaml(
origins:
  shop:
    sqlite: { path: items.db }
types:
  item:
    origin: shop
    sql:
      load: "SELECT body AS value FROM items WHERE key = $key AND CASE $key WHEN 'bad' THEN json('{') ELSE 1 END"
      scan: "SELECT key FROM items WHERE key > $cursor ORDER BY 1 LIMIT $limit"
)yaml";

constexpr char kMakeDatabase[] = R"py(
import sqlite3
db = sqlite3.connect("items.db")
db.execute("CREATE TABLE items (key TEXT PRIMARY KEY, body TEXT)")
db.executemany("INSERT INTO items VALUES (?, ?)", [(f"i{n:03}", f"value of i{n:03}") for n in range(300)])
db.execute("INSERT INTO items VALUES ('bad', '')")
db.commit()
)py";

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

Larderd::Larderd(pid_t pid, int log_fd, std::string address, std::string directory)
    : pid_(pid),
      log_fd_(log_fd),
      address_(std::move(address)),
      directory_(std::move(directory)),
      log_reader_([log_fd] {
        char buffer[4096];
        while (read(log_fd, buffer, sizeof buffer) > 0) {
        }
      }) {}

bool Larderd::IsBuilt() { return access(kBinary, X_OK) == 0; }

std::unique_ptr<Larderd> Larderd::Start() { return Start(""); }

std::unique_ptr<Larderd> Larderd::StartWithOrigin() {
  char directory[] = "/tmp/larder_client_test.XXXXXX";
  EXPECT_NE(mkdtemp(directory), nullptr);
  std::ofstream(std::string(directory) + "/larder.yaml") << kConfig;
  const pid_t pid = fork();
  if (pid == 0) {
    if (chdir(directory) == 0)
      execlp("python3", "python3", "-c", kMakeDatabase, static_cast<char*>(nullptr));
    _exit(127);
  }
  int status = 1;
  waitpid(pid, &status, 0);
  EXPECT_EQ(status, 0) << "python3 made no database";
  return Start(directory);
}

std::unique_ptr<Larderd> Larderd::Start(std::string directory) {
  int log[2];
  EXPECT_EQ(pipe2(log, O_CLOEXEC), 0);
  const pid_t pid = fork();
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(log[1], STDERR_FILENO);
    if (directory.empty()) {
      execl(kBinary, kBinary, "--set", "listen.grpc=127.0.0.1:0", nullptr);
    } else if (chdir(directory.c_str()) == 0) {
      execl(kBinary, kBinary, "--config", "larder.yaml", "--set", "listen.grpc=127.0.0.1:0",
            nullptr);
    }
    _exit(127);
  }
  close(log[1]);
  std::string address = ReadAddress(log[0]);
  return std::unique_ptr<Larderd>(
      new Larderd(pid, log[0], std::move(address), std::move(directory)));
}

Larderd::~Larderd() {
  kill(pid_, SIGTERM);
  waitpid(pid_, nullptr, 0);
  log_reader_.join();
  close(log_fd_);
  if (!directory_.empty()) std::filesystem::remove_all(directory_);
}

}  // namespace larder::testing
