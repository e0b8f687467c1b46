// Redirections are followed here, by the call itself, and not by the connections: a batch that
// comes back with some MOVED among its answers is grouped anew and sent once more, as often as the
// options allow. Nothing else is sent twice, because whether that is right depends on the command.
//
// The order of one key: its commands share a connection, and what is redirected keeps its order.
// Two commands of one key that are both under way when its slot moves or its script is missing may
// change places when only the first of them was sent back; whoever cannot have that awaits the
// first.

#include "redis/calls.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "absl/strings/str_split.h"
#include "absl/types/span.h"
#include "base/status.h"
#include "base/strings.h"
#include "redis/round.h"

namespace larder {
namespace {

absl::Status NobodyServes(std::string_view key) {
  return absl::UnavailableError(StrCat("no node of the cluster serves slot ", RedisSlot(key)));
}

std::string_view KeyOf(const RedisCommand& command) {
  return command.key_at < command.args.size() ? std::string_view(command.args[command.key_at])
                                              : std::string_view();
}

void Count(RedisCore* core, absl::Span<const absl::StatusOr<RedisReply>> replies) {
  RedisCounters& counters = core->environment()->counters;
  counters.commands.Add(0, replies.size());
  for (const auto& reply : replies) {
    if (reply.ok()) continue;
    ++counters.errors;
    if (absl::IsDeadlineExceeded(reply.status())) ++counters.timeouts;
  }
}

// Adds a command to the round, for the node of its key; or says why that cannot be.
void AddFirst(const RedisCore& core, const RedisRoutes* routes, const RedisCommand& command,
              uint32_t position, RedisRound* round) {
  const std::string_view key = KeyOf(command);
  const RedisNode* const node = routes == nullptr ? nullptr : routes->NodeOf(key);
  if (command.args.empty()) {
    round->results[position] = absl::InvalidArgumentError("an empty command");
  } else if (routes == nullptr) {
    round->results[position] = core.routes_error();
  } else if (node == nullptr) {
    round->results[position] = NobodyServes(key);
  } else {
    round->Add(routes->ConnectionOf(*node, key), position, command.args, false);
  }
}

// An address without a host means the host of whoever said it, which a redirection does not tell
// any more; the known nodes do.
std::string WithHost(const RedisRoutes& routes, const std::string& address) {
  if (!address.empty() && address[0] != ':' && address[0] != '?') return address;
  const std::string_view port =
      std::string_view(address).substr(std::min(address.find(':'), address.size()));
  for (const RedisRoutes::Master& master : routes.masters) {
    const std::string& known = master.node->address;
    if (known.size() > port.size() && known.substr(known.size() - port.size()) == port) {
      return known;
    }
  }
  return address;
}

// Adds a command that has to be sent again to the round.
void AddAgain(RedisCore* core, const RedisRoutes& routes, const RedisRound::Again& again,
              const RedisScript* script, RedisCommand* command, RedisRound* round) {
  const std::string_view key = KeyOf(*command);
  if (again.how == RedisRound::Again::How::kNoScript) {
    command->args[0] = "EVAL";
    command->args[1] = std::string(script->source);
    if (const RedisNode* node = routes.NodeOf(key)) {
      round->Add(routes.ConnectionOf(*node, key), again.position, command->args, false);
    }
    return;
  }
  const auto node = core->NodeAt(WithHost(routes, again.address));
  if (!node.ok()) {
    round->results[again.position] = node.status();
    return;
  }
  ++core->environment()->counters.redirections;
  round->Add(routes.ConnectionOf(**node, key), again.position, command->args,
             again.how == RedisRound::Again::How::kAsk);
}

// Adds to the round what has to be sent again. False when there is nothing.
bool AddAllAgain(RedisCore* core, const RedisScript* script, absl::Span<RedisCommand> commands,
                 RedisRound* round) {
  const std::vector<RedisRound::Again> again = std::exchange(round->again, {});
  if (again.empty()) return false;
  const std::shared_ptr<const RedisRoutes> routes = core->routes();
  for (const RedisRound::Again& each : again) {
    if (each.how == RedisRound::Again::How::kNoScript && script == nullptr) continue;
    AddAgain(core, *routes, each, script, &commands[each.position], round);
  }
  return true;
}

}  // namespace

Task<RedisReplies> RunRedisCommands(std::shared_ptr<RedisCore> core,
                                    std::vector<RedisCommand> commands, const RedisScript* script,
                                    MonoNanos deadline) {
  std::shared_ptr<const RedisRoutes> routes = core->routes();
  if (routes == nullptr) {
    co_await core->RoutesKnown(deadline);
    routes = core->routes();
  }
  RedisReplies replies(commands.size());
  RedisRound round(core, absl::MakeSpan(replies));
  for (uint32_t i = 0; i < commands.size(); ++i) {
    AddFirst(*core, routes.get(), commands[i], i, &round);
  }
  co_await round.Send(deadline);
  for (int followed = 0; followed < core->options().redirections_max; ++followed) {
    if (!AddAllAgain(core.get(), script, absl::MakeSpan(commands), &round)) break;
    co_await round.Send(deadline);
  }
  Count(core.get(), replies);
  co_return std::move(replies);
}

Task<absl::StatusOr<RedisReply>> RunRedisCommand(std::shared_ptr<RedisCore> core,
                                                 RedisCommand command, MonoNanos deadline) {
  std::shared_ptr<const RedisRoutes> routes = core->routes();
  if (routes == nullptr) {
    co_await core->RoutesKnown(deadline);
    routes = core->routes();
  }
  absl::StatusOr<RedisReply> reply;
  RedisRound round(core, absl::MakeSpan(&reply, 1));
  AddFirst(*core, routes.get(), command, 0, &round);
  co_await round.Send(deadline);
  for (int followed = 0; followed < core->options().redirections_max; ++followed) {
    if (!AddAllAgain(core.get(), nullptr, absl::MakeSpan(&command, 1), &round)) break;
    co_await round.Send(deadline);
  }
  Count(core.get(), absl::MakeSpan(&reply, 1));
  co_return std::move(reply);
}

// ---- scan

namespace {

// `first_slot address cursor`: where a walk goes on.
struct ScanPlace {
  uint16_t first_slot = 0;
  std::string address;
  std::string cursor = "0";
};

absl::StatusOr<ScanPlace> ParsePlace(const std::string& text) {
  ScanPlace place;
  if (text.empty()) return place;
  const std::vector<std::string> parts = absl::StrSplit(text, ' ');
  if (parts.size() == 3) {
    const char* const end = parts[0].data() + parts[0].size();
    const auto [at, error] = std::from_chars(parts[0].data(), end, place.first_slot);
    if (error == std::errc() && at == end) {
      place.address = parts[1];
      place.cursor = parts[2];
      return place;
    }
  }
  return absl::InvalidArgumentError(StrCat("\"", text, "\" is no cursor of a scan"));
}

std::string PlaceText(const ScanPlace& place) {
  return absl::StrCat(place.first_slot, " ", place.address, " ", place.cursor);
}

}  // namespace

Task<absl::StatusOr<RedisScanPage>> RunRedisScan(std::shared_ptr<RedisCore> core,
                                                 std::string cursor, std::string match,
                                                 size_t count, MonoNanos deadline) {
  CO_ASSIGN_OR_RETURN(ScanPlace place, ParsePlace(cursor));
  std::shared_ptr<const RedisRoutes> routes = core->routes();
  if (routes == nullptr) {
    co_await core->RoutesKnown(deadline);
    routes = core->routes();
    if (routes == nullptr) co_return core->routes_error();
  }
  size_t at = 0;
  while (at < routes->masters.size() && routes->masters[at].first_slot < place.first_slot) ++at;
  if (at == routes->masters.size()) co_return RedisScanPage();
  const RedisRoutes::Master& master = routes->masters[at];
  // A cursor means something only to the server that gave it: another one that took over its keys
  // begins at the start.
  if (master.node->address != place.address) place.cursor = "0";

  std::vector<std::string> args = {"SCAN", place.cursor, "COUNT", absl::StrCat(count)};
  if (!match.empty()) {
    args.emplace_back("MATCH");
    args.push_back(match);
  }
  absl::StatusOr<RedisReply> answer;
  RedisRound round(core, absl::MakeSpan(&answer, 1));
  round.Add(master.node->connections[0], 0, args, false);
  co_await round.Send(deadline);
  Count(core.get(), round.results);
  if (!answer.ok()) co_return answer.status();
  RedisReply& reply = *answer;
  if (reply.items.size() != 2 || reply.items[0].kind != RedisReply::Kind::kString) {
    co_return absl::InternalError("SCAN answered something else than a cursor and keys");
  }
  RedisScanPage page;
  for (RedisReply& key : reply.items[1].items) page.keys.push_back(std::move(key.text));
  if (reply.items[0].text != "0") {
    page.cursor = PlaceText({master.first_slot, master.node->address, reply.items[0].text});
  } else if (at + 1 < routes->masters.size()) {
    const RedisRoutes::Master& next = routes->masters[at + 1];
    page.cursor = PlaceText({next.first_slot, next.node->address, "0"});
  }
  co_return page;
}

// ---- blocking calls

Task<absl::StatusOr<RedisReply>> RunRedisBlocking(std::shared_ptr<RedisCore> core, std::string lane,
                                                  RedisCommand command, MonoNanos deadline) {
  if (command.args.empty()) co_return absl::InvalidArgumentError("an empty command");
  std::shared_ptr<const RedisRoutes> routes = core->routes();
  if (routes == nullptr) {
    co_await core->RoutesKnown(deadline);
    routes = core->routes();
    if (routes == nullptr) co_return core->routes_error();
  }
  const RedisNode* const node = routes->NodeOf(KeyOf(command));
  if (node == nullptr) co_return NobodyServes(KeyOf(command));
  std::string address = node->address;
  bool asking = false;
  absl::StatusOr<RedisReply> reply;
  RedisRound round(core, absl::MakeSpan(&reply, 1));
  for (int followed = 0; followed <= core->options().redirections_max; ++followed) {
    CO_ASSIGN_OR_RETURN(const std::shared_ptr<RedisConnection> connection,
                        core->AcquireLane(lane, address));
    round.Add(connection, 0, command.args, asking);
    co_await round.Send(deadline);
    core->ReleaseLane(lane, !absl::IsDeadlineExceeded(reply.status()));
    const std::vector<RedisRound::Again> again = std::exchange(round.again, {});
    if (again.empty() || again[0].how == RedisRound::Again::How::kNoScript) break;
    ++core->environment()->counters.redirections;
    address = WithHost(*routes, again[0].address);
    asking = again[0].how == RedisRound::Again::How::kAsk;
  }
  Count(core.get(), round.results);
  co_return std::move(reply);
}

}  // namespace larder
