#include "tests/e2e/origin_fixture.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <utility>

namespace larder {
namespace {

constexpr int kSpeaksWithinMs = 240'000;  // it may have to install something first

std::string NameOf(v1::MissReason reason) {
  return v1::MissReason_Name(reason).substr(std::string("MISS_REASON_").size());
}

template <typename Result>
std::string ShownResult(const Result& result) {
  if (result.has_hit()) return result.hit().value();
  if (result.has_lease()) return "lease";
  return NameOf(result.miss().reason());
}

}  // namespace

// ---- Gate

void Gate::Shut() {
  const std::lock_guard lock(mu_);
  open_ = false;
}

void Gate::Open() {
  const std::lock_guard lock(mu_);
  open_ = true;
  changed_.notify_all();
}

void Gate::Pass() {
  std::unique_lock lock(mu_);
  ++waiting_;
  changed_.wait(lock, [this] { return open_; });
  --waiting_;
}

int Gate::waiting() const {
  const std::lock_guard lock(mu_);
  return open_ ? 0 : waiting_;
}

// ---- Callers

std::string Shown(const grpc::Status& status, const v1::GetOrLoadResponse& response) {
  if (status.ok()) return ShownResult(response);
  const std::string reason = ReasonOf(status);
  if (!reason.empty()) return reason;
  return "code " + std::to_string(status.error_code()) + ": " + status.error_message();
}

std::string Shown(const v1::GetOrLoadResult& result) {
  return result.has_error() ? result.error().reason() : ShownResult(result);
}

std::string Loaded(Replica* replica, const std::string& key, double seconds) {
  v1::GetOrLoadResponse response;
  const grpc::Status status = replica->GetOrLoad(key, &response, seconds);
  return Shown(status, response);
}

Crowd::Crowd(Replica* replica, const std::vector<std::string>& keys, double seconds) {
  for (const std::string& key : keys) {
    Call& call = calls_.emplace_back();
    call.context = Replica::Within(seconds);
    v1::GetOrLoadRequest request;
    request.set_key(key);
    call.reader = replica->stub().AsyncGetOrLoad(call.context.get(), request, &queue_);
    call.reader->Finish(&call.response, &call.status, &call);
  }
  thread_ = std::thread([this] {
    void* tag = nullptr;
    bool ok = false;
    for (size_t ended = 0; ended < calls_.size(); ++ended) queue_.Next(&tag, &ok);
  });
}

Crowd::~Crowd() {
  if (thread_.joinable()) thread_.join();
}

std::map<std::string, int> Crowd::Answers() {
  thread_.join();
  std::map<std::string, int> answers;
  for (const Call& call : calls_) ++answers[Shown(call.status, call.response)];
  return answers;
}

// ---- OriginProcess

OriginProcess::OriginProcess(std::vector<std::string> command) : command_(std::move(command)) {
  Start();
}

void OriginProcess::Start() {
  int out[2];
  if (pipe2(out, O_CLOEXEC) != 0) std::abort();
  std::vector<std::string> words = command_;
  words.insert(words.end(), {"--listen", target_});
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  const pid_t parent = getpid();
  pid_ = fork();
  if (pid_ == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1);
    dup2(out[1], STDOUT_FILENO);
    execv(argv[0], argv.data());
    _exit(127);
  }
  close(out[1]);
  out_ = out[0];
  const std::string said = ReadLine();
  const std::string words_before = "listening on ";
  ASSERT_EQ(said.rfind(words_before, 0), 0u) << command_[0] << " says: " << said;
  target_ = said.substr(words_before.size());
}

std::string OriginProcess::ReadLine() const {
  std::string line;
  for (;;) {
    pollfd ready{out_, POLLIN, 0};
    char c = 0;
    if (poll(&ready, 1, kSpeaksWithinMs) <= 0 || read(out_, &c, 1) <= 0 || c == '\n') return line;
    line.push_back(c);
  }
}

void OriginProcess::Kill() {
  if (pid_ <= 0) return;
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
  pid_ = -1;
  close(out_);
}

void OriginProcess::Freeze() {
  kill(pid_, SIGSTOP);
  int status = 0;
  waitpid(pid_, &status, WUNTRACED);
}

void OriginProcess::Thaw() { kill(pid_, SIGCONT); }

}  // namespace larder
