// Loads a gRPC server over plain HTTP/2 with what h2load cannot send. One thread, which costs as
// little as redis-benchmark does.
//
//   larder_raw_load HOST:PORT fill KEYS
//   larder_raw_load HOST:PORT get KEYS CONNECTIONS STREAMS SECONDS
//   larder_raw_load HOST:PORT set KEYS CONNECTIONS RATE SECONDS
//   larder_raw_load HOST:PORT load KEYS CONNECTIONS RATE SECONDS
//   larder_raw_load HOST:PORT write KEYS CONNECTIONS SECONDS
//   larder_raw_load HOST:PORT[,HOST:PORT...] crowd KEY CALLERS BYTES
//
// `fill` stores the keys 0 to KEYS - 1 with values of 100 bytes. `get` keeps CONNECTIONS x STREAMS
// calls of 100 keys each, drawn anew, under way and reports calls and keys a second. Every answer
// has to be OK and long enough for 100 values. `set` sends RATE Sets a second, whether or not they
// are answered, and reports what is done and what is refused, and how long each took from when it
// should have been sent; `load` does the same with GetOrLoad. `write` is CONNECTIONS callers that
// Set 200 bytes, wait for the answer, and Set again. `crowd` makes CALLERS calls of GetOrLoad for
// one key as fast as they can be sent, 100 on a connection, and reports how many were answered with
// BYTES at least and how long they waited.

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <nghttp2/nghttp2.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bench/report.h"
#include "larder/v1/cache.pb.h"

