// The script is made from the commands themselves, so that it cannot fall behind them. It knows two
// things: the words that may come next (commands, then flags), and which flags take a value, where
// it offers their choices or leaves the field to bash.

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_join.h"
#include "client/cli/commands.h"

namespace larder::cli {
namespace {

constexpr std::string_view kScript =
    R"(# bash completion for larder. Load it with: source <(larder completion bash)
_larder() {{
  local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD-1]}} command= skip= word
  for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
    if [[ -n $skip ]]; then skip=; continue; fi
    case $word in
      {value_flags}) skip=1 ;;
      -*) ;;
      *) command=$word; break ;;
    esac
  done
  COMPREPLY=()
  case $prev in
    --mode) COMPREPLY=($(compgen -W "set extend-only shorten-only" -- "$cur")); return ;;
    --order)
      if [[ $command == types ]]; then word="config bytes reads misses evictions"
      else word="hits misses bytes value-bytes"; fi
      COMPREPLY=($(compgen -W "$word" -- "$cur")); return ;;
    --arrivals) COMPREPLY=($(compgen -W "poisson steady" -- "$cur")); return ;;
    --service) COMPREPLY=($(compgen -W "liveness readiness" -- "$cur")); return ;;
    {value_flags}) return ;;
  esac
  case $command in
    "") COMPREPLY=($(compgen -W "{commands} {global_flags}" -- "$cur")) ;;
{cases}  esac
}}
complete -o default -F _larder larder
)";

struct Flags {
  std::vector<std::string> all;
  std::vector<std::string> with_value;
};

void AddOnce(std::string word, std::vector<std::string>* words) {
  if (std::find(words->begin(), words->end(), word) == words->end())
    words->push_back(std::move(word));
}

// Of a command; with the names and flags of those below it, such as `journal flush`.
Flags FlagsOf(const CLI::App* app) {
  Flags flags;
  if (app->get_parent() != nullptr) {
    for (const CLI::App* below : app->get_subcommands([](const CLI::App*) { return true; })) {
      Flags more = FlagsOf(below);
      AddOnce(below->get_name(), &flags.all);
      for (std::string& flag : more.all) AddOnce(std::move(flag), &flags.all);
      for (std::string& flag : more.with_value) AddOnce(std::move(flag), &flags.with_value);
    }
  }
  for (const CLI::Option* option : app->get_options()) {
    for (const std::string& name : option->get_lnames()) {
      AddOnce("--" + name, &flags.all);
      if (option->get_items_expected_max() > 0) AddOnce("--" + name, &flags.with_value);
    }
  }
  return flags;
}

std::string BashScript(const CLI::App* app) {
  const Flags global = FlagsOf(app);
  std::vector<std::string> with_value = global.with_value;
  std::vector<std::string> commands;
  std::string cases;
  for (const CLI::App* command : app->get_subcommands([](const CLI::App*) { return true; })) {
    const std::string& name = command->get_name();
    const Flags flags = FlagsOf(command);
    with_value.insert(with_value.end(), flags.with_value.begin(), flags.with_value.end());
    std::vector<std::string> words = flags.all;
    // Global flags may also stand after the command; --help is its own.
    for (const std::string& flag : global.all) AddOnce(flag, &words);
    if (name == "completion") words.push_back("bash");
    commands.push_back(name);
    cases += fmt::format("    {}) COMPREPLY=($(compgen -W \"{}\" -- \"$cur\")) ;;\n", name,
                         absl::StrJoin(words, " "));
  }
  std::sort(with_value.begin(), with_value.end());
  with_value.erase(std::unique(with_value.begin(), with_value.end()), with_value.end());
  return fmt::format(kScript, fmt::arg("value_flags", absl::StrJoin(with_value, "|")),
                     fmt::arg("commands", absl::StrJoin(commands, " ")),
                     fmt::arg("global_flags", absl::StrJoin(global.all, " ")),
                     fmt::arg("cases", cases));
}

}  // namespace

void AddCompletion(CLI::App* app, Session* session) {
  CLI::App* command =
      AddCommand(app, session, "completion", "Print a shell's completion script", [app, session] {
        session->out.Bytes(BashScript(app));
        return kOk;
      });
  command->add_option("SHELL", "The shell: bash")
      ->required()
      ->check(CLI::IsMember({"bash"}))
      ->type_name("");
  command->parse_complete_callback([session] { session->offline = true; });
}

}  // namespace larder::cli
