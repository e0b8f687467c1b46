// A PostgresConnection runs one batch of prepared statements at a time on a session, without
// blocking: it sends as much as the server takes, reads what has come, and says when all is there.
// Thread safety: none; one thread at a time.

#ifndef LARDER_ORIGIN_POSTGRES_CONNECTION_H_
#define LARDER_ORIGIN_POSTGRES_CONNECTION_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "base/clock.h"
#include "origin/postgres_session.h"
#include "origin/sql_plan.h"

// libpq's PGcancel.
struct pg_cancel;

namespace larder {

struct PostgresExecution {
  size_t statement = 0;  // of SqlPlans::statements
  std::vector<SqlArgument> arguments;
};

struct PostgresBatch {
  std::vector<PostgresExecution> executions;
  // The first so many are each a transaction of its own. The rest is one transaction: after the
  // first of them that fails nothing else is run, and what they wrote is undone.
  size_t alone = 0;
  MonoNanos deadline = 0;
};

// What became of one execution.
struct PostgresAnswer {
  enum class Kind : uint8_t { kNotRun, kOk, kFailed };
  Kind kind = Kind::kNotRun;
  PostgresResult result = nullptr;  // of kOk
  std::string sqlstate = {};        // of kFailed
  absl::Status error = absl::OkStatus();
};

class PostgresConnection {
 public:
  // `opened`: when.
  PostgresConnection(PostgresSession session, MonoNanos opened)
      : session_(std::move(session)), opened_(opened) {}

  int fd() const;
  // What the loop waits for: bits of poll.
  short events() const;
  MonoNanos opened() const { return opened_; }
  // Nothing more may be asked of it, for what it has prepared is not what it should have.
  bool stale() const { return stale_; }
  bool broken() const { return broken_; }
  // Of the session, or what broke it.
  const absl::Status& error() const { return error_; }

  // REQUIRES: idle.
  void Begin(std::shared_ptr<const PostgresBatch> batch);
  // The socket is ready, or a batch has begun.
  void OnReady();
  // Stops sending what has not been sent. What was sent is answered still.
  void StopSending();
  // True once everything that was sent is answered, or the connection is broken.
  bool idle() const { return batch_ == nullptr; }
  // One for each execution. REQUIRES: idle, after a batch.
  std::vector<PostgresAnswer> TakeAnswers() { return std::move(answers_); }

  // For PQcancel, which blocks, on another thread. The caller frees it.
  pg_cancel* NewCancel() const;

 private:
  // Fails what cannot be bound, before anything is sent.
  void Examine();
  bool Feed();
  bool SendOne(size_t index);
  bool SendSync();
  bool Read();
  void OnResult(PostgresResult result);
  // Fails what was answered since the last sync, from `first` on.
  void OnError(const pg_result* result, std::vector<size_t>::iterator first);
  void Break(std::string_view what);
  void Refuse(size_t index, std::string_view sqlstate, absl::Status error);

  PostgresSession session_;
  const MonoNanos opened_;
  bool stale_ = false;
  bool broken_ = false;
  absl::Status error_;

  std::shared_ptr<const PostgresBatch> batch_;
  std::vector<PostgresAnswer> answers_;
  size_t next_ = 0;      // to be sent
  size_t pending_ = 0;   // bytes sent since the socket last took all
  bool closed_ = false;  // no more is to be sent but a sync
  bool unflushed_ = false;
  bool unsynced_ = false;  // executions were sent since the last sync
  // What was sent and is not answered, in order; kSync for a sync.
  std::deque<size_t> expected_;
  // What was answered since the last sync.
  std::vector<size_t> group_;
};

}  // namespace larder

#endif  // LARDER_ORIGIN_POSTGRES_CONNECTION_H_
