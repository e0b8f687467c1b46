#include "redis/round.h"

#include "redis/error_reply.h"

namespace larder {

void RedisRound::Add(const std::shared_ptr<RedisConnection>& to, uint32_t position,
                     const std::vector<std::string>& args, bool asking) {
  // Few connections and many commands, of which neighbours often share one.
  RedisBatch* batch = nullptr;
  for (const auto& each : batches_) {
    if (each->connection == to) batch = each.get();
  }
  if (batch == nullptr) {
    batches_.push_back(std::make_unique<RedisBatch>());
    batch = batches_.back().get();
    batch->connection = to;
    batch->receiver = this;
  }
  if (asking) {
    static const std::vector<std::string> kAsking = {"ASKING"};
    AppendRedisCommand(kAsking, &batch->bytes);
    batch->positions.push_back(RedisBatch::kIgnored);
  }
  AppendRedisCommand(args, &batch->bytes);
  batch->positions.push_back(position);
}

const std::shared_ptr<RedisConnection>* RedisRound::ConnectionTo(const RedisNode& node) const {
  for (const auto& each : batches_) {
    if (each->connection->address() == node.address) return &each->connection;
  }
  return nullptr;
}

bool RedisRound::SendAll(std::coroutine_handle<> waiting, MonoNanos deadline) {
  waiting_ = waiting;
  Batches batches = std::exchange(batches_, {});
  // One more than there are, so that the coroutine does not go on, and free this, while the rest is
  // still being sent.
  outstanding_ = batches.size() + 1;
  for (auto& batch : batches) {
    batch->deadline = deadline;
    core_->Submit(std::move(batch));
  }
  return outstanding_.fetch_sub(1) != 1;
}

void RedisRound::OnReply(uint32_t position, RedisReply reply) {
  results[position] = std::move(reply);
}

void RedisRound::OnErrorReply(uint32_t position, std::string_view text) {
  results[position] = RedisErrorStatus(text);
  if (RedisErrorCode(text) == "NOSCRIPT") {
    again.push_back({position, Again::How::kNoScript, {}});
  } else if (const auto redirect = ParseRedisRedirect(text)) {
    const auto how = redirect->ask ? Again::How::kAsk : Again::How::kMoved;
    again.push_back({position, how, redirect->address});
  }
}

void RedisRound::OnFailure(uint32_t position, const absl::Status& status) {
  results[position] = status;
}

void RedisRound::OnDone(RedisLoop* loop) {
  // Without a loop this is the thread that sends, which still counts for one.
  if (outstanding_.fetch_sub(1) == 1) loop->Resume(waiting_);
}

}  // namespace larder
