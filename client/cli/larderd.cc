#include "client/cli/larderd.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/cli/socket.h"

extern char** environ;

namespace larder::cli {
namespace {

bool IsProgram(const std::string& path) { return access(path.c_str(), X_OK) == 0; }

std::string OwnFolder() {
  char path[PATH_MAX];
  const ssize_t size = readlink("/proc/self/exe", path, sizeof path);
  if (size <= 0) return "";
  const std::string whole(path, static_cast<size_t>(size));
  return whole.substr(0, whole.rfind('/'));
}

// Appends what can be read; false at the end.
bool ReadMore(int fd, std::string* text) {
  char buffer[16 * 1024];
  const ssize_t got = read(fd, buffer, sizeof buffer);
  if (got > 0) text->append(buffer, static_cast<size_t>(got));
  return got > 0 || (got < 0 && errno == EINTR);
}

}  // namespace

absl::StatusOr<std::string> FindLarderd(const std::string& path) {
  if (!path.empty()) {
    if (IsProgram(path)) return path;
    return absl::NotFoundError(absl::StrCat(path, " is no program: ", std::strerror(errno)));
  }
  const std::string folder = OwnFolder();
  if (!folder.empty() && IsProgram(folder + "/larderd")) return folder + "/larderd";
  const char* const search = std::getenv("PATH");
  for (const std::string& one :
       std::vector<std::string>(absl::StrSplit(search == nullptr ? "" : search, ':'))) {
    if (!one.empty() && IsProgram(one + "/larderd")) return one + "/larderd";
  }
  return absl::NotFoundError(absl::StrCat(
      "larderd checks configurations, and it is neither in ", folder.empty() ? "." : folder,
      " nor in PATH: say where by --larderd, or check in its container by `larderd --check "
      "--config FILE`"));
}

absl::StatusOr<ProgramEnd> RunProgram(const std::string& program,
                                      const std::vector<std::string>& arguments) {
  int out[2];
  int err[2];
  if (pipe2(out, O_CLOEXEC) != 0) return absl::ErrnoToStatus(errno, "pipe");
  const Socket out_read(out[0]);
  Socket out_write(out[1]);
  if (pipe2(err, O_CLOEXEC) != 0) return absl::ErrnoToStatus(errno, "pipe");
  const Socket err_read(err[0]);
  Socket err_write(err[1]);

  std::vector<std::string> words = {program};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, out_write.fd(), STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, err_write.fd(), STDERR_FILENO);
  pid_t pid = 0;
  const int failed = posix_spawn(&pid, program.c_str(), &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (failed != 0) return absl::ErrnoToStatus(failed, absl::StrCat("cannot run ", program));
  {
    const Socket gone_out(std::move(out_write)), gone_err(std::move(err_write));
  }

  ProgramEnd end;
  pollfd both[2] = {{out_read.fd(), POLLIN, 0}, {err_read.fd(), POLLIN, 0}};
  while (both[0].fd >= 0 || both[1].fd >= 0) {
    if (poll(both, 2, -1) < 0 && errno != EINTR) break;
    if (both[0].revents != 0 && !ReadMore(out_read.fd(), &end.out)) both[0].fd = -1;
    if (both[1].revents != 0 && !ReadMore(err_read.fd(), &end.err)) both[1].fd = -1;
  }
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  end.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return end;
}

}  // namespace larder::cli
