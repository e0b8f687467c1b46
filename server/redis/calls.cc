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
#include <utility>

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

// Adds a command to the round, for the node of its key; or says why that cannot be.
void AddFirst(const RedisCore& core, const RedisRoutes* routes, const RedisCommand& command,
              RedisOrder order, uint32_t position, RedisRound* round) {
  const std::string_view key = KeyOf(command);
  const RedisNode* const node = routes == nullptr ? nullptr : routes->NodeOf(key);
  if (command.args.empty()) {
    round->results[position] = absl::InvalidArgumentError("an empty command");
  } else if (routes == nullptr) {
    round->results[position] = core.routes_error();
  } else if (node == nullptr) {
    round->results[position] = NobodyServes(key);
  } else if (order == RedisOrder::kByKey) {
    round->Add(routes->ConnectionOf(*node, key), position, command.args, false);
  } else {
    const std::shared_ptr<RedisConnection>* const joined = round->ConnectionTo(*node);
    round->Add(joined != nullptr ? *joined : node->LeastBusy(), position, command.args, false);
  }
}

// An address without a host means the host of whoever said it, which a redirection does not tell
// any more; the known nodes do.
std::string WithHost(const RedisRoutes& routes, const std::string& address) {
  if (!address.empty() && address[0] != ':' && address[0] != '?') return address;
  const std::string_view port =
      std::string_view(address).substr(std::min(address.find(':'), address.size()));
  for (const auto& master : routes.masters) {
    const std::string& known = master->address;
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

void CountRedisReplies(RedisCore* core, absl::Span<const absl::StatusOr<RedisReply>> replies) {
  RedisCounters& counters = core->environment()->counters;
  counters.commands.Add(0, replies.size());
  for (const auto& reply : replies) {
    if (reply.ok()) continue;
    ++counters.errors;
    if (absl::IsDeadlineExceeded(reply.status())) ++counters.timeouts;
  }
}

Task<RedisReplies> RunRedisCommands(std::shared_ptr<RedisCore> core,
                                    std::vector<RedisCommand> commands, const RedisScript* script,
                                    RedisOrder order, MonoNanos deadline) {
  std::shared_ptr<const RedisRoutes> routes = core->routes();
  if (routes == nullptr) {
    co_await core->RoutesKnown(deadline);
    routes = core->routes();
  }
  RedisReplies replies(commands.size());
  RedisRound round(core, absl::MakeSpan(replies));
  for (uint32_t i = 0; i < commands.size(); ++i) {
    AddFirst(*core, routes.get(), commands[i], order, i, &round);
  }
  co_await round.Send(deadline);
  for (int followed = 0; followed < core->options().redirections_max; ++followed) {
    if (!AddAllAgain(core.get(), script, absl::MakeSpan(commands), &round)) break;
    co_await round.Send(deadline);
  }
  CountRedisReplies(core.get(), replies);
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
  AddFirst(*core, routes.get(), command, RedisOrder::kByKey, 0, &round);
  co_await round.Send(deadline);
  for (int followed = 0; followed < core->options().redirections_max; ++followed) {
    if (!AddAllAgain(core.get(), nullptr, absl::MakeSpan(&command, 1), &round)) break;
    co_await round.Send(deadline);
  }
  CountRedisReplies(core.get(), absl::MakeSpan(&reply, 1));
  co_return std::move(reply);
}

Task<RedisReplies> RunRedisOnMasters(std::shared_ptr<RedisCore> core, RedisCommand command,
                                     MonoNanos deadline) {
  std::shared_ptr<const RedisRoutes> routes = core->routes();
  if (routes == nullptr) {
    co_await core->RoutesKnown(deadline);
    routes = core->routes();
    if (routes == nullptr) co_return RedisReplies(1, core->routes_error());
  }
  RedisReplies replies(routes->masters.size());
  RedisRound round(core, absl::MakeSpan(replies));
  for (uint32_t i = 0; i < replies.size(); ++i) {
    round.Add(routes->masters[i]->LeastBusy(), i, command.args, false);
  }
  co_await round.Send(deadline);
  CountRedisReplies(core.get(), replies);
  co_return std::move(replies);
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
  CountRedisReplies(core.get(), round.results);
  co_return std::move(reply);
}

}  // namespace larder
