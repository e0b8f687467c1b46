// hiredis connects, encrypts (from 1.0 on) and parses; the rest of its machinery is not used. Its
// asynchronous API keeps a heap block for each command and turns each answer into a tree of its own
// that would be copied into a RedisReply afterwards. The reader underneath is told instead how to
// make its objects: the functions below build the RedisReply in place, so that a value is copied
// once, from the reader's buffer into its string.
//
// The reader removes what it has parsed from the front of its buffer a kilobyte at a time, moving
// the rest. It is therefore fed in slices: moving 16 KiB costs little, moving what one read(2) may
// bring would cost more than parsing it.

#include "redis/socket.h"

#include <hiredis/hiredis.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "base/strings.h"
#include "redis/tls.h"

namespace larder {
namespace {

constexpr size_t kSliceBytes = 16 << 10;
// Reads of one turn.
constexpr int kReadsMax = 4;
// The reader keeps a buffer of this size while it is empty.
constexpr size_t kKeptBytes = 256 << 10;
// Of one array in an answer: none that we ask for has as many.
constexpr size_t kItemsMax = 1 << 20;

#if HIREDIS_MAJOR >= 1
using ItemCount = size_t;
#else
using ItemCount = int;
#endif

// The answer that is being read.
struct Incoming {
  RedisReply reply;
  bool failed = false;
  std::string error;
  // What it takes in memory so far, and may take.
  uint64_t bytes = 0;
  uint64_t bytes_max = 0;

  // False: the answer is too long. The reader takes null for want of memory and gives up.
  bool Grow(uint64_t by) {
    bytes += by;
    return bytes <= bytes_max;
  }
};

Incoming* IncomingOf(const redisReadTask* task) { return static_cast<Incoming*>(task->privdata); }

// Where the object of this task belongs.
RedisReply* PlaceOf(const redisReadTask* task) {
  if (task->parent == nullptr) return &IncomingOf(task)->reply;
  return &static_cast<RedisReply*>(task->parent->obj)->items[static_cast<size_t>(task->idx)];
}

void* CreateString(const redisReadTask* task, char* text, size_t length) {
  if (!IncomingOf(task)->Grow(length)) return nullptr;
  RedisReply* const reply = PlaceOf(task);
  if (task->type == REDIS_REPLY_ERROR) {
    // An error inside an array makes the whole answer an error.
    IncomingOf(task)->failed = true;
    IncomingOf(task)->error.assign(text, length);
    return reply;
  }
  reply->kind = RedisReply::Kind::kString;
  reply->text.assign(text, length);
  return reply;
}

void* CreateArray(const redisReadTask* task, ItemCount count) {
  const auto items = static_cast<size_t>(count);
  if (items > kItemsMax || !IncomingOf(task)->Grow(items * sizeof(RedisReply))) return nullptr;
  RedisReply* const reply = PlaceOf(task);
  reply->kind = RedisReply::Kind::kArray;
  reply->items.resize(items);
  return reply;
}

void* CreateInteger(const redisReadTask* task, long long value) {  // NOLINT(google-runtime-int)
  RedisReply* const reply = PlaceOf(task);
  reply->kind = RedisReply::Kind::kInteger;
  reply->integer = value;
  return reply;
}

void* CreateNil(const redisReadTask* task) { return PlaceOf(task); }

// The objects belong to Incoming.
void FreeObject(void* /*object*/) {}

#if HIREDIS_MAJOR >= 1
// RESP3, which is never asked for.
void* CreateDouble(const redisReadTask* task, double /*value*/, char* text, size_t length) {
  return CreateString(task, text, length);
}
void* CreateBool(const redisReadTask* task, int value) { return CreateInteger(task, value); }
redisReplyObjectFunctions functions = {CreateString, CreateArray, CreateInteger, CreateDouble,
                                       CreateNil,    CreateBool,  FreeObject};
#else
redisReplyObjectFunctions functions = {CreateString, CreateArray, CreateInteger, CreateNil,
                                       FreeObject};
#endif

absl::Status Failure(std::string_view what, int error) {
  return absl::UnavailableError(StrCat(what, ": ", std::string_view(strerror(error))));
}

class SocketImpl : public RedisSocket {
 public:
  SocketImpl(redisContext* context, std::string host, RedisTls* tls, uint64_t reply_bytes_max,
             std::vector<char>* buffer)
      : context_(context),
        host_(std::move(host)),
        tls_(tls),
        reply_bytes_max_(reply_bytes_max),
        buffer_(buffer) {
    incoming_.bytes_max = reply_bytes_max_;
    context_->reader->fn = &functions;
    context_->reader->privdata = &incoming_;
    context_->reader->maxbuf = kKeptBytes;
  }
  ~SocketImpl() override { redisFree(context_); }

  int fd() const override { return context_->fd; }

