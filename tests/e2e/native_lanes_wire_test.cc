// What a gRPC client hides of the answers of the two lanes, or never asks for: the fields of each
// header block, names, values and how often, where the message stands between them, and how the
// stream ends. The calls are frames made by hand, and the answers are taken apart here.

#include <nghttp2/nghttp2.h>

#include <algorithm>
#include <map>
#include <optional>

#include "absl/strings/escaping.h"
#include "larder/v1/cache.pb.h"
#include "tests/e2e/native_lanes_fixture.h"
#include "tests/rpc/native_raw_client.h"

namespace larder {
namespace {

using google::protobuf::MethodDescriptor;
using Fields = RawClient::Fields;

constexpr uint64_t kSeed = 20'260'723;
constexpr int kCalls = 800;
constexpr int kCallsPerConnection = 40;
constexpr size_t kRequestBytesMax = 1'500;
constexpr char kGet[] = "/larder.v1.Cache/Get";

// One call's answer: the blocks of fields in their order, each sorted, and what came between.
struct WireAnswer {
  std::vector<Fields> blocks;
  std::string data;
  std::string end;  // "end", "reset 8", "goaway", "closed"
};

// A connection to one lane.
class WireLane {
 public:
  explicit WireLane(int port) : client_(port) {
    nghttp2_hd_inflate_new(&inflater_);
    constexpr uint16_t kInitialWindow = 4;
    constexpr uint32_t kWindow = 1 << 30;
    client_.Greet({{kInitialWindow, kWindow}});
    client_.Send(RawClient::Frame(kWindowUpdate, 0, 0, RawClient::Number(kWindow, 4)));
  }
  ~WireLane() { nghttp2_hd_inflate_del(inflater_); }
  WireLane(const WireLane&) = delete;
  WireLane& operator=(const WireLane&) = delete;

  // A call with these fields, and `body` in its DATA frame.
  WireAnswer Ask(const Fields& fields, const std::string& body) {
    const uint32_t stream = next_;
    next_ += 2;
    client_.Send(RawClient::Frame(kHeaders, kEndHeaders, stream, RawClient::Block(fields)) +
                 RawClient::Frame(kData, kEndStream, stream, body));
    return Read(stream);
  }

 private:
  WireAnswer Read(uint32_t stream) {
    WireAnswer answer;
    while (const std::optional<RawFrame> frame = client_.Read()) {
      if (frame->type == kPing && (frame->flags & kAck) == 0) {
        client_.Send(RawClient::Frame(kPing, kAck, 0, frame->payload));
      }
      // The table of fields follows every block.
      Fields fields;
      if (frame->type == kHeaders) fields = Inflated(frame->payload);
      if (frame->type == kGoAway) {
        answer.end = "goaway";
        return answer;
      }
      if (frame->stream != stream) continue;
      if (frame->type == kHeaders) answer.blocks.push_back(fields);
      if (frame->type == kData) answer.data += frame->payload;
      if (frame->type == kRstStream) {
        answer.end = "reset " + std::to_string(static_cast<uint8_t>(frame->payload.back()));
        return answer;
      }
      if ((frame->type == kHeaders || frame->type == kData) && (frame->flags & kEndStream) != 0) {
        answer.end = "end";
        return answer;
      }
    }
    answer.end = "closed";
    return answer;
  }

  Fields Inflated(const std::string& block) {
    Fields fields;
    const auto* at = reinterpret_cast<const uint8_t*>(block.data());
    const uint8_t* const end = at + block.size();
    int flags = 0;
    while ((flags & NGHTTP2_HD_INFLATE_FINAL) == 0) {
      nghttp2_nv field;
      const ssize_t n = nghttp2_hd_inflate_hd2(inflater_, &field, &flags, at,
                                               static_cast<size_t>(end - at), /*in_final=*/1);
      if (n < 0) return {{"unreadable", "fields"}};
      at += n;
      if ((flags & NGHTTP2_HD_INFLATE_EMIT) == 0) continue;
      fields.emplace_back(std::string(reinterpret_cast<char*>(field.name), field.namelen),
                          std::string(reinterpret_cast<char*>(field.value), field.valuelen));
    }
    nghttp2_hd_inflate_end_headers(inflater_);
    std::sort(fields.begin(), fields.end());
    return fields;
  }

