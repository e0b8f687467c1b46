#include "bench/raw_client.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <utility>

#include "bench/report.h"

namespace larder::bench {
namespace {

constexpr uint32_t kWindow = 1 << 30;

}  // namespace

std::vector<Address> AddressesOf(std::string_view text) {
  std::vector<Address> addresses;
  while (!text.empty()) {
    const std::string_view one = text.substr(0, text.find(','));
    text.remove_prefix(std::min(text.size(), one.size() + 1));
    const size_t colon = one.rfind(':');
    if (colon == one.npos) Broken("an address is HOST:PORT");
    addresses.push_back(
        {std::string(one.substr(0, colon)), std::atoi(std::string(one.substr(colon + 1)).c_str())});
  }
  return addresses;
}

std::string Framed(const google::protobuf::MessageLite& message) {
  std::string framed(5, '\0');
  message.AppendToString(&framed);
  const auto size = static_cast<uint32_t>(framed.size() - 5);
  for (int i = 0; i < 4; ++i) framed[4 - i] = static_cast<char>(size >> (8 * i));
  return framed;
}

// ---- Connection

Connection::Connection(const Address& to, Questions* questions) : questions_(questions) {
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

Connection::~Connection() {
  nghttp2_session_del(session_);
  close(fd_);
}

bool Connection::writes() const {
  return out_at_ < out_.size() || nghttp2_session_want_write(session_) != 0;
}

void Connection::Ask(Clock::time_point due) {
  std::string body = questions_->next();
  if (!body.empty()) AskFor(std::move(body), 0, due);
}

void Connection::AskFor(std::string body, uint64_t tag, Clock::time_point due) {
  auto call = std::make_unique<Call>();
  call->due = due;
  call->tag = tag;
  call->body = std::move(body);
  const auto field = [](const char* name, std::string_view value) {
    return nghttp2_nv{reinterpret_cast<uint8_t*>(const_cast<char*>(name)),
                      reinterpret_cast<uint8_t*>(const_cast<char*>(value.data())),
                      std::strlen(name), value.size(), NGHTTP2_NV_FLAG_NO_COPY_NAME};
  };
  const nghttp2_nv fields[] = {
      field(":method", "POST"),         field(":scheme", "http"),
      field(":path", questions_->path), field(":authority", "bench"),
      field("te", "trailers"),          field("content-type", "application/grpc")};
  nghttp2_data_provider data{{.ptr = call.get()}, &ReadBody};
  if (nghttp2_submit_request(session_, nullptr, fields, std::size(fields), &data, call.release()) <
      0) {
    Broken("nghttp2 takes no request");
  }
  ++under_way_;
}

void Connection::Read() {
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

void Connection::Write() {
  while (true) {
    if (out_at_ == out_.size()) {
      out_.clear();
      out_at_ = 0;
      const uint8_t* bytes = nullptr;
      ssize_t size = 0;
      while (out_.size() < sizeof in_ && (size = nghttp2_session_mem_send(session_, &bytes)) > 0) {
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

ssize_t Connection::ReadBody(nghttp2_session*, int32_t, uint8_t* to, size_t room, uint32_t* flags,
                             nghttp2_data_source* source, void*) {
  Call& call = *static_cast<Call*>(source->ptr);
  const size_t size = std::min(room, call.body.size() - call.sent);
  std::memcpy(to, call.body.data() + call.sent, size);
  call.sent += size;
  if (call.sent == call.body.size()) *flags |= NGHTTP2_DATA_FLAG_EOF;
  return static_cast<ssize_t>(size);
}

Call* Connection::CallOf(nghttp2_session* session, int32_t stream) {
  return static_cast<Call*>(nghttp2_session_get_stream_user_data(session, stream));
}

int Connection::OnHeader(nghttp2_session* session, const nghttp2_frame* frame, const uint8_t* name,
                         size_t name_size, const uint8_t* value, size_t value_size, uint8_t,
                         void*) {
  const std::string_view key(reinterpret_cast<const char*>(name), name_size);
  if (key != "grpc-status") return 0;
  Call* const call = CallOf(session, frame->hd.stream_id);
  if (call != nullptr) {
    call->status = std::atoi(std::string(reinterpret_cast<const char*>(value), value_size).c_str());
  }
  return 0;
}

int Connection::OnData(nghttp2_session* session, uint8_t, int32_t stream, const uint8_t* data,
                       size_t size, void* self) {
  Call* const call = CallOf(session, stream);
  if (call == nullptr) return 0;
  call->received += size;
  if (static_cast<Connection*>(self)->questions_->keeps_answers) {
    call->answer.append(reinterpret_cast<const char*>(data), size);
  }
  return 0;
}

int Connection::OnClose(nghttp2_session* session, int32_t stream, uint32_t, void* self) {
  const std::unique_ptr<Call> call(CallOf(session, stream));
  auto& connection = *static_cast<Connection*>(self);
  if (call == nullptr) return 0;
  connection.questions_->answered(*call);
  --connection.under_way_;
  if (connection.questions_->asks_again) connection.Ask();
  return 0;
}

// ---- Poller, Connections

void Poller::Add(Connection* connection) {
  all_.push_back(connection);
  waits_.push_back({connection->fd(), POLLIN, 0});
}

size_t Poller::Turn(Clock::time_point until) {
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
  for (const Connection* each : all_) under_way += each->under_way();
  return under_way;
}

Connections::Connections(const std::vector<Address>& to, int count, Questions* questions) {
  for (int i = 0; i < count; ++i) {
    all_.push_back(std::make_unique<Connection>(to[static_cast<size_t>(i) % to.size()], questions));
    poller_.Add(all_.back().get());
  }
}

}  // namespace larder::bench