  absl::Status Established() override {
    int error = 0;
    socklen_t size = sizeof(error);
    if (getsockopt(context_->fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0) error = errno;
    if (error != 0) return Failure("cannot connect", error);
    redisEnableKeepAlive(context_);
    if (tls_ == nullptr) return absl::OkStatus();
    const absl::StatusOr<ssl_st*> ssl = BeginRedisTls(tls_, context_, host_);
    if (ssl.ok()) ssl_ = *ssl;
    return ssl.status();
  }

  absl::StatusOr<size_t> Write(const std::vector<iovec>& pieces) override {
    return tls_ != nullptr ? WriteEncrypted(pieces) : WritePlain(pieces);
  }

  absl::Status Read(RedisReplySink* sink) override {
    for (int i = 0; i < kReadsMax; ++i) {
      size_t got = 0;
      if (tls_ != nullptr) {
        const size_t before = context_->reader->len;
        ClearRedisTlsErrors();
        if (redisBufferRead(context_) != REDIS_OK) return RedisTlsFailure(ssl_, context_);
        got = context_->reader->len - before;
        // The system does not tell of what lies decrypted in the library, so this goes on until
        // there is nothing.
        if (got > 0) i = 0;
        if (got == 0) return absl::OkStatus();
        absl::StatusOr<bool> more = Parse(sink);
        if (!more.ok() || !*more) return more.status();
        continue;
      }
      const ssize_t n = recv(context_->fd, buffer_->data(), buffer_->size(), 0);
      if (n == 0) return absl::UnavailableError("the server closed the connection");
      if (n < 0) {
        if (errno == EAGAIN || errno == EINTR) return absl::OkStatus();
        return Failure("read", errno);
      }
      got = static_cast<size_t>(n);
      for (size_t at = 0; at < got; at += kSliceBytes) {
        redisReaderFeed(context_->reader, buffer_->data() + at, std::min(kSliceBytes, got - at));
        absl::StatusOr<bool> more = Parse(sink);
        if (!more.ok() || !*more) return more.status();
      }
      if (got < buffer_->size()) return absl::OkStatus();
    }
    return absl::OkStatus();
  }

  bool holds_bytes() const override { return held_ > 0; }
  bool waits_for_peer() const override { return ssl_ != nullptr && RedisTlsWaitsForPeer(ssl_); }

 private:
  // Hands on every answer that is complete. False when the sink wants no more.
  absl::StatusOr<bool> Parse(RedisReplySink* sink) {
    redisReader* const reader = context_->reader;
    while (true) {
      void* done = nullptr;
      if (redisReaderGetReply(reader, &done) != REDIS_OK) {
        if (reader->err == REDIS_ERR_OOM) return TooLong();
        return absl::UnavailableError(
            StrCat("cannot read the answer: ", std::string_view(reader->errstr)));
      }
      if (done == nullptr) break;
      Incoming whole = std::exchange(incoming_, Incoming());
      incoming_.bytes_max = reply_bytes_max_;
      const bool more =
          whole.failed ? sink->OnErrorReply(whole.error) : sink->OnReply(std::move(whole.reply));
      if (!more) return false;
    }
    // A string of which only a part has come.
    if (reader->len - reader->pos > reply_bytes_max_) return TooLong();
    return true;
  }

  absl::Status TooLong() const {
    return absl::UnavailableError(
        StrCat("an answer is longer than ", reply_bytes_max_, " bytes or ", kItemsMax, " items"));
  }

  absl::StatusOr<size_t> WritePlain(const std::vector<iovec>& pieces) {
    msghdr message{};
    message.msg_iov = const_cast<iovec*>(pieces.data());
    message.msg_iovlen = pieces.size();
    const ssize_t n = sendmsg(context_->fd, &message, MSG_NOSIGNAL);
    if (n >= 0) return static_cast<size_t>(n);
    if (errno == EAGAIN || errno == EINTR) return size_t{0};
    return Failure("write", errno);
  }

  // hiredis encrypts from its own buffer. Nothing is added to it while it holds something: a write
  // that TLS could not finish must be repeated with the same bytes.
  absl::StatusOr<size_t> WriteEncrypted(const std::vector<iovec>& pieces) {
    size_t taken = 0;
    if (held_ == 0) {
      for (const iovec& piece : pieces) {
        redisAppendFormattedCommand(context_, static_cast<const char*>(piece.iov_base),
                                    piece.iov_len);
        taken += piece.iov_len;
      }
      held_ = taken;
    }
    int done = 0;
    ClearRedisTlsErrors();
    if (held_ > 0 && redisBufferWrite(context_, &done) != REDIS_OK)
      return RedisTlsFailure(ssl_, context_);
    if (done != 0) held_ = 0;
    return taken;
  }

  redisContext* const context_;
  const std::string host_;
  RedisTls* const tls_;
  // The context's; null without TLS.
  ssl_st* ssl_ = nullptr;
  const uint64_t reply_bytes_max_;
  std::vector<char>* const buffer_;
  Incoming incoming_;
  size_t held_ = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<RedisSocket>> RedisSocket::Connect(const std::string& ip, int port,
                                                                  const std::string& host,
                                                                  RedisTls* tls,
                                                                  uint64_t reply_bytes_max,
                                                                  std::vector<char>* buffer) {
  redisContext* const context = redisConnectNonBlock(ip.c_str(), port);
  if (context == nullptr) return absl::UnavailableError("cannot connect: out of memory");
  auto socket = std::make_unique<SocketImpl>(context, host, tls, reply_bytes_max, buffer);
  if (context->err != 0) {
    return absl::UnavailableError(StrCat("cannot connect: ", std::string_view(context->errstr)));
  }
  return socket;
}

}  // namespace larder