namespace larder::bench {
namespace {

constexpr int kBatch = 100;
constexpr int kFillBatch = 500;
constexpr size_t kValueBytes = 100;
constexpr size_t kWrittenBytes = 200;
constexpr int kCallersOnOne = 100;
constexpr uint32_t kWindow = 1 << 30;
constexpr auto kPatience = std::chrono::seconds(10);

using Seconds = std::chrono::duration<double>;
using Clock = std::chrono::steady_clock;

struct Address {
  std::string host;
  int port = 0;
};

// Of HOST:PORT[,HOST:PORT...]
std::vector<Address> AddressesOf(std::string_view text) {
  std::vector<Address> addresses;
  while (!text.empty()) {
    const std::string_view one = text.substr(0, text.find(','));
    text.remove_prefix(std::min(text.size(), one.size() + 1));
    const size_t colon = one.rfind(':');
    if (colon == one.npos) Broken("see the head of raw_load.cc");
    addresses.push_back(
        {std::string(one.substr(0, colon)), std::atoi(std::string(one.substr(colon + 1)).c_str())});
  }
  return addresses;
}

std::string KeyOf(uint64_t id) {
  char text[32];
  std::snprintf(text, sizeof text, "key:%016lx", static_cast<unsigned long>(id));
  return text;
}

std::string Framed(const google::protobuf::MessageLite& message) {
  std::string framed(5, '\0');
  message.AppendToString(&framed);
  const auto size = static_cast<uint32_t>(framed.size() - 5);
  for (int i = 0; i < 4; ++i) framed[4 - i] = static_cast<char>(size >> (8 * i));
  return framed;
}

struct Call {
  std::string body;
  Clock::time_point due;
  size_t sent = 0;
  size_t received = 0;
  int status = -1;  // of gRPC
};

// What the load asks for: the next request's body, or an empty one when there is no more to ask;
// and what is done with an answer. `asks_again`: a call that ended is followed by the next.
struct Questions {
  std::string path;
  std::function<std::string()> next;
  std::function<void(const Call&)> answered = nullptr;
  bool asks_again = true;
};

class Connection {
 public:
  Connection(const Address& to, Questions* questions) : questions_(questions) {
    fd_ = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(to.port));
    if (inet_pton(AF_INET, to.host.c_str(), &address.sin_addr) != 1) Broken("no IPv4 address");
    if (connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
      Broken("the server does not listen");
    }
    const int on = 1;
    setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    fcntl(fd_, F_SETFL, O_NONBLOCK);
    nghttp2_session_callbacks* callbacks = nullptr;
    nghttp2_session_callbacks_new(&callbacks);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, &OnHeader);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, &OnData);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, &OnClose);
    nghttp2_session_client_new(&session_, callbacks, this);
    nghttp2_session_callbacks_del(callbacks);
    const nghttp2_settings_entry settings = {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, kWindow};
    nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, &settings, 1);
    nghttp2_session_set_local_window_size(session_, NGHTTP2_FLAG_NONE, 0, kWindow);
  }
  ~Connection() {
    nghttp2_session_del(session_);
    close(fd_);
  }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  int fd() const { return fd_; }
  bool writes() const { return out_at_ < out_.size() || nghttp2_session_want_write(session_) != 0; }
  size_t under_way() const { return under_way_; }

  void Ask(Clock::time_point due = Clock::now()) {
    auto call = std::make_unique<Call>();
    call->due = due;
    call->body = questions_->next();
    if (call->body.empty()) return;
    const auto field = [](const char* name, std::string_view value) {
      return nghttp2_nv{reinterpret_cast<uint8_t*>(const_cast<char*>(name)),
                        reinterpret_cast<uint8_t*>(const_cast<char*>(value.data())),
                        std::strlen(name), value.size(), NGHTTP2_NV_FLAG_NO_COPY_NAME};
    };
    const nghttp2_nv fields[] = {
        field(":method", "POST"),         field(":scheme", "http"),
        field(":path", questions_->path), field(":authority", "bench"),
        field("te", "trailers"),          field("content-type", "application/grpc")};
    nghttp2_data_provider body{{.ptr = call.get()}, &ReadBody};
    if (nghttp2_submit_request(session_, nullptr, fields, std::size(fields), &body,
                               call.release()) < 0) {
      Broken("nghttp2 takes no request");
    }
    ++under_way_;
  }

  void Read() {
    while (true) {
      const ssize_t got = recv(fd_, in_, sizeof in_, 0);
      if (got < 0 && errno == EAGAIN) return;
      if (got <= 0) Broken("the server closed a connection");
      if (nghttp2_session_mem_recv(session_, in_, static_cast<size_t>(got)) != got) {
        Broken("the server speaks no HTTP/2");
      }
      if (static_cast<size_t>(got) < sizeof in_) return;
    }
  }

  void Write() {
    while (true) {
      if (out_at_ == out_.size()) {
        out_.clear();
        out_at_ = 0;
        const uint8_t* bytes = nullptr;
        ssize_t size = 0;
        while (out_.size() < sizeof in_ &&
               (size = nghttp2_session_mem_send(session_, &bytes)) > 0) {
          out_.append(reinterpret_cast<const char*>(bytes), static_cast<size_t>(size));
        }
        if (size < 0) Broken("nghttp2 writes nothing");
        if (out_.empty()) return;
      }
      const ssize_t sent = send(fd_, out_.data() + out_at_, out_.size() - out_at_, MSG_NOSIGNAL);
      if (sent < 0 && errno == EAGAIN) return;
      if (sent < 0) Broken("the server closed a connection");
      out_at_ += static_cast<size_t>(sent);
    }
  }

 private:
  static ssize_t ReadBody(nghttp2_session*, int32_t, uint8_t* to, size_t room, uint32_t* flags,
                          nghttp2_data_source* source, void*) {
    Call& call = *static_cast<Call*>(source->ptr);
    const size_t size = std::min(room, call.body.size() - call.sent);
    std::memcpy(to, call.body.data() + call.sent, size);
    call.sent += size;
    if (call.sent == call.body.size()) *flags |= NGHTTP2_DATA_FLAG_EOF;
    return static_cast<ssize_t>(size);
  }

  static Call* CallOf(nghttp2_session* session, int32_t stream) {
    return static_cast<Call*>(nghttp2_session_get_stream_user_data(session, stream));
  }

  static int OnHeader(nghttp2_session* session, const nghttp2_frame* frame, const uint8_t* name,
                      size_t name_size, const uint8_t* value, size_t value_size, uint8_t, void*) {
    const std::string_view key(reinterpret_cast<const char*>(name), name_size);
    if (key != "grpc-status") return 0;
    Call* const call = CallOf(session, frame->hd.stream_id);
    if (call != nullptr) {
      call->status =
          std::atoi(std::string(reinterpret_cast<const char*>(value), value_size).c_str());
    }
    return 0;
  }

  static int OnData(nghttp2_session* session, uint8_t, int32_t stream, const uint8_t*, size_t size,
                    void*) {
    Call* const call = CallOf(session, stream);
    if (call != nullptr) call->received += size;
    return 0;
  }

  static int OnClose(nghttp2_session* session, int32_t stream, uint32_t, void* self) {
    const std::unique_ptr<Call> call(CallOf(session, stream));
    auto& connection = *static_cast<Connection*>(self);
    if (call == nullptr) return 0;
    connection.questions_->answered(*call);
    --connection.under_way_;
    if (connection.questions_->asks_again) connection.Ask();
    return 0;
  }

  Questions* const questions_;
  int fd_ = -1;
  nghttp2_session* session_ = nullptr;
  size_t under_way_ = 0;
  std::string out_;
  size_t out_at_ = 0;
  uint8_t in_[256 << 10];
};

