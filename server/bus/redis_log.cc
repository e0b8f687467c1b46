// One item is one entry of the stream with one field. The server numbers the entries (`*`), so that
// the order of the log is the order in which it took them.
//
// XADD trims as it goes, by count, which is all that it does cheaply (`~`: whole nodes of the
// tree). Frames differ in size a thousandfold with what is published, so the count is worked out
// from the size of the items of late, which every reader sees: small heartbeats keep for hours, and
// a storm of large frames does not fill the memory of Redis.
//
// A reader needs no consumer group: groups hand each entry to one of many, and what they remember
// on the server is lost with the entries. The place of a reader is its own.

#include "bus/redis_log.h"

#include <algorithm>
#include <atomic>
#include <charconv>
#include <utility>

#include "base/strings.h"

namespace larder {
namespace {

constexpr std::string_view kField = "f";
// At least this many are kept, however large: replicas must not lose their place at every hiccup.
constexpr uint64_t kItemsMin = 1'000;
// What an entry takes besides its bytes, roughly.
constexpr uint64_t kEntryOverhead = 32;

bool ParseNumber(std::string_view text, uint64_t* out) {
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, *out);
  return error == std::errc() && rest == end;
}

absl::StatusOr<LogPosition> ParseId(const RedisReply& reply) {
  const std::string_view id = reply.text;
  const size_t dash = id.find('-');
  LogPosition at;
  if (reply.kind != RedisReply::Kind::kString || dash == std::string_view::npos ||
      !ParseNumber(id.substr(0, dash), &at.ms) || !ParseNumber(id.substr(dash + 1), &at.count)) {
    return absl::InternalError(StrCat("not the id of a stream entry: \"", id, "\""));
  }
  return at;
}

// [id, [field, value, ...]]. An entry without our field was written by somebody else: its bytes are
// empty, which is no frame.
absl::StatusOr<LogItem> ParseEntry(RedisReply entry) {
  using Kind = RedisReply::Kind;
  if (entry.kind != Kind::kArray || entry.items.size() != 2)
    return absl::InternalError("not a stream entry");
  LogItem item;
  absl::StatusOr<LogPosition> at = ParseId(entry.items[0]);
  if (!at.ok()) return at.status();
  item.at = *at;
  std::vector<RedisReply>& fields = entry.items[1].items;
  if (fields.size() == 2 && fields[0].text == kField) item.bytes = std::move(fields[1].text);
  return item;
}

absl::StatusOr<std::vector<LogItem>> ParseEntries(RedisReply entries) {
  std::vector<LogItem> items;
  items.reserve(entries.items.size());
  for (RedisReply& entry : entries.items) {
    absl::StatusOr<LogItem> item = ParseEntry(std::move(entry));
    if (!item.ok()) return item.status();
    items.push_back(*std::move(item));
  }
  return items;
}

std::string IdOf(LogPosition at) { return StrCat(at.ms, "-", at.count); }

class RedisLog : public BusLog {
 public:
  RedisLog(Redis* redis, const RedisLogOptions& options)
      : redis_(redis),
        options_(options),
        key_(StrCat(options.prefix, ":bus")),
        lane_(StrCat(key_, "#", NextNumber())),
        average_(std::make_shared<std::atomic<double>>(kEntryOverhead)) {}

  Task<absl::StatusOr<LogPosition>> Append(std::string item, MonoNanos deadline) override {
    RedisCommand command;
    command.args = {
        "XADD", key_, "MAXLEN", "~", StrCat(ItemsMax()), "*", std::string(kField), std::move(item)};
    return DoAppend(redis_, std::move(command), deadline);
  }

  Task<absl::StatusOr<std::vector<LogItem>>> Read(LogPosition after, size_t limit,
                                                  absl::Duration wait,
                                                  MonoNanos deadline) override {
    // BLOCK 0 would be for ever.
    const int64_t block = std::max<int64_t>(1, absl::ToInt64Milliseconds(wait));
    RedisCommand command;
    command.args = {"XREAD",       "COUNT",   StrCat(limit), "BLOCK",
                    StrCat(block), "STREAMS", key_,          IdOf(after)};
    command.key_at = 6;
    return DoRead(redis_, lane_, average_, std::move(command), deadline);
  }

