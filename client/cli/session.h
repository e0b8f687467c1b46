// Session is one run of the command: what the global flags say, the connection, and the output.

#ifndef LARDER_CLIENT_CLI_SESSION_H_
#define LARDER_CLIENT_CLI_SESSION_H_

#include <CLI/App.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/cli/exit_code.h"
#include "client/cli/http.h"
#include "client/cli/output.h"
#include "larder/client.h"

namespace larder::cli {

struct Session {
  std::string server = "127.0.0.1:50051";
  std::string ns;
  absl::Duration deadline = absl::Seconds(5);
  // What the flag said, if it was there.
  std::optional<absl::Duration> given_deadline;
  // Who calls, and how the connection is encrypted.
  std::string token_file;
  bool token_without_tls = false;
  TlsOptions tls;
  bool json = false;
  Output out;
  std::unique_ptr<Client> client;
  // What the chosen command does; set while the command line is parsed. It runs with a client
  // unless `offline`.
  std::function<ExitCode()> run;
  bool offline = false;
  // The command goes on for as long as it takes: only a deadline that was given ends it.
  bool goes_on = false;

  // Raw bytes of a value are for pipes; people and --json get more.
  bool raw() const { return !json && !out.terminal(); }

  // How to ask an admin port.
  HttpCall AdminCall() const;
  // How to reach a server, as the global flags say.
  ClientOptions OptionsFor(const std::string& target, absl::Duration default_deadline) const;

  ExitCode Fail(const absl::Status& status) const { return Report(status, json); }
  // `Miss: REASON` for a read that found nothing.
  ExitCode ReportMiss(const Miss& miss);
  // A value that was found.
  ExitCode ReportEntry(const Entry& entry, const std::function<void(Json*)>& more);
  // What a Set answered.
  ExitCode ReportSet(const SetResult& result);
};

// What --json says of a value that was found, and of a miss.
void AddEntry(const Entry& entry, Json* answer);
void AddMiss(const Miss& miss, Json* answer);

// A subcommand that runs `run`, which returns the exit code.
CLI::App* AddCommand(CLI::App* app, Session* session, const std::string& name,
                     const std::string& help, std::function<ExitCode()> run);

// A flag that takes a duration such as `200ms` or `1h30m`.
CLI::Option* AddDuration(CLI::App* command, const std::string& name,
                         std::optional<absl::Duration>* duration, const std::string& help);

// The key, in the place where every command has it.
CLI::Option* AddKey(CLI::App* command, std::string* key);
CLI::Option* AddType(CLI::App* command, std::string* type);

// The bytes that a VALUE argument stands for: `-` is stdin, `@path` a file, `@@x` the text `@x`,
// all else itself.
absl::StatusOr<std::string> ReadValue(const std::string& argument);

// Writes a whole file, or nothing: what was there is replaced when all of it is on disk.
absl::Status WriteFile(const std::string& path, std::string_view bytes);

// The keys in a file, one a line; `-` is stdin. Empty lines do not count. INVALID_ARGUMENT: there
// are none, or one that could be no key, by its line.
absl::StatusOr<std::vector<std::string>> ReadKeys(const std::string& from);

// Lease tokens are bytes; on the command line they are hexadecimal.
std::string HexOfToken(const std::string& token);
absl::StatusOr<std::string> TokenOfHex(const std::string& hex);

}  // namespace larder::cli

#endif  // LARDER_CLIENT_CLI_SESSION_H_
