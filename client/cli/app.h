// The whole command: flags, commands, connection, exit code.

#ifndef LARDER_CLIENT_CLI_APP_H_
#define LARDER_CLIENT_CLI_APP_H_

namespace larder::cli {

// Runs the command line and returns the process's exit code.
int RunApp(int argc, char** argv);

}  // namespace larder::cli

#endif  // LARDER_CLIENT_CLI_APP_H_
