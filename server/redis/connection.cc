// Answers carry no name: the n-th answer belongs to the n-th command. So the queue is one list from
// the oldest command without an answer to the youngest that is not written yet, and a batch leaves
// it only from the front, with its last answer. A batch whose deadline passes is told so and stays
// in its place with no receiver: its late answers are dropped, and the connection stays in step.
// Only what has not been written at all is taken out, and is then never carried out.
//
// A lost connection fails what was written, because nobody knows what of it was carried out. What
// was not written waits for one attempt to connect, which is made at once when the connection had
// been of use; when that fails too, everything fails, and until the next attempt new commands fail
// at once: whoever asks has a better use for its time than to wait for a server that is gone.
//
// A server that is stopped, or behind a cable that was pulled, closes nothing. A connection on
// which commands wait and nothing moves for `silence_max` is given up. One that is idle asks PING
// that often, so that the first command after a pause does not pay for it.

#include "redis/connection.h"

#include <sys/epoll.h>

#include <algorithm>
#include <utility>

#include "base/strings.h"
#include "redis/error_reply.h"

namespace larder {
namespace {

// Pieces of one write.
constexpr size_t kPiecesMax = 64;

}  // namespace

RedisConnection::RedisConnection(RedisEnvironment* environment, RedisConnectionObserver* observer,
                                 Spec spec)
    : env_(environment), observer_(observer), spec_(std::move(spec)), greeter_(this) {}

RedisConnection::~RedisConnection() = default;

bool RedisConnection::Reserve(size_t commands) {
  const size_t before = pending_.fetch_add(commands);
  if (before + commands <= env_->options.pending_per_connection_max) return true;
  pending_ -= commands;
  return false;
}

void RedisConnection::Release(const RedisBatch& batch) {
  if (!batch.reserved) return;
  released_ += batch.positions.size();
  released_bytes_ += batch.size;
}

// The counters are those that callers add to on their threads: touching them once for each read,
// not once for each answer, is a fifth of the cost of a small command.
void RedisConnection::GiveBack() {
  if (released_ == 0) return;
  pending_ -= released_;
  env_->counters.pending -= released_;
  env_->counters.pending_bytes -= released_bytes_;
  released_ = released_bytes_ = 0;
}

absl::Status RedisConnection::Explain(const absl::Status& why) const {
  return {why.code(), ToAbsl(StrCat("redis ", spec_.address, ": ", why.message()))};
}

void RedisConnection::Enqueue(std::unique_ptr<RedisBatch> batch) {
  absl::Status refused;
  if (batch->deadline <= env_->loop->now()) {
    refused = absl::DeadlineExceededError("the deadline had passed before the command was sent");
  } else if (state_ == State::kClosed || (state_ == State::kResting && failures_ > 0)) {
    refused = last_error_;
  }
  if (!refused.ok()) {
    Release(*batch);
    GiveBack();
    batch->Fail(refused, env_->loop.get());
    return;
  }
  next_deadline_ = std::min(next_deadline_, batch->deadline);
  queue_.push_back(std::move(batch));
  env_->loop->TickAgain();
}

// ---- answers

// The batch that the next answer belongs to; null when there is none.
RedisBatch* RedisConnection::NextAnswered() {
  if (queue_.empty() || (written_ == 0 && offset_ == 0)) {
    broken_ = absl::UnavailableError("an answer came to no command");
    return nullptr;
  }
  return queue_.front().get();
}

bool RedisConnection::OnReply(RedisReply reply) {
  RedisBatch* const batch = NextAnswered();
  if (batch == nullptr) return false;
  const uint32_t position = batch->positions[batch->answered++];
  RedisReceiver* const receiver = batch->receiver;
  if (receiver != nullptr && position != RedisBatch::kIgnored) {
    receiver->OnReply(position, std::move(reply));
  }
  return AfterAnswer(receiver);
}

bool RedisConnection::OnErrorReply(std::string_view text) {
  RedisBatch* const batch = NextAnswered();
  if (batch == nullptr) return false;
  const uint32_t position = batch->positions[batch->answered++];
  RedisReceiver* const receiver = batch->receiver;
  if (receiver != nullptr && position != RedisBatch::kIgnored) {
    receiver->OnErrorReply(position, text);
  }
  observer_->OnErrorReply(this, text);
  // A master that became a replica: whoever is master now is found by connecting again.
  if (state_ == State::kReady && RedisErrorCode(text) == "READONLY") {
    broken_ = RedisErrorStatus(text);
  }
  return AfterAnswer(receiver);
}

// False when the connection is to end.
bool RedisConnection::AfterAnswer(RedisReceiver* receiver) {
  if (queue_.front()->answered == queue_.front()->positions.size()) {
    if (written_ == 0) {
      broken_ = absl::UnavailableError("an answer came before its command was sent");
      return false;
    }
    const std::unique_ptr<RedisBatch> done = std::move(queue_.front());
    queue_.pop_front();
    --written_;
    Release(*done);
    if (done->reserved) {
      proven_ = true;
      failures_ = 0;
    }
    if (receiver != nullptr) receiver->OnDone(env_->loop.get());
  }
  return broken_.ok();
}

// ---- the turn of the loop

void RedisConnection::OnEvents(uint32_t events) {
  if (socket_ == nullptr) return;
  if (state_ == State::kConnecting) {
    absl::Status established = socket_->Established();
    if (established.ok()) established = Greet();
    if (!established.ok()) return Fail(established);
  }
  if ((events & EPOLLOUT) != 0) {
    Flush();
    if (socket_ == nullptr) return;
  }
  if ((events & (EPOLLIN | EPOLLERR | EPOLLHUP)) == 0) return;
  last_progress_ = env_->loop->now();
  const absl::Status read = socket_->Read(this);
  // Before anybody goes on: whoever got the last answer finds the queue empty.
  GiveBack();
  if (!broken_.ok()) return Fail(broken_);
  if (!read.ok()) Fail(read);
}

MonoNanos RedisConnection::Tick(MonoNanos now) {
  if (state_ == State::kResting && now >= next_attempt_) Begin();
  if (Active() && state_ != State::kReady && now >= attempt_until_) {
    Fail(absl::UnavailableError(
        StrCat("no connection in ", absl::FormatDuration(env_->options.connect_timeout))));
  }
  if (state_ == State::kReady) CheckSilence();
  if (now >= next_deadline_) Expire();
  if ((state_ == State::kReady || state_ == State::kGreeting) && !wants_write_) Flush();
  return NextDue();
}

MonoNanos RedisConnection::NextDue() const {
  MonoNanos due = next_deadline_;
  if (state_ == State::kResting) return std::min(due, next_attempt_);
  if (state_ == State::kReady) {
    return std::min(due, MonoAfter(last_progress_, env_->options.silence_max));
  }
  return Active() ? std::min(due, attempt_until_) : due;
}

void RedisConnection::CheckSilence() {
  const MonoNanos now = env_->loop->now();
  if (now < MonoAfter(last_progress_, env_->options.silence_max)) return;
  const bool waits = written_ > 0 || offset_ > 0 || wants_write_;
  // Its first command after a pause came in this very turn: Flush sends it, and the time begins.
  if (!waits && !queue_.empty()) return;
  if (!waits) {
    auto ping = std::make_unique<RedisBatch>();
    AppendRedisCommand({"PING"}, &ping->bytes);
    ping->positions.push_back(RedisBatch::kIgnored);
    ping->deadline = kRedisNever;
    queue_.push_back(std::move(ping));
    last_progress_ = now;
  } else if (spec_.use == Use::kBlocking) {
    // The caller's deadline ends its command.
    last_progress_ = now;
  } else {
    Fail(absl::UnavailableError(
        StrCat("no answer for ", absl::FormatDuration(env_->options.silence_max))));
  }
}

void RedisConnection::Expire() {
  const MonoNanos now = env_->loop->now();
  const absl::Status late = Explain(absl::DeadlineExceededError("no answer before the deadline"));
  const size_t sent = written_ + (offset_ > 0 ? 1 : 0);
  next_deadline_ = kRedisNever;
  std::vector<std::unique_ptr<RedisBatch>> unsent;
  std::vector<RedisBatch*> waiting;
  size_t kept = 0;
  for (size_t i = 0; i < queue_.size(); ++i) {
    std::unique_ptr<RedisBatch>& batch = queue_[i];
    const bool expired = batch->receiver != nullptr && batch->deadline <= now;
    if (expired && i >= sent) {
      unsent.push_back(std::move(batch));
      continue;
    }
    if (expired) waiting.push_back(batch.get());
    if (!expired && batch->receiver != nullptr) {
      next_deadline_ = std::min(next_deadline_, batch->deadline);
    }
    if (kept != i) queue_[kept] = std::move(batch);
    ++kept;
  }
  queue_.resize(kept);
  for (RedisBatch* batch : waiting) batch->Fail(late, env_->loop.get());
  for (const auto& batch : unsent) Release(*batch);
  GiveBack();
  for (const auto& batch : unsent) {
    batch->Fail(late, env_->loop.get());
  }
}

void RedisConnection::Flush() {
  const size_t sendable = state_ == State::kGreeting ? 1 : queue_.size();
  std::vector<iovec> pieces;
  while (written_ < sendable || socket_->holds_bytes()) {
    if (written_ == 0 && offset_ == 0) last_progress_ = env_->loop->now();
    pieces.clear();
    for (size_t i = written_; i < sendable && pieces.size() < kPiecesMax; ++i) {
      const size_t skip = i == written_ ? offset_ : 0;
      pieces.push_back({queue_[i]->bytes.data() + skip, queue_[i]->bytes.size() - skip});
    }
    absl::StatusOr<size_t> written = socket_->Write(pieces);
    if (!written.ok()) return Fail(written.status());
    Advance(*written);
    // What waits for the server is tried again at every turn: room would be an event at once.
    if (*written == 0 && (!pieces.empty() || socket_->holds_bytes())) {
      return Wants(!socket_->waits_for_peer());
    }
  }
  Wants(false);
}

void RedisConnection::Advance(size_t written) {
  // A server that is gone takes what is written for a long time yet, so once it owes an answer,
  // only what it sends counts.
  if (written > 0 && written_ == 0) last_progress_ = env_->loop->now();
  while (written > 0) {
    RedisBatch& batch = *queue_[written_];
    const size_t left = batch.bytes.size() - offset_;
    if (written < left) {
      offset_ += written;
      return;
    }
    written -= left;
    offset_ = 0;
    ++written_;
    batch.bytes = std::string();
  }
}

void RedisConnection::Wants(bool write) {
  if (write == wants_write_) return;
  wants_write_ = write;
  env_->loop->Rewatch(socket_->fd(), write ? EPOLLIN | EPOLLOUT : EPOLLIN, this);
}

}  // namespace larder
