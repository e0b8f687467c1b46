// Making a connection, and losing it. connection.cc says what that means for commands.

#include <sys/epoll.h>

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "base/random.h"
#include "base/strings.h"
#include "redis/connection.h"
#include "redis/error_reply.h"

namespace larder {
namespace {

// The commands of a greeting, in their order.
enum Step : uint32_t { kAuth, kSelect, kRole, kPing };

void AddStep(Step step, const std::vector<std::string>& args, RedisBatch* batch) {
  AppendRedisCommand(args, &batch->bytes);
  batch->positions.push_back(step);
}

}  // namespace

void RedisConnection::Begin() {
  state_ = State::kLookingUp;
  attempt_until_ = MonoAfter(env_->loop->now(), env_->options.connect_timeout);
  const absl::StatusOr<RedisHostPort> target = ParseRedisAddress(spec_.address);
  if (!target.ok()) return Fail(target.status());
  if (IsIp(target->host)) return ConnectTo(target->host);
  // The lookup of an earlier attempt goes on: its answer will do.
  if (std::exchange(looking_up_, true)) return;
  LookUp(target->host, [self = weak_from_this(), loop = env_->loop](RedisIps ips) {
    // A loop that has stopped wants no answer.
    (void)loop->Post([self, ips = std::move(ips)]() mutable {
      if (const auto connection = self.lock()) connection->OnLookedUp(std::move(ips));
    });
  });
}

void RedisConnection::OnLookedUp(RedisIps ips) {
  looking_up_ = false;
  if (state_ != State::kLookingUp) return;
  if (!ips.ok()) return Fail(ips.status());
  ConnectTo((*ips)[attempts_++ % ips->size()]);
}

void RedisConnection::ConnectTo(const std::string& ip) {
  const absl::StatusOr<RedisHostPort> target = ParseRedisAddress(spec_.address);
  auto socket = RedisSocket::Connect(ip, target->port, target->host, env_->tls.get(),
                                     env_->options.reply_bytes_max, &env_->loop->buffer());
  if (!socket.ok()) return Fail(socket.status());
  socket_ = *std::move(socket);
  state_ = State::kConnecting;
  wants_write_ = true;
  watched_ = env_->loop->Watch(socket_->fd(), EPOLLIN | EPOLLOUT, this);
  if (!watched_) Fail(absl::UnavailableError("the system cannot watch one more socket"));
}

absl::Status RedisConnection::Greet() {
  auto batch = std::make_unique<RedisBatch>();
  if (!spec_.password_file.empty() || !spec_.user.empty()) {
    absl::StatusOr<std::string> password = ReadRedisPassword(spec_.password_file);
    if (!password.ok()) return password.status();
    std::vector<std::string> auth = {"AUTH"};
    if (!spec_.user.empty()) auth.push_back(spec_.user);
    auth.push_back(*std::move(password));
    AddStep(kAuth, auth, batch.get());
  }
  if (spec_.database != 0) {
    AddStep(kSelect, {"SELECT", absl::StrCat(spec_.database)}, batch.get());
  }
  if (spec_.must_be_master) AddStep(kRole, {"ROLE"}, batch.get());
  AddStep(kPing, {"PING"}, batch.get());
  batch->receiver = &greeter_;
  batch->deadline = kRedisNever;
  greeter_.status = absl::OkStatus();
  queue_.push_front(std::move(batch));
  state_ = State::kGreeting;
  return absl::OkStatus();
}

void RedisConnection::Greeter::OnReply(uint32_t position, RedisReply reply) {
  if (position != kRole || !status.ok()) return;
  if (reply.items.empty() || reply.items[0].text != "master") {
    status = absl::UnavailableError("the server is no master");
  }
}

void RedisConnection::Greeter::OnErrorReply(uint32_t position, std::string_view text) {
  if (!status.ok()) return;
  // A server that refuses PING to this user has answered all the same.
  if (position == kPing && RedisErrorCode(text) == "NOPERM") return;
  status = position == kAuth ? absl::PermissionDeniedError(ToAbsl(text)) : RedisErrorStatus(text);
}

void RedisConnection::Greeter::OnDone(RedisLoop* /*loop*/) {
  if (connection_->state_ != State::kGreeting) return;
  if (status.ok()) {
    connection_->OnReady();
  } else {
    connection_->broken_ = status;
  }
}

void RedisConnection::OnReady() {
  state_ = State::kReady;
  proven_ = false;
  up_since_ = env_->loop->now();
  up_ = true;
  if (spec_.use == Use::kData) {
    ++env_->counters.connects;
    ++env_->counters.connected;
  }
  if (std::exchange(said_lost_, false)) LogInfo("redis_connected", {{"address", spec_.address}});
  observer_->OnUp(this);
}

// ---- losing it

void RedisConnection::Close(const absl::Status& why) {
  if (state_ == State::kClosed) return;
  closing_ = true;
  if (Active()) Fail(why);
  state_ = State::kClosed;
  last_error_ = why;
  const auto left = std::exchange(queue_, {});
  for (const auto& batch : left) Release(*batch);
  GiveBack();
  for (const auto& batch : left) {
    batch->Fail(last_error_, env_->loop.get());
  }
}

void RedisConnection::OnStop() { Close(absl::UnavailableError("the client is shutting down")); }

void RedisConnection::CloseSocket() {
  if (watched_) env_->loop->Unwatch(socket_->fd());
  watched_ = false;
  socket_.reset();
}

MonoNanos RedisConnection::NextPause() {
  const unsigned doublings = std::min(failures_, 20u);
  const absl::Duration most = std::min(env_->options.reconnect_max,
                                       env_->options.reconnect_min * (int64_t{1} << doublings));
  // From half of it on, so that the replicas of a fleet do not all come at once.
  return MonoAfter(env_->loop->now(), most * (0.75 + 0.25 * env_->options.random->NextSigned()));
}

void RedisConnection::Fail(const absl::Status& why) {
  last_error_ = Explain(why);
  const bool was_ready = state_ == State::kReady;
  // A server that greets and hangs up is not asked again without a pause.
  const bool again_now =
      was_ready &&
      (proven_ || env_->loop->now() >= MonoAfter(up_since_, env_->options.reconnect_min));
  CloseSocket();
  state_ = State::kResting;
  broken_ = absl::OkStatus();
  if (!closing_ && !std::exchange(said_lost_, true)) {
    LogWarning("redis_connection_lost", {{"error", last_error_}});
  }
  if (was_ready) {
    up_ = false;
    if (spec_.use == Use::kData) {
      ++env_->counters.disconnects;
      --env_->counters.connected;
    }
  }
  if (again_now) {
    failures_ = 0;
    next_attempt_ = env_->loop->now();
  } else {
    next_attempt_ = NextPause();
    ++failures_;
  }
  const size_t sent = written_ + (offset_ > 0 ? 1 : 0);
  written_ = offset_ = 0;
  std::deque<std::unique_ptr<RedisBatch>> kept;
  std::vector<std::unique_ptr<RedisBatch>> lost;
  for (size_t i = 0; i < queue_.size(); ++i) {
    // The greeting and what nobody waits for belong to this socket alone.
    const bool own = queue_[i]->receiver == &greeter_ || queue_[i]->receiver == nullptr;
    if (again_now && i >= sent && !own) {
      kept.push_back(std::move(queue_[i]));
    } else {
      lost.push_back(std::move(queue_[i]));
    }
  }
  queue_ = std::move(kept);
  for (const auto& batch : lost) Release(*batch);
  GiveBack();
  for (const auto& batch : lost) {
    batch->Fail(last_error_, env_->loop.get());
  }
  if (!closing_) observer_->OnDown(this, last_error_);
  env_->loop->TickAgain();
}

}  // namespace larder
