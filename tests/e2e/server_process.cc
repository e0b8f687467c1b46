#include "tests/e2e/server_process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>

namespace larder {
namespace {

constexpr auto kPatience = std::chrono::seconds(30);

// Starts larderd with its output on the given descriptors.
pid_t Start(std::vector<std::string> args, int out, int err) {
  args.emplace(args.begin(), LARDER_BIN_DIR "/larderd");
  std::vector<char*> argv;
  for (std::string& arg : args) argv.push_back(arg.data());
  argv.push_back(nullptr);
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid != 0) return pid;
  // It dies with the thread that started it.
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(1);
  if (out >= 0) dup2(out, STDOUT_FILENO);
  dup2(err, STDERR_FILENO);
  execv(argv[0], argv.data());
  _exit(127);
}

// Reads until the end, or until `enough` is in it. False when the time is over.
bool ReadUntil(int fd, const std::string& enough, std::string* text) {
  const auto end = std::chrono::steady_clock::now() + kPatience;
  while (enough.empty() || text->find(enough) == std::string::npos) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        end - std::chrono::steady_clock::now());
    pollfd ready{fd, POLLIN, 0};
    if (left.count() <= 0 || poll(&ready, 1, static_cast<int>(left.count())) <= 0) return false;
    char buffer[4096];
    const ssize_t n = read(fd, buffer, sizeof(buffer));
    if (n <= 0) return enough.empty();
    text->append(buffer, static_cast<size_t>(n));
  }
  return true;
}

void Reap(pid_t pid, Ended* ended) {
  int status = 0;
  waitpid(pid, &status, 0);
  if (WIFEXITED(status)) ended->exit_code = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) ended->signal = WTERMSIG(status);
}

}  // namespace

Ended RunLarderd(const std::vector<std::string>& args) {
  int out[2];
  int err[2];
  if (pipe2(out, O_CLOEXEC) != 0 || pipe2(err, O_CLOEXEC) != 0) std::abort();
  const pid_t pid = Start(args, out[1], err[1]);
  close(out[1]);
  close(err[1]);
  Ended ended;
  if (!ReadUntil(out[0], "", &ended.out) || !ReadUntil(err[0], "", &ended.err)) kill(pid, SIGKILL);
  Reap(pid, &ended);
  close(out[0]);
  close(err[0]);
  return ended;
}

TempDir::TempDir() {
  std::string name = (std::filesystem::temp_directory_path() / "larder-test-XXXXXX").string();
  path_ = mkdtemp(name.data());
}

TempDir::~TempDir() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

ServerProcess::ServerProcess(const std::vector<std::string>& args) {
  std::vector<std::string> all = {"--set", "listen.grpc=127.0.0.1:0",
                                  "--set", "listen.admin=127.0.0.1:0",
                                  "--set", "log.format=json"};
  all.insert(all.end(), args.begin(), args.end());
  int err[2];
  if (pipe2(err, O_CLOEXEC) != 0) std::abort();
  pid_ = Start(all, -1, err[1]);
  close(err[1]);
  err_fd_ = err[0];
  if (!ReadUntil(err_fd_, "\"event\":\"ready\"", &err_)) {
    Wait();
    return;
  }
  const char* const lane = std::getenv("LARDER_TEST_LANE");
  address_ = AddressOf(lane == nullptr ? "reference" : lane);
}

ServerProcess::~ServerProcess() {
  if (!running()) return;
  Signal(SIGTERM);
  Wait();
}

std::string ServerProcess::AddressOf(const std::string& lane) const {
  return AddressAfter("\"lane\":\"" + lane + "\"");
}

std::string ServerProcess::AdminAddress() const {
  return AddressAfter("\"event\":\"admin_listening\"");
}

std::string ServerProcess::AddressAfter(const std::string& text) const {
  const std::string mark = "\"address\":\"";
  const size_t begin = err_.find(mark, err_.find(text)) + mark.size();
  return err_.substr(begin, err_.find('"', begin) - begin);
}

// Without a server, -1 would mean every process there is.
void ServerProcess::Signal(int signal) const {
  if (running()) kill(pid_, signal);
}

Ended ServerProcess::Wait() {
  Ended ended;
  if (!running()) return ended;
  if (!ReadUntil(err_fd_, "", &err_)) kill(pid_, SIGKILL);
  Reap(pid_, &ended);
  ended.err = err_;
  close(err_fd_);
  pid_ = -1;
  return ended;
}

}  // namespace larder