  RawClient client_;
  nghttp2_hd_inflater* inflater_ = nullptr;
  uint32_t next_ = 1;
};

std::string TextOf(const WireAnswer& answer, const google::protobuf::Descriptor* type) {
  std::string text;
  for (size_t i = 0; i < answer.blocks.size(); ++i) {
    text += "[";
    for (const auto& [name, value] : answer.blocks[i]) text += name + ": " + value + "; ";
    text += "] ";
    if (i > 0 || answer.data.empty()) continue;
    const std::string message = answer.data.size() < 5 ? "" : answer.data.substr(5);
    const bool framed = answer.data == RawClient::Message(message);
    text += (framed ? "" : "misframed ") +
            (type == nullptr ? absl::CHexEscape(message) : ShapeOf(message, type)) + " ";
  }
  return text + answer.end;
}

const std::string* FieldOf(const Fields& fields, const std::string& name) {
  for (const auto& field : fields) {
    if (field.first == name) return &field.second;
  }
  return nullptr;
}

// In a word what came: "answer", "status 3", "http 415", "reset 1", "goaway".
std::string Gist(const WireAnswer& answer) {
  if (answer.end != "end" || answer.blocks.empty()) return answer.end;
  const std::string* const http = FieldOf(answer.blocks.front(), ":status");
  if (http == nullptr || *http != "200") return "http " + (http == nullptr ? "" : *http);
  const std::string* const status = FieldOf(answer.blocks.back(), "grpc-status");
  if (status == nullptr) return "no status";
  return *status == "0" && !answer.data.empty() ? "answer" : "status " + *status;
}

// The one field that well-formed calls are told by one lane alone. gRPC names the encodings that it
// takes, of which there is none but identity, in the headers before each message; the native lane
// where a call is refused as UNIMPLEMENTED, which is where the protocol asks for it: an answer of
// twenty bytes need not say each time what no client has asked.
constexpr char kAccepted[] = "grpc-accept-encoding";

// Takes it away where it belongs.
void RemoveAccepted(bool of_reference, WireAnswer* answer) {
  if (answer->blocks.empty()) return;
  Fields& first = answer->blocks.front();
  const std::string* const status = FieldOf(first, "grpc-status");
  if (of_reference ? status != nullptr : (status == nullptr || *status != "12")) return;
  const auto said =
      std::find(first.begin(), first.end(), Fields::value_type(kAccepted, "identity"));
  ASSERT_NE(said, first.end());
  first.erase(said);
}

class NativeLanesWireTest : public NativeLanesTest {
 protected:
  static Fields With(const std::string& name, const std::string& value) {
    Fields fields = RawClient::CallFields(kGet);
    for (auto& field : fields) {
      if (field.first != name) continue;
      field.second = value;
      return fields;
    }
    fields.emplace_back(name, value);
    return fields;
  }
  static Fields Twice(const std::string& name, const std::string& one, const std::string& other) {
    Fields fields = With(name, one);
    fields.emplace_back(name, other);
    return fields;
  }
  static Fields Without(const std::string& name) {
    Fields fields = RawClient::CallFields(kGet);
    fields.erase(std::find_if(fields.begin(), fields.end(),
                              [&name](const auto& field) { return field.first == name; }));
    return fields;
  }
  static std::string GetOf(const std::string& key) {
    v1::GetRequest request;
    request.set_key(key);
    return request.SerializeAsString();
  }

