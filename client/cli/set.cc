#include <memory>

#include "client/cli/commands.h"

namespace larder::cli {
namespace {

struct Flags {
  std::string key;
  std::string value;
  bool absent = false;
  bool if_absent = false;
  bool if_present = false;
  std::optional<uint64_t> if_version;
  std::string lease;
  SetOptions options;
};

ExitCode Run(Session* session, Flags* flags, bool has_value) {
  if (has_value == flags->absent) {
    return session->Fail(
        absl::InvalidArgumentError("give a VALUE (`-` for stdin, `@path` for a file) or --absent"));
  }
  SetOptions& options = flags->options;
  if (flags->if_absent) options.condition = Condition::IfAbsent();
  if (flags->if_present) options.condition = Condition::IfPresent();
  if (flags->if_version.has_value()) options.condition = Condition::IfVersion(*flags->if_version);
  const absl::StatusOr<std::string> token = TokenOfHex(flags->lease);
  if (!token.ok()) return session->Fail(token.status());
  options.lease_token = *token;
  absl::StatusOr<std::string> value = std::string();
  if (has_value) value = ReadValue(flags->value);
  if (!value.ok()) return session->Fail(value.status());
  const absl::StatusOr<SetResult> result = flags->absent
                                               ? session->client->SetAbsent(flags->key, options)
                                               : session->client->Set(flags->key, *value, options);
  if (!result.ok()) return session->Fail(result.status());
  return session->ReportSet(*result);
}

}  // namespace

void AddSet(CLI::App* app, Session* session) {
  auto flags = std::make_shared<Flags>();
  auto value = std::make_shared<CLI::Option*>(nullptr);
  CLI::App* command = AddCommand(app, session, "set", "Store a value", [session, flags, value] {
    return Run(session, flags.get(), (*value)->count() > 0);
  });
  SetOptions& options = flags->options;
  AddKey(command, &flags->key);
  *value = command
               ->add_option("VALUE", flags->value,
                            "The value; `-` reads stdin, `@path` a file, `@@x` is `@x`")
               ->type_name("");
  command->add_flag("--absent", flags->absent,
                    "Remember that the key does not exist, instead of a value");
  AddDuration(command, "--ttl", &options.ttl, "How long it stays fresh; default: by the type");
  AddType(command, &options.type);
  command->add_option("--tag", options.tags, "A tag to invalidate by; may be repeated")
      ->type_name("TAG")
      ->expected(1)
      ->take_all();
  command
      ->add_option("--depends-on", options.depends_on,
                   "A key whose change invalidates this one; may be repeated")
      ->type_name("KEY")
      ->expected(1)
      ->take_all();
  CLI::Option* absent =
      command->add_flag("--if-absent", flags->if_absent, "Only when no live entry exists");
  CLI::Option* present =
      command->add_flag("--if-present", flags->if_present, "Only when a live entry exists");
  CLI::Option* version =
      command->add_option("--if-version", flags->if_version, "Only when it has this version")
          ->type_name("VERSION");
  absent->excludes(present)->excludes(version);
  present->excludes(version);
  command
      ->add_option("--lease", flags->lease,
                   "The lease that the value fulfils, as `load` printed it")
      ->type_name("TOKEN");
  command->add_option("--request-id", options.request_id, "Makes a repeat of the command safe")
      ->type_name("ID");
}

}  // namespace larder::cli
