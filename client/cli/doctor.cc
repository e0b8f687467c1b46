// `doctor` goes the way of a call, from the name to the answer, and says at each step what it
// found: who cannot connect sees at which step it ends. Then it compares the replicas with each
// other.

#include "client/cli/doctor.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "client/cli/commands.h"
#include "client/cli/exit_code.h"
#include "client/cli/interrupt.h"
#include "client/cli/socket.h"
#include "client/cli/wait.h"

namespace larder::cli {
namespace {

// Of calls that are for operators; empty for an error of another kind.
std::string DeniedMend(const absl::Status& status) {
  if (absl::IsUnauthenticated(status))
    return "say who asks: --token-file FILE, or --tls-cert and --tls-key";
  if (absl::IsPermissionDenied(status))
    return "ask as somebody with the right `admin` for all namespaces: --token-file FILE";
  return "";
}

constexpr int kPings = 5;
constexpr absl::Duration kSlowName = absl::Milliseconds(200);
constexpr absl::Duration kSlowPing = absl::Milliseconds(50);

// `dns:///cache:50051` is a name of gRPC's for cache:50051.
std::string WithoutScheme(std::string address) {
  for (const char* scheme : {"dns:///", "dns:", "ipv4:", "ipv6:"}) {
    if (absl::StartsWith(address, scheme)) return address.substr(std::string(scheme).size());
  }
  return address;
}

class Doctor {
 public:
  Doctor(const Session& session, const DoctorOptions& options)
      : session_(session), options_(options) {}

  Examination Run() {
    Environment();
    std::vector<std::string> addresses = absl::StrSplit(session_.server, ',');
    for (std::string& address : addresses) {
      absl::StripAsciiWhitespace(&address);
      Server(address);
    }
    if (!options_.certificate.empty()) Certificate(options_.certificate);
    JudgeClocks(replicas_, &result_.findings);
    JudgeVersions(replicas_, LARDER_VERSION, &result_.findings);
    JudgeLikeness(replicas_, &result_.findings);
    if (options_.idle.has_value()) Idle();
    return std::move(result_);
  }

 private:
  const std::string& ca_file() const {
    return options_.ca_file.empty() ? session_.tls.ca_file : options_.ca_file;
  }

  void Add(Level level, const std::string& check, const std::string& server,
           const std::string& what, const std::string& mend = "") {
    result_.findings.push_back({level, check, server, what, mend});
  }

  void Environment() {
    std::map<std::string, std::string> environment;
    for (const char* name : {"grpc_proxy", "https_proxy", "http_proxy"}) {
      if (const char* const value = std::getenv(name); value != nullptr) environment[name] = value;
    }
    rlimit files = {};
    getrlimit(RLIMIT_NOFILE, &files);
    JudgeEnvironment(environment, files.rlim_cur, &result_.findings);
  }

  void Server(const std::string& address) {
    const bool is_socket = absl::StartsWith(address, "unix:");
    std::vector<Endpoint> endpoints;
    std::string host;
    if (!is_socket) {
      const absl::StatusOr<HostPort> name = SplitHostPort(WithoutScheme(address));
      if (!name.ok()) {
        Add(Level::kBad, "address", address, std::string(name.status().message()),
            "write it as host:port");
        return;
      }
      host = name->host;
      endpoints = Names(address, *name);
      if (endpoints.empty() || !Connections(address, &endpoints)) return;
    }
    absl::StatusOr<std::unique_ptr<Client>> client = ClientOf(address);
    if (!client.ok()) {
      Add(Level::kBad, "address", address, std::string(client.status().message()));
      return;
    }
    const absl::Status pinged = Pings(address, client->get());
    if (!pinged.ok()) {
      NoAnswer(address, host, endpoints, pinged);
      return;
    }
    ++result_.reached;
    Encryption(address, host, endpoints);
    Calls(address, client->get());
    clients_.emplace_back(address, *std::move(client));
  }

  absl::StatusOr<std::unique_ptr<Client>> ClientOf(const std::string& address) const {
    ClientOptions client = session_.OptionsFor(address, session_.deadline);
    client.retry.attempts_max = 1;
    return Connect(client);
  }