// All connections, on one thread, shared by the addresses.
class Connections {
 public:
  Connections(const std::vector<Address>& to, int count, Questions* questions) {
    for (int i = 0; i < count; ++i) {
      all_.push_back(
          std::make_unique<Connection>(to[static_cast<size_t>(i) % to.size()], questions));
      waits_.push_back({all_.back()->fd(), POLLIN, 0});
    }
  }

  Connection& Next() { return *all_[turn_++ % all_.size()]; }
  // Writes what there is, waits until something comes or `until`, and reads it. Calls that are
  // under way.
  size_t Turn(Clock::time_point until) {
    size_t under_way = 0;
    for (size_t i = 0; i < all_.size(); ++i) {
      all_[i]->Write();
      under_way += all_[i]->under_way();
      waits_[i].events = all_[i]->writes() ? POLLIN | POLLOUT : POLLIN;
    }
    const auto left = std::max(until - Clock::now(), Clock::duration::zero());
    const auto nanos = std::chrono::duration_cast<std::chrono::nanoseconds>(left).count();
    const timespec wait{nanos / 1'000'000'000, nanos % 1'000'000'000};
    if (ppoll(waits_.data(), waits_.size(), &wait, nullptr) <= 0) return under_way;
    for (size_t i = 0; i < all_.size(); ++i) {
      if ((waits_[i].revents & (POLLIN | POLLHUP | POLLERR)) != 0) all_[i]->Read();
    }
    under_way = 0;
    for (const auto& each : all_) under_way += each->under_way();
    return under_way;
  }

 private:
  std::vector<std::unique_ptr<Connection>> all_;
  std::vector<pollfd> waits_;
  size_t turn_ = 0;
};

// Asks until there are no questions left.
void Run(const std::vector<Address>& to, int connections, int streams, Questions questions) {
  bool answered = false;
  const auto tell = std::move(questions.answered);
  questions.answered = [&](const Call& call) {
    tell(call);
    answered = true;
  };
  Connections all(to, connections, &questions);
  for (int i = 0; i < connections * streams; ++i) all.Next().Ask();
  auto give_up = Clock::now() + kPatience;
  while (all.Turn(give_up) > 0) {
    if (std::exchange(answered, false)) give_up = Clock::now() + kPatience;
    if (Clock::now() > give_up) Broken("no answer in ten seconds");
  }
}

// The same; the calls that were answered, all of them OK and with so many bytes.
uint64_t RunAll(const std::vector<Address>& to, int connections, int streams, Questions questions,
                size_t answer_bytes_min) {
  uint64_t done = 0;
  questions.answered = [&](const Call& call) {
    if (call.status != 0 || call.received < answer_bytes_min) {
      Broken("a call was not answered as it should be");
    }
    ++done;
  };
  Run(to, connections, streams, std::move(questions));
  return done;
}

void Fill(const std::vector<Address>& to, uint64_t keys) {
  uint64_t next = 0;
  Questions questions{"/larder.v1.Cache/BatchSet", [&]() -> std::string {
                        v1::BatchSetRequest request;
                        for (int i = 0; i < kFillBatch && next < keys; ++i, ++next) {
                          v1::BatchSetItem& item = *request.add_items();
                          item.set_key(KeyOf(next));
                          item.set_value(std::string(kValueBytes, 'v'));
                          item.mutable_ttl()->set_seconds(3600);
                        }
                        return request.items().empty() ? std::string() : Framed(request);
                      }};
  const uint64_t done = RunAll(to, 1, 4, std::move(questions), 0);
  if (done != (keys + kFillBatch - 1) / kFillBatch) Broken("not all is stored");
}

