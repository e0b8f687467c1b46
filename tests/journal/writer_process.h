// A program that writes until it is killed, by itself or by the test, and says on its standard
// output what was acknowledged, a number of eight bytes at a time. Thread safety: none.

#ifndef LARDER_TESTS_JOURNAL_WRITER_PROCESS_H_
#define LARDER_TESTS_JOURNAL_WRITER_PROCESS_H_

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

namespace larder {

class WriterProcess {
 public:
  // The program and its arguments.
  explicit WriterProcess(std::vector<std::string> command) {
    int ends[2];
    if (pipe(ends) != 0) std::abort();
    acknowledged_ = ends[0];
    std::vector<char*> argv;
    for (std::string& word : command) argv.push_back(word.data());
    argv.push_back(nullptr);
    child_ = fork();
    if (child_ == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      dup2(ends[1], STDOUT_FILENO);
      execv(argv[0], argv.data());
      _exit(127);
    }
    close(ends[1]);
  }
  ~WriterProcess() {
    Kill();
    close(acknowledged_);
  }
  WriterProcess(const WriterProcess&) = delete;
  WriterProcess& operator=(const WriterProcess&) = delete;

  // What it acknowledged after this; false: it has ended.
  bool Next(uint64_t* number) const {
    return read(acknowledged_, number, sizeof(*number)) == sizeof(*number);
  }
  // True: it was killed, and did not end for another reason.
  bool Kill() {
    if (child_ <= 0) return true;
    kill(child_, SIGKILL);
    return Reap();
  }
  bool Reap() {
    const int status = Wait();
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
  }
  // Until it has ended by itself.
  bool Succeeds() { return Wait() == 0; }

 private:
  int Wait() {
    int status = 0;
    waitpid(child_, &status, 0);
    child_ = 0;
    return status;
  }

  int acknowledged_ = -1;
  pid_t child_ = 0;
};

}  // namespace larder

#endif  // LARDER_TESTS_JOURNAL_WRITER_PROCESS_H_
