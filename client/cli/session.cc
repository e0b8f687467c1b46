#include "client/cli/session.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "client/src/token.h"

namespace larder::cli {
namespace {

constexpr size_t kKeyBytesMax = 1024;

}  // namespace

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

ClientOptions Session::OptionsFor(const std::string& target,
                                  absl::Duration default_deadline) const {
  ClientOptions options(target, default_deadline);
  options.ns = ns;
  options.tls = tls;
  options.tls.enabled |= !tls.ca_file.empty() || !tls.certificate_file.empty() ||
                         !tls.key_file.empty() || !tls.server_name.empty();
  options.token_file = token_file;
  options.token_without_tls = token_without_tls;
  options.user_agent = "larder-cli/" LARDER_VERSION;
  return options;
}

HttpCall Session::AdminCall() const {
  HttpCall call;
  call.deadline = deadline;
  call.token_anywhere = token_without_tls;
  if (token_file.empty()) return call;
  // A file that cannot be read is told where the server is called.
  if (absl::StatusOr<std::string> token = internal::ReadToken(token_file); token.ok())
    call.token = *std::move(token);
  return call;
}

ExitCode Session::ReportMiss(const Miss& miss) {
  if (json) {
    Json answer;
    AddMiss(miss, &answer);
    out.Print(answer);
    return kMiss;
  }
  // A filter does not say until when.
  const bool lives =
      miss.reason == MissReason::kNegative && miss.remaining_ttl > absl::ZeroDuration();
  const std::string left = lives ? absl::StrCat(", for another ", Shown(miss.remaining_ttl)) : "";
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

absl::Status WriteFile(const std::string& path, std::string_view bytes) {
  const std::string beside = absl::StrCat(path, ".tmp", getpid());
  const auto failed = [&](const char* what) {
    const int error = errno;
    std::remove(beside.c_str());
    return absl::UnknownError(absl::StrCat("cannot ", what, " ", path, ": ", std::strerror(error)));
  };
  // For nobody else to read: it may hold what a server tells an operator.
  const int fd = open(beside.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) return failed("write");
  std::FILE* const file = fdopen(fd, "wb");
  if (file == nullptr) {
    close(fd);
    return failed("write");
  }
  const bool written = std::fwrite(bytes.data(), 1, bytes.size(), file) == bytes.size() &&
                       std::fflush(file) == 0 && fsync(fd) == 0;
  const bool closed = std::fclose(file) == 0;
  if (!written || !closed) return failed("write");
  if (std::rename(beside.c_str(), path.c_str()) != 0) return failed("write");
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> ReadKeys(const std::string& from) {
  const absl::StatusOr<std::string> text = ReadValue(from == "-" ? "-" : "@" + from);
  if (!text.ok()) return text.status();
  std::vector<std::string> keys;
  size_t number = 0;
  for (size_t at = 0; at < text->size(); ++number) {
    const size_t end = std::min(text->find('\n', at), text->size());
    std::string key = text->substr(at, end - at);
    at = end + 1;
    if (!key.empty() && key.back() == '\r') key.pop_back();
    if (key.empty()) continue;
    const std::string line = absl::StrCat(from == "-" ? "stdin" : from, ":", number + 1);
    if (key.size() > kKeyBytesMax) {
      return absl::InvalidArgumentError(
          absl::StrCat(line, ": the key is ", key.size(), " bytes; at most ", kKeyBytesMax));
    }
    if (!IsPrintable(key) || key.find('\t') != std::string::npos) {
      return absl::InvalidArgumentError(
          absl::StrCat(line, ": the key is not UTF-8, or holds a control character"));
    }
    keys.push_back(std::move(key));
  }
  if (keys.empty())
    return absl::InvalidArgumentError(absl::StrCat("no keys in ", from == "-" ? "stdin" : from));
  return keys;
}

std::string HexOfToken(const std::string& token) { return absl::BytesToHexString(token); }

absl::StatusOr<std::string> TokenOfHex(const std::string& hex) {
  if (hex.size() % 2 != 0 || hex.find_first_not_of("0123456789abcdefABCDEF") != std::string::npos) {
    return absl::InvalidArgumentError("a lease token is an even number of hexadecimal digits");
  }
  return absl::HexStringToBytes(hex);
}

}  // namespace larder::cli
