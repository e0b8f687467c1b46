// A real PostgreSQL server for tests: of a fresh cluster in a temporary directory, on a free port
// of 127.0.0.1, killed when its object or the thread that made it ends. Everything here blocks, and
// aborts the test when the server does not start or a statement of the test's own fails. Thread
// safety: none, but for Run and Ask, which any thread may call.

#ifndef LARDER_TESTS_ORIGIN_POSTGRES_SERVER_H_
#define LARDER_TESTS_ORIGIN_POSTGRES_SERVER_H_

#include <sys/types.h>

#include <string>
#include <vector>

namespace larder {

class PostgresServer {
 public:
  // `config`: lines of postgresql.conf, such as "max_connections = 10".
  explicit PostgresServer(std::vector<std::string> config = {});
  ~PostgresServer();
  PostgresServer(const PostgresServer&) = delete;
  PostgresServer& operator=(const PostgresServer&) = delete;

  int port() const { return port_; }
  // Of the superuser `larder`, whose password is `secret`, to the database `postgres`.
  std::string url() const;
  std::string url_without_password() const;

  // Runs statements, separated by ';', on a connection of its own.
  void Run(const std::string& sql) const;
  // The first column of the first row; empty when there is none. For what fails, the error.
  std::string Ask(const std::string& sql) const;

  // SIGINT: disconnects everybody, and waits for the end.
  void Stop();
  // SIGQUIT, as a crash ends it.
  void Crash();
  // SIGSTOP and SIGCONT of the process that takes connections; those that it has go on.
  void Freeze();
  void Thaw();
  // Starts it again after that, on its port.
  void Start();

 private:
  void InitDb();
  bool TryStart();
  void End(int signal);

  std::vector<std::string> config_;
  std::string directory_;
  int port_ = 0;
  pid_t pid_ = -1;
};

// The server that the tests of this binary share, with max_connections = 40. Started at the first
// use.
PostgresServer& SharedPostgres();

}  // namespace larder

#endif  // LARDER_TESTS_ORIGIN_POSTGRES_SERVER_H_