void Get(const std::vector<Address>& to, uint64_t keys, int connections, int streams,
         double seconds) {
  std::mt19937_64 random(1);
  const auto begun = Clock::now();
  uint64_t asked = 0;
  bool over = false;
  v1::BatchGetRequest request;
  for (int i = 0; i < kBatch; ++i) request.add_keys();
  Questions questions{"/larder.v1.Cache/BatchGet", [&]() -> std::string {
                        if (++asked % 64 == 0)
                          over = Seconds(Clock::now() - begun).count() > seconds;
                        if (over) return {};
                        for (std::string& key : *request.mutable_keys()) {
                          key = KeyOf(random() % keys);
                        }
                        return Framed(request);
                      }};
  const uint64_t done =
      RunAll(to, connections, streams, std::move(questions), kBatch * kValueBytes);
  const double took = Seconds(Clock::now() - begun).count();
  Report("calls", static_cast<double>(done) / took, "calls/s");
  Report("keys", static_cast<double>(done * kBatch) / took, "keys/s");
}

double Percentile(std::vector<double> millis, size_t percent) {
  if (millis.empty()) return 0;
  std::sort(millis.begin(), millis.end());
  return millis[millis.size() * percent / 100];
}

void Write(const std::vector<Address>& to, uint64_t keys, int connections, double seconds) {
  std::mt19937_64 random(1);
  std::vector<double> millis;
  uint64_t failed = 0;
  v1::SetRequest request;
  request.set_value(std::string(kWrittenBytes, 'v'));
  const auto begun = Clock::now();
  Questions questions{"/larder.v1.Cache/Set",
                      [&]() -> std::string {
                        if (Seconds(Clock::now() - begun).count() > seconds) return {};
                        request.set_key("item:" + std::to_string(random() % keys));
                        return Framed(request);
                      },
                      [&](const Call& call) {
                        millis.push_back(1e3 * Seconds(Clock::now() - call.due).count());
                        failed += call.status == 0 ? 0 : 1;
                      }};
  Run(to, connections, 1, std::move(questions));
  const double took = Seconds(Clock::now() - begun).count();
  Report("sets", static_cast<double>(millis.size()) / took, "sets/s");
  Report("sets_failed", static_cast<double>(failed), "calls");
  Report("sets_p50", Percentile(millis, 50), "ms");
  Report("sets_p99", Percentile(millis, 99), "ms");
}

// Asks at that rate, whatever becomes of the calls.
void Flood(const std::vector<Address>& to, const std::string& path,
           const std::function<std::string()>& next, int connections, double rate, double seconds) {
  constexpr int kResourceExhausted = 8;
  std::vector<double> done;
  std::vector<double> refused;
  uint64_t failed = 0;
  Questions questions{path, next,
                      [&](const Call& call) {
                        const double millis = 1e3 * Seconds(Clock::now() - call.due).count();
                        if (call.status == 0) {
                          done.push_back(millis);
                        } else if (call.status == kResourceExhausted) {
                          refused.push_back(millis);
                        } else {
                          ++failed;
                        }
                      },
                      /*asks_again=*/false};
  Connections all(to, connections, &questions);
  const auto begun = Clock::now();
  const auto count = static_cast<uint64_t>(rate * seconds);
  const auto due = [&](uint64_t i) {
    return begun +
           std::chrono::duration_cast<Clock::duration>(Seconds(static_cast<double>(i) / rate));
  };
  for (uint64_t i = 0; i < count;) {
    for (; i < count && due(i) <= Clock::now(); ++i) all.Next().Ask(due(i));
    all.Turn(i < count ? due(i) : Clock::now());
  }
  const double took = Seconds(Clock::now() - begun).count();
  const auto give_up = Clock::now() + kPatience;
  while (all.Turn(give_up) > 0 && Clock::now() < give_up) {
  }
  const size_t answered = done.size() + refused.size() + failed;
  Report("done", static_cast<double>(done.size()) / took, "calls/s");
  Report("refused", static_cast<double>(refused.size()) / took, "calls/s");
  Report("failed", static_cast<double>(failed), "calls");
  Report("unanswered", static_cast<double>(count - answered), "calls");
  Report("done_p99", Percentile(done, 99), "ms");
  Report("refused_p99", Percentile(refused, 99), "ms");
}

