#include "client/cli/session.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace larder::cli {

void AddEntry(const Entry& entry, Json* answer) {
  answer->Field("hit", true);
  answer->Value(entry.value);
  answer->Version("version", entry.version);
  answer->Field("value_bytes", entry.value_bytes);
  answer->Field("age_seconds", entry.age);
  answer->Field("remaining_ttl_seconds", entry.remaining_ttl);
  answer->Field("tier", Name(entry.tier));
  answer->Field("stale", entry.stale);
  answer->Field("tags", entry.tags);
}

void AddMiss(const Miss& miss, Json* answer) {
  answer->Field("hit", false);
  answer->Field("miss", Name(miss.reason));
  if (miss.reason == MissReason::kNegative)
    answer->Field("remaining_ttl_seconds", miss.remaining_ttl);
}

ExitCode Session::ReportMiss(const Miss& miss) {
  if (json) {
    Json answer;
    AddMiss(miss, &answer);
    out.Print(answer);
    return kMiss;
  }
  const std::string left = miss.reason == MissReason::kNegative
                               ? absl::StrCat(", for another ", Shown(miss.remaining_ttl))
                               : "";
  const std::string text = fmt::format("miss: {}{}", Name(miss.reason), left);
  if (raw()) {
    fmt::print(stderr, "larder: {}\n", text);
  } else {
    out.Line(text);
  }
  return kMiss;
}

ExitCode Session::ReportEntry(const Entry& entry, const std::function<void(Json*)>& more) {
  if (json) {
    Json answer;
    AddEntry(entry, &answer);
    if (more) more(&answer);
    out.Print(answer);
  } else if (raw()) {
    out.Bytes(entry.value);
  } else {
    out.Fields({{"value", Shown(entry.value)},
                {"bytes", absl::StrCat(entry.value_bytes)},
                {"version", absl::StrCat(entry.version)},
                {"age", Shown(entry.age)},
                {"ttl left", Shown(entry.remaining_ttl)},
                {"tier", fmt::format("{}{}", Name(entry.tier), entry.stale ? " (stale)" : "")},
                {"tags", Shown(entry.tags)}});
  }
  return kOk;
}

ExitCode Session::ReportSet(const SetResult& result) {
  if (json) {
    Json answer;
    answer.Field("stored", result.stored);
    if (result.stored) {
      answer.Version("version", result.version);
      answer.Field("ttl_seconds", result.ttl);
    } else {
      answer.Field("not_stored", Name(result.reason));
      answer.Version("current_version", result.current_version);
    }
    out.Print(answer);
  } else if (result.stored) {
    out.Line(fmt::format("stored: version {}, ttl {}", result.version, Shown(result.ttl)));
  } else {
    out.Line(fmt::format("not stored: {}, current version {}", Name(result.reason),
                         result.current_version));
  }
  return result.stored ? kOk : kMiss;
}

CLI::App* AddCommand(CLI::App* app, Session* session, const std::string& name,
                     const std::string& help, std::function<ExitCode()> run) {
  CLI::App* command = app->add_subcommand(name, help);
  command->callback([session, run = std::move(run)] { session->run = run; });
  return command;
}

CLI::Option* AddDuration(CLI::App* command, const std::string& name,
                         std::optional<absl::Duration>* duration, const std::string& help) {
  return command
      ->add_option_function<std::string>(
          name,
          [name, duration](const std::string& text) {
            absl::Duration parsed;
            if (!absl::ParseDuration(text, &parsed)) {
              throw CLI::ValidationError(name,
                                         "\"" + text + "\" is no duration; say 200ms, 5s or 1h30m");
            }
            *duration = parsed;
          },
          help)
      ->type_name("DURATION");
}

CLI::Option* AddKey(CLI::App* command, std::string* key) {
  return command->add_option("KEY", *key, "The key")->required()->type_name("");
}

CLI::Option* AddType(CLI::App* command, std::string* type) {
  return command->add_option("--type", *type, "Data type; default: by the key's pattern")
      ->type_name("NAME");
}

absl::StatusOr<std::string> ReadValue(const std::string& argument) {
  if (argument.starts_with("@@")) return argument.substr(1);
  if (argument != "-" && !argument.starts_with("@")) return argument;
  const std::string path = argument == "-" ? "stdin" : argument.substr(1);
  std::FILE* const file = argument == "-" ? stdin : std::fopen(path.c_str(), "rb");
  if (file == nullptr)
    return absl::InvalidArgumentError(
        absl::StrCat("cannot read ", path, ": ", std::strerror(errno)));
  std::string value;
  char buffer[64 * 1024];
  while (const size_t read = std::fread(buffer, 1, sizeof buffer, file)) value.append(buffer, read);
  const bool failed = std::ferror(file) != 0;
  const int error = errno;
  if (file != stdin) std::fclose(file);
  if (failed)
    return absl::InvalidArgumentError(
        absl::StrCat("cannot read ", path, ": ", std::strerror(error)));
  return value;
}

std::string HexOfToken(const std::string& token) { return absl::BytesToHexString(token); }

absl::StatusOr<std::string> TokenOfHex(const std::string& hex) {
  if (hex.size() % 2 != 0 || hex.find_first_not_of("0123456789abcdefABCDEF") != std::string::npos) {
    return absl::InvalidArgumentError("a lease token is an even number of hexadecimal digits");
  }
  return absl::HexStringToBytes(hex);
}

}  // namespace larder::cli
