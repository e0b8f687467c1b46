// `watch` prints changes as they come, one a line, until Ctrl-C, --count or the end of the stream.
// The call runs on the client's threads, which print; this one waits, and looks whether somebody
// has pressed Ctrl-C.

#include <fmt/format.h>

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "client/cli/commands.h"
#include "client/cli/interrupt.h"

namespace larder::cli {
namespace {

constexpr std::chrono::milliseconds kLook(100);

struct Flags {
  WatchOptions options;
  std::string resume;
  std::optional<absl::Duration> heartbeat;
  bool heartbeats = false;
  uint64_t count = 0;
};

std::string JsonOf(const WatchEvent& event) {
  Json json;
  json.Field("event", Name(event.kind));
  if (!event.key.empty()) json.Field("key", event.key);
  switch (event.kind) {
    case WatchEvent::Kind::kPut:
    case WatchEvent::Kind::kInvalidated:
    case WatchEvent::Kind::kExpired:
      json.Version("version", event.version);
      break;
    case WatchEvent::Kind::kGap:
      json.Version("after_version", event.version);
      json.Field("goes_on", event.goes_on);
      break;
    case WatchEvent::Kind::kHeartbeat:
      json.Field("time", event.time);
      break;
    case WatchEvent::Kind::kUnspecified:
      break;
  }
  if (event.rule.has_value()) {
    Json rule;
    rule.Field("kind", Name(event.rule->kind));
    rule.Field("match", event.rule->match);
    rule.Field("stale", event.rule->stale);
    json.Object("rule", rule);
  }
  if (event.value.has_value()) json.Value(*event.value);
  json.Field("resume_token", HexOfToken(event.resume_token));
  return json.Text();
}

// `put  7123456  user:42`, `invalidated  7123457  prefix user:`.
std::string TextOf(const WatchEvent& event) {
  std::string what = Shown(event.key);
  if (event.rule.has_value()) {
    what = absl::StrCat(std::string(Name(event.rule->kind)), event.rule->match.empty() ? "" : " ",
                        Shown(event.rule->match), event.rule->stale ? " (stale)" : "");
  }
  if (event.kind == WatchEvent::Kind::kGap) {
    what = event.goes_on ? "changes are being missed; check what you have when this is over"
                         : "changes were missed; check what you have";
  }
  if (event.kind == WatchEvent::Kind::kHeartbeat) what = absl::FormatTime(event.time);
  const bool has_version = event.version != 0 && event.kind != WatchEvent::Kind::kGap;
  std::string line = fmt::format("{:<11}  {:<20}  {}", Name(event.kind),
                                 has_version ? absl::StrCat(event.version) : "", what);
  if (event.value.has_value()) line += absl::StrCat("  ", Shown(*event.value));
  return line;
}

// What the call's threads tell this one.
struct News {
  std::mutex mu;
  std::condition_variable changed;
  absl::Status written;
  uint64_t left = 0;  // lines to be printed; 0: no end
  bool enough = false;
  std::optional<absl::StatusOr<WatchEnd>> outcome;
};

// False ends the stream.
bool Tell(Session* session, const Flags& flags, const WatchEvent& event, News* news) {
  if (event.kind == WatchEvent::Kind::kHeartbeat && !flags.heartbeats) return true;
  session->out.Line(session->json ? JsonOf(event) : TextOf(event));
  // Who reads a pipe wants each line when it happens.
  const absl::Status written = session->out.Flush();
  const std::lock_guard lock(news->mu);
  news->written = written;
  news->enough = news->left > 0 && --news->left == 0;
  return written.ok() && !news->enough;
}

ExitCode RunWatch(Session* session, const Flags& flags) {
  WatchOptions options = flags.options;
  if (!flags.resume.empty()) {
    const absl::StatusOr<std::string> token = TokenOfHex(flags.resume);
    if (!token.ok()) return session->Fail(token.status());
    options.resume_token = *token;
  }
  if (flags.heartbeat.has_value()) options.heartbeat = *flags.heartbeat;
  options.call.deadline = session->given_deadline;
  const CatchInterrupt ctrl_c;
  const auto news = std::make_shared<News>();
  news->left = flags.count;
  const std::shared_ptr<WatchCall> call = session->client->WatchAsync(
      options,
      [session, &flags, news](const WatchEvent& event) {
        return Tell(session, flags, event, news.get());
      },
      [news](absl::StatusOr<WatchEnd> outcome) {
        const std::lock_guard lock(news->mu);
        news->outcome = std::move(outcome);
        news->changed.notify_all();
      });
  std::unique_lock lock(news->mu);
  while (!news->outcome.has_value()) {
    news->changed.wait_for(lock, kLook, [&] { return news->outcome.has_value(); });
    if (!Interrupted()) continue;
    lock.unlock();
    call->Cancel();
    lock.lock();
    news->changed.wait(lock, [&] { return news->outcome.has_value(); });
    return kInterrupted;
  }
  if (!news->written.ok()) return session->Fail(news->written);
  if (!news->enough && !news->outcome->ok()) return session->Fail(news->outcome->status());
  return kOk;
}

}  // namespace

void AddWatch(CLI::App* app, Session* session) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = AddCommand(app, session, "watch", "Print changes as they happen",
                                 [session, flags] { return RunWatch(session, *flags); });
  command->add_option("KEYS", flags->options.keys, "Of these keys; at most 1,000")->type_name("");
  command->add_option("--prefix", flags->options.prefix, "Of keys that begin with this")
      ->type_name("TEXT");
  command->add_option("--tag", flags->options.tags, "Of entries with this tag; may be repeated")
      ->type_name("TAG");
  command->add_option("--type", flags->options.type, "Of entries of this data type")
      ->type_name("NAME");
  command->add_flag("--all", flags->options.all, "Of the whole namespace");
  command->add_flag("--values", flags->options.values, "Print the values that are put");
  command->add_flag("--expirations", flags->options.expirations, "Also of entries that expire");
  command->add_flag("--heartbeats", flags->heartbeats, "Also print the signs of life");
  AddDuration(command, "--heartbeat", &flags->heartbeat, "How often there is one; default 5s");
  command->add_option("--resume", flags->resume, "Go on after the event with this resume_token")
      ->type_name("TOKEN");
  command->add_option("--count", flags->count, "End after so many lines")
      ->check(CLI::PositiveNumber)
      ->type_name("LINES");
  command->parse_complete_callback([session] { session->goes_on = true; });
}

}  // namespace larder::cli
