// Bytes off the wire would rarely be frames any more after a mutation, and nghttp2 has fuzzers for
// those that are none. So an input is a script: each of its steps makes a frame whose length is
// right, and mutations change types, flags, streams, fields and order instead. Steps for raw bytes,
// for calls of real methods, for time, and for doing the next step many times are among them.
//
//   input  options, steps
//   step   a byte: its low half says what it does, its high half is a number for it
//   frame  flags, stream, length, payload

#include "tests/fuzz/session_fuzz.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <set>

#include "larder/v1/admin.pb.h"
#include "larder/v1/cache.pb.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/fuzz/session_rig.h"
#include "tests/rpc/native_raw_client.h"

namespace larder {
namespace {

using std::string_literals::operator""s;

// What the first byte of an input turns off or on.
enum Option : uint8_t {
  kNoPreface = 1,
  kNoSettings = 2,
  kNoSettingsAck = 4,
  kLetGoAtEnd = 8,
  kLeaveAtOnce = 16,  // without reading anything
  kSmallWindow = 32,
  kInPieces = 64,
};

// What a step does; below these it sends a frame of that type.
enum Step : uint8_t {
  kUnknownType = 10,
  kCallHeaders,  // HEADERS of the method that the number says, the payload after its fields
  kMessage,      // DATA, the payload behind a prefix with the number as its flag
  kRaw,          // length, bytes
  kPause,        // until the lane has read all, then lets calls go (1) or moves the clock (2 to 15)
  kRepeat,       // the next step, two to the power of the number times
};

// Numbers of frames beyond this make their payloads larger.
constexpr uint8_t kLarger = 8;
constexpr size_t kTimesLarger = 60;
constexpr size_t kSentMax = 48 << 10;
constexpr size_t kRepeatsMax = 2048;
constexpr int kPausesMax = 16;
constexpr size_t kPieces = 8;

constexpr std::array<const char*, 8> kPaths = {
    "/larder.v1.Cache/Get",          "/larder.v1.Cache/GetOrLoad",
    "/larder.v1.Cache/BatchGet",     "/larder.v1.Admin/Warm",
    "/grpc.health.v1.Health/Check",  "/grpc.health.v1.Health/Watch",
    "/larder.v1.Cache/NoSuchMethod", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"};

constexpr char kPingData[] = "the end!";

uint32_t StreamOf(uint8_t byte) {
  if (byte == 255) return 0x7fffffff;
  if (byte >= 128) return 2 * (uint32_t{byte} - 128);
  return byte == 0 ? 0 : 2 * uint32_t{byte} - 1;
}

// The lane of the process.
SessionRig& Rig() {
  static SessionRig rig;
  return rig;
}

// Takes an input apart. What is not there is zero.
class Script {
 public:
  explicit Script(std::string_view bytes) : left_(bytes) {}

  bool done() const { return left_.empty(); }
  uint8_t Byte() {
    if (left_.empty()) return 0;
    const auto byte = static_cast<uint8_t>(left_.front());
    left_.remove_prefix(1);
    return byte;
  }
  std::string Bytes() {
    const uint8_t said = Byte();
    const size_t size = std::min<size_t>(said, left_.size());
    std::string bytes(left_.substr(0, size));
    left_.remove_prefix(size);
    return bytes;
  }

 private:
  std::string_view left_;
};

// One client that does what a script says.
class ScriptedClient {
 public:
  explicit ScriptedClient(uint8_t options)
      : options_(options), client_(RawClient::Connected{Rig().Connect()}) {
    if ((options & kNoPreface) == 0) out_ += "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    if ((options & kNoSettings) == 0) {
      constexpr int kInitialWindow = 4;
      const bool small = (options & kSmallWindow) != 0;
      out_ += RawClient::Frame(
          kSettings, 0, 0,
          RawClient::Number(kInitialWindow, 2) + RawClient::Number(small ? 10 : 65'535, 4));
    }
    if ((options & kNoSettingsAck) == 0) out_ += RawClient::Frame(kSettings, kAck, 0, "");
    is_whole_ = (options & (kNoPreface | kNoSettings)) == 0;
  }

  void Play(Script script) {
    while (!script.done() && sent_ < kSentMax) {
      const uint8_t step = script.Byte();
      const uint8_t number = step >> 4;
      switch (step & 15) {
        case kRepeat:
          times_ = std::min(size_t{1} << number, kRepeatsMax);
          continue;
        case kPause:
          Pause(number);
          break;
        case kRaw:
          is_whole_ = false;
          Say(script.Bytes());
          break;
        default:
          Say(FrameOf(step & 15, number, &script));
      }
      times_ = 1;
    }
    Send();
  }

  // Sees to what the lane said. True when it answered a call.
  bool Conclude() {
    if ((options_ & kLeaveAtOnce) != 0) return false;
    Rig().Settle();
    if ((options_ & kLetGoAtEnd) != 0) {
      Rig().LetGo();
      Rig().Settle();
    }
    // What was left unfinished would take the ping for its rest.
    if (!is_whole_) return false;
    client_.Send(RawClient::Frame(kPing, 0, 0, kPingData));
    bool answered = false;
    while (const std::optional<RawFrame> frame = client_.Read()) {
      if (frame->type == kPing && frame->flags == kAck && frame->payload == kPingData) {
        return answered;
      }
      answered |= frame->type == kHeaders;
      Check(*frame);
    }
    FuzzRequire(client_.closed(), "the lane neither answers nor closes the connection");
    return answered;
  }

 private:
  static std::string FrameOf(uint8_t type, uint8_t number, Script* script) {
    const uint8_t flags = script->Byte();
    const uint32_t stream = StreamOf(script->Byte());
    std::string payload = script->Bytes();
    if (type == kMessage) {
      return RawClient::Frame(kData, flags, stream,
                              RawClient::Message(payload, static_cast<char>(number)));
    }
    if (type == kCallHeaders) {
      const std::string path = kPaths[number % kPaths.size()];
      return RawClient::Frame(kHeaders, flags, stream,
                              RawClient::Block(RawClient::CallFields(path)) + payload);
    }
    if (number >= kLarger) {
      const std::string once = payload;
      for (size_t i = 1; i < kTimesLarger; ++i) payload += once;
    }
    return RawClient::Frame(type == kUnknownType ? 10 + number : type, flags, stream, payload);
  }

  void Say(const std::string& bytes) {
    for (size_t i = 0; i < times_ && sent_ < kSentMax; ++i) {
      out_ += bytes;
      sent_ += bytes.size();
    }
  }

  void Pause(uint8_t number) {
    if (++pauses_ > kPausesMax) return;
    Send();
    Rig().Settle();
    if (number == 1) Rig().LetGo();
    if (number > 1) Rig().Advance(absl::Milliseconds(1) * (1 << number));
  }

  void Send() {
    const size_t piece = (options_ & kInPieces) == 0 ? out_.size() : out_.size() / kPieces + 1;
    for (size_t at = 0; at < out_.size(); at += piece) {
      client_.Send(std::string_view(out_).substr(at, piece));
      if (piece < out_.size()) Rig().Settle();
    }
    out_.clear();
  }

  void Check(const RawFrame& frame) {
    FuzzRequire(frame.type <= kContinuation, "a frame of no type");
    if (frame.type != kHeaders && frame.type != kData) return;
    FuzzRequire(!ended_.contains(frame.stream), "a stream goes on after its end");
    if ((frame.flags & kEndStream) != 0) ended_.insert(frame.stream);
  }

  const uint8_t options_;
  RawClient client_;
  std::string out_;
  size_t sent_ = 0;
  size_t times_ = 1;
  int pauses_ = 0;
  // So far it is what a client of HTTP/2 would send, frame by frame.
  bool is_whole_ = true;
  std::set<uint32_t> ended_;
};

// A call of somebody else. False when it is refused because others hold all of the memory.
bool IsServed() {
  RawClient client(RawClient::Connected{Rig().Connect()});
  client.Greet();
  v1::GetRequest request;
  request.set_key("hit");
  client.Send(RawClient::Call(1, kPaths[0], request.SerializeAsString()));
  const auto headers = client.ReadHeaders(1);
  FuzzRequire(headers.has_value() || client.closed(), "another client's call is not answered");
  FuzzRequire(headers.has_value(), "another client's connection is closed");
  if (const auto status = headers->find("grpc-status"); status != headers->end()) {
    const bool refused = headers->at("grpc-message").find("buffer_bytes") != std::string::npos;
    FuzzRequire(refused, "another client's call fails");
    return false;
  }
  const std::optional<RawFrame> answer = client.ReadUntil(kData);
  FuzzRequire(answer.has_value() && answer->payload.ends_with("now"), "another client's value");
  return true;
}

// Writes what Script reads.
class ScriptWriter {
 public:
  explicit ScriptWriter(int options = 0) { text_ += static_cast<char>(options); }

  ScriptWriter& Frame(int type, int flags, int stream, const std::string& payload, int number = 0) {
    text_ += static_cast<char>(type | number << 4);
    text_ += static_cast<char>(flags);
    text_ += static_cast<char>(stream);
    text_ += static_cast<char>(payload.size());
    text_ += payload;
    return *this;
  }
  // The call of a method with a message, `stream` counted from 1.
  ScriptWriter& Call(int method, int stream, const google::protobuf::Message& message,
                     const RawClient::Fields& more = {}) {
    Frame(kCallHeaders, kEndHeaders, stream, RawClient::Block(more), method);
    return Frame(kMessage, kEndStream, stream, message.SerializeAsString());
  }
  ScriptWriter& Get(int stream, const std::string& key, const RawClient::Fields& more = {}) {
    v1::GetRequest request;
    request.set_key(key);
    return Call(0, stream, request, more);
  }
  ScriptWriter& Pause(int number = 0) { return Do(kPause, number); }
  ScriptWriter& Repeat(int number) { return Do(kRepeat, number); }
  ScriptWriter& Raw(const std::string& bytes) {
    Do(kRaw, 0);
    text_ += static_cast<char>(bytes.size());
    text_ += bytes;
    return *this;
  }

  operator std::string() const { return text_; }  // NOLINT: what it is for

 private:
  ScriptWriter& Do(int step, int number) {
    text_ += static_cast<char>(step | number << 4);
    return *this;
  }

  std::string text_;
};

constexpr int kPadded = 8;
constexpr int kPriorityFlag = 32;

std::string Setting(int id, uint32_t value) {
  return RawClient::Number(static_cast<uint64_t>(id), 2) + RawClient::Number(value, 4);
}

// Calls that go well, and badly.
std::vector<std::string> CallSeeds() {
  using W = ScriptWriter;
  v1::GetOrLoadRequest load;
  load.set_key("slow");
  v1::BatchGetRequest batch;
  for (int i = 0; i < 12; ++i) batch.add_keys("k");
  v1::WarmRequest warm;
  warm.set_limit(9);
  v1::WarmRequest endless;
  endless.set_limit(1'000'000'000);
  const std::string block = RawClient::Block(RawClient::CallFields(kPaths[0]));
  return {
      W().Get(1, "hit").Get(2, "worker").Get(3, "error").Get(4, "none"),
      W().Get(1, "hit").Pause().Get(2, "large").Pause().Get(3, "hit"),
      W(kSmallWindow).Get(1, "large").Get(2, "hit").Frame(kWindowUpdate, 0, 1, "\0\0\xff\xff"s),
      W().Get(1, "meta:x-note", {{"x-note", "seen"}, {"x-bytes-bin", "AAEC"}}),
      W().Get(1, "hit", {{"grpc-timeout", "50m"}, {"authorization", "Bearer token"}}),
      W().Get(1, "hit", {{"grpc-encoding", "gzip"}}).Get(2, "hit", {{"grpc-timeout", "soon"}}),
      W(kLetGoAtEnd).Call(1, 1, load).Call(1, 2, load),
      W().Call(1, 1, load).Pause(1).Call(1, 2, load, {{"grpc-timeout", "9m"}}).Pause(6).Get(3, "h"),
      W().Call(2, 1, batch).Call(2, 2, batch).Call(2, 3, batch).Pause().Get(4, "hit"),
      W().Call(3, 1, warm)
          .Pause()
          .Call(3, 2, endless)
          .Pause()
          .Frame(kRstStream, 0, 2, "\0\0\0\x8"s),
      W().Call(4, 1, v1::GetRequest()).Call(5, 2, v1::GetRequest()).Pause().Call(6, 3, batch),
      W().Frame(kCallHeaders, kEndHeaders, 1, "", 7)
          .Frame(kMessage, 0, 1, "\x3a\0"s)
          .Pause()
          .Frame(kMessage, kEndStream, 1, "\x22\x10larder.v1.Cache"s),
      // Compressed; two messages; none; one in three frames; headers in three.
      W().Get(1, "hit").Frame(kCallHeaders, kEndHeaders, 2, "").Frame(kMessage, 1, 2, "gz", 1),
      W().Get(1, "hit").Pause().Frame(kMessage, kEndStream, 1, "").Get(2, "hit"),
      W().Frame(kCallHeaders, kEndHeaders, 1, "")
          .Frame(kMessage, 0, 1, "")
          .Frame(kMessage, 1, 1, ""),
      W().Frame(kCallHeaders, kEndHeaders | kEndStream, 1, "").Get(2, "hit"),
      W().Frame(kCallHeaders, kEndHeaders, 1, "")
          .Frame(kData, 0, 1, "\0\0\0"s)
          .Frame(kData, 0, 1, "\0\5\x12\3"s)
          .Pause()
          .Frame(kData, kEndStream, 1, "hit"),
      W().Frame(kHeaders, 0, 1, block.substr(0, 50))
          .Frame(kContinuation, 0, 1, block.substr(50, 50))
          .Frame(kContinuation, kEndHeaders, 1, block.substr(100))
          .Frame(kMessage, kEndStream, 1, "\x12\3hit"),
      // Padded, with a priority, with trailers.
      W().Frame(kHeaders, kEndHeaders | kPadded | kPriorityFlag, 1,
                "\4\0\0\0\0\xf"s + block + std::string(4, '\0'))
          .Frame(kData, kPadded, 1, "\3\0\0\0\0\5\x12\3hit\0\0\0"s)
          .Frame(kHeaders, kEndHeaders | kEndStream, 1, RawClient::Block({{"x-end", "1"}})),
  };
}

// Calls whose messages come to more than one may hold, and never end.
std::string HeldMessages() {
  ScriptWriter script;
  script.Get(1, "hit");
  for (int stream = 2; stream < 16; ++stream) {
    script.Frame(kCallHeaders, kEndHeaders, stream, "")
        .Frame(kData, 0, stream, "\0\0\0\xf\xff"s)
        .Frame(kData, 0, stream, std::string(50, 'm'), kLarger);
  }
  return script;
}

// Frames beside the calls, and what has a budget.
std::vector<std::string> FrameSeeds() {
  using W = ScriptWriter;
  const std::string large_field = RawClient::Block({{"x-large", std::string(200, 'l')}});
  return {
      W().Get(1, "hit").Frame(kPing, 0, 0, "12345678").Frame(kPing, kAck, 0, "12345678").Pause(10),
      W().Get(1, "hit").Repeat(3).Frame(kPing, 0, 0, "12345678"),
      W().Frame(kSettings, 0, 0, Setting(1, 0) + Setting(4, 100) + Setting(5, 20'000))
          .Get(1, "large")
          .Pause()
          .Frame(kSettings, 0, 0, Setting(4, 0))
          .Get(2, "hit"),
      W().Get(1, "hit").Repeat(6).Frame(kSettings, 0, 0, ""),
      W().Get(1, "hit").Repeat(6).Frame(kPriority, 0, 9, "\0\0\0\1\x10"s),
      W().Get(1, "hit").Frame(kWindowUpdate, 0, 0, "\x7f\xff\0\0"s),
      W().Get(1, "hit").Repeat(11).Frame(kWindowUpdate, 0, 0, "\0\0\0\1"s),
      W().Get(1, "hit").Frame(kGoAway, 0, 0, std::string(8, '\0') + "bye").Get(2, "hit"),
      W().Get(1, "hit")
          .Pause()
          .Frame(kRstStream, 0, 1, "\0\0\0\x8"s)
          .Frame(kUnknownType, 7, 1, "x"),
      W().Get(1, "hit")
          .Pause()
          .Frame(kCallHeaders, kEndHeaders, 2, "", 1)
          .Frame(kRstStream, 0, 2, "\0\0\0\x8"s)
          .Repeat(6)
          .Frame(kRstStream, 0, 2, "\0\0\0\x8"s)
          .Get(3, "hit"),
      W().Get(1, "hit").Frame(kCallHeaders, kEndHeaders, 2, "").Repeat(6).Frame(kData, 0, 2, ""),
      W().Get(1, "hit")
          .Frame(kCallHeaders, 0, 2, large_field)
          .Repeat(3)
          .Frame(kContinuation, 0, 2, large_field)
          .Frame(kContinuation, kEndHeaders, 2, ""),
      W().Get(1, "hit")
          .Pause()
          .Frame(kCallHeaders, kEndHeaders, 2, large_field + large_field.substr(0, 40))
          .Frame(kPushPromise, kEndHeaders, 2, "\0\0\0\2"s),
      // Too large, and more than one may hold.
      W().Get(1, "hit")
          .Frame(kCallHeaders, kEndHeaders, 2, "")
          .Frame(kData, 0, 2, "\0\0\1\0\0"s)
          .Frame(kData, 0, 2, std::string(250, 'm'), kLarger),
      W().Get(1, "hit").Pause(12).Get(2, "hit").Pause(14).Get(3, "hit").Pause(14).Get(4, "hit"),
      HeldMessages(),
      // Told to go, and then wrong: once it was only ended when the clock had moved on.
      W().Get(1, "hit").Pause(14).Frame(kWindowUpdate, 0, 1, ""),
      W(kSmallWindow).Get(1, "large").Get(2, "large").Get(3, "hit").Pause(12).Pause(12),
      W(kInPieces).Get(1, "hit").Get(2, "worker").Get(3, "large"),
      W(kNoSettingsAck).Get(1, "hit").Pause(11),
  };
}

}  // namespace

bool FuzzSession(std::string_view input) {
  bool answered = false;
  bool served = false;
  {
    Script script(input);
    ScriptedClient client(script.Byte());
    client.Play(script);
    answered = client.Conclude();
    served = IsServed();
  }
  Rig().ExpectEmpty();
  FuzzRequire(served || IsServed(), "another client is refused for nobody");
  Rig().ExpectEmpty();
  return answered;
}

std::vector<std::string> SessionSeeds() {
  std::vector<std::string> seeds = CallSeeds();
  for (std::string& seed : FrameSeeds()) seeds.push_back(std::move(seed));
  return seeds;
}

#if defined(LARDER_LIBFUZZER)
extern const FuzzTarget kFuzzTarget;
const FuzzTarget kFuzzTarget = {FuzzSession, SessionSeeds};
#endif

}  // namespace larder
