// Calls to gRPC servers over plain HTTP/2, many under way at once on one thread, at the cost of
// what redis-benchmark does: what is measured on a machine that the servers share is theirs.
// Thread safety: none; one thread. A server that cannot be reached or makes no sense ends the
// program.

#ifndef LARDER_BENCH_RAW_CLIENT_H_
#define LARDER_BENCH_RAW_CLIENT_H_

#include <nghttp2/nghttp2.h>
#include <poll.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "google/protobuf/message_lite.h"

namespace larder::bench {

using Seconds = std::chrono::duration<double>;
using Clock = std::chrono::steady_clock;

struct Address {
  std::string host;
  int port = 0;
};

// Of HOST:PORT[,HOST:PORT...]
std::vector<Address> AddressesOf(std::string_view text);

// With gRPC's five bytes before it.
std::string Framed(const google::protobuf::MessageLite& message);

struct Call {
  std::string body;
  Clock::time_point due;
  uint64_t tag = 0;
  size_t sent = 0;
  size_t received = 0;
  std::string answer;  // framed, if it is kept
  int status = -1;     // of gRPC
};

// What the load asks for: the next request's body, or an empty one when there is no more to ask;
// and what is done with an answer. `asks_again`: a call that ended is followed by the next.
struct Questions {
  std::string path;
  std::function<std::string()> next = nullptr;
  std::function<void(const Call&)> answered = nullptr;
  bool asks_again = true;
  bool keeps_answers = false;
};

class Connection {
 public:
  Connection(const Address& to, Questions* questions);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  int fd() const { return fd_; }
  bool writes() const;
  size_t under_way() const { return under_way_; }

  // The next of the questions.
  void Ask(Clock::time_point due = Clock::now());
  // One that is not among them.
  void AskFor(std::string body, uint64_t tag, Clock::time_point due = Clock::now());

  void Read();
  void Write();

 private:
  static ssize_t ReadBody(nghttp2_session* session, int32_t stream, uint8_t* to, size_t room,
                          uint32_t* flags, nghttp2_data_source* source, void* self);
  static Call* CallOf(nghttp2_session* session, int32_t stream);
  static int OnHeader(nghttp2_session* session, const nghttp2_frame* frame, const uint8_t* name,
                      size_t name_size, const uint8_t* value, size_t value_size, uint8_t flags,
                      void* self);
  static int OnData(nghttp2_session* session, uint8_t flags, int32_t stream, const uint8_t* data,
                    size_t size, void* self);
  static int OnClose(nghttp2_session* session, int32_t stream, uint32_t code, void* self);

  Questions* const questions_;
  int fd_ = -1;
  nghttp2_session* session_ = nullptr;
  size_t under_way_ = 0;
  std::string out_;
  size_t out_at_ = 0;
  uint8_t in_[256 << 10];
};

// Waits for several connections at once; they belong to somebody else.
class Poller {
 public:
  void Add(Connection* connection);
  // Writes what there is, waits until something comes or `until`, and reads it. Calls that are
  // under way.
  size_t Turn(Clock::time_point until);

 private:
  std::vector<Connection*> all_;
  std::vector<pollfd> waits_;
};

// Connections that ask the same, shared by the addresses.
class Connections {
 public:
  Connections(const std::vector<Address>& to, int count, Questions* questions);

  Connection& Next() { return *all_[turn_++ % all_.size()]; }
  size_t Turn(Clock::time_point until) { return poller_.Turn(until); }

 private:
  std::vector<std::unique_ptr<Connection>> all_;
  Poller poller_;
  size_t turn_ = 0;
};

}  // namespace larder::bench

#endif  // LARDER_BENCH_RAW_CLIENT_H_
