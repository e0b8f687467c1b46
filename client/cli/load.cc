// `load` with --exec is a whole GetOrLoad in the shell: however many of them run for one key,
// wherever, the command runs once. Without --exec it only asks, and prints a lease for a script to
// fulfil by itself.

#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "absl/strings/str_cat.h"
#include "client/cli/commands.h"

namespace larder::cli {
namespace {

// The exit code by which a loader says that the key does not exist: what `larder get` says by the
// same code.
constexpr int kLoaderSaysAbsent = 3;

struct Flags {
  std::string key;
  std::string exec;
  std::optional<absl::Duration> ttl;
  std::vector<std::string> tags;
  LoadOptions options;
};

// Runs the command in a shell; its stdout is the value.
absl::StatusOr<Loaded> RunLoader(const Flags& flags) {
  setenv("LARDER_KEY", flags.key.c_str(), 1);
  std::FILE* const pipe = popen(flags.exec.c_str(), "r");
  if (pipe == nullptr)
    return absl::InternalError(absl::StrCat("cannot start the loader: ", std::strerror(errno)));
  Loaded loaded;
  char buffer[64 * 1024];
  while (const size_t read = std::fread(buffer, 1, sizeof buffer, pipe))
    loaded.value.append(buffer, read);
  const int status = pclose(pipe);
  loaded.ttl = flags.ttl;
  loaded.tags = flags.tags;
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return loaded;
  if (WIFEXITED(status) && WEXITSTATUS(status) == kLoaderSaysAbsent) return Loaded::Absent();
  return absl::AbortedError(WIFSIGNALED(status)
                                ? absl::StrCat("the loader was ended by signal ", WTERMSIG(status))
                                : absl::StrCat("the loader exited with ", WEXITSTATUS(status)));
}

ExitCode RunWithLoader(Session* session, const Flags& flags) {
  bool loader_failed = false;
  const auto loader = [&](const LoadCall&) {
    absl::StatusOr<Loaded> loaded = RunLoader(flags);
    loader_failed = !loaded.ok();
    return loaded;
  };
  const absl::StatusOr<LoadResult> result =
      session->client->GetOrLoad(flags.key, loader, flags.options);
  if (!result.ok()) {
    const ExitCode code = session->Fail(result.status());
    return loader_failed ? kLoaderFailed : code;
  }
  if (!result->cache_status.ok()) {
    // The value is here all the same, so this is a warning and not the exit code.
    Report(result->cache_status, session->json);
  } else if (result->not_stored != NotStoredReason::kUnspecified) {
    fmt::print(stderr, "larder: loaded but not stored: {}\n", Name(result->not_stored));
  }
  if (!result->hit()) return session->ReportMiss(result->miss);
  return session->ReportEntry(*result->entry, [&](Json* answer) {
    answer->Field("loaded", result->loaded);
    answer->Field("stored", result->stored);
  });
}

ExitCode RunWithoutLoader(Session* session, const Flags& flags) {
  const absl::StatusOr<LeaseResult> result = session->client->GetOrLease(flags.key, flags.options);
  if (!result.ok()) return session->Fail(result.status());
  if (result->hit()) return session->ReportEntry(*result->entry, nullptr);
  if (!result->lease.has_value()) return session->ReportMiss(result->miss);
  const std::string token = HexOfToken(result->lease->token);
  if (session->json) {
    Json lease;
    lease.Field("token", token);
    lease.Field("ttl_seconds", result->lease->ttl);
    Json answer;
    answer.Field("hit", false);
    answer.Object("lease", lease);
    session->out.Print(answer);
  } else {
    const std::string text = fmt::format("lease: {}, for {}", token, Shown(result->lease->ttl));
    if (session->raw()) {
      fmt::print(stderr, "larder: {}\n", text);
    } else {
      session->out.Line(text);
    }
  }
  return kMiss;
}

}  // namespace

void AddLoad(CLI::App* app, Session* session) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command =
      AddCommand(app, session, "load", "Read a key; on a miss run a loader once for all who ask",
                 [session, flags] {
                   return flags->exec.empty() ? RunWithoutLoader(session, *flags)
                                              : RunWithLoader(session, *flags);
                 });
  AddKey(command, &flags->key);
  CLI::Option* exec =
      command
          ->add_option(
              "--exec", flags->exec,
              "Shell command that prints the value of $LARDER_KEY; its exit code 3 means that "
              "the key does not exist. Without it a miss prints a lease")
          ->type_name("COMMAND");
  AddDuration(command, "--ttl", &flags->ttl,
              "How long the loaded value stays fresh; default: by the type")
      ->needs(exec);
  command->add_option("--tag", flags->tags, "A tag of the loaded value; may be repeated")
      ->type_name("TAG")
      ->expected(1)
      ->take_all()
      ->needs(exec);
  AddType(command, &flags->options.type);
  AddDuration(command, "--lease-ttl", &flags->options.lease_ttl,
              "How long the load may take; default 10s");
  AddDuration(command, "--wait", &flags->options.wait,
              "How long to wait while another caller loads; default: nearly to the deadline");
}

void AddRelease(CLI::App* app, Session* session) {
  struct ReleaseFlags {
    std::string key;
    std::string token;
  };
  auto flags = std::make_shared<ReleaseFlags>();
  CLI::App* command = AddCommand(app, session, "release", "Give a lease back", [session, flags] {
    const absl::StatusOr<std::string> token = TokenOfHex(flags->token);
    if (!token.ok()) return session->Fail(token.status());
    const absl::StatusOr<ReleaseLeaseResult> result =
        session->client->ReleaseLease(flags->key, *token);
    if (!result.ok()) return session->Fail(result.status());
    if (session->json) {
      Json answer;
      answer.Field("released", result->released);
      session->out.Print(answer);
    } else {
      session->out.Line(result->released ? "released" : "not held any more");
    }
    return kOk;
  });
  AddKey(command, &flags->key);
  command->add_option("TOKEN", flags->token, "The lease's token, as `load` printed it")
      ->required()
      ->type_name("");
}

}  // namespace larder::cli