  Task<absl::StatusOr<LogPosition>> Tail(MonoNanos deadline) override {
    RedisCommand command;
    command.args = {"XREVRANGE", key_, "+", "-", "COUNT", "1"};
    return DoTail(redis_, std::move(command), deadline);
  }

 private:
  using Average = std::shared_ptr<std::atomic<double>>;

  static uint64_t NextNumber() {
    static std::atomic<uint64_t> next{1};
    return next.fetch_add(1);
  }

  static Task<absl::StatusOr<LogPosition>> DoAppend(Redis* redis, RedisCommand command,
                                                    MonoNanos deadline) {
    const absl::StatusOr<RedisReply> reply = co_await redis->Call(std::move(command), deadline);
    if (!reply.ok()) co_return reply.status();
    co_return ParseId(*reply);
  }

  static Task<absl::StatusOr<std::vector<LogItem>>> DoRead(Redis* redis, std::string lane,
                                                           Average average, RedisCommand command,
                                                           MonoNanos deadline) {
    absl::StatusOr<RedisReply> reply =
        co_await redis->CallBlocking(std::move(lane), std::move(command), deadline);
    if (!reply.ok()) co_return reply.status();
    if (reply->kind == RedisReply::Kind::kNil) co_return std::vector<LogItem>();
    // One stream was asked for: [[key, entries]].
    if (reply->items.size() != 1 || reply->items[0].items.size() != 2)
      co_return absl::InternalError("XREAD answered something else");
    absl::StatusOr<std::vector<LogItem>> items = ParseEntries(std::move(reply->items[0].items[1]));
    if (items.ok()) TakeSizes(*items, average.get());
    co_return items;
  }

  static Task<absl::StatusOr<LogPosition>> DoTail(Redis* redis, RedisCommand command,
                                                  MonoNanos deadline) {
    absl::StatusOr<RedisReply> reply = co_await redis->Call(std::move(command), deadline);
    if (!reply.ok()) co_return reply.status();
    const absl::StatusOr<std::vector<LogItem>> items = ParseEntries(*std::move(reply));
    if (!items.ok()) co_return items.status();
    co_return items->empty() ? LogPosition() : items->back().at;
  }

  // An average over about the last thousand items. One reader at a time writes it.
  static void TakeSizes(const std::vector<LogItem>& items, std::atomic<double>* average) {
    double now = average->load(std::memory_order_relaxed);
    for (const LogItem& item : items)
      now += (static_cast<double>(item.bytes.size() + kEntryOverhead) - now) / 1024;
    average->store(now, std::memory_order_relaxed);
  }

  uint64_t ItemsMax() const {
    const double by_bytes =
        static_cast<double>(options_.bytes_max) / average_->load(std::memory_order_relaxed);
    return std::clamp(static_cast<uint64_t>(by_bytes), kItemsMin, options_.items_max);
  }

  Redis* const redis_;
  const RedisLogOptions options_;
  const std::string key_;
  // Logs do not wait for each other's reads.
  const std::string lane_;
  const Average average_;
};

}  // namespace

absl::Status CheckRedisLogOptions(const RedisLogOptions& options) {
  if (options.items_max < kItemsMin || options.items_max > 100'000'000)
    return absl::InvalidArgumentError("items_max: 1,000 to 100,000,000");
  if (options.bytes_max < (1 << 20) || options.bytes_max > (uint64_t{64} << 30))
    return absl::InvalidArgumentError("bytes_max: 1 MiB to 64 GiB");
  return absl::OkStatus();
}

std::unique_ptr<BusLog> NewRedisLog(Redis* redis, const RedisLogOptions& options) {
  return std::make_unique<RedisLog>(redis, options);
}

}  // namespace larder
