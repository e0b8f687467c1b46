#include "tests/origin/postgres_server.h"

#include <fcntl.h>
#include <grp.h>
#include <libpq-fe.h>
#include <pwd.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>
#include <memory>
#include <sstream>
#include <thread>

#include "tests/base/free_port.h"

namespace larder {
namespace {

constexpr int kStartsMax = 5;
constexpr auto kPatience = std::chrono::seconds(30);
// Where Debian and others keep the programs that they do not put on the path.
constexpr const char* kFolders[] = {"/usr/lib/postgresql/15/bin",
                                    "/usr/lib/postgresql/16/bin",
                                    "/usr/lib/postgresql/17/bin",
                                    "/usr/lib/postgresql/14/bin",
                                    "/usr/pgsql-15/bin",
                                    "/usr/bin",
                                    "/usr/local/bin"};

[[noreturn]] void GiveUp(const std::string& what) {
  std::cerr << "PostgresServer: " << what << std::endl;
  std::abort();
}

std::string Program(const std::string& name) {
  for (const char* folder : kFolders) {
    const std::string path = std::string(folder) + "/" + name;
    if (access(path.c_str(), X_OK) == 0) return path;
  }
  GiveUp("there is no " + name + "; install the package postgresql");
}

std::string TextOf(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// PostgreSQL refuses to run as root.
const passwd* Unprivileged() {
  if (geteuid() != 0) return nullptr;
  for (const char* name : {"postgres", "nobody"}) {
    if (const passwd* user = getpwnam(name)) return user;
  }
  GiveUp("there is neither a user postgres nor a user nobody");
}

// Runs a program that dies with this thread.
pid_t Spawn(const std::vector<std::string>& command, const std::string& directory) {
  std::vector<char*> argv;
  for (const std::string& word : command) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  const std::string log = directory + "/log";
  const passwd* const user = Unprivileged();
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid != 0) return pid;
  if (user != nullptr &&
      (setgroups(0, nullptr) != 0 || setgid(user->pw_gid) != 0 || setuid(user->pw_uid) != 0)) {
    _exit(126);
  }
  // After the change of user, which takes it away. A postmaster that is killed takes its children
  // along soon.
  prctl(PR_SET_PDEATHSIG, SIGQUIT);
  if (getppid() != parent) _exit(1);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  const int out = open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  dup2(out, STDOUT_FILENO);
  dup2(out, STDERR_FILENO);
  if (chdir(directory.c_str()) != 0) _exit(125);
  // Settings of the machine must not decide what the server speaks.
  setenv("LC_ALL", "C", 1);
  execv(argv[0], argv.data());
  _exit(127);
}

using Connection = std::unique_ptr<PGconn, decltype(&PQfinish)>;

Connection Connect(const std::string& url) {
  Connection connection(PQconnectdb(url.c_str()), &PQfinish);
  PQsetNoticeProcessor(connection.get(), [](void*, const char*) {}, nullptr);
  return connection;
}

}  // namespace

PostgresServer::PostgresServer(std::vector<std::string> config) : config_(std::move(config)) {
  std::string name = (std::filesystem::temp_directory_path() / "larder-postgres-XXXXXX").string();
  if (mkdtemp(name.data()) == nullptr) GiveUp("no temporary directory");
  directory_ = name;
  if (const passwd* user = Unprivileged()) {
    if (chown(name.c_str(), user->pw_uid, user->pw_gid) != 0) GiveUp("chown " + name);
  }
  InitDb();
  for (int i = 0; i < kStartsMax; ++i) {
    port_ = FreePort();
    if (TryStart()) return;
  }
  GiveUp("the server does not start:\n" + TextOf(directory_ + "/log"));
}

PostgresServer::~PostgresServer() {
  Crash();
  std::error_code ignored;
  std::filesystem::remove_all(directory_, ignored);
}

void PostgresServer::InitDb() {
  const std::string password = directory_ + "/password";
  std::ofstream(password) << "secret\n";
  std::filesystem::permissions(password, std::filesystem::perms::others_read,
                               std::filesystem::perm_options::add);
  const pid_t pid = Spawn(
      {Program("initdb"), "--no-sync", "-D", directory_ + "/data", "-U", "larder", "-A",
       "scram-sha-256", "--pwfile", password, "-E", "UTF8", "--locale", "C", "--no-instructions"},
      directory_);
  int status = 0;
  waitpid(pid, &status, 0);
  if (status != 0) GiveUp("initdb fails:\n" + TextOf(directory_ + "/log"));
  std::ofstream config(directory_ + "/data/postgresql.conf", std::ios::app);
  config << "listen_addresses = '127.0.0.1'\nunix_socket_directories = ''\nfsync = off\n"
         << "full_page_writes = off\nmax_wal_size = 128MB\nshared_buffers = 16MB\n"
         << "autovacuum = off\nsuperuser_reserved_connections = 0\n";
  for (const std::string& line : config_) config << line << "\n";
}

bool PostgresServer::TryStart() {
  pid_ = Spawn({Program("postgres"), "-D", directory_ + "/data", "-p", std::to_string(port_)},
               directory_);
  const auto end = std::chrono::steady_clock::now() + kPatience;
  while (std::chrono::steady_clock::now() < end) {
    if (PQping(url().c_str()) == PQPING_OK) return true;
    if (waitpid(pid_, nullptr, WNOHANG) == pid_) {
      pid_ = -1;
      return false;
    }
    // Another process gives no event that could be waited for.
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return false;
}

void PostgresServer::End(int signal) {
  if (pid_ <= 0) return;
  kill(pid_, signal);
  kill(pid_, SIGCONT);
  waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

void PostgresServer::Stop() { End(SIGINT); }
void PostgresServer::Crash() { End(SIGQUIT); }

void PostgresServer::Freeze() {
  kill(pid_, SIGSTOP);
  int status = 0;
  waitpid(pid_, &status, WUNTRACED);
}
void PostgresServer::Thaw() { kill(pid_, SIGCONT); }

void PostgresServer::Start() {
  for (int i = 0; i < kStartsMax; ++i) {
    if (TryStart()) return;
  }
  GiveUp("the server does not start again on its port:\n" + TextOf(directory_ + "/log"));
}

std::string PostgresServer::url() const {
  return "postgresql://larder:secret@127.0.0.1:" + std::to_string(port_) + "/postgres";
}

std::string PostgresServer::url_without_password() const {
  return "postgresql://larder@127.0.0.1:" + std::to_string(port_) + "/postgres";
}

void PostgresServer::Run(const std::string& sql) const {
  const Connection connection = Connect(url());
  PGresult* const result = PQexec(connection.get(), sql.c_str());
  const ExecStatusType status = PQresultStatus(result);
  PQclear(result);
  if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) {
    GiveUp(sql + ": " + PQerrorMessage(connection.get()));
  }
}

std::string PostgresServer::Ask(const std::string& sql) const {
  const Connection connection = Connect(url());
  PGresult* const result = PQexec(connection.get(), sql.c_str());
  std::string text = PQerrorMessage(connection.get());
  if (PQresultStatus(result) == PGRES_TUPLES_OK) {
    text = PQntuples(result) > 0 ? PQgetvalue(result, 0, 0) : "";
  }
  PQclear(result);
  return text;
}

PostgresServer& SharedPostgres() {
  static PostgresServer server({"max_connections = 40"});
  return server;
}

}  // namespace larder
