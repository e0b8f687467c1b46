#include <fmt/format.h>

#include <map>
#include <memory>

#include "client/cli/commands.h"

namespace larder::cli {

void AddTouch(CLI::App* app, Session* session) {
  struct Flags {
    std::string key;
    std::string mode = "set";
    TouchOptions options;
  };
  static const auto* const kModes =
      new std::map<std::string, TouchMode>{{"set", TouchMode::kSet},
                                           {"extend-only", TouchMode::kExtendOnly},
                                           {"shorten-only", TouchMode::kShortenOnly}};
  auto flags = std::make_shared<Flags>();
  CLI::App* command =
      AddCommand(app, session, "touch", "Change how long an entry lives", [session, flags] {
        flags->options.mode = kModes->at(flags->mode);
        const absl::StatusOr<TouchResult> result =
            session->client->Touch(flags->key, flags->options);
        if (!result.ok()) return session->Fail(result.status());
        if (!result->found()) return session->ReportMiss(result->miss);
        if (session->json) {
          Json answer;
          answer.Field("changed", result->changed);
          answer.Version("version", result->version);
          answer.Field("remaining_ttl_seconds", result->remaining_ttl);
          session->out.Print(answer);
        } else {
          session->out.Line(fmt::format("{}: version {}, ttl left {}",
                                        result->changed ? "changed" : "unchanged", result->version,
                                        Shown(result->remaining_ttl)));
        }
        return kOk;
      });
  AddKey(command, &flags->key);
  AddDuration(command, "--ttl", &flags->options.ttl, "The TTL from now; default: by the type");
  command
      ->add_option("--mode", flags->mode,
                   "How the present TTL is treated: set, extend-only or shorten-only")
      ->check(CLI::IsMember({"set", "extend-only", "shorten-only"}))
      ->type_name("MODE");
  AddType(command, &flags->options.type);
}

void AddIncrement(CLI::App* app, Session* session) {
  struct Flags {
    std::string key;
    int64_t delta = 1;
    IncrementOptions options;
  };
  auto flags = std::make_shared<Flags>();
  CLI::App* command = AddCommand(app, session, "incr", "Add to a counter", [session, flags] {
    const absl::StatusOr<IncrementResult> result =
        session->client->Increment(flags->key, flags->delta, flags->options);
    if (!result.ok()) return session->Fail(result.status());
    if (session->json) {
      Json answer;
      answer.Field("value", result->value);
      answer.Field("created", result->created);
      answer.Version("version", result->version);
      answer.Field("remaining_ttl_seconds", result->remaining_ttl);
      session->out.Print(answer);
    } else if (session->raw()) {
      session->out.Line(fmt::format("{}", result->value));
    } else {
      session->out.Line(fmt::format("{}{}, ttl left {}", result->value,
                                    result->created ? " (new)" : "", Shown(result->remaining_ttl)));
    }
    return kOk;
  });
  AddKey(command, &flags->key);
  command->add_option("--by", flags->delta, "What to add; may be negative; 0 reads it. Default 1")
      ->type_name("NUMBER");
  command
      ->add_option("--initial", flags->options.initial, "What a new counter starts from. Default 0")
      ->type_name("NUMBER");
  AddDuration(command, "--ttl", &flags->options.ttl,
              "The TTL of a new counter; default: by the type");
  command->add_flag("--extend", flags->options.extend, "Start the TTL anew (sliding window)");
  AddType(command, &flags->options.type);
  command
      ->add_option("--request-id", flags->options.request_id, "Makes a repeat of the command safe")
      ->type_name("ID");
}

}  // namespace larder::cli
