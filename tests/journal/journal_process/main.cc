// journal_process PATH ORIGIN POINT COUNT opens the journal at PATH and appends writes, one after
// the other, of a few keys; each has the next version. It writes the version of each to standard
// output when it was acknowledged, and delivers them to the file ORIGIN (effects.h). When it comes
// by POINT for the COUNTth time it kills itself:
//   before_reply    the journal has acknowledged the write, and nobody has been told
//   after_reply     somebody has
//   before_deliver  a delivery is about to be applied
//   half_delivered  its first write has been
//   delivered       all have been, and the journal does not know it
//   acknowledged    it knows of one
// The point `drain`: appends nothing, and ends when all is delivered.
// Exit code 3: the journal cannot be opened; 4: it takes nothing; 5: nobody reads.

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <string_view>

#include "base/executor.h"
#include "base/mutex.h"
#include "core/key.h"
#include "journal/journal.h"
#include "tests/base/await_task.h"
#include "tests/journal/journal_process/effects.h"

namespace larder {
namespace {

class Points {
 public:
  Points(std::string_view point, int count) : point_(point), left_(count) {}
  void At(std::string_view reached) {
    if (reached == point_ && left_.fetch_sub(1) == 1) kill(getpid(), SIGKILL);
  }

 private:
  const std::string point_;
  std::atomic<int> left_;
};

// An origin with a version guard.
class FileOrigin : public JournalSink {
 public:
  FileOrigin(const std::string& path, Points* points)
      : points_(points), file_(open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600)) {
    for (const Effect& effect : EffectsIn(path)) newest_[effect.key] = effect.version;
  }
  ~FileOrigin() override { close(file_); }

  Version newest() {
    MutexLock lock(&mu_);
    Version newest = kNoVersion;
    for (const auto& [key, version] : newest_) newest = std::max(newest, version);
    return newest;
  }

  Task<absl::StatusOr<std::vector<JournalDelivered>>> Deliver(JournalDelivery delivery,
                                                              MonoNanos /*deadline*/) override {
    points_->At("before_deliver");
    for (const JournalRecord& write : delivery.writes) {
      Apply(std::string(FullKey::KeyOf(write.full_key)), write.version);
      if (&write == &delivery.writes.front()) points_->At("half_delivered");
    }
    points_->At("delivered");
    std::vector<JournalDelivered> answers(delivery.writes.size());
    for (JournalDelivered& answer : answers) answer.kind = JournalDelivered::Kind::kDone;
    co_return answers;
  }
  void OnDelivered(const JournalRecord& /*write*/, absl::Duration /*waited*/) override {
    points_->At("acknowledged");
  }
  void OnDead(const DeadLetter& /*letter*/) override { std::abort(); }

 private:
  void Apply(const std::string& key, Version version) {
    MutexLock lock(&mu_);
    Version& newest = newest_[key];
    if (version <= newest) return;
    newest = version;
    const std::string line = LineOf({key, version});
    // Of its size, a write to a file is one piece for whoever is killed.
    if (write(file_, line.data(), line.size()) != static_cast<ssize_t>(line.size())) std::abort();
  }

  Points* const points_;
  const int file_;
  Mutex mu_;
  std::map<std::string, Version> newest_ ABSL_GUARDED_BY(mu_);
};

int Append(Journal* journal, FileOrigin* origin, Points* points) {
  for (Version version = std::max(journal->newest(), origin->newest()) + 1;; ++version) {
    std::vector<JournalRecord> writes(1);
    writes[0].full_key = std::string(FullKey("", KeyOfVersion(version)).view());
    writes[0].type = "t";
    writes[0].version = version;
    writes[0].value = "v";
    if (!AwaitTask(journal->Append(std::move(writes), INT64_MAX)).ok()) return 4;
    points->At("before_reply");
    if (write(STDOUT_FILENO, &version, sizeof(version)) != sizeof(version)) return 5;
    points->At("after_reply");
  }
}

int Run(const std::string& path, const std::string& origin_path, std::string_view point,
        int count) {
  Points points(point, count);
  const std::unique_ptr<ThreadPool> pool = ThreadPool::New({.threads = 4});
  Journal::Options options;
  options.store.path = path;
  options.executor = pool.get();
  Journal::Type type;
  type.name = "t";
  type.origin = "file";
  type.policy.mode = WriteMode::kBehind;
  type.policy.delay = absl::Milliseconds(2);
  type.policy.batch = 10;
  type.policy.coalesce = false;
  options.types.push_back(type);
  auto journal = Journal::Open(options);
  if (!journal.ok()) {
    std::fprintf(stderr, "%s\n", journal.status().ToString().c_str());
    return 3;
  }
  FileOrigin origin(origin_path, &points);
  (*journal)->Start(&origin);
  int code = 0;
  if (point == "drain") {
    code = (*journal)->Stop(MonoAfter(Clock::System()->Mono(), absl::Seconds(60))) ? 0 : 4;
  } else {
    code = Append(journal->get(), &origin, &points);
  }
  journal->reset();
  pool->Shutdown();
  return code;
}

}  // namespace
}  // namespace larder

int main(int argc, char** argv) {
  if (argc != 5) {
    std::fprintf(stderr, "usage: %s PATH ORIGIN POINT COUNT\n", argv[0]);
    return 2;
  }
  return larder::Run(argv[1], argv[2], argv[3], std::atoi(argv[4]));
}
