// `journal`: what waits to reach the origins.

#include <fmt/format.h>

#include <memory>
#include <string>

#include "absl/time/time.h"
#include "client/cli/commands.h"
#include "client/cli/journal_tables.h"

namespace larder::cli {
namespace {

// The most that a client lets a flush take.
constexpr absl::Duration kFlushMost = absl::Hours(24);

ExitCode RunStatus(Session* session) {
  const absl::StatusOr<StatsResult> stats = session->client->Stats();
  if (!stats.ok()) return session->Fail(stats.status());
  if (!stats->journal.has_value()) {
    return session->Fail(
        absl::FailedPreconditionError("no type writes behind, so there is no journal"));
  }
  if (session->json) {
    session->out.Print(JournalJson(*stats->journal));
  } else {
    PrintJournal(*stats->journal, &session->out);
  }
  return stats->journal->state == "ok" ? kOk : kUnavailable;
}

ExitCode RunFlush(Session* session, const std::string& type) {
  FlushOptions options;
  options.type = type;
  options.call.deadline = session->given_deadline.value_or(kFlushMost);
  const absl::StatusOr<FlushResult> flushed = session->client->FlushJournal(options);
  if (!flushed.ok()) return session->Fail(flushed.status());
  if (session->json) {
    Json answer;
    answer.Field("delivered", flushed->delivered);
    answer.Field("dead", flushed->dead);
    session->out.Print(answer);
  } else if (flushed->dead == 0) {
    session->out.Line(fmt::format("flushed: {} writes", flushed->delivered));
  } else {
    session->out.Line(fmt::format("flushed: {} writes, of which {} are dead letters",
                                  flushed->delivered, flushed->dead));
  }
  return kOk;
}

ExitCode ReportDelivery(Session* session, const absl::StatusOr<DeliveryResult>& result,
                        const char* what) {
  if (!result.ok()) return session->Fail(result.status());
  if (session->json) {
    Json answer;
    answer.Field("depth", result->depth);
    session->out.Print(answer);
  } else {
    session->out.Line(fmt::format("{}: {} writes wait", what, result->depth));
  }
  return kOk;
}

void AddOrigin(CLI::App* command, std::string* origin) {
  command->add_option("--origin", *origin, "Only this origin; default: all")->type_name("NAME");
}

}  // namespace

void AddJournal(CLI::App* app, Session* session) {
  CLI::App* const journal =
      app->add_subcommand("journal", "The writes that wait to reach their origins");
  journal->require_subcommand(1);
  AddCommand(journal, session, "status", "What waits, by type; exit 5 when no writes are taken",
             [session] { return RunStatus(session); });

  auto type = std::make_shared<std::string>();
  CLI::App* const flush =
      AddCommand(journal, session, "flush", "Wait until all that waits now has reached its origin",
                 [session, type] { return RunFlush(session, *type); });
  flush->add_option("--type", *type, "Only this data type; default: all that write behind")
      ->type_name("NAME");
  flush->parse_complete_callback([session] { session->goes_on = true; });

  auto options = std::make_shared<DeliveryOptions>();
  AddOrigin(AddCommand(journal, session, "pause",
                       "Deliver nothing until `resume` or a restart; writes are taken as ever",
                       [session, options] {
                         return ReportDelivery(session, session->client->PauseDelivery(*options),
                                               "paused");
                       }),
            &options->origin);
  AddOrigin(AddCommand(journal, session, "resume", "Deliver again",
                       [session, options] {
                         return ReportDelivery(session, session->client->ResumeDelivery(*options),
                                               "resumed");
                       }),
            &options->origin);
}

}  // namespace larder::cli