  std::vector<Endpoint> Names(const std::string& address, const HostPort& name) {
    const absl::Time began = absl::Now();
    absl::StatusOr<std::vector<Endpoint>> endpoints = Resolve(name);
    const absl::Duration took = absl::Now() - began;
    if (!endpoints.ok()) {
      Add(Level::kBad, "dns", address, std::string(endpoints.status().message()),
          "look at the name, at /etc/resolv.conf, and in Kubernetes at the Service and its "
          "namespace");
      return {};
    }
    std::vector<std::string> texts;
    for (const Endpoint& endpoint : *endpoints) texts.push_back(endpoint.text);
    Add(took > kSlowName ? Level::kWarn : Level::kOk, "dns", address,
        fmt::format("{}, in {}", absl::StrJoin(texts, ", "), Shown(took)),
        took > kSlowName ? "ask a nearer resolver, or end the name with a dot so that no search "
                           "domain is tried"
                         : "");
    return *std::move(endpoints);
  }

  // Keeps those that can be reached; false: there is none.
  bool Connections(const std::string& address, std::vector<Endpoint>* endpoints) {
    std::vector<Endpoint> open;
    std::vector<std::string> closed;
    for (const Endpoint& endpoint : *endpoints) {
      const absl::Time until = absl::Now() + std::min(session_.deadline, absl::Seconds(3));
      if (const absl::StatusOr<Socket> socket = ConnectTo(endpoint, until); socket.ok()) {
        open.push_back(endpoint);
      } else {
        closed.push_back(std::string(socket.status().message()));
      }
    }
    const std::string mend =
        "refused: look whether larderd runs and what listen.grpc says; no answer: a firewall or a "
        "NetworkPolicy";
    if (open.empty()) {
      Add(Level::kBad, "connect", address, absl::StrJoin(closed, "; "), mend);
      return false;
    }
    if (!closed.empty()) {
      // localhost is ::1 as well, where a server may listen on 127.0.0.1 alone.
      const bool local = std::all_of(endpoints->begin(), endpoints->end(),
                                     [](const Endpoint& endpoint) { return endpoint.loopback; });
      Add(local ? Level::kNote : Level::kWarn, "connect", address, absl::StrJoin(closed, "; "),
          local ? "" : mend);
    } else {
      Add(Level::kOk, "connect", address, absl::StrCat(open.size(), " of its addresses answer"));
    }
    *endpoints = std::move(open);
    return true;
  }

  absl::Status Pings(const std::string& address, Client* client) {
    absl::Duration best = absl::InfiniteDuration();
    absl::Duration worst;
    bool serving = false;
    for (int i = 0; i < kPings; ++i) {
      const absl::StatusOr<PingResult> ping = client->Ping();
      if (!ping.ok()) return ping.status();
      serving = ping->serving;
      // The first one waits for the connection, too.
      if (i == 0) continue;
      best = std::min(best, ping->round_trip);
      worst = std::max(worst, ping->round_trip);
    }
    if (!serving) {
      Add(Level::kBad, "health", address, "the server answers that it does not serve",
          "it drains or starts: look at its log, and at /readyz of its admin port");
    } else {
      Add(Level::kOk, "health", address, "serving");
    }
    const bool slow = best > kSlowPing;
    Add(slow ? Level::kWarn : Level::kOk, "round trip", address,
        fmt::format("{} to {}", Shown(best), Shown(worst)),
        slow ? "a cache this far away saves little: put it beside its callers" : "");
    return absl::OkStatus();
  }

