// `load` with --exec is a whole GetOrLoad in the shell: however many of them run for one key,
// wherever, the command runs once. Without --exec it only asks, and prints a lease for a script to
// fulfil by itself. Several keys go in one call, and their outcomes come in a table.

#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <set>

#include "absl/strings/str_cat.h"
#include "client/cli/commands.h"
#include "larder/error.h"

namespace larder::cli {
namespace {

// The exit code by which a loader says that the key does not exist: what `larder get` says by the
// same code.
constexpr int kLoaderSaysAbsent = 3;

struct Flags {
  std::vector<std::string> keys;
  std::string exec;
  std::optional<absl::Duration> ttl;
  std::vector<std::string> tags;
  LoadOptions options;
};

void AddLease(const Lease& lease, Json* answer) {
  Json object;
  object.Field("token", HexOfToken(lease.token));
  object.Field("ttl_seconds", lease.ttl);
  answer->Field("hit", false);
  answer->Object("lease", object);
}

// Runs the command in a shell; its stdout is the value.
absl::StatusOr<Loaded> RunLoader(const Flags& flags, const std::string& key) {
  setenv("LARDER_KEY", key.c_str(), 1);
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
    absl::StatusOr<Loaded> loaded = RunLoader(flags, flags.keys[0]);
    loader_failed = !loaded.ok();
    return loaded;
  };
  const absl::StatusOr<LoadResult> result =
      session->client->GetOrLoad(flags.keys[0], loader, flags.options);
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
  const absl::StatusOr<LeaseResult> result =
      session->client->GetOrLease(flags.keys[0], flags.options);
  if (!result.ok()) return session->Fail(result.status());
  if (result->hit()) return session->ReportEntry(*result->entry, nullptr);
  if (!result->lease.has_value()) return session->ReportMiss(result->miss);
  const std::string token = HexOfToken(result->lease->token);
  if (session->json) {
    Json answer;
    AddLease(*result->lease, &answer);
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

// The outcome of one key of several, with or without --exec.
struct Outcome {
  std::string key;
  absl::Status error;  // then nothing else says anything
  LoadResult result;
  std::optional<Lease> lease;
};

// What a table's cell can hold of a value.
std::string Cell(const std::string& value) {
  constexpr size_t kMost = 60;
  std::string cell;
  for (const char c : Shown(value))
    cell += c == '\n' ? "\\n" : c == '\t' ? "\\t" : std::string(1, c);
  if (cell.size() <= kMost) return cell;
  size_t end = kMost;
  while (end > 0 && (static_cast<unsigned char>(cell[end]) & 0xC0) == 0x80) --end;
  return cell.substr(0, end) + "...";
}

std::string OutcomeInWords(const Outcome& outcome) {
  const LoadResult& result = outcome.result;
  if (!outcome.error.ok()) {
    const std::string reason = ErrorReason(outcome.error);
    return absl::StrCat(
        "error: ", reason.empty() ? absl::StatusCodeToString(outcome.error.code()) : reason, ": ",
        Shown(std::string(outcome.error.message())));
  }
  if (outcome.lease.has_value()) {
    return fmt::format("lease: {}, for {}", HexOfToken(outcome.lease->token),
                       Shown(outcome.lease->ttl));
  }
  std::string words = result.loaded ? "loaded" : result.hit() ? "hit" : "miss";
  if (!result.hit()) words += fmt::format(": {}", Name(result.miss.reason));
  if (result.hit() && result.entry->stale) words += " (stale)";
  if (result.not_stored != NotStoredReason::kUnspecified)
    words += fmt::format(", not stored: {}", Name(result.not_stored));
  return words;
}

void PrintOutcomes(const std::vector<Outcome>& outcomes, Output* out) {
  std::vector<Row> rows;
  for (const Outcome& outcome : outcomes) {
    Row row = {Shown(outcome.key), OutcomeInWords(outcome)};
    if (outcome.error.ok() && outcome.result.hit()) {
      const Entry& entry = *outcome.result.entry;
      row.insert(row.end(),
                 {std::string(Name(entry.tier)), Shown(entry.age), Shown(entry.remaining_ttl),
                  absl::StrCat(entry.value_bytes), Cell(entry.value)});
    } else {
      row.resize(7, "-");
    }
    rows.push_back(std::move(row));
  }
  out->Table({"KEY", "OUTCOME", "TIER", ">AGE", ">TTL LEFT", ">BYTES", "VALUE"}, rows);
}

Json OutcomesJson(const std::vector<Outcome>& outcomes, bool with_loader) {
  Json answer;
  answer.Array("results", outcomes, [with_loader](const Outcome& outcome, Json* item) {
    item->Field("key", outcome.key);
    const LoadResult& result = outcome.result;
    if (!outcome.error.ok()) {
      Json error;
      error.Field("code", absl::StatusCodeToString(outcome.error.code()));
      error.Field("reason", ErrorReason(outcome.error));
      error.Field("message", std::string(outcome.error.message()));
      item->Field("hit", false);
      item->Object("error", error);
    } else if (outcome.lease.has_value()) {
      AddLease(*outcome.lease, item);
    } else if (result.hit()) {
      AddEntry(*result.entry, item);
    } else {
      AddMiss(result.miss, item);
    }
    if (!with_loader || !outcome.error.ok()) return;
    item->Field("loaded", result.loaded);
    item->Field("stored", result.stored);
  });
  return answer;
}

absl::StatusOr<std::vector<Outcome>> LookUpAll(Session* session, const Flags& flags) {
  absl::StatusOr<BatchLeaseResult> results =
      session->client->BatchGetOrLease(flags.keys, flags.options);
  if (!results.ok()) return results.status();
  std::vector<Outcome> outcomes;
  for (size_t i = 0; i < flags.keys.size(); ++i) {
    absl::StatusOr<LeaseResult>& result = (*results)[i];
    Outcome& outcome = outcomes.emplace_back();
    outcome.key = flags.keys[i];
    outcome.error = result.status();
    if (!result.ok()) continue;
    outcome.result.entry = std::move(result->entry);
    outcome.result.miss = result->miss;
    outcome.lease = std::move(result->lease);
  }
  return outcomes;
}

absl::StatusOr<std::vector<Outcome>> LoadAll(Session* session, const Flags& flags,
                                             std::set<std::string>* failed) {
  const auto loader = [&](const std::vector<LoadCall>& calls) {
    std::vector<absl::StatusOr<Loaded>> loaded;
    for (const LoadCall& call : calls) {
      loaded.push_back(RunLoader(flags, call.key));
      if (!loaded.back().ok()) failed->insert(call.key);
    }
    return loaded;
  };
  absl::StatusOr<BatchLoadResult> results =
      session->client->BatchGetOrLoad(flags.keys, loader, flags.options);
  if (!results.ok()) return results.status();
  std::vector<Outcome> outcomes;
  for (size_t i = 0; i < flags.keys.size(); ++i) {
    absl::StatusOr<LoadResult>& result = (*results)[i];
    Outcome& outcome = outcomes.emplace_back();
    outcome.key = flags.keys[i];
    outcome.error = result.status();
    if (result.ok()) outcome.result = *std::move(result);
  }
  return outcomes;
}

ExitCode RunBatch(Session* session, const Flags& flags) {
  std::set<std::string> failed;
  const bool with_loader = !flags.exec.empty();
  const absl::StatusOr<std::vector<Outcome>> outcomes =
      with_loader ? LoadAll(session, flags, &failed) : LookUpAll(session, flags);
  if (!outcomes.ok()) return session->Fail(outcomes.status());
  if (session->json) {
    session->out.Print(OutcomesJson(*outcomes, with_loader));
  } else {
    PrintOutcomes(*outcomes, &session->out);
  }
  ExitCode code = kOk;
  absl::Status warning;
  for (const Outcome& outcome : *outcomes) {
    warning.Update(outcome.result.cache_status);
    // The first error counts; it weighs more than any number of misses.
    if (code != kOk && code != kMiss) continue;
    if (!outcome.error.ok()) {
      code = failed.count(outcome.key) > 0 ? kLoaderFailed : CodeFor(outcome.error);
    } else if (!outcome.result.hit()) {
      code = kMiss;
    }
  }
  if (!warning.ok()) Report(warning, session->json);
  return code;
}

}  // namespace

void AddLoad(CLI::App* app, Session* session) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command =
      AddCommand(app, session, "load", "Read keys; what is missing is loaded once for all who ask",
                 [session, flags] {
                   if (flags->keys.size() > 1) return RunBatch(session, *flags);
                   return flags->exec.empty() ? RunWithoutLoader(session, *flags)
                                              : RunWithLoader(session, *flags);
                 });
  command->add_option("KEYS", flags->keys, "The key, or several; at most 1,000")
      ->required()
      ->type_name("");
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
