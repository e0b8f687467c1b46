// The layout, little-endian; n is a varint of seven bits a byte:
//
//   1 byte format, 8 bytes check of all that follows
//   n node, 8 incarnation, n number, 8 sent (microseconds since 1970), 8 sent_mono, 1 flags,
//   8 newest version if the flags say so
//   n count of acks, each: 8 incarnation, n from, n to - from
//   n count of messages, each: n waited (microseconds), 1 kind, 8 version,
//                              n count of keys, each: n length, bytes; n length of the rule, bytes
//
// Where a rule has its bytes, kChanged and kRevised have what happened to its keys, or nothing. So
// releases that know nothing of that read these frames, and theirs are read here. For each key, in
// their order:
//
//   1 byte bits (2 what, then: has a type, has tags, tags are known, has a version),
//   [n length of the type, bytes] [n count of tags, each: n length, bytes] [8 version]
//
// What was loaded is told at its own version, and its first key says that it was: it has a version,
// which is none. To releases that know nothing of that it is a key without one.
//
// Redis and TCP keep bytes well enough; the check is for what else may be found under the key of
// the log: another program's items, a format that looks alike, a half-restored backup. SipHash with
// a known secret is as good a check as a CRC of its length, and it is here already.

#include "bus/frame.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "base/keyed_hash.h"
#include "base/status.h"
#include "base/strings.h"

namespace larder {
namespace {

constexpr char kFormat = 1;
constexpr size_t kCheckedFrom = 1 + sizeof(uint64_t);
constexpr uint8_t kGoodbye = 1;
constexpr uint8_t kWantsAck = 2;
constexpr uint8_t kHasNewest = 4;
constexpr size_t kVarintBytesMax = 10;
constexpr uint8_t kWhatMask = 3;
constexpr uint8_t kHasType = 4;
constexpr uint8_t kHasTags = 8;
constexpr uint8_t kTagsKnown = 16;
constexpr uint8_t kHasVersion = 32;
constexpr uint8_t kChangeBits = 63;

uint64_t CheckOf(std::string_view bytes) {
  static const KeyedHash hash(0x6c61726465722062, 0x7573206672616d65);
  return KeyedHash::Sip(hash, bytes);
}

void PutFixed(std::string* out, uint64_t value) {
  char bytes[sizeof(value)];
  for (size_t i = 0; i < sizeof(value); ++i) bytes[i] = static_cast<char>(value >> (8 * i));
  out->append(bytes, sizeof(bytes));
}

void PutVarint(std::string* out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out->push_back(static_cast<char>(value | 0x80));
  out->push_back(static_cast<char>(value));
}

void PutBytes(std::string* out, std::string_view bytes) {
  PutVarint(out, bytes.size());
  out->append(bytes);
}

// Takes a frame apart. After the first thing that is not there, everything reads as zero and ok()
// is false.
class Cursor {
 public:
  explicit Cursor(std::string_view bytes) : left_(bytes) {}

  bool ok() const { return ok_; }
  size_t left() const { return left_.size(); }

  std::string_view Bytes(uint64_t size) {
    if (size > left_.size()) return Fail(), std::string_view();
    const std::string_view bytes = left_.substr(0, size);
    left_.remove_prefix(size);
    return bytes;
  }
  uint8_t Byte() {
    const std::string_view byte = Bytes(1);
    return ok_ ? static_cast<uint8_t>(byte[0]) : 0;
  }
  uint64_t Fixed() {
    const std::string_view bytes = Bytes(sizeof(uint64_t));
    uint64_t value = 0;
    for (size_t i = 0; i < bytes.size(); ++i)
      value |= static_cast<uint64_t>(static_cast<uint8_t>(bytes[i])) << (8 * i);
    return value;
  }
  uint64_t Varint() {
    uint64_t value = 0;
    for (size_t i = 0; i < kVarintBytesMax; ++i) {
      const uint8_t byte = Byte();
      value |= static_cast<uint64_t>(byte & 0x7f) << (7 * i);
      if (byte < 0x80) return value;
    }
    return Fail(), 0;
  }
  std::string_view Counted() { return Bytes(Varint()); }
  // A count of things that take at least `each` bytes.
  size_t Count(size_t each) {
    const uint64_t count = Varint();
    if (count > left_.size() / each) return Fail(), 0;
    return count;
  }

