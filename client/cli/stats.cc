#include <map>
#include <memory>
#include <string>

#include "client/cli/commands.h"
#include "client/cli/stats_json.h"
#include "client/cli/stats_tables.h"

namespace larder::cli {
namespace {

const std::map<std::string, HotKeyOrder>* const kOrders =
    new std::map<std::string, HotKeyOrder>{{"hits", HotKeyOrder::kHits},
                                           {"misses", HotKeyOrder::kMisses},
                                           {"bytes", HotKeyOrder::kBytes},
                                           {"value-bytes", HotKeyOrder::kValueBytes}};

}  // namespace

void AddStats(CLI::App* app, Session* session) {
  auto options = std::make_shared<StatsOptions>();
  CLI::App* command =
      AddCommand(app, session, "stats", "What the server did and holds", [session, options] {
        const absl::StatusOr<StatsResult> stats = session->client->Stats(*options);
        if (!stats.ok()) return session->Fail(stats.status());
        if (session->json) {
          session->out.Print(StatsJson(*stats));
        } else {
          PrintStats(*stats, &session->out);
        }
        return kOk;
      });
  command
      ->add_option("--only-namespace", options->namespaces, "Only this namespace; may be repeated")
      ->type_name("NAME")
      ->expected(1)
      ->take_all();
  command->add_option("--only-type", options->types, "Only this data type; may be repeated")
      ->type_name("NAME")
      ->expected(1)
      ->take_all();
}

void AddHotKeys(CLI::App* app, Session* session) {
  struct Flags {
    std::string order = "hits";
    HotKeysOptions options;
  };
  auto flags = std::make_shared<Flags>();
  CLI::App* command = AddCommand(
      app, session, "hotkeys", "Keys with the most hits or misses, or the largest values",
      [session, flags] {
        flags->options.order = kOrders->at(flags->order);
        const absl::StatusOr<HotKeysResult> result = session->client->HotKeys(flags->options);
        if (!result.ok()) return session->Fail(result.status());
        if (session->json) {
          session->out.Print(HotKeysJson(*result));
        } else {
          PrintHotKeys(*result, &session->out);
        }
        return kOk;
      });
  command->add_option("--order", flags->order, "hits, misses, bytes (sent) or value-bytes")
      ->check(CLI::IsMember(*kOrders))
      ->capture_default_str()
      ->type_name("ORDER");
  AddType(command, &flags->options.type);
  command->add_option("--limit", flags->options.limit, "At most so many keys; 1 to 1,000")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str()
      ->type_name("KEYS");
}

}  // namespace larder::cli
