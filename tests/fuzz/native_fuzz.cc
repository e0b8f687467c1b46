#include "tests/fuzz/native_fuzz.h"

#include <algorithm>
#include <optional>

#include "rpc/native_message.h"
#include "rpc/native_metadata.h"
#include "rpc/proxy_header.h"
#include "tests/fuzz/fuzz_target.h"

namespace larder {
namespace {

constexpr size_t kMessageBytesMax = 1000;

struct Read {
  std::vector<std::string> messages;
  MessageReader::Found end = MessageReader::Found::kNothing;
  bool operator==(const Read&) const = default;
};

// Reads `input` in pieces of `step` bytes.
Read ReadInPieces(std::string_view input, size_t step) {
  Read read;
  MessageReader reader(kMessageBytesMax);
  while (!input.empty()) {
    std::string_view piece = input.substr(0, step);
    input.remove_prefix(piece.size());
    while (!piece.empty()) {
      std::string_view message;
      const size_t before = piece.size();
      read.end = reader.Read(&piece, &message);
      FuzzRequire(piece.size() < before, "the reader took nothing");
      FuzzRequire(reader.held_bytes() <= 2 * kMessageBytesMax + 32, "more held than a message");
      if (read.end == MessageReader::Found::kMessage) {
        FuzzRequire(message.size() <= kMessageBytesMax, "a message beyond the limit");
        read.messages.emplace_back(message);
      } else if (read.end != MessageReader::Found::kNothing) {
        return read;
      }
    }
  }
  return read;
}

void FuzzHeaders(std::string_view input) {
  const std::optional<absl::Duration> timeout = ParseGrpcTimeout(input);
  FuzzRequire(!timeout.has_value() || *timeout >= absl::ZeroDuration(), "a timeout below zero");
  IsGrpcContentType(input);
  const std::string encoded = PercentEncoded(input);
  FuzzRequire(
      std::all_of(encoded.begin(), encoded.end(), [](char c) { return c >= ' ' && c <= '~'; }),
      "a message that may not stand in a header");
  FuzzRequire(FromBinaryHeader(BinaryHeader(input)) == std::string(input), "other bytes come back");
  FromBinaryHeader(input);
}

// True for a header of a balancer.
bool FuzzProxyHeader(std::string_view input) {
  if (input.size() < ProxyHeader::kFixedBytes) return false;
  const std::optional<size_t> size = ProxyHeader::SizeOf(input);
  if (!size.has_value()) {
    FuzzRequire(!ProxyHeader::Parse(input).has_value(), "a header without a size");
    return false;
  }
  FuzzRequire(*size >= ProxyHeader::kFixedBytes && *size <= ProxyHeader::kBytesMax, "its size");
  if (input.size() < *size) return false;
  const std::optional<ProxyHeader> header = ProxyHeader::Parse(input.substr(0, *size));
  FuzzRequire(!header.has_value() || header->host.size() < 46, "a host that is no address");
  return header.has_value();
}

}  // namespace

bool FuzzNative(std::string_view input) {
  const Read whole = ReadInPieces(input, input.size());
  for (const size_t step : {1, 3, 700}) {
    FuzzRequire(ReadInPieces(input, step) == whole, "in pieces it is something else");
  }
  FuzzHeaders(input);
  const bool is_proxy_header = FuzzProxyHeader(input);
  return is_proxy_header || !whole.messages.empty();
}

std::vector<std::string> NativeSeeds() {
  const auto framed = [](size_t size) {
    std::string frame(1, '\0');
    for (int shift = 24; shift >= 0; shift -= 8) frame += static_cast<char>(size >> shift);
    return frame + std::string(size, 'm');
  };
  return {
      framed(0),
      framed(1),
      framed(300),
      framed(kMessageBytesMax),
      framed(5) + framed(6),
      std::string("\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xCB\0\x71\x07\xC0\0\x02\x01\x12\x67\x01\xBB",
                  28)};
}

#if defined(LARDER_LIBFUZZER)
extern const FuzzTarget kFuzzTarget;
const FuzzTarget kFuzzTarget = {FuzzNative, NativeSeeds};
#endif

}  // namespace larder