 private:
  void Fail() {
    ok_ = false;
    left_ = {};
  }

  std::string_view left_;
  bool ok_ = true;
};

bool IsKind(uint8_t kind) {
  switch (static_cast<BusMessage::Kind>(kind)) {
    case BusMessage::Kind::kChanged:
    case BusMessage::Kind::kRule:
    case BusMessage::Kind::kReleased:
    case BusMessage::Kind::kRevised:
      return true;
  }
  return false;
}

void PutChange(std::string* out, const KeyChange& change, bool loaded) {
  const bool has_version = loaded || change.version != kNoVersion;
  const uint8_t bits = static_cast<uint8_t>(change.what) | (change.type.empty() ? 0 : kHasType) |
                       (change.tags.empty() ? 0 : kHasTags) | (change.tags_known ? kTagsKnown : 0) |
                       (has_version ? kHasVersion : 0);
  out->push_back(static_cast<char>(bits));
  if (!change.type.empty()) PutBytes(out, change.type);
  if (!change.tags.empty()) PutVarint(out, change.tags.size());
  for (const std::string& tag : change.tags) PutBytes(out, tag);
  if (has_version) PutFixed(out, loaded ? kNoVersion : change.version);
}

std::string EncodeChanges(const BusMessage& message) {
  std::string out;
  const bool loaded = message.loaded && message.kind == BusMessage::Kind::kChanged;
  for (const KeyChange& change : message.changes) PutChange(&out, change, loaded && out.empty());
  if (!loaded || !message.changes.empty()) return out;
  for (size_t i = 0; i < message.keys.size(); ++i) PutChange(&out, KeyChange(), out.empty());
  return out;
}

bool ReadChanges(std::string_view bytes, BusMessage* message) {
  const size_t keys = message->keys.size();
  if (bytes.empty()) return true;
  if (bytes.size() < keys) return false;
  Cursor cursor(bytes);
  message->changes.resize(keys);
  for (KeyChange& change : message->changes) {
    const uint8_t bits = cursor.Byte();
    if (bits > kChangeBits) return false;
    change.what = static_cast<KeyChange::What>(bits & kWhatMask);
    change.tags_known = (bits & kTagsKnown) != 0;
    if ((bits & kHasType) != 0) change.type = std::string(cursor.Counted());
    if ((bits & kHasTags) != 0) change.tags.resize(cursor.Count(1));
    for (std::string& tag : change.tags) tag = std::string(cursor.Counted());
    if ((bits & kHasVersion) == 0) continue;
    change.version = cursor.Fixed();
    if (change.version == kNoVersion && &change == &message->changes.front())
      message->loaded = message->kind == BusMessage::Kind::kChanged;
  }
  return cursor.ok() && cursor.left() == 0;
}

bool HasChanges(BusMessage::Kind kind) {
  return kind == BusMessage::Kind::kChanged || kind == BusMessage::Kind::kRevised;
}

bool ReadMessage(Cursor* cursor, const FrameHead& head, FrameMessage* out) {
  out->published = head.sent - absl::Microseconds(static_cast<int64_t>(cursor->Varint()));
  const uint8_t kind = cursor->Byte();
  if (!IsKind(kind)) return false;
  out->message.kind = static_cast<BusMessage::Kind>(kind);
  out->message.version = cursor->Fixed();
  out->message.keys.resize(cursor->Count(1));
  for (std::string& key : out->message.keys) key = std::string(cursor->Counted());
  const std::string_view rest = cursor->Counted();
  out->message.node = head.node;
  if (HasChanges(out->message.kind)) return cursor->ok() && ReadChanges(rest, &out->message);
  out->message.rule = std::string(rest);
  return cursor->ok();
}

}  // namespace

std::string EncodeMessage(const BusMessage& message) {
  const std::string changes = EncodeChanges(message);
  const std::string& rest = HasChanges(message.kind) ? changes : message.rule;
  size_t size = 32 + rest.size();
  for (const std::string& key : message.keys) size += key.size() + 2;
  std::string out;
  out.reserve(size);
  out.push_back(static_cast<char>(message.kind));
  PutFixed(&out, message.version);
  PutVarint(&out, message.keys.size());
  for (const std::string& key : message.keys) PutBytes(&out, key);
  PutBytes(&out, rest);
  return out;
}

std::string EncodeFrame(const FrameHead& head, const std::vector<EncodedMessage>& messages) {
  size_t size = 64 + head.acks.size() * 20;
  for (const EncodedMessage& message : messages) size += message.bytes.size() + 4;
  std::string out;
  out.reserve(size);
  out.push_back(kFormat);
  PutFixed(&out, 0);
  PutVarint(&out, head.node);
  PutFixed(&out, head.incarnation);
  PutVarint(&out, head.number);
  PutFixed(&out, static_cast<uint64_t>(absl::ToUnixMicros(head.sent)));
  PutFixed(&out, static_cast<uint64_t>(head.sent_mono));
  out.push_back(static_cast<char>((head.goodbye ? kGoodbye : 0) | (head.wants_ack ? kWantsAck : 0) |
                                  (head.newest != kNoVersion ? kHasNewest : 0)));
  if (head.newest != kNoVersion) PutFixed(&out, head.newest);
  PutVarint(&out, head.acks.size());
  for (const FrameAck& ack : head.acks) {
    PutFixed(&out, ack.incarnation);
    PutVarint(&out, ack.from);
    PutVarint(&out, ack.to - ack.from);
  }
  PutVarint(&out, messages.size());
  for (const EncodedMessage& message : messages) {
    PutVarint(&out, static_cast<uint64_t>(
                        std::max<int64_t>(0, absl::ToInt64Microseconds(message.waited))));
    out.append(message.bytes);
  }
  SealFrame(&out);
  return out;
}

void SealFrame(std::string* bytes) {
  std::string check;
  PutFixed(&check, CheckOf(std::string_view(*bytes).substr(kCheckedFrom)));
  bytes->replace(1, check.size(), check);
}

absl::StatusOr<Frame> DecodeFrame(std::string_view bytes) {
  if (bytes.size() < kCheckedFrom) return absl::DataLossError("too short for a frame");
  if (bytes[0] != kFormat) {
    return absl::DataLossError(
        StrCat("format ", static_cast<int>(static_cast<uint8_t>(bytes[0])), " is not known here"));
  }
  Frame frame;
  frame.check = Cursor(bytes.substr(1)).Fixed();
  if (frame.check != CheckOf(bytes.substr(kCheckedFrom)))
    return absl::DataLossError("wrong checksum");

  Cursor cursor(bytes.substr(kCheckedFrom));
  FrameHead& head = frame.head;
  const uint64_t node = cursor.Varint();
  if (node > kNodeIdMax) return absl::DataLossError(StrCat("no node id: ", node));
  head.node = static_cast<uint32_t>(node);
  head.incarnation = cursor.Fixed();
  head.number = cursor.Varint();
  head.sent = absl::FromUnixMicros(static_cast<int64_t>(cursor.Fixed()));
  head.sent_mono = static_cast<MonoNanos>(cursor.Fixed());
  const uint8_t flags = cursor.Byte();
  head.goodbye = (flags & kGoodbye) != 0;
  head.wants_ack = (flags & kWantsAck) != 0;
  if ((flags & kHasNewest) != 0) head.newest = cursor.Fixed();
  head.acks.resize(cursor.Count(sizeof(uint64_t) + 2));
  for (FrameAck& ack : head.acks) {
    ack.incarnation = cursor.Fixed();
    ack.from = cursor.Varint();
    ack.to = ack.from + cursor.Varint();
  }
  constexpr size_t kMessageBytesMin = 12;
  frame.messages.resize(cursor.Count(kMessageBytesMin));
  for (FrameMessage& message : frame.messages) {
    if (!ReadMessage(&cursor, head, &message))
      return absl::DataLossError("a message of it cannot be read");
  }
  if (!cursor.ok() || cursor.left() != 0 || head.number == 0)
    return absl::DataLossError("its parts do not make a whole");
  return frame;
}

}  // namespace larder
