#include "tests/rpc/native_raw_client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <nghttp2/nghttp2.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>

namespace larder {
namespace {

constexpr int kPatienceSeconds = 10;
constexpr size_t kFrameHeaderBytes = 9;
constexpr char kPreface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

std::string HpackText(std::string_view text) {
  std::string encoded;
  if (text.size() < 127) {
    encoded += static_cast<char>(text.size());
  } else {
    encoded += static_cast<char>(127);
    size_t left = text.size() - 127;
    for (; left >= 128; left /= 128) encoded += static_cast<char>(left % 128 | 128);
    encoded += static_cast<char>(left);
  }
  return encoded.append(text);
}

}  // namespace

RawClient::RawClient(Connected socket) : fd_(socket.fd) {
  const timeval patience{kPatienceSeconds, 0};
  setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
  setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
  nghttp2_hd_inflate_new(&inflater_);
}

RawClient::RawClient(int port)
    : RawClient(Connected{socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)}) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) std::abort();
  const int on = 1;
  setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

RawClient::~RawClient() {
  Close();
  nghttp2_hd_inflate_del(inflater_);
}

void RawClient::Close() {
  if (fd_ >= 0) close(std::exchange(fd_, -1));
}

void RawClient::Greet(const std::vector<std::pair<uint16_t, uint32_t>>& settings, bool ack) {
  std::string payload;
  for (const auto& [id, value] : settings) payload += Number(id, 2) + Number(value, 4);
  Send(kPreface + Frame(kSettings, 0, 0, payload) + (ack ? Frame(kSettings, kAck, 0, "") : ""));
}

std::string RawClient::Number(uint64_t value, int bytes) {
  std::string encoded;
  for (int i = bytes - 1; i >= 0; --i) encoded += static_cast<char>(value >> (8 * i));
  return encoded;
}

std::string RawClient::Frame(uint8_t type, uint8_t flags, uint32_t stream,
                             std::string_view payload) {
  return Number(payload.size(), 3) + static_cast<char>(type) + static_cast<char>(flags) +
         Number(stream, 4) + std::string(payload);
}

std::string RawClient::Block(const Fields& fields) {
  std::string block;
  for (const auto& [name, value] : fields) {
    block += '\0';
    block += HpackText(name) + HpackText(value);
  }
  return block;
}

RawClient::Fields RawClient::CallFields(const std::string& path) {
  return {{":method", "POST"},         {":scheme", "http"}, {":path", path},
          {":authority", "localhost"}, {"te", "trailers"},  {"content-type", "application/grpc"}};
}

std::string RawClient::Message(std::string_view message, char flag) {
  return flag + Number(message.size(), 4) + std::string(message);
}

std::string RawClient::Call(uint32_t stream, const std::string& path, std::string_view message) {
  return Frame(kHeaders, kEndHeaders, stream, Block(CallFields(path))) +
         Frame(kData, kEndStream, stream, Message(message));
}

bool RawClient::Send(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return true;
}

bool RawClient::Fill(size_t bytes) {
  while (in_.size() < bytes) {
    char buffer[16384];
    const ssize_t n = recv(fd_, buffer, sizeof(buffer), 0);
    if (n < 0 && errno == EINTR) continue;  // libFuzzer's alarm clock
    if (n <= 0) {
      closed_ = n == 0 || (errno != EAGAIN && errno != EWOULDBLOCK);
      return false;
    }
    in_.append(buffer, static_cast<size_t>(n));
  }
  return true;
}

std::optional<RawFrame> RawClient::Read() {
  if (!Fill(kFrameHeaderBytes)) return std::nullopt;
  const auto byte = [this](size_t i) { return uint32_t{static_cast<uint8_t>(in_[i])}; };
  const size_t size = byte(0) << 16 | byte(1) << 8 | byte(2);
  RawFrame frame{static_cast<uint8_t>(in_[3]), static_cast<uint8_t>(in_[4]),
                 byte(5) << 24 | byte(6) << 16 | byte(7) << 8 | byte(8), ""};
  if (!Fill(kFrameHeaderBytes + size)) return std::nullopt;
  frame.payload = in_.substr(kFrameHeaderBytes, size);
  in_.erase(0, kFrameHeaderBytes + size);
  return frame;
}

std::optional<RawFrame> RawClient::ReadUntil(uint8_t type) {
  while (true) {
    std::optional<RawFrame> frame = Read();
    if (!frame.has_value() || frame->type == type) return frame;
  }
}

std::optional<std::map<std::string, std::string>> RawClient::ReadHeaders(uint32_t stream,
                                                                         uint8_t* flags) {
  while (true) {
    const std::optional<RawFrame> frame = ReadUntil(kHeaders);
    if (!frame.has_value()) return std::nullopt;
    std::map<std::string, std::string> fields;
    const auto* at = reinterpret_cast<const uint8_t*>(frame->payload.data());
    const uint8_t* const end = at + frame->payload.size();
    while (true) {
      nghttp2_nv field;
      int inflated = 0;
      const ssize_t n = nghttp2_hd_inflate_hd2(inflater_, &field, &inflated, at,
                                               static_cast<size_t>(end - at), /*in_final=*/1);
      if (n < 0) return std::nullopt;
      at += n;
      if ((inflated & NGHTTP2_HD_INFLATE_EMIT) != 0) {
        fields[std::string(reinterpret_cast<char*>(field.name), field.namelen)] =
            std::string(reinterpret_cast<char*>(field.value), field.valuelen);
      }
      if ((inflated & NGHTTP2_HD_INFLATE_FINAL) != 0) break;
    }
    nghttp2_hd_inflate_end_headers(inflater_);
    if (frame->stream != stream) continue;
    if (flags != nullptr) *flags = frame->flags;
    return fields;
  }
}

std::optional<int64_t> RawClient::ReadUntilClosed() {
  std::optional<int64_t> error;
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(kPatienceSeconds);
  while (const std::optional<RawFrame> frame = Read()) {
    if (frame->type == kGoAway && frame->payload.size() >= 8) {
      error = static_cast<uint8_t>(frame->payload[7]);
    }
    if (std::chrono::steady_clock::now() > end) return -1;
  }
  char byte;
  return recv(fd_, &byte, 1, MSG_DONTWAIT) < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)
             ? std::optional<int64_t>(-1)
             : error;
}

}  // namespace larder
