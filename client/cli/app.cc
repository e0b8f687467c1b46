#include "client/cli/app.h"

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <string>

#include "client/cli/commands.h"
#include "client/cli/session.h"

namespace larder::cli {
namespace {

// What a server may want to know of its caller, and what the caller wants to know of the server.
void AddWho(CLI::App* app, Session* session) {
  app->add_option("--token-file", session->token_file,
                  "File with the token that tells the server who calls")
      ->envname("LARDER_TOKEN_FILE")
      ->type_name("FILE");
  app->add_flag("--token-without-tls", session->token_without_tls,
                "Send the token in plain text, too, and not to this machine alone");
  app->add_flag("--tls", session->tls.enabled, "Encrypt; the other --tls flags mean it, too");
  app->add_option("--tls-ca", session->tls.ca_file, "CA of the server's certificate (PEM)")
      ->envname("LARDER_TLS_CA")
      ->type_name("FILE");
  app->add_option("--tls-cert", session->tls.certificate_file,
                  "Certificate to show to the server (PEM)")
      ->envname("LARDER_TLS_CERT")
      ->type_name("FILE");
  app->add_option("--tls-key", session->tls.key_file, "Key of that certificate (PEM)")
      ->envname("LARDER_TLS_KEY")
      ->type_name("FILE");
  app->add_option("--tls-name", session->tls.server_name,
                  "Name that the server's certificate must be for; default: the host of --server")
      ->envname("LARDER_TLS_NAME")
      ->type_name("HOST");
}

void AddGlobalFlags(CLI::App* app, Session* session, std::optional<absl::Duration>* deadline) {
  app->add_option("--server", session->server,
                  "Address of the server, or several with commas between")
      ->envname("LARDER_SERVER")
      ->capture_default_str()
      ->type_name("HOST:PORT");
  app->add_option("--namespace", session->ns, "Namespace; default `default`")
      ->envname("LARDER_NAMESPACE")
      ->type_name("NAME");
  AddWho(app, session);
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
    absl::StatusOr<std::unique_ptr<Client>> client = Connect(session->OptionsFor(
        session->server, session->goes_on ? Session().deadline : session->deadline));
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
  // What gRPC writes by itself comes beside the error that the command tells, and is for its
  // makers.
  setenv("GRPC_VERBOSITY", "NONE", /*overwrite=*/0);
  Session session;
  std::optional<absl::Duration> deadline;
  CLI::App app("Reads and changes a larder cache.", "larder");
  AddGlobalFlags(&app, &session, &deadline);
  for (const auto add :
       {AddGet,       AddSet,  AddDelete,      AddInvalidate, AddLoad,  AddRelease,   AddTouch,
        AddIncrement, AddWarm, AddWatch,       AddStats,      AddTypes, AddHotKeys,   AddExplain,
        AddTop,       AddStat, AddVerify,      AddDoctor,     AddBench, AddConfig,    AddSupport,
        AddJournal,   AddDlq,  AddKeyCommands, AddPing,       AddInfo,  AddCompletion}) {
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
