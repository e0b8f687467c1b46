// larderd: flags and exit codes. What a running server is made of is in serve.cc.
// Exit codes: 0 after an orderly shutdown, 1 when it could not start or the health check failed, 2
// for wrong flags or a wrong configuration.

#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "base/strings.h"
#include "config/config.h"
#include "larder/config/v1/config.pb.h"
#include "reloader.h"
#include "rpc/health_probe.h"
#include "serve.h"

namespace larder {
namespace {

constexpr int kFailed = 1;
constexpr int kWrongInput = 2;

struct Flags {
  std::string config;
  std::vector<std::string> sets;
  bool check = false;
  bool print_config = false;
  std::string probe_address;
  std::string probe_service = "readiness";
  double probe_seconds = 3;
};

absl::StatusOr<Config> Load(const Flags& flags) {
  std::vector<std::pair<std::string, std::string>> overrides;
  for (const std::string& set : flags.sets) {
    const size_t equals = set.find('=');
    if (equals == std::string::npos) {
      return absl::InvalidArgumentError(
          StrCat("--set ", set, ": must be path=value, as in --set log.level=debug"));
    }
    overrides.emplace_back(set.substr(0, equals), set.substr(equals + 1));
  }
  return LoadConfigFile(flags.config, overrides);
}

// Where a server with this configuration answers on this machine: a wildcard address is reached by
// loopback.
std::string ProbeAddress(const std::string& listen) {
  const size_t colon = listen.rfind(':');
  const std::string host = listen.substr(0, colon);
  const std::string port = listen.substr(colon);
  if (host.empty() || host == "0.0.0.0") return "127.0.0.1" + port;
  if (host == "[::]") return "[::1]" + port;
  return listen;
}

int Complain(const absl::Status& status, int exit_code) {
  std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
  return exit_code;
}

int Probe(const Flags& flags) {
  std::string address = flags.probe_address;
  ProbeTls tls;
  // A server elsewhere may be asked without a configuration that is right.
  const absl::StatusOr<Config> config = Load(flags);
  if (!config.ok() && address.empty()) return Complain(config.status(), kWrongInput);
  if (config.ok()) {
    const config::v1::Listen& listen = config->proto->listen();
    if (address.empty()) address = ProbeAddress(listen.grpc());
    tls.on = !listen.tls().certificate_file().empty();
    // The server's own, where it wants its clients to have one: whoever reads the key is one of it.
    if (!listen.tls().client_ca_file().empty()) {
      tls.certificate_file = listen.tls().certificate_file();
      tls.key_file = listen.tls().key_file();
    }
  }
  const absl::Status health =
      ProbeHealth(address, flags.probe_service, absl::Seconds(flags.probe_seconds), tls);
  return health.ok() ? 0 : Complain(health, kFailed);
}

int Run(int argc, char** argv) {
  Flags flags;
  CLI::App app("larderd, a cache service that speaks gRPC");
  app.set_version_flag("--version", std::string("larderd ") + LARDER_VERSION);
  app.add_option("--config", flags.config,
                 "YAML file with the configuration; none = working defaults");
  app.add_option("--set", flags.sets,
                 "path=value: overrides one setting, as in --set listen.grpc=127.0.0.1:0")
      ->allow_extra_args(false);
  app.add_flag("--check", flags.check,
               "check the configuration and exit: 0 when it is right, 2 when not");
  app.add_flag("--print-config", flags.print_config,
               "print every setting in effect and where it comes from, and exit");
  CLI::App* const healthcheck = app.add_subcommand(
      "healthcheck", "ask the running server whether it is well, for containers");
  healthcheck->add_option("--address", flags.probe_address,
                          "host:port; default: as the configuration says");
  healthcheck
      ->add_option("--service", flags.probe_service, "what to ask for: readiness or liveness")
      ->capture_default_str();
  healthcheck->add_option("--timeout", flags.probe_seconds, "seconds to wait for an answer")
      ->check(CLI::Range(0.01, 60.0))
      ->capture_default_str();
  app.fallthrough();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kWrongInput;
  }

  if (healthcheck->parsed()) return Probe(flags);
  const std::string seen = FileFingerprint(flags.config);
  const absl::StatusOr<Config> config = Load(flags);
  if (!config.ok()) return Complain(config.status(), kWrongInput);
  if (flags.print_config) {
    std::fputs(PrintConfig(*config).c_str(), stdout);
    return 0;
  }
  if (flags.check) {
    std::printf("the configuration is right: %zu types\n", config->types->size());
    return 0;
  }
  const ConfigOrigin origin{[&flags] { return Load(flags); }, flags.config, seen};
  const absl::Status served = Serve(*config, origin, LARDER_VERSION);
  if (served.ok()) return 0;
  return Complain(served, absl::IsInvalidArgument(served) ? kWrongInput : kFailed);
}

}  // namespace
}  // namespace larder

int main(int argc, char** argv) { return larder::Run(argc, argv); }
