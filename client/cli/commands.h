// Each function adds one command, or a few that belong together. They keep their flags alive for as
// long as `app`.

#ifndef LARDER_CLIENT_CLI_COMMANDS_H_
#define LARDER_CLIENT_CLI_COMMANDS_H_

#include <CLI/App.hpp>

#include "client/cli/session.h"

namespace larder::cli {

void AddGet(CLI::App* app, Session* session);
void AddSet(CLI::App* app, Session* session);
void AddDelete(CLI::App* app, Session* session);
void AddInvalidate(CLI::App* app, Session* session);
void AddLoad(CLI::App* app, Session* session);
void AddRelease(CLI::App* app, Session* session);
void AddTouch(CLI::App* app, Session* session);
void AddIncrement(CLI::App* app, Session* session);
void AddStats(CLI::App* app, Session* session);
void AddHotKeys(CLI::App* app, Session* session);
void AddExplain(CLI::App* app, Session* session);
void AddPing(CLI::App* app, Session* session);
void AddInfo(CLI::App* app, Session* session);
void AddKeyCommands(CLI::App* app, Session* session);
void AddVerify(CLI::App* app, Session* session);
void AddWarm(CLI::App* app, Session* session);
void AddWatch(CLI::App* app, Session* session);
void AddJournal(CLI::App* app, Session* session);
void AddDlq(CLI::App* app, Session* session);
void AddTop(CLI::App* app, Session* session);
void AddStat(CLI::App* app, Session* session);
void AddTypes(CLI::App* app, Session* session);
void AddConfig(CLI::App* app, Session* session);
void AddBench(CLI::App* app, Session* session);
void AddDoctor(CLI::App* app, Session* session);
void AddSupport(CLI::App* app, Session* session);
void AddCompletion(CLI::App* app, Session* session);

}  // namespace larder::cli

#endif  // LARDER_CLIENT_CLI_COMMANDS_H_
