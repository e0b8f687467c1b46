// Opening a connection takes many steps, of which one (to find the host) blocks in libpq whatever
// one does, so all of them run one after the other on a thread that may block, and the loop, which
// may not, gets a session that is ready. That costs a thread and saves a state machine of a dozen
// states that each would need a test of its own.
//
// The settings are made with a statement and not in the start-up packet: poolers in front of
// PostgreSQL refuse packets with settings that they do not know.

#include "origin/postgres_session.h"

#include <libpq-fe.h>
#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_replace.h"
#include "base/status.h"
#include "base/strings.h"
#include "origin/postgres_error.h"

namespace larder {
namespace {

constexpr std::streamsize kPasswordBytesMax = 4096;
// How long a server may leave bytes of ours without a sign that they came. Bounds cancellations
// too, which have no other limit.
constexpr const char* kSilenceMaxMs = "5000";

std::string OneLine(const char* text) {
  const absl::string_view all = absl::StripAsciiWhitespace(text == nullptr ? "" : text);
  return absl::StrReplaceAll(all, {{"\n\t", " "}, {"\n", " "}, {"\t", " "}, {"\r", ""}});
}

// Waits until the socket is ready, false when the time is over first.
bool AwaitSocket(PGconn* connection, short events, MonoNanos deadline, Clock* clock) {
  while (true) {
    const MonoNanos left = deadline - clock->Mono();
    if (left <= 0) return false;
    // A clock that is not the system's moves without a sign, so it is looked at now and then.
    const MonoNanos most = clock == Clock::System() ? 1'000'000'000 : 20'000'000;
    pollfd fd{.fd = PQsocket(connection), .events = events, .revents = 0};
    const int ready = poll(&fd, 1, static_cast<int>((std::min(left, most) + 999'999) / 1'000'000));
    if (ready > 0) return true;
    if (ready < 0 && errno != EINTR) return false;
  }
}

absl::Status TimeOver() {
  return absl::UnavailableError("PostgreSQL: the connection could not be opened in time");
}

absl::StatusOr<std::string> ReadPassword(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string password(kPasswordBytesMax + 1, '\0');
  file.read(password.data(), static_cast<std::streamsize>(password.size()));
  if (file.bad() || (file.fail() && !file.eof())) {
    return absl::UnavailableError(StrCat("the password file ", path, " cannot be read"));
  }
  if (file.gcount() > kPasswordBytesMax) {
    return absl::UnavailableError(
        StrCat("the password file ", path, " is more than ", kPasswordBytesMax, " bytes"));
  }
  password.resize(static_cast<size_t>(file.gcount()));
  while (!password.empty() && (password.back() == '\n' || password.back() == '\r')) {
    password.pop_back();
  }
  return password;
}

absl::StatusOr<PostgresHandle> Connect(const PostgresOptions& options, MonoNanos deadline) {
  // The URL overrides what comes before it, and what comes after overrides the URL.
  std::vector<const char*> words = {"fallback_application_name", "tcp_user_timeout", "dbname",
                                    "client_encoding"};
  std::vector<const char*> values = {"larder", kSilenceMaxMs, options.url.c_str(), "UTF8"};
  std::string password;
  if (!options.password_file.empty()) {
    ASSIGN_OR_RETURN(password, ReadPassword(options.password_file));
    words.push_back("password");
    values.push_back(password.c_str());
  }
  words.push_back(nullptr);
  values.push_back(nullptr);
  PostgresHandle connection(PQconnectStartParams(words.data(), values.data(), 1));
  if (connection == nullptr) return absl::UnavailableError("PostgreSQL: out of memory");
  // Notices and warnings, which libpq would print.
  PQsetNoticeProcessor(connection.get(), [](void*, const char*) {}, nullptr);
  PostgresPollingStatusType next = PGRES_POLLING_WRITING;
  while (PQstatus(connection.get()) != CONNECTION_BAD && next != PGRES_POLLING_OK) {
    if (next == PGRES_POLLING_FAILED) break;
    const short events = next == PGRES_POLLING_READING ? POLLIN : POLLOUT;
    if (!AwaitSocket(connection.get(), events, deadline, options.clock)) return TimeOver();
    next = PQconnectPoll(connection.get());
  }
  if (next != PGRES_POLLING_OK) {
    return absl::UnavailableError(StrCat("PostgreSQL: ", PostgresMessage(connection.get())));
  }
  return connection;
}

// Results in their order; one that does not come in time, or a connection that breaks, is null.
class Results {
 public:
  Results(PGconn* connection, MonoNanos deadline, Clock* clock)
      : connection_(connection), deadline_(deadline), clock_(clock) {}

  PostgresResult Next() {
    // A null stands between the results of two statements, two of them for nothing at all.
    for (int nulls = 0; nulls < 2;) {
      if (!Ready()) return nullptr;
      PostgresResult result(PQgetResult(connection_));
      if (result != nullptr) return result;
      ++nulls;
    }
    return nullptr;
  }

 private:
  bool Ready() {
    while (PQisBusy(connection_) != 0) {
      const int unsent = PQflush(connection_);
      if (unsent < 0) return false;
      const auto events = static_cast<short>(unsent > 0 ? POLLIN | POLLOUT : POLLIN);
      if (!AwaitSocket(connection_, events, deadline_, clock_)) return false;
      if (PQconsumeInput(connection_) == 0) return false;
    }
    return true;
  }

  PGconn* const connection_;
  const MonoNanos deadline_;
  Clock* const clock_;
};

bool SendSettings(PGconn* connection, const PostgresOptions& options) {
  const std::string timeout =
      StrCat(std::max<int64_t>(1, absl::ToInt64Milliseconds(options.statement_timeout)));
  const char* const values[] = {timeout.c_str()};
  // The styles are what sql_value.h reads.
  constexpr const char* kSettings =
      "SELECT set_config('statement_timeout', $1, false), set_config('bytea_output', 'hex', false),"
      " set_config('intervalstyle', 'iso_8601', false), set_config('datestyle', 'ISO', false)";
  // So that the server ends the statements of connections that are gone. It knows this from
  // version 14 on, and not on every system.
  constexpr const char* kCheck =
      "SELECT set_config('client_connection_check_interval', '1s', false)";
  return PQsendQueryParams(connection, kSettings, 1, nullptr, values, nullptr, nullptr, 0) != 0 &&
         PQpipelineSync(connection) != 0 &&
         PQsendQueryParams(connection, kCheck, 0, nullptr, nullptr, nullptr, nullptr, 0) != 0 &&
         PQpipelineSync(connection) != 0;
}

bool SendStatements(PGconn* connection, const SqlPlans& plans) {
  for (size_t i = 0; i < plans.statements().size(); ++i) {
    const std::string name = PostgresStatementName(i);
    const std::string& text = plans.statements()[i].statement.text;
    if (PQsendPrepare(connection, name.c_str(), text.c_str(), 0, nullptr) == 0 ||
        PQsendDescribePrepared(connection, name.c_str()) == 0 || PQpipelineSync(connection) == 0) {
      return false;
    }
  }
  return true;
}

// Where in the statement the server sees the mistake, as its next few words.
std::string Near(const PGresult* result, const std::string& statement) {
  const char* const position = PQresultErrorField(result, PG_DIAG_STATEMENT_POSITION);
  if (position == nullptr) return {};
  size_t characters = std::strtoul(position, nullptr, 10);
  size_t at = 0;
  // It counts characters of UTF-8, from 1.
  while (characters > 1 && at < statement.size()) {
    do {
      ++at;
    } while (at < statement.size() && (statement[at] & 0xc0) == 0x80);
    --characters;
  }
  if (at >= statement.size()) return ", at its end";
  constexpr size_t kShown = 30;
  size_t end = std::min(statement.size(), at + kShown);
  while (end < statement.size() && (statement[end] & 0xc0) == 0x80) ++end;
  return StrCat(", near \"", OneLine(statement.substr(at, end - at).c_str()), "\"");
}

PostgresPrepared Describe(const PGresult* result) {
  PostgresPrepared prepared;
  for (int i = 0; i < PQnparams(result); ++i) {
    prepared.parameter_types.push_back(PQparamtype(result, i));
  }
  for (int i = 0; i < PQnfields(result); ++i) prepared.columns.emplace_back(PQfname(result, i));
  return prepared;
}

// The answers to SendStatements; a null one where the connection breaks.
absl::Status ReadStatements(const SqlPlans& plans, Results* results, PostgresSession* session) {
  for (const SqlPlans::Planned& planned : plans.statements()) {
    const PostgresResult prepare = results->Next();
    const PostgresResult describe = results->Next();
    const PostgresResult sync = results->Next();
    if (prepare == nullptr || describe == nullptr || sync == nullptr) return TimeOver();
    const PGresult* failed = PQresultStatus(prepare.get()) != PGRES_COMMAND_OK    ? prepare.get()
                             : PQresultStatus(describe.get()) != PGRES_COMMAND_OK ? describe.get()
                                                                                  : nullptr;
    if (failed == nullptr) {
      session->prepared.push_back(Describe(describe.get()));
      continue;
    }
    PostgresPrepared refused;
    refused.status = absl::FailedPreconditionError(
        StrCat("PostgreSQL refuses the statement: ", PostgresMessage(failed),
               Near(failed, planned.statement.text)));
    session->prepared.push_back(std::move(refused));
  }
  return absl::OkStatus();
}

}  // namespace

void PostgresDeleter::operator()(pg_conn* connection) const { PQfinish(connection); }
void PostgresDeleter::operator()(pg_result* result) const { PQclear(result); }

std::string PostgresStatementName(size_t number) { return StrCat("larder_", number); }

std::string PostgresSqlState(const pg_result* result) {
  const char* const state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
  // Without one the error is libpq's own, of the connection.
  return state == nullptr ? "08000" : state;
}

std::string PostgresMessage(const pg_result* result) {
  const char* const message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
  return OneLine(message == nullptr ? PQresultErrorMessage(result) : message);
}

std::string PostgresMessage(const pg_conn* connection) {
  return OneLine(PQerrorMessage(connection));
}

absl::Status CheckPostgresUrl(const std::string& url) {
  char* error = nullptr;
  PQconninfoOption* const parsed = PQconninfoParse(url.c_str(), &error);
  if (parsed != nullptr) {
    PQconninfoFree(parsed);
    return absl::OkStatus();
  }
  const std::string message = OneLine(error);
  PQfreemem(error);
  // Only these name nothing but an option; the others may repeat the password.
  for (const char* harmless : {"invalid URI query parameter", "invalid connection option"}) {
    if (message.rfind(harmless, 0) == 0) return absl::InvalidArgumentError(message);
  }
  return absl::InvalidArgumentError(
      "is neither a URL such as postgresql://user@host/database nor words such as host=... "
      "dbname=... (what it is instead is not shown, for it may hold a password)");
}

absl::StatusOr<PostgresSession> OpenPostgresSession(const PostgresOptions& options,
                                                    const SqlPlans& plans, MonoNanos deadline) {
  PostgresSession session;
  const MonoNanos connected = MonoAfter(options.clock->Mono(), options.connect_timeout);
  ASSIGN_OR_RETURN(session.connection, Connect(options, std::min(connected, deadline)));
  PGconn* const connection = session.connection.get();
  if (PQsetnonblocking(connection, 1) != 0 || PQenterPipelineMode(connection) == 0) {
    return absl::UnavailableError(StrCat("PostgreSQL: ", PostgresMessage(connection)));
  }
  if (!SendSettings(connection, options) || !SendStatements(connection, plans)) {
    return absl::UnavailableError("PostgreSQL: the connection broke while it was opened");
  }
  Results results(connection, deadline, options.clock);
  const PostgresResult settings = results.Next();
  if (settings == nullptr) return TimeOver();
  if (PQresultStatus(settings.get()) != PGRES_TUPLES_OK) {
    return absl::UnavailableError(StrCat("PostgreSQL: ", PostgresMessage(settings.get())));
  }
  // The sync, what became of the one setting that need not be, and its sync.
  for (int i = 0; i < 3; ++i) {
    if (results.Next() == nullptr) return TimeOver();
  }
  RETURN_IF_ERROR(ReadStatements(plans, &results, &session));
  return session;
}

}  // namespace larder
