// What comes before HTTP/2: a balancer's word for whom it speaks, and the handshake of TLS, of
// which a loop does a step a turn.

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "rpc/native_connection.h"
#include "rpc/native_loop.h"
#include "rpc/proxy_header.h"

namespace larder {

void NativeConnection::ReadProxyHeader() {
  const auto whole_size = [this] {
    return proxy_bytes_.size() < ProxyHeader::kFixedBytes ? ProxyHeader::kFixedBytes
                                                          : ProxyHeader::SizeOf(proxy_bytes_);
  };
  std::optional<size_t> size = whole_size();
  while (size.has_value() && proxy_bytes_.size() < *size) {
    // No byte more: what follows may be TLS.
    SocketEnd end = SocketEnd::kNone;
    const size_t n = socket_.ReadPlain(loop_->read_buffer(), *size - proxy_bytes_.size(), &end);
    if (n == 0 && end == SocketEnd::kLater) return;
    if (n == 0) return Close();
    proxy_bytes_.append(loop_->read_buffer(), n);
    size = whole_size();
  }
  const std::optional<ProxyHeader> header = ProxyHeader::Parse(std::exchange(proxy_bytes_, {}));
  if (!header.has_value()) {
    loop_->Count(NativeCounter::kNotProxied);
    return Close();
  }
  if (!header->host.empty()) socket_.set_peer(header->host, header->port);
  if (!loop_->TryCountPeer(header->host)) {
    loop_->Count(NativeCounter::kRefusedConnections);
    return Close();
  }
  set_host(header->host, loop_->AddToPeer(header->host));
  if (socket_.tls() != nullptr) {
    state_ = State::kHandshake;
    return ShakeHandsLater();
  }
  state_ = State::kOpen;
  if (!BeginSession()) return Close();
  Flush();
}

void NativeConnection::ShakeHandsLater() {
  // It need not be told again meanwhile.
  if (events_ != 0) loop_->Watch(this, events_ = 0, /*is_new=*/false);
  loop_->ShakeHandsLater(this);
}

void NativeConnection::ShakeHands() {
  const TlsStream::Handshake done = socket_.tls()->GoOn();
  wants_write_ = done == TlsStream::Handshake::kWantsWrite;
  if (done == TlsStream::Handshake::kFailed) {
    loop_->Count(NativeCounter::kHandshakeFailures);
    return Close();
  }
  if (done != TlsStream::Handshake::kDone) return SetEvents();
  state_ = State::kOpen;
  if (std::string name = socket_.tls()->PeerName(); !name.empty()) {
    peer_name_ = std::make_shared<const std::string>(std::move(name));
  }
  if (!BeginSession()) return Close();
  // What the client said right after its part of the handshake may have been read already.
  ReadSome();
  if (!closed()) Flush();
}

}  // namespace larder