  // Makes the call over both; the gist of what came.
  static std::string ExpectAlike(WireLane* reference, WireLane* native, const Fields& fields,
                                 const std::string& body,
                                 const google::protobuf::Descriptor* type) {
    WireAnswer one = reference->Ask(fields, body);
    WireAnswer other = native->Ask(fields, body);
    RemoveAccepted(/*of_reference=*/true, &one);
    RemoveAccepted(/*of_reference=*/false, &other);
    EXPECT_EQ(absl::CHexEscape(TextOf(one, type)), absl::CHexEscape(TextOf(other, type)));
    return Gist(one);
  }
};

TEST_F(NativeLanesWireTest, SayTheSameToRandomCalls) {
  RandomRequests random(kSeed);
  std::vector<const MethodDescriptor*> methods;
  for (const MethodDescriptor* const method : MethodsOf(/*streams=*/false)) {
    // It would end them.
    if (method->name() != "Drain") methods.push_back(method);
  }
  std::map<std::string, int> gists;
  std::unique_ptr<WireLane> reference;
  std::unique_ptr<WireLane> native;
  for (int i = 0; i < kCalls && !HasFailure(); ++i) {
    SCOPED_TRACE("call " + std::to_string(i) + ", seed " + std::to_string(kSeed));
    if (i % kCallsPerConnection == 0) {
      reference = std::make_unique<WireLane>(reference_.port());
      native = std::make_unique<WireLane>(native_.port());
    }
    const MethodDescriptor* const method = methods[random.Below(methods.size())];
    LaneCall call = CallOf(method, random.Bytes(method->input_type()));
    // All that is sent over one connection fits into the window that it begins with.
    if (call.request.size() > kRequestBytesMax) continue;
    if (random.Below(20) == 0) call.path += "x\"%\xC3\xA9";
    SCOPED_TRACE(absl::CHexEscape(call.path + " " + call.request));
    ++gists[ExpectAlike(reference.get(), native.get(), RawClient::CallFields(call.path),
                        RawClient::Message(call.request), call.answer)];
  }
  EXPECT_GT(gists["answer"], kCalls / 10);
  EXPECT_GT(gists["status 3"], kCalls / 10);
  EXPECT_GT(gists["status 12"], kCalls / 100);
}

TEST_F(NativeLanesWireTest, SayTheSameToUnusualCalls) {
  const Fields call = RawClient::CallFields(kGet);
  const std::string request = GetOf("k\xC3\xA9");
  const std::string get = RawClient::Message(request);
  const std::string health = "/grpc.health.v1.Health/Check";
  const std::string watch = "/larder.v1.Cache/Watch";
  struct Case {
    Fields fields;
    std::string body;
    std::string gist;
  };
  const std::vector<Case> cases = {
      {call, get, "answer"},
      {call, RawClient::Message(GetOf("100%\n\xC3\xA9")), "status 3"},
      {call, RawClient::Message("\xFF\xFF"), "status 3"},
      {call, RawClient::Message(""), "status 3"},
      {call, get.substr(0, 6), "status 3"},
      {call, std::string(2, '\0'), "status 3"},
      {call, "", "status 3"},
      {RawClient::CallFields("/larder.v1.Cache/get"), get, "status 12"},
      {RawClient::CallFields("/larder.v1.Cache/"), get, "status 12"},
      {RawClient::CallFields("/a.B/C%20\xC3\xA9"), get, "status 12"},
      {RawClient::CallFields("/"), get, "status 12"},
      {RawClient::CallFields("/" + std::string(3'000, 'x')), get, "status 12"},
      {RawClient::CallFields(health), RawClient::Message(""), "answer"},
      {RawClient::CallFields(health), RawClient::Message("\x0A\x04gone"), "status 5"},
      {RawClient::CallFields(watch), RawClient::Message(""), "status 3"},
      {RawClient::CallFields(watch), RawClient::Message("\xFF\xFF"), "status 3"},
      {RawClient::CallFields(watch), "", "status 3"},
      {With("content-type", "application/grpc+proto"), get, "answer"},
      {With("content-type", "application/grpc;x=1"), get, "answer"},
      {With(":scheme", "https"), get, "answer"},
      {With("user-agent", "x"), get, "answer"},
      {With("host", "x"), get, "answer"},
      {With("grpc-status", "1"), get, "answer"},
      {With("grpc-timeout", "99999999H"), get, "answer"},
      {With("grpc-encoding", "identity"), get, "answer"},
      {With("grpc-accept-encoding", "gzip, identity"), get, "answer"},
      {With("some-bin", "AAE"), get, "answer"},
      {With("some-bin", "AAE="), get, "answer"},
      {Twice("some", "a", "b"), get, "answer"},
      {Twice("some-bin", "AAE", "AAE="), get, "answer"},
      {Twice("user-agent", "a", "b"), get, "answer"},
      {Twice("content-type", "application/grpc", "application/grpc"), get, "answer"},
      {Twice("te", "trailers", "trailers"), get, "answer"},
      {Twice("grpc-timeout", "10S", "10S"), get, "answer"},
      {Twice("grpc-timeout", "0S", "10S"), get, "answer"},
      {Twice("grpc-encoding", "identity", "identity"), get, "answer"},
      {Twice("grpc-accept-encoding", "gzip", "identity"), get, "answer"},
      {Twice("content-type", "application/json", "application/grpc"), get, "answer"},
  };
  for (const Case& one : cases) {
    SCOPED_TRACE(absl::CHexEscape(one.fields[2].second + " ... " + one.fields.back().first + ": " +
                                  one.fields.back().second + " | " + one.body));
    WireLane reference(reference_.port());
    WireLane native(native_.port());
    EXPECT_EQ(ExpectAlike(&reference, &native, one.fields, one.body, nullptr), one.gist);
  }
}

// What the two deliberately do not say alike: no client that does as it should ever hears it.
TEST_F(NativeLanesWireTest, DifferWhereTheyAreMeantTo) {
  const Fields call = RawClient::CallFields(kGet);
  const std::string request = GetOf("k");
  const std::string get = RawClient::Message(request);
  struct Case {
    Fields fields;
    std::string body;
    std::string reference;
    std::string native;
    std::string why;
  };
  const char* const kHttp = "the protocol asks for an HTTP status, gRPC takes it for a call";
  const char* const kReset = "to HTTP/2 the request is malformed, to gRPC a call that it refuses";
  const char* const kLax = "gRPC overlooks what the protocol does not allow";
  const char* const kWords = "gRPC has words and codes of its own for what it refuses by itself";
  const std::vector<Case> cases = {
      {With("content-type", "application/json"), get, "answer", "http 415", kHttp},
      {With("content-type", "application/grpcweb"), get, "answer", "http 415", kHttp},
      {Without("content-type"), get, "answer", "http 415", kHttp},
      {With(":method", "GET"), get, "status 2", "http 405", kHttp},
      {With(":method", "PUT"), get, "status 2", "http 405", kHttp},
      {Without("te"), get, "status 2", "answer", "nothing that larder does depends on it"},
      {With("te", "gzip"), get, "status 2", "reset 1", kReset},
      {RawClient::CallFields("x"), get, "status 12", "reset 1", kReset},
      {Without(":authority"), get, "status 2", "reset 1", kReset},
      {Without(":path"), get, "status 2", "reset 1", kReset},
      {Without(":method"), get, "status 2", "reset 1", kReset},
      {Without(":scheme"), get, "status 2", "reset 1", kReset},
      {With("Some", "x"), get, "answer", "reset 1", kReset},
      {With("connection", "close"), get, "answer", "reset 1", kReset},
      {call, RawClient::Message(request, 1), "answer", "status 3", kLax},
      {call, RawClient::Message(request, 2), "status 3", "status 3", kLax},
      {call, get + get, "answer", "status 3", kLax},
      {With("grpc-timeout", "soon"), get, "answer", "status 3", kLax},
      {With("grpc-timeout", "1"), get, "answer", "status 3", kLax},
      {With("grpc-timeout", "999999999H"), get, "answer", "status 3", kLax},
      {With("grpc-timeout", "-1S"), get, "answer", "status 3", kLax},
      {With("grpc-encoding", "snappy"), get, "answer", "status 12", kLax},
      {With("grpc-encoding", "gzip"), get, "status 12", "status 12", kWords},
      {With("grpc-timeout", "0S"), get, "status 4", "status 4", kWords},
      {With("some-bin", "*"), get, "status 14", "status 3", kWords},
      {Twice("grpc-timeout", "10S", "soon"), get, "answer", "status 3", kLax},
      {Twice("grpc-timeout", "10S", "0S"), get, "status 4", "status 4", kWords},
      {Twice("content-type", "application/grpc", "application/json"), get, "answer", "http 415",
       kHttp},
      {Twice(":authority", "a", "b"), get, "answer", "reset 1", kReset},
      {Twice("host", "a", "b"), get, "answer", "reset 1", kReset},
  };
  for (const Case& one : cases) {
    SCOPED_TRACE(absl::CHexEscape(one.why + ": " + one.fields.back().first + ": " +
                                  one.fields.back().second.substr(0, 50) + " | " + one.body));
    const WireAnswer reference = WireLane(reference_.port()).Ask(one.fields, one.body);
    const WireAnswer native = WireLane(native_.port()).Ask(one.fields, one.body);
    EXPECT_EQ(Gist(reference), one.reference);
    EXPECT_EQ(Gist(native), one.native);
    EXPECT_NE(TextOf(reference, nullptr), TextOf(native, nullptr)) << "there is no difference";
  }
}

}  // namespace
}  // namespace larder
