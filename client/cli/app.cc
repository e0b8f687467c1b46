#include "client/cli/app.h"

#include <CLI/CLI.hpp>
#include <string>

#include "client/cli/commands.h"
#include "client/cli/session.h"

namespace larder::cli {
namespace {

void AddGlobalFlags(CLI::App* app, Session* session, std::optional<absl::Duration>* deadline) {
  app->add_option("--server", session->server,
                  "Address of the server, or several with commas between")
      ->envname("LARDER_SERVER")
      ->capture_default_str()
      ->type_name("HOST:PORT");
  app->add_option("--namespace", session->ns, "Namespace; default `default`")
      ->envname("LARDER_NAMESPACE")
      ->type_name("NAME");
  AddDuration(app, "--deadline", deadline, "How long a call may take; default 5s");
  app->add_flag("--json", session->json, "Print JSON, errors too");
  app->set_version_flag("--version", "larder " LARDER_VERSION);
  app->footer(std::string(kExitCodeHelp));
  app->require_subcommand(1);
  // Global flags may also stand after the command.
  app->fallthrough();
}

ExitCode RunChosen(Session* session) {
  if (!session->offline) {
    // A deadline for what goes on may be longer than any other call's.
    ClientOptions options(session->server,
                          session->goes_on ? Session().deadline : session->deadline);
    options.ns = session->ns;
    options.user_agent = "larder-cli/" LARDER_VERSION;
    absl::StatusOr<std::unique_ptr<Client>> client = Connect(options);
    if (!client.ok()) return session->Fail(client.status());
    session->client = *std::move(client);
  }
  const ExitCode code = session->run();
  if (const absl::Status written = session->out.Flush(); !written.ok())
    return session->Fail(written);
  return code;
}

}  // namespace

int RunApp(int argc, char** argv) {
  Session session;
  std::optional<absl::Duration> deadline;
  CLI::App app("Reads and changes a larder cache.", "larder");
  AddGlobalFlags(&app, &session, &deadline);
  for (const auto add :
       {AddGet, AddSet, AddDelete, AddInvalidate, AddLoad, AddRelease, AddTouch, AddIncrement,
        AddWarm, AddStats, AddHotKeys, AddExplain, AddPing, AddInfo, AddCompletion}) {
    add(&app, &session);
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    // CLI11 prints help or the mistake; its exit codes are its own, ours are documented.
    return app.exit(error) == 0 ? kOk : kUsage;
  }
  session.given_deadline = deadline;
  session.deadline = deadline.value_or(session.deadline);
  return RunChosen(&session);
}

}  // namespace larder::cli
