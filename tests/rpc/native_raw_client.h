// A client that sends whatever frames a test wants, right or wrong, and reads what comes back.

#ifndef LARDER_TESTS_RPC_NATIVE_RAW_CLIENT_H_
#define LARDER_TESTS_RPC_NATIVE_RAW_CLIENT_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

struct nghttp2_hd_inflater;

namespace larder {

enum FrameType : uint8_t {
  kData,
  kHeaders,
  kPriority,
  kRstStream,
  kSettings,
  kPushPromise,
  kPing,
  kGoAway,
  kWindowUpdate,
  kContinuation,
};
inline constexpr uint8_t kEndStream = 1;
inline constexpr uint8_t kAck = 1;
inline constexpr uint8_t kEndHeaders = 4;

struct RawFrame {
  uint8_t type;
  uint8_t flags;
  uint32_t stream;
  std::string payload;
};

class RawClient {
 public:
  using Fields = std::vector<std::pair<std::string, std::string>>;

  // Connects; says nothing yet.
  explicit RawClient(int port);
  // On a socket that is connected, which it closes.
  struct Connected {
    int fd;
  };
  explicit RawClient(Connected socket);
  ~RawClient();

  // The preface with these settings (id, value), and, unless told otherwise, the answer to the
  // server's settings.
  void Greet(const std::vector<std::pair<uint16_t, uint32_t>>& settings = {}, bool ack = true);

  static std::string Frame(uint8_t type, uint8_t flags, uint32_t stream, std::string_view payload);
  // A block of literal header fields.
  static std::string Block(const Fields& fields);
  static Fields CallFields(const std::string& path);
  // All frames of a call with this message.
  static std::string Call(uint32_t stream, const std::string& path, std::string_view message);
  // `message` behind its prefix.
  static std::string Message(std::string_view message, char flag = 0);
  static std::string Number(uint64_t value, int bytes);

  // False when the server has closed the connection. Blocks for at most ten seconds.
  bool Send(std::string_view bytes);
  // The next frame; nullopt when the connection is closed or nothing comes for ten seconds.
  std::optional<RawFrame> Read();
  // The next frame of a type, others skipped.
  std::optional<RawFrame> ReadUntil(uint8_t type);
  // The fields of the next HEADERS frame of `stream`, and its flags.
  std::optional<std::map<std::string, std::string>> ReadHeaders(uint32_t stream,
                                                                uint8_t* flags = nullptr);
  // Reads until the connection is closed. The error of the last GOAWAY; nullopt without one. -1
  // when it is not closed within ten seconds.
  std::optional<int64_t> ReadUntilClosed();

  // Whether the server has closed the connection, as far as what was read tells.
  bool closed() const { return closed_; }

  void Close();

 private:
  bool Fill(size_t bytes);

  int fd_ = -1;
  bool closed_ = false;
  std::string in_;
  nghttp2_hd_inflater* inflater_ = nullptr;
};

}  // namespace larder

#endif  // LARDER_TESTS_RPC_NATIVE_RAW_CLIENT_H_
