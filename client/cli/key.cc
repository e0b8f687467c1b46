// `key`: makes keys of a data type and takes them apart, by the templates of the types.

#include <fmt/format.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/cli/commands.h"
#include "larder/keys.h"

namespace larder::cli {
namespace {

struct Flags {
  std::string key_template;
  std::vector<std::string> captures;
  std::string key;
};

absl::StatusOr<KeyTemplate::Captures> CapturesOf(const std::vector<std::string>& words) {
  KeyTemplate::Captures captures;
  for (const std::string& word : words) {
    const size_t sign = word.find('=');
    if (sign == std::string::npos || sign == 0) {
      return absl::InvalidArgumentError(absl::StrCat("\"", Shown(word), "\" is not NAME=VALUE"));
    }
    const std::string name = word.substr(0, sign);
    if (!captures.emplace(name, word.substr(sign + 1)).second)
      return absl::InvalidArgumentError(absl::StrCat("{", name, "} is given twice"));
  }
  return captures;
}

ExitCode RunMake(Session* session, const Flags& flags) {
  const absl::StatusOr<KeyTemplate> key_template = KeyTemplate::Parse(flags.key_template);
  if (!key_template.ok()) return session->Fail(key_template.status());
  const absl::StatusOr<KeyTemplate::Captures> captures = CapturesOf(flags.captures);
  if (!captures.ok()) return session->Fail(captures.status());
  const absl::StatusOr<std::string> key = key_template->Make(*captures);
  if (!key.ok()) return session->Fail(key.status());
  if (session->json) {
    Json answer;
    answer.Field("key", *key);
    session->out.Print(answer);
  } else {
    session->out.Line(*key);
  }
  return kOk;
}

void Report(Session* session, const std::string& type, const std::string& pattern,
            const KeyTemplate::Captures& captures) {
  if (session->json) {
    Json answer;
    if (!type.empty()) answer.Field("type", type);
    answer.Field("template", pattern);
    Json parts;
    for (const auto& [name, text] : captures) parts.Field(name, text);
    answer.Object("captures", parts);
    session->out.Print(answer);
    return;
  }
  std::vector<std::pair<std::string, std::string>> fields;
  if (!type.empty()) fields.emplace_back("type", type);
  if (!pattern.empty()) fields.emplace_back("template", pattern);
  for (const auto& [name, text] : captures)
    fields.emplace_back(absl::StrCat("{", name, "}"), Shown(text));
  session->out.Fields(fields);
}

ExitCode RunParse(Session* session, const Flags& flags) {
  if (flags.key_template.empty()) {
    const absl::StatusOr<ExplainResult> explained = session->client->Explain(flags.key);
    if (!explained.ok()) return session->Fail(explained.status());
    Report(session, explained->type, explained->pattern, explained->captures);
    return kOk;
  }
  const absl::StatusOr<KeyTemplate> key_template = KeyTemplate::Parse(flags.key_template);
  if (!key_template.ok()) return session->Fail(key_template.status());
  const std::optional<KeyTemplate::Captures> captures = key_template->Match(flags.key);
  if (!captures.has_value()) {
    if (session->json) {
      Json answer;
      answer.Field("template", key_template->text());
      answer.Field("matches", false);
      session->out.Print(answer);
    } else {
      session->out.Line(fmt::format("{} is no key of {}", Shown(flags.key), key_template->text()));
    }
    return kMiss;
  }
  Report(session, "", key_template->text(), *captures);
  return kOk;
}

}  // namespace

void AddKeyCommands(CLI::App* app, Session* session) {
  CLI::App* const key =
      app->add_subcommand("key", "Make keys by the templates of types, and take keys apart");
  key->require_subcommand(1);
  auto flags = std::make_shared<Flags>();

  CLI::App* const make = AddCommand(key, session, "make", "The key that a template and names give",
                                    [session, flags] { return RunMake(session, *flags); });
  make->add_option("TEMPLATE", flags->key_template, "Such as user:{id}")->required()->type_name("");
  make->add_option("CAPTURES", flags->captures, "Such as id=42, for each {name} of the template")
      ->type_name("");
  make->parse_complete_callback([session] { session->offline = true; });

  CLI::App* const parse =
      AddCommand(key, session, "parse", "Which type a key has, and what its parts are",
                 [session, flags] { return RunParse(session, *flags); });
  AddKey(parse, &flags->key);
  parse
      ->add_option(
          "--template", flags->key_template,
          "Take it apart by this template, without a server; exit 3 when it does not match")
      ->type_name("TEMPLATE");
  parse->parse_complete_callback(
      [session, flags] { session->offline = !flags->key_template.empty(); });
}

}  // namespace larder::cli