void Set(const std::vector<Address>& to, uint64_t keys, int connections, double rate,
         double seconds) {
  std::mt19937_64 random(1);
  v1::SetRequest request;
  request.set_value(std::string(kValueBytes, 'v'));
  request.mutable_ttl()->set_seconds(3600);
  const auto next = [&] {
    request.set_key(KeyOf(random() % keys));
    return Framed(request);
  };
  Flood(to, "/larder.v1.Cache/Set", next, connections, rate, seconds);
}

void Load(const std::vector<Address>& to, uint64_t keys, int connections, double rate,
          double seconds) {
  std::mt19937_64 random(std::random_device{}());
  v1::GetOrLoadRequest request;
  const auto next = [&] {
    request.set_key("item:" + std::to_string(random() % keys));
    return Framed(request);
  };
  Flood(to, "/larder.v1.Cache/GetOrLoad", next, connections, rate, seconds);
}

void Crowd(const std::vector<Address>& to, const std::string& key, int callers, size_t bytes) {
  std::vector<double> millis;
  uint64_t failed = 0;
  v1::GetOrLoadRequest request;
  request.set_key(key);
  const std::string body = Framed(request);
  Questions questions{"/larder.v1.Cache/GetOrLoad", [&] { return body; },
                      [&](const Call& call) {
                        millis.push_back(1e3 * Seconds(Clock::now() - call.due).count());
                        failed += call.status == 0 && call.received >= bytes ? 0 : 1;
                      },
                      /*asks_again=*/false};
  Connections all(to, (callers + kCallersOnOne - 1) / kCallersOnOne, &questions);
  for (int asked = 0; asked < callers;) {
    Connection& one = all.Next();
    for (int i = 0; i < kCallersOnOne && asked < callers; ++i, ++asked) one.Ask();
    one.Write();
  }
  const auto give_up = Clock::now() + kPatience;
  while (all.Turn(give_up) > 0 && Clock::now() < give_up) {
  }
  Report("answered", static_cast<double>(millis.size() - failed), "calls");
  Report("p1", Percentile(millis, 1), "ms");
  Report("p50", Percentile(millis, 50), "ms");
  Report("p99", Percentile(millis, 99), "ms");
}

int Main(const std::vector<std::string>& args) {
  if (args.size() < 3) Broken("see the head of raw_load.cc");
  const std::vector<Address> to = AddressesOf(args[0]);
  if (args[1] == "crowd" && args.size() == 5) {
    Crowd(to, args[2], std::atoi(args[3].c_str()), std::strtoull(args[4].c_str(), nullptr, 10));
    return 0;
  }
  const uint64_t keys = std::strtoull(args[2].c_str(), nullptr, 10);
  if (keys == 0) Broken("no keys");
  if (args[1] == "fill" && args.size() == 3) {
    Fill(to, keys);
  } else if (args[1] == "get" && args.size() == 6) {
    Get(to, keys, std::atoi(args[3].c_str()), std::atoi(args[4].c_str()),
        std::atof(args[5].c_str()));
  } else if (args[1] == "set" && args.size() == 6) {
    Set(to, keys, std::atoi(args[3].c_str()), std::atof(args[4].c_str()),
        std::atof(args[5].c_str()));
  } else if (args[1] == "load" && args.size() == 6) {
    Load(to, keys, std::atoi(args[3].c_str()), std::atof(args[4].c_str()),
         std::atof(args[5].c_str()));
  } else if (args[1] == "write" && args.size() == 5) {
    Write(to, keys, std::atoi(args[3].c_str()), std::atof(args[4].c_str()));
  } else {
    Broken("see the head of raw_load.cc");
  }
  return 0;
}

}  // namespace
}  // namespace larder::bench

int main(int argc, char** argv) { return larder::bench::Main({argv + 1, argv + argc}); }
