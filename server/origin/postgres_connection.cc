// A batch goes out as a pipeline: all executions without waiting, so that a thousand keys cost one
// round trip. Up to the next sync they are one transaction. What stays together has one sync at its
// end, which makes its writes one commit, and one fsync; items that stand alone have a sync after
// each, for which libpq calls the kernel each time. The former is the rule, the latter for items
// that have made such a transaction fail.
//
// Sending is metered. libpq would take a batch of any size into its buffer, a second copy of it; so
// executions are handed over only while less than kFeedBytes wait for the socket. Reading goes on
// meanwhile, for a server that cannot get rid of its answers takes no more questions.
//
// An error of the commit (a deferred constraint) has no execution of its own: it comes where the
// answer to the sync is expected, and fails all that the sync was to commit.

#include "origin/postgres_connection.h"

#include <libpq-fe.h>
#include <poll.h>

#include <algorithm>
#include <utility>

#include "base/strings.h"
#include "origin/postgres_error.h"

namespace larder {
namespace {

constexpr size_t kSync = ~size_t{0};
constexpr size_t kFeedBytes = 256 << 10;

// Types by their numbers, which PostgreSQL never changes.
constexpr Oid kBytea = 17;
bool IsText(Oid type) {
  constexpr Oid kText = 25, kJson = 114, kBpchar = 1042, kVarchar = 1043;
  return type == kText || type == kJson || type == kBpchar || type == kVarchar;
}

// In the binary format a text is its bytes; it needs no end, and so takes any.
bool AsBytes(const SqlArgument& argument, Oid type) {
  return argument.form == SqlArgument::Form::kBytes && (type == kBytea || IsText(type));
}

}  // namespace

int PostgresConnection::fd() const { return PQsocket(session_.connection.get()); }

short PostgresConnection::events() const {
  return static_cast<short>(unflushed_ ? POLLIN | POLLOUT : POLLIN);
}

pg_cancel* PostgresConnection::NewCancel() const { return PQgetCancel(session_.connection.get()); }

void PostgresConnection::Break(std::string_view what) {
  broken_ = true;
  const std::string said = PostgresMessage(session_.connection.get());
  error_ = absl::UnavailableError(StrCat("PostgreSQL: ", said.empty() ? std::string(what) : said));
  batch_ = nullptr;
}

void PostgresConnection::Refuse(size_t index, std::string_view sqlstate, absl::Status error) {
  answers_[index].kind = PostgresAnswer::Kind::kFailed;
  answers_[index].sqlstate = sqlstate;
  answers_[index].error = std::move(error);
}

void PostgresConnection::Begin(std::shared_ptr<const PostgresBatch> batch) {
  batch_ = std::move(batch);
  answers_.clear();
  answers_.resize(batch_->executions.size());
  next_ = 0;
  pending_ = 0;
  closed_ = false;
  unsynced_ = false;
  expected_.clear();
  group_.clear();
  Examine();
  OnReady();
}

void PostgresConnection::Examine() {
  for (size_t i = 0; i < batch_->executions.size(); ++i) {
    const PostgresExecution& execution = batch_->executions[i];
    const PostgresPrepared& prepared = session_.prepared[execution.statement];
    if (!prepared.status.ok()) {
      // It may have been mended since: the next session will tell.
      stale_ = true;
      Refuse(i, "42000", prepared.status);
    }
    for (size_t p = 0; p < execution.arguments.size() && p < prepared.parameter_types.size(); ++p) {
      const SqlArgument& argument = execution.arguments[p];
      if (!AsBytes(argument, prepared.parameter_types[p]) &&
          argument.text.find('\0') != std::string::npos) {
        Refuse(i, "22021",
               PostgresStatus("22021", "a zero byte cannot be in a parameter that is not bytea"));
      }
    }
    if (i >= batch_->alone && answers_[i].kind == PostgresAnswer::Kind::kFailed) {
      closed_ = true;
      return;
    }
  }
}

void PostgresConnection::StopSending() { closed_ = true; }

void PostgresConnection::OnReady() {
  if (broken_) return;
  if (PQconsumeInput(session_.connection.get()) == 0) return Break("the connection is lost");
  if (idle()) {
    // What comes unasked is read away. The server's last words come before the end of the
    // connection, which is better noticed now than by the next batch.
    PQisBusy(session_.connection.get());
    if (PQconsumeInput(session_.connection.get()) == 0) Break("the connection is lost");
    return;
  }
  // Answers make room for questions, and the last question may have been answered in between.
  if (!Read() || !Feed() || !Read()) return Break("the connection is lost");
  if (expected_.empty() && !unsynced_ && (closed_ || next_ == batch_->executions.size())) {
    batch_ = nullptr;
  }
}

bool PostgresConnection::Feed() {
  while (true) {
    const int unsent = PQflush(session_.connection.get());
    if (unsent < 0) return false;
    unflushed_ = unsent > 0;
    if (unflushed_) return true;
    pending_ = 0;
    const bool all = closed_ || next_ == batch_->executions.size();
    if (all && !unsynced_) return true;
    if (all && !SendSync()) return false;
    while (!closed_ && next_ < batch_->executions.size() && pending_ < kFeedBytes) {
      const size_t index = next_++;
      if (answers_[index].kind == PostgresAnswer::Kind::kFailed) continue;
      if (!SendOne(index)) return false;
      if (index < batch_->alone && !SendSync()) return false;
    }
  }
}

bool PostgresConnection::SendSync() {
  if (PQpipelineSync(session_.connection.get()) == 0) return false;
  unsynced_ = false;
  expected_.push_back(kSync);
  return true;
}

bool PostgresConnection::SendOne(size_t index) {
  const PostgresExecution& execution = batch_->executions[index];
  const std::vector<Oid>& types = session_.prepared[execution.statement].parameter_types;
  std::vector<const char*> values;
  std::vector<int> lengths;
  std::vector<int> formats;
  for (size_t i = 0; i < execution.arguments.size(); ++i) {
    const SqlArgument& argument = execution.arguments[i];
    const Oid type = i < types.size() ? types[i] : 0;
    // Where a scan begins, an empty text is before all texts; of other types, NULL has to do.
    const bool start =
        argument.form == SqlArgument::Form::kCursor && argument.text.empty() && !IsText(type);
    values.push_back(start ? nullptr : argument.text.c_str());
    lengths.push_back(static_cast<int>(argument.text.size()));
    formats.push_back(AsBytes(argument, type) ? 1 : 0);
    pending_ += argument.text.size();
  }
  // What an execution takes without its arguments.
  pending_ += 64;
  const std::string name = PostgresStatementName(execution.statement);
  if (PQsendQueryPrepared(session_.connection.get(), name.c_str(),
                          static_cast<int>(execution.arguments.size()), values.data(),
                          lengths.data(), formats.data(), 0) == 0) {
    return false;
  }
  expected_.push_back(index);
  unsynced_ = true;
  return true;
}

bool PostgresConnection::Read() {
  // A null stands between the results of two executions, two of them for nothing at all.
  for (int nulls = 0; nulls < 2 && PQisBusy(session_.connection.get()) == 0;) {
    PostgresResult result(PQgetResult(session_.connection.get()));
    if (result == nullptr) {
      ++nulls;
      continue;
    }
    nulls = 0;
    OnResult(std::move(result));
  }
  return PQstatus(session_.connection.get()) == CONNECTION_OK;
}

void PostgresConnection::OnResult(PostgresResult result) {
  const ExecStatusType status = PQresultStatus(result.get());
  if (status == PGRES_PIPELINE_SYNC) {
    if (!expected_.empty() && expected_.front() == kSync) expected_.pop_front();
    group_.clear();
    return;
  }
  if (expected_.empty()) return;
  if (expected_.front() == kSync) return OnError(result.get(), group_.begin());
  const size_t index = expected_.front();
  expected_.pop_front();
  if (status == PGRES_PIPELINE_ABORTED) return;  // stays kNotRun
  group_.push_back(index);
  if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK) {
    answers_[index].kind = PostgresAnswer::Kind::kOk;
    answers_[index].result = std::move(result);
    return;
  }
  // Nothing that comes after it in this transaction will be run.
  if (index >= batch_->alone) closed_ = true;
  OnError(result.get(), group_.end() - 1);
}

void PostgresConnection::OnError(const pg_result* result, std::vector<size_t>::iterator first) {
  const std::string sqlstate = PostgresSqlState(result);
  const absl::Status error = PostgresStatus(sqlstate, PostgresMessage(result));
  if (PostgresSessionIsStale(sqlstate)) stale_ = true;
  for (auto each = first; each != group_.end(); ++each) {
    answers_[*each].result = nullptr;
    Refuse(*each, sqlstate, error);
  }
}

}  // namespace larder