  // Something listens, and does not answer as larder does.
  void NoAnswer(const std::string& address, const std::string& host,
                const std::vector<Endpoint>& endpoints, const absl::Status& status) {
    for (const Endpoint& endpoint : endpoints) {
      const absl::StatusOr<TlsLook> look =
          LookAtTls(endpoint, host, ca_file(), absl::Now() + absl::Seconds(3));
      if (absl::IsInvalidArgument(look.status())) {
        Add(Level::kBad, "tls", address, std::string(look.status().message()));
        return;
      }
      if (!look.ok()) continue;
      JudgeCertificate(address, host, *look, absl::Now(), &result_.findings);
      Add(Level::kBad, "grpc", address, absl::StrCat("speaks TLS; a call said: ", status.message()),
          "call it with --tls and, where its CA is not one of the system's, --tls-ca FILE; with "
          "--tls-cert and --tls-key where it wants to see who calls");
      return;
    }
    Add(Level::kBad, "grpc", address,
        absl::StrCat("something listens there, and a call failed: ", Told(status)),
        "look whether the port is larder's gRPC port (50051) and not its admin port (8080)");
  }

  void Encryption(const std::string& address, const std::string& host,
                  const std::vector<Endpoint>& endpoints) {
    if (session_.OptionsFor(address, session_.deadline).tls.enabled) {
      if (!endpoints.empty()) LookAt(address, host, endpoints);
      return;
    }
    const bool local = std::all_of(endpoints.begin(), endpoints.end(),
                                   [](const Endpoint& endpoint) { return endpoint.loopback; });
    if (local) {
      Add(Level::kOk, "tls", address, "not encrypted, on this machine");
    } else {
      Add(Level::kNote, "tls", address, "not encrypted",
          "keep it inside a network that you trust, or expose the lane with listen.tls");
    }
  }

  void Certificate(const std::string& address) {
    const absl::StatusOr<HostPort> name = SplitHostPort(address);
    if (!name.ok()) {
      Add(Level::kBad, "tls", address, std::string(name.status().message()), "write host:port");
      return;
    }
    const std::vector<Endpoint> endpoints = Names(address, *name);
    if (!endpoints.empty()) LookAt(address, name->host, endpoints);
  }

  // At the first of the addresses that answers: localhost is ::1, too, where nobody may listen.
  void LookAt(const std::string& address, const std::string& host,
              const std::vector<Endpoint>& endpoints) {
    const std::string name = session_.tls.server_name.empty() ? host : session_.tls.server_name;
    absl::Status last;
    for (const Endpoint& endpoint : endpoints) {
      const absl::StatusOr<TlsLook> look =
          LookAtTls(endpoint, name, ca_file(), absl::Now() + session_.deadline);
      if (look.ok()) {
        JudgeCertificate(address, name, *look, absl::Now(), &result_.findings);
        return;
      }
      last = look.status();
    }
    Add(Level::kBad, "tls", address, std::string(last.message()),
        "look at listen.tls of the server, and whether this is the port of a lane with TLS");
  }

  void Calls(const std::string& address, Client* client) {
    Replica replica;
    replica.address = address;
    // The shortest of some answers tells the time best.
    for (int i = 0; i < kPings; ++i) {
      const absl::Time asked = absl::Now();
      absl::StatusOr<ServerInfoResult> info = client->ServerInfo();
      const absl::Time answered = absl::Now();
      if (!info.ok()) {
        Add(Level::kBad, "call", address, Told(info.status()), DeniedMend(info.status()));
        return;
      }
      const absl::Duration within = (answered - asked) / 2;
      if (info->now != absl::InfinitePast() && within < replica.clock_within) {
        replica.clock_within = within;
        replica.clock_ahead = info->now - (asked + within);
      }
      replica.info = *std::move(info);
    }
    JudgeLimits(replica, ClientOptions("", absl::Seconds(1)).message_bytes_max, &result_.findings);
    const absl::StatusOr<StatsResult> stats = client->Stats();
    if (stats.ok()) {
      JudgeStats(address, *stats, &result_.findings);
    } else {
      Add(Level::kWarn, "call", address, Told(stats.status()));
    }
    Settings(address, replica.info);
    replicas_.push_back(std::move(replica));
  }

