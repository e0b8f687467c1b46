// `dlq`: writes that an origin refused for good. What changes them says which: by ids, by a filter,
// or all of them in so many words.

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/cli/commands.h"

namespace larder::cli {
namespace {

constexpr uint32_t kPageMost = 1'000;
// As far as a table shows an error.
constexpr size_t kErrorShown = 60;

struct Flags {
  DeadLetterFilter filter;
  bool all = false;
  uint64_t limit = 100;
};

// The namespace of the global flag is a condition like the others.
DeadLetterFilter FilterOf(const Session& session, const Flags& flags) {
  DeadLetterFilter filter = flags.filter;
  filter.ns = session.ns;
  return filter;
}

std::string Shown(absl::Time time) {
  if (time == absl::InfinitePast()) return "";
  return absl::FormatTime(absl::RFC3339_sec, time, absl::UTCTimeZone());
}

void AddLetter(const DeadLetter& letter, Json* object) {
  object->Field("id", letter.id);
  object->Field("namespace", letter.ns);
  object->Field("key", letter.key);
  object->Field("type", letter.type);
  object->Version("version", letter.version);
  object->Field("error", letter.error);
  object->Field("attempts", letter.attempts);
  if (letter.written != absl::InfinitePast()) object->Field("written", letter.written);
  if (letter.first_attempt != absl::InfinitePast())
    object->Field("first_attempt", letter.first_attempt);
  if (letter.last_attempt != absl::InfinitePast())
    object->Field("last_attempt", letter.last_attempt);
  object->Field("value_bytes", letter.value_bytes);
  object->Field("deletion", letter.deletion);
  object->Field("request_id", letter.request_id);
}

Json ExportedJson(const ExportedLetter& exported) {
  Json object;
  AddLetter(exported.letter, &object);
  if (!exported.letter.deletion) object.Value(exported.value);
  return object;
}

ExitCode RunList(Session* session, const Flags& flags) {
  ListDeadLettersOptions options;
  options.filter = FilterOf(*session, flags);
  std::vector<DeadLetter> letters;
  uint64_t total = 0;
  do {
    options.page_size =
        static_cast<uint32_t>(std::min<uint64_t>(flags.limit - letters.size(), kPageMost));
    absl::StatusOr<DeadLetterPage> page = session->client->ListDeadLetters(options);
    if (!page.ok()) return session->Fail(page.status());
    if (options.page_token.empty()) total = page->total;
    std::move(page->letters.begin(), page->letters.end(), std::back_inserter(letters));
    options.page_token = page->next_page_token;
  } while (!options.page_token.empty() && letters.size() < flags.limit);
  if (session->json) {
    Json answer;
    answer.Array("letters", letters, AddLetter);
    answer.Field("total", total);
    session->out.Print(answer);
    return kOk;
  }
  std::vector<Row> rows;
  for (const DeadLetter& letter : letters) {
    std::string error = cli::Shown(letter.error);
    if (error.size() > kErrorShown) error = error.substr(0, kErrorShown - 3) + "...";
    rows.push_back({letter.id, Shown(letter.last_attempt), cli::Shown(letter.ns),
                    cli::Shown(letter.type), cli::Shown(letter.key),
                    letter.deletion ? "deletion" : ShownBytes(letter.value_bytes),
                    absl::StrCat(letter.attempts), std::move(error)});
  }
  session->out.Table(
      {">ID", "LAST ATTEMPT", "NAMESPACE", "TYPE", "KEY", ">SIZE", ">ATTEMPTS", "ERROR"}, rows);
  if (total > letters.size())
    session->out.Line(fmt::format("{} of {}; --limit shows more", letters.size(), total));
  return kOk;
}

// Hands every letter that matches to `each`.
absl::Status Export(Session* session, DeadLetterFilter filter,
                    const std::function<void(const ExportedLetter&)>& each) {
  DeadLetterOptions options;
  options.filter = std::move(filter);
  options.call.deadline = session->given_deadline;
  if (session->goes_on) options.call.deadline = session->given_deadline.value_or(absl::Hours(24));
  return session->client
      ->ExportDeadLetters(options,
                          [&each](const ExportedLetter& exported) {
                            each(exported);
                            return true;
                          })
      .status();
}

ExitCode RunShow(Session* session, const std::string& id) {
  std::optional<ExportedLetter> found;
  DeadLetterFilter filter;
  filter.ids = {id};
  const absl::Status shown = Export(session, std::move(filter),
                                    [&found](const ExportedLetter& exported) { found = exported; });
  if (!shown.ok()) return session->Fail(shown);
  if (!found.has_value()) {
    fmt::print(stderr, "larder: no dead letter has the id {}\n", cli::Shown(id));
    return kMiss;
  }
  if (session->json) {
    session->out.Print(ExportedJson(*found));
    return kOk;
  }
  const DeadLetter& letter = found->letter;
  session->out.Fields(
      {{"id", letter.id},
       {"namespace", cli::Shown(letter.ns)},
       {"key", cli::Shown(letter.key)},
       {"type", cli::Shown(letter.type)},
       {"version", absl::StrCat(letter.version)},
       {"error", cli::Shown(letter.error)},
       {"attempts", absl::StrCat(letter.attempts)},
       {"written", Shown(letter.written)},
       {"first attempt", Shown(letter.first_attempt)},
       {"last attempt", Shown(letter.last_attempt)},
       {"request id", cli::Shown(letter.request_id)},
       {"value", letter.deletion ? "none: it is a deletion" : cli::Shown(found->value)}});
  return kOk;
}

ExitCode RunExport(Session* session, const Flags& flags) {
  uint64_t count = 0;
  const absl::Status exported =
      Export(session, FilterOf(*session, flags), [&](const ExportedLetter& one) {
        session->out.Print(ExportedJson(one));
        ++count;
      });
  if (!exported.ok()) return session->Fail(exported);
  // Beside the lines, which may go into a file.
  fmt::print(stderr, "larder: {} dead letters\n", count);
  return kOk;
}

// Retries or drops them.
ExitCode RunChange(Session* session, const Flags& flags, bool retry) {
  DeadLetterOptions options;
  options.filter = FilterOf(*session, flags);
  const DeadLetterFilter& filter = options.filter;
  // Not the namespace, which may come from the environment and mean nothing of the kind.
  const bool some = !filter.ids.empty() || !filter.type.empty() || !filter.key_prefix.empty();
  if (some == flags.all) {
    return session->Fail(absl::InvalidArgumentError(
        some ? "--all means all of them; leave out IDS, --type and --key-prefix, or --all"
             : "say which: IDS, --type, --key-prefix, or --all"));
  }
  const absl::StatusOr<DeadLetterCount> changed = retry ? session->client->RetryDeadLetters(options)
                                                        : session->client->DropDeadLetters(options);
  if (!changed.ok()) return session->Fail(changed.status());
  const char* const what = retry ? "retried" : "dropped";
  if (session->json) {
    Json answer;
    answer.Field(what, changed->letters);
    session->out.Print(answer);
  } else {
    session->out.Line(fmt::format("{}: {} dead letters", what, changed->letters));
  }
  return changed->letters > 0 ? kOk : kMiss;
}

void AddFilter(CLI::App* command, Flags* flags) {
  command->add_option("--type", flags->filter.type, "Only of this data type")->type_name("NAME");
  command->add_option("--key-prefix", flags->filter.key_prefix, "Only keys that begin with this")
      ->type_name("TEXT");
}

void AddChange(CLI::App* dlq, Session* session, const char* name, const char* help, bool retry) {
  auto flags = std::make_shared<Flags>();
  CLI::App* const command = AddCommand(dlq, session, name, help, [session, flags, retry] {
    return RunChange(session, *flags, retry);
  });
  command->add_option("IDS", flags->filter.ids, "Only these; at most 1,000")->type_name("");
  AddFilter(command, flags.get());
  command->add_flag("--all", flags->all, "All of them, or all of --namespace");
}

}  // namespace

void AddDlq(CLI::App* app, Session* session) {
  CLI::App* const dlq = app->add_subcommand("dlq", "Writes that an origin refused for good");
  dlq->require_subcommand(1);

  auto listed = std::make_shared<Flags>();
  CLI::App* const list = AddCommand(dlq, session, "list", "The dead letters, oldest first",
                                    [session, listed] { return RunList(session, *listed); });
  AddFilter(list, listed.get());
  list->add_option("--limit", listed->limit, "At most so many")
      ->check(CLI::Range(uint64_t{1}, uint64_t{1'000'000}))
      ->capture_default_str()
      ->type_name("LETTERS");

  auto id = std::make_shared<std::string>();
  CLI::App* const show = AddCommand(dlq, session, "show", "One of them, with its value",
                                    [session, id] { return RunShow(session, *id); });
  show->add_option("ID", *id, "Its id")->required()->type_name("");

  AddChange(dlq, session, "retry", "Put them back into the journal", /*retry=*/true);
  AddChange(dlq, session, "drop", "Forget them", /*retry=*/false);

  auto exported = std::make_shared<Flags>();
  CLI::App* const out =
      AddCommand(dlq, session, "export", "All of it, with values, as one JSON object a line",
                 [session, exported] { return RunExport(session, *exported); });
  AddFilter(out, exported.get());
  out->parse_complete_callback([session] { session->goes_on = true; });
}

}  // namespace larder::cli
