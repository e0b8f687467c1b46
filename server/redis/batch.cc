// The encoding is ours and not redisFormatCommandArgv: that one allocates a buffer for each
// command, which would be copied a second time into the batch. A value of a megabyte is copied once
// here, on the caller's thread, and written from where it then lies.

#include "redis/batch.h"

#include <algorithm>
#include <charconv>
#include <utility>

namespace larder {
namespace {

// `$123\r\n`, or with `*` for the count of arguments.
void AppendLength(char kind, size_t length, std::string* out) {
  char text[24];
  text[0] = kind;
  char* end = std::to_chars(text + 1, text + sizeof(text) - 2, length).ptr;
  *end++ = '\r';
  *end++ = '\n';
  out->append(text, static_cast<size_t>(end - text));
}

}  // namespace

void AppendRedisCommand(const std::vector<std::string>& args, std::string* out) {
  size_t bytes = 24;
  for (const std::string& arg : args) bytes += arg.size() + 24;
  // Twice what there was at least: exact growth would copy a long batch again for each command.
  if (out->capacity() - out->size() < bytes)
    out->reserve(std::max(out->size() + bytes, 2 * out->size()));
  AppendLength('*', args.size(), out);
  for (const std::string& arg : args) {
    AppendLength('$', arg.size(), out);
    out->append(arg);
    out->append("\r\n", 2);
  }
}

void RedisBatch::Fail(const absl::Status& status, RedisLoop* loop) {
  RedisReceiver* const to = std::exchange(receiver, nullptr);
  if (to == nullptr) return;
  for (size_t i = answered; i < positions.size(); ++i) {
    if (positions[i] != kIgnored) to->OnFailure(positions[i], status);
  }
  to->OnDone(loop);
}

}  // namespace larder
