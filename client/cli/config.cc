// `config`: is a file right, how does it differ from what runs, take it over.

#include <fmt/format.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/cli/admin_port.h"
#include "client/cli/commands.h"
#include "client/cli/config_report.h"
#include "client/cli/larderd.h"

namespace larder::cli {
namespace {

struct Flags {
  std::string file;
  std::vector<std::string> sets;
  std::string larderd;
  std::string admin;
};

std::vector<std::string> Lines(const std::string& text) {
  return absl::StrSplit(text, '\n', absl::SkipEmpty());
}

// `what` is the flag that larderd is to run with.
absl::StatusOr<ProgramEnd> RunLarderd(const Flags& flags, const std::string& what) {
  const absl::StatusOr<std::string> program = FindLarderd(flags.larderd);
  if (!program.ok()) return program.status();
  std::vector<std::string> arguments = {what, "--config", flags.file};
  for (const std::string& set : flags.sets) {
    arguments.push_back("--set");
    arguments.push_back(set);
  }
  return RunProgram(*program, arguments);
}

ExitCode RunCheck(Session* session, const Flags& flags) {
  const absl::StatusOr<ProgramEnd> end = RunLarderd(flags, "--check");
  if (!end.ok()) return session->Fail(end.status());
  const bool right = end->code == 0;
  std::string warning;
  if (right) {
    const absl::StatusOr<ProgramEnd> printed = RunLarderd(flags, "--print-config");
    if (!printed.ok()) return session->Fail(printed.status());
    warning = RolloutWarning(ParsePrintedConfig(printed->out));
  }
  if (session->json) {
    Json answer;
    answer.Field("right", right);
    answer.Field("problems", right ? std::vector<std::string>() : Lines(end->err));
    answer.Field("warning", warning);
    session->out.Print(answer);
  } else if (right) {
    session->out.Bytes(end->out);
  } else {
    fmt::print(stderr, "{}", end->err);
  }
  if (!session->json && !warning.empty()) fmt::print(stderr, "larder: warning: {}\n", warning);
  if (!right) return end->code == 2 ? kUsage : kError;
  return warning.empty() ? kOk : kMiss;
}

absl::Status Explained(const absl::Status& status, const std::string& instead) {
  if (!absl::IsUnimplemented(status)) return status;
  return absl::UnimplementedError(
      absl::StrCat("this server cannot read its configuration again while it runs: ", instead));
}

ExitCode Report(Session* session, const std::vector<ConfigChange>& changes, FoundBy by,
                bool applied) {
  if (session->json) {
    Json answer = ChangesJson(changes, by);
    answer.Field("applied", applied);
    session->out.Print(answer);
    return kOk;
  }
  PrintChanges(
      changes, by,
      applied ? "nothing has changed: the server runs with what the file says" : "no difference",
      &session->out);
  return kOk;
}

// Of the server's own file, as the server reads it.
ExitCode DiffOfServer(Session* session) {
  ReloadConfigOptions options;
  options.dry_run = true;
  const absl::StatusOr<ReloadConfigResult> result = session->client->ReloadConfig(options);
  if (!result.ok()) {
    return session->Fail(Explained(
        result.status(), "compare a file with what it runs with by `larder config diff FILE`"));
  }
  const ExitCode code = Report(session, result->changes, FoundBy::kServer, false);
  return code == kOk && !result->changes.empty() ? kMiss : code;
}

// Of a file here, read by a larderd here, against what the server shows on its admin port.
ExitCode DiffOfFile(Session* session, const Flags& flags) {
  const absl::StatusOr<ProgramEnd> end = RunLarderd(flags, "--print-config");
  if (!end.ok()) return session->Fail(end.status());
  if (end->code != 0) {
    return session->Fail(
        absl::InvalidArgumentError(absl::StrCat(flags.file, " is not right:\n", end->err)));
  }
  const std::string address = flags.admin.empty() ? DefaultAdmin(session->server) : flags.admin;
  const absl::StatusOr<AdminConfig> running = ReadAdminConfig(address, session->AdminCall());
  if (!running.ok()) return session->Fail(running.status());
  const std::vector<ConfigChange> changes =
      DifferencesOf(running->settings, ParsePrintedConfig(end->out));
  const ExitCode code = Report(session, changes, FoundBy::kHere, false);
  return code == kOk && !changes.empty() ? kMiss : code;
}

ExitCode RunDiff(Session* session, const Flags& flags) {
  return flags.file.empty() ? DiffOfServer(session) : DiffOfFile(session, flags);
}

ExitCode RunApply(Session* session) {
  const absl::StatusOr<ReloadConfigResult> result = session->client->ReloadConfig();
  if (!result.ok()) {
    return session->Fail(
        Explained(result.status(), "restart it, and it reads the file; SIGTERM drains it first"));
  }
  return Report(session, result->changes, FoundBy::kServer, true);
}

void AddFileFlags(CLI::App* command, Flags* flags) {
  command->add_option("--set", flags->sets, "path=value on top of the file, as larderd takes it")
      ->type_name("SETTING")
      ->expected(1)
      ->take_all();
  command
      ->add_option("--larderd", flags->larderd,
                   "The larderd that reads the file; default: the one beside larder, or of PATH")
      ->type_name("PROGRAM");
}

}  // namespace

void AddConfig(CLI::App* app, Session* session) {
  CLI::App* const config =
      app->add_subcommand("config", "Check a configuration, compare it with what runs, apply it");
  config->require_subcommand(1);
  auto flags = std::make_shared<Flags>();

  CLI::App* const check = AddCommand(config, session, "check", "Whether a file is right",
                                     [session, flags] { return RunCheck(session, *flags); });
  check->add_option("FILE", flags->file, "The configuration")->required()->type_name("");
  AddFileFlags(check, flags.get());
  check->parse_complete_callback([session] { session->offline = true; });

  CLI::App* const diff =
      AddCommand(config, session, "diff", "How a file differs from what the server runs with",
                 [session, flags] { return RunDiff(session, *flags); });
  diff->add_option("FILE", flags->file, "A file here; default: the server's own, as it is now")
      ->type_name("");
  AddFileFlags(diff, flags.get());
  AddAdmin(diff, &flags->admin);

  AddCommand(config, session, "apply", "Have the server read its file again: all of it, or nothing",
             [session] { return RunApply(session); });
}

}  // namespace larder::cli
