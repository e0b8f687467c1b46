#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "absl/strings/str_cat.h"
#include "client/cli/commands.h"

namespace larder::cli {
namespace {

CLI::Option* AddKeys(CLI::App* command, std::vector<std::string>* keys) {
  return command->add_option("KEYS", *keys, "The keys; at most 1,000")->required()->type_name("");
}

std::string Why(NotStoredReason reason) {
  const bool known =
      reason != NotStoredReason::kWriteUnknown && reason != NotStoredReason::kTierUnavailable;
  return fmt::format("{}: {}", known ? "not deleted" : "unknown", Name(reason));
}

ExitCode ReportDeleted(Session* session, const std::vector<std::string>& keys,
                       const std::vector<DeleteResult>& results) {
  // One that is not gone is a failure of the command, which can be given again.
  const bool all = std::all_of(results.begin(), results.end(), [](const DeleteResult& result) {
    return !result.not_deleted.has_value();
  });
  const ExitCode end = all ? kOk : kMiss;
  if (session->json) {
    std::vector<size_t> places;
    for (size_t i = 0; i < keys.size(); ++i) places.push_back(i);
    Json answer;
    answer.Array("deleted", places, [&](size_t i, Json* item) {
      item->Field("key", keys[i]);
      if (results[i].not_deleted.has_value()) {
        item->Field("not_deleted", Name(*results[i].not_deleted));
        return;
      }
      item->Field("existed", results[i].existed);
      item->Version("version", results[i].version);
    });
    session->out.Print(answer);
    return end;
  }
  std::vector<Row> rows;
  for (size_t i = 0; i < keys.size(); ++i) {
    const DeleteResult& one = results[i];
    if (one.not_deleted.has_value()) {
      rows.push_back({Shown(keys[i]), Why(*one.not_deleted), ""});
    } else {
      rows.push_back({Shown(keys[i]), one.existed ? "yes" : "no", absl::StrCat(one.version)});
    }
  }
  session->out.Table({"KEY", "EXISTED", "VERSION"}, rows);
  return end;
}

}  // namespace

void AddDelete(CLI::App* app, Session* session) {
  struct Flags {
    std::vector<std::string> keys;
    DeleteOptions options;
  };
  auto flags = std::make_shared<Flags>();
  CLI::App* command = AddCommand(app, session, "delete", "Remove keys, also from their origin",
                                 [session, flags]() -> ExitCode {
                                   const absl::StatusOr<std::vector<DeleteResult>> results =
                                       session->client->BatchDelete(flags->keys, flags->options);
                                   if (!results.ok()) return session->Fail(results.status());
                                   return ReportDeleted(session, flags->keys, *results);
                                 });
  AddKeys(command, &flags->keys);
  AddType(command, &flags->options.type);
  command
      ->add_option("--request-id", flags->options.request_id, "Makes a repeat of the command safe")
      ->type_name("ID");
}

void AddInvalidate(CLI::App* app, Session* session) {
  struct Flags {
    std::vector<std::string> keys;
    Selector selector;
    InvalidateOptions options;
  };
  auto flags = std::make_shared<Flags>();
  CLI::App* command = AddCommand(
      app, session, "invalidate", "Remove cached copies, not what the origin has",
      [session, flags] {
        const absl::StatusOr<InvalidateResult> result =
            flags->keys.empty() ? session->client->InvalidateBy(flags->selector, flags->options)
                                : session->client->Invalidate(flags->keys, flags->options);
        if (!result.ok()) return session->Fail(result.status());
        if (session->json) {
          Json answer;
          answer.Version("version", result->version);
          answer.Field("replicas_acknowledged", result->replicas_acknowledged);
          answer.Field("replicas_total", result->replicas_total);
          answer.Field("estimated_entries", result->estimated_entries);
          session->out.Print(answer);
        } else if (flags->options.dry_run) {
          session->out.Line(
              fmt::format("would remove about {} entries", result->estimated_entries));
        } else {
          session->out.Line(fmt::format("{} about {} entries: version {}, {} of {} replicas",
                                        flags->options.mark_stale ? "marked" : "removed",
                                        result->estimated_entries, result->version,
                                        result->replicas_acknowledged, result->replicas_total));
        }
        const bool all = result->replicas_acknowledged >= result->replicas_total;
        return all || flags->options.dry_run || !flags->options.fleet ? kOk : kUnavailable;
      });
  CLI::Option_group* const what = command->add_option_group("what", "exactly one of");
  what->add_option("keys", flags->keys, "Keys")->type_name("KEY");
  what->add_option("--tag", flags->selector.tags, "What carries the tag; may be repeated")
      ->type_name("TAG")
      ->allow_extra_args(false);
  what->add_option("--prefix", flags->selector.prefix, "Keys that begin with it");
  what->add_option("--glob", flags->selector.glob, "Keys that match: * ? [a-z]");
  what->add_option("--of-type", flags->selector.type, "Every entry of the data type");
  what->add_flag("--all", flags->selector.all, "The whole namespace");
  what->require_option(1);
  command->add_flag("--stale", flags->options.mark_stale,
                    "Keep values as stale ones where their types allow it");
  command->add_flag("--dry-run", flags->options.dry_run, "Change nothing, only estimate");
  CLI::Option* const fleet = command->add_flag(
      "--fleet", flags->options.fleet,
      "Wait until every live replica has done it; exit 5 if one has not said so in time");
  AddDuration(command, "--wait", &flags->options.wait,
              "How long to wait for them; default 2s, at most 30s")
      ->needs(fleet);
}

}  // namespace larder::cli
