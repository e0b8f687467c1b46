#include <memory>

#include "client/cli/commands.h"

namespace larder::cli {

void AddGet(CLI::App* app, Session* session) {
  struct Flags {
    std::string key;
    GetOptions options;
  };
  auto flags = std::make_shared<Flags>();
  CLI::App* command = AddCommand(app, session, "get", "Read a key", [session, flags] {
    const absl::StatusOr<GetResult> result = session->client->Get(flags->key, flags->options);
    if (!result.ok()) return session->Fail(result.status());
    return result->hit() ? session->ReportEntry(*result->entry, nullptr)
                         : session->ReportMiss(result->miss);
  });
  AddKey(command, &flags->key);
  AddType(command, &flags->options.type);
  command->add_flag("--metadata-only", flags->options.metadata_only, "Leave the value out");
}

}  // namespace larder::cli
