#include "tests/fuzz/frame_fuzz.h"

#include <utility>

#include "bus/frame.h"
#include "tests/fuzz/fuzz_target.h"

namespace larder {
namespace {

// The format and the check: SealFrame needs as much.
constexpr size_t kSealedFrom = 9;

void RequireSame(const BusMessage& one, const BusMessage& other) {
  FuzzRequire(one.kind == other.kind, "another kind");
  FuzzRequire(one.version == other.version, "another version");
  FuzzRequire(one.keys == other.keys, "other keys");
  FuzzRequire(one.rule == other.rule, "another rule");
  FuzzRequire(one.changes == other.changes, "something else happened to the keys");
  FuzzRequire(one.node == other.node, "another sender");
}

bool Decode(std::string_view bytes) {
  const absl::StatusOr<Frame> frame = DecodeFrame(bytes);
  if (!frame.ok()) {
    FuzzRequire(frame.status().code() == absl::StatusCode::kDataLoss,
                "an error other than DataLoss");
    return false;
  }
  std::vector<EncodedMessage> messages;
  size_t keys = 0;
  for (const FrameMessage& message : frame->messages) {
    keys += message.message.keys.size();
    messages.push_back({EncodeMessage(message.message), frame->head.sent - message.published});
  }
  FuzzRequire(keys <= bytes.size(), "more keys than bytes");
  const absl::StatusOr<Frame> again = DecodeFrame(EncodeFrame(frame->head, messages));
  FuzzRequire(again.ok(), "not to be read again");
  FuzzRequire(again->head.node == frame->head.node, "another node");
  FuzzRequire(again->head.incarnation == frame->head.incarnation, "another incarnation");
  FuzzRequire(again->head.number == frame->head.number, "another number");
  FuzzRequire(again->head.sent == frame->head.sent, "another time");
  FuzzRequire(again->head.sent_mono == frame->head.sent_mono, "another time of the sender");
  FuzzRequire(again->head.goodbye == frame->head.goodbye, "another goodbye");
  FuzzRequire(again->head.wants_ack == frame->head.wants_ack, "another wish");
  FuzzRequire(again->head.acks == frame->head.acks, "other acknowledgements");
  FuzzRequire(again->messages.size() == frame->messages.size(), "more or fewer messages");
  for (size_t i = 0; i < frame->messages.size(); ++i)
    RequireSame(again->messages[i].message, frame->messages[i].message);
  return true;
}

}  // namespace

bool FuzzFrame(std::string_view input) {
  const bool whole = Decode(input);
  if (input.size() < kSealedFrom) return whole;
  std::string mended(input);
  SealFrame(&mended);
  return Decode(mended) || whole;
}

std::vector<std::string> FrameSeeds() {
  FrameHead head;
  head.node = 7;
  head.incarnation = 0x0123456789abcdef;
  head.number = 1;
  head.sent = absl::FromUnixSeconds(1'700'000'000);
  head.sent_mono = 5'000'000'000;
  std::vector<std::string> seeds = {EncodeFrame(head, {})};
  head.goodbye = true;
  seeds.push_back(EncodeFrame(head, {}));
  head.goodbye = false;
  head.wants_ack = true;
  head.acks = {{1, 1, 1}, {2, 3, 300'000}};
  seeds.push_back(EncodeFrame(head, {}));
  std::vector<EncodedMessage> messages;
  BusMessage changed;
  changed.version = 77;
  changed.keys = {"\7defaultuser:42", "\7defaultuser:43"};
  messages.push_back({EncodeMessage(changed), absl::Milliseconds(3)});
  seeds.push_back(EncodeFrame(head, messages));
  changed.changes = {{KeyChange::What::kPut, true, kNoVersion, "user", {"red", "big"}},
                     {KeyChange::What::kRemoved, false, 76, "", {}}};
  messages.push_back({EncodeMessage(changed), absl::Milliseconds(2)});
  seeds.push_back(EncodeFrame(head, messages));
  BusMessage rule;
  rule.kind = BusMessage::Kind::kRule;
  rule.version = 78;
  rule.rule = "tag red";
  messages.push_back({EncodeMessage(rule), absl::ZeroDuration()});
  BusMessage released;
  released.kind = BusMessage::Kind::kReleased;
  released.keys = {std::string(300, 'k')};
  messages.push_back({EncodeMessage(released), absl::Seconds(1)});
  seeds.push_back(EncodeFrame(head, messages));
  return seeds;
}

#if defined(LARDER_LIBFUZZER)
extern const FuzzTarget kFuzzTarget;
const FuzzTarget kFuzzTarget = {FuzzFrame, FrameSeeds};
#endif

}  // namespace larder
