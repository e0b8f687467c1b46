// What tests of loads need beside a larderd: a gate that holds an origin's answers, callers in
// numbers, origins as processes. Thread safety: Gate's methods from any thread, the rest none.

#ifndef LARDER_TESTS_E2E_ORIGIN_FIXTURE_H_
#define LARDER_TESTS_E2E_ORIGIN_FIXTURE_H_

#include <grpcpp/grpcpp.h>
#include <sys/types.h>

#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "tests/e2e/fleet_fixture.h"

namespace larder {

// Open at first. Whoever passes while it is shut waits until it opens.
class Gate {
 public:
  void Shut();
  void Open();
  void Pass();
  // Those who wait.
  int waiting() const;

 private:
  mutable std::mutex mu_;
  std::condition_variable changed_;
  bool open_ = true;
  int waiting_ = 0;
};

// How GetOrLoad answered: the value, `NEGATIVE` or another reason of a miss, `lease`, or, for an
// error, its reason or the name of its code.
std::string Shown(const grpc::Status& status, const v1::GetOrLoadResponse& response);
std::string Shown(const v1::GetOrLoadResult& result);
// One call, shown.
std::string Loaded(Replica* replica, const std::string& key, double seconds = 5);

// Calls of GetOrLoad, all under way at once.
class Crowd {
 public:
  // One for each of `keys`.
  Crowd(Replica* replica, const std::vector<std::string>& keys, double seconds = 20);
  Crowd(Replica* replica, const std::string& key, int count, double seconds = 20)
      : Crowd(replica, std::vector<std::string>(static_cast<size_t>(count), key), seconds) {}
  ~Crowd();
  Crowd(const Crowd&) = delete;
  Crowd& operator=(const Crowd&) = delete;

  // What the callers got, and how many of them each. Waits for the last.
  std::map<std::string, int> Answers();

 private:
  struct Call {
    std::unique_ptr<grpc::ClientContext> context;
    v1::GetOrLoadResponse response;
    grpc::Status status;
    std::unique_ptr<grpc::ClientAsyncResponseReader<v1::GetOrLoadResponse>> reader;
  };
  std::deque<Call> calls_;
  grpc::CompletionQueue queue_;
  std::thread thread_;
};

// A program that is an origin: it takes `--listen HOST:PORT`, and says `listening on HOST:PORT` on
// its standard output. Killed when its object or the thread that made it ends.
class OriginProcess {
 public:
  explicit OriginProcess(std::vector<std::string> command);
  ~OriginProcess() { Kill(); }
  OriginProcess(const OriginProcess&) = delete;
  OriginProcess& operator=(const OriginProcess&) = delete;

  // `127.0.0.1:port`, the same after Kill and Start.
  const std::string& target() const { return target_; }

  // kill -9, and wait for the end.
  void Kill();
  void Start();
  // SIGSTOP, which has taken effect when it returns, and SIGCONT.
  void Freeze();
  void Thaw();

 private:
  std::string ReadLine() const;

  const std::vector<std::string> command_;
  std::string target_ = "127.0.0.1:0";
  pid_t pid_ = -1;
  int out_ = -1;
};

// The program of tests/e2e/origin: it has every key, with the key as the value.
inline std::vector<std::string> EchoOrigin() { return {LARDER_BIN_DIR "/e2e_origin"}; }
// The example of a user's service. Its first start on a machine installs grpcio for Python.
inline std::vector<std::string> PythonOrigin() {
  return {LARDER_SOURCE_DIR "/tests/polyglot/start_origin"};
}

}  // namespace larder

#endif  // LARDER_TESTS_E2E_ORIGIN_FIXTURE_H_