  void Settings(const std::string& address, const ServerInfoResult& info) {
    // --admin names the port of one server; the others' are where they are by default.
    const bool named = !options_.admin.empty() && replicas_.empty();
    const std::string admin = named ? options_.admin : DefaultAdmin(address);
    const absl::Status its_own = CheckAdminOf(admin, info, session_.AdminCall());
    if (!its_own.ok()) {
      const std::string denied = DeniedMend(its_own);
      Add(named ? Level::kWarn : Level::kNote, "admin port", address,
          absl::StrCat(its_own.message(), named ? "" : ": its settings were not looked at"),
          denied.empty() ? "name it by --admin HOST:PORT; `listen.admin` says where it is"
                         : denied);
      return;
    }
    const absl::StatusOr<AdminConfig> config = ReadAdminConfig(admin, session_.AdminCall());
    if (config.ok()) JudgeSettings(address, config->settings, &result_.findings);
  }

  // Whether something between here and there drops connections on which nothing is said.
  void Idle() {
    if (clients_.empty()) return;
    const absl::Time until = absl::Now() + *options_.idle;
    WaitUnlessInterrupted([&] { return until - absl::Now(); });
    for (const auto& [address, client] : clients_) {
      const absl::StatusOr<PingResult> ping = client->Ping();
      if (ping.ok()) {
        Add(Level::kOk, "idle", address,
            fmt::format("a connection that was left alone for {} answers in {}",
                        Shown(*options_.idle), Shown(ping->round_trip)));
      } else {
        Add(Level::kWarn, "idle", address,
            fmt::format("a connection that was left alone for {} was gone: {}",
                        Shown(*options_.idle), Told(ping.status())),
            "something between drops silent connections: lower connections.keepalive_time below "
            "its limit");
      }
    }
  }

  const Session& session_;
  const DoctorOptions& options_;
  Examination result_;
  std::vector<Replica> replicas_;
  std::vector<std::pair<std::string, std::unique_ptr<Client>>> clients_;
};

ExitCode RunDoctor(Session* session, const DoctorOptions& options, bool all) {
  if (options.idle.has_value() &&
      (*options.idle < absl::Milliseconds(100) || *options.idle > absl::Hours(2)))
    return session->Fail(absl::InvalidArgumentError("--idle is 100ms to 2h"));
  const CatchInterrupt ctrl_c;
  const Examination examination = Examine(*session, options);
  const Findings& findings = examination.findings;
  const size_t bad = Count(findings, Level::kBad);
  const size_t warnings = Count(findings, Level::kWarn);
  if (session->json) {
    session->out.Print(FindingsJson(findings));
  } else {
    for (const std::string& line : FindingLines(findings, all ? Level::kOk : Level::kNote))
      session->out.Line(line);
    session->out.Line(fmt::format("{} checks: {} bad, {} warnings{}", findings.size(), bad,
                                  warnings, all ? "" : "; --all shows those that are well, too"));
  }
  if (Interrupted()) return kInterrupted;
  if (examination.reached == 0) return kUnavailable;
  return bad > 0 ? kMiss : kOk;
}

}  // namespace

Examination Examine(const Session& session, const DoctorOptions& options) {
  return Doctor(session, options).Run();
}

void AddDoctor(CLI::App* app, Session* session) {
  struct Flags {
    DoctorOptions options;
    bool all = false;
  };
  auto flags = std::make_shared<Flags>();
  CLI::App* command =
      AddCommand(app, session, "doctor", "Look for what is wrong, and say how to mend it",
                 [session, flags] { return RunDoctor(session, flags->options, flags->all); });
  command->add_flag("--all", flags->all, "Show what is well, too");
  command
      ->add_option("--certificate", flags->options.certificate,
                   "Look at the certificate of this listener, too")
      ->type_name("HOST:PORT");
  command
      ->add_option("--ca", flags->options.ca_file,
                   "Certificates that callers trust (PEM); default: --tls-ca, or the system's")
      ->type_name("FILE");
  AddDuration(command, "--idle", &flags->options.idle,
              "Leave a connection alone for so long, and look whether it is still there");
  AddAdmin(command, &flags->options.admin);
  // It connects to each server by itself.
  command->parse_complete_callback([session] { session->offline = true; });
}

}  // namespace larder::cli
