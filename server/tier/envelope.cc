// The layout. All numbers of fixed size are big-endian, so that a script can compare them byte by
// byte; all others are varints of 7 bits a byte, the low ones first.
//
//    0   4  magic "LRDR"
//    4   1  format, 1
//    5   1  flags, see below
//    6   2  encoding of the payload
//    8   8  version
//   16   8  usable until, milliseconds since 1970; of a tombstone: kept until
//   24   8  fresh until, the same; of a tombstone: 0
//   32      written, milliseconds since 1970   if kHasWritten
//           sliding, milliseconds              if kSliding
//           bytes of the decoded value         if the encoding is not 0
//           type: length, bytes                if kHasType
//           tags: count, each length, bytes    if kHasTags
//           dependencies: the same             if kHasDependencies
//           validator: length, bytes           if kHasValidator: it was loaded from an origin
//           payload: length, bytes             not for a tombstone
//        4  CRC-32C of the key and of all bytes before
//
// A value of 200 bytes of the type `user` takes 43 bytes on top. What is there says exactly how
// long the envelope is; more bytes or fewer are damage. A format or an encoding that is not known
// comes from a later release and is as good as damage: a miss.
//
// No length or count is believed before so many bytes are there, so a bad one costs nothing. The
// encodings that name a dictionary are refused in both directions: the number means another
// dictionary in every process, and the wrong one can decode to a wrong value without any error.

#include "tier/envelope.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <limits>
#include <optional>
#include <utility>

#include "base/crc32c.h"
#include "base/status.h"
#include "base/strings.h"
#include "core/key.h"
#include "policy/codec.h"

namespace larder {
namespace {

constexpr std::string_view kMagic = "LRDR";
constexpr uint8_t kFormat = 1;
constexpr size_t kCrcBytes = 4;

enum Flag : uint8_t {
  kTombstone = 1,
  kNegative = 2,
  kHasWritten = 4,
  kSliding = 8,
  kHasType = 16,
  kHasTags = 32,
  kHasDependencies = 64,
  kHasValidator = 128,
};

constexpr size_t kFormatAt = 4;
constexpr size_t kFlagsAt = 5;
constexpr size_t kEncodingAt = 6;
constexpr size_t kVersionAt = 8;
constexpr size_t kUsableAt = 16;
constexpr size_t kFreshAt = 24;

// Payloads from here on are shared with the replies instead of being copied into them.
constexpr size_t kSharedBytesMin = 16 << 10;

constexpr int64_t kNever = std::numeric_limits<int64_t>::max();
constexpr int64_t kNanosPerMilli = 1'000'000;

int64_t Saturated(__int128 value) {
  return static_cast<int64_t>(std::clamp<__int128>(value, std::numeric_limits<int64_t>::min(),
                                                   std::numeric_limits<int64_t>::max()));
}

// The two clocks at one moment.
struct Moment {
  explicit Moment(const Clock& clock) : wall(absl::ToUnixNanos(clock.Now())), mono(clock.Mono()) {}

  // Rounded down, so that no life is lengthened.
  int64_t WallMs(MonoNanos at) const {
    if (at == kNever) return kNever;
    return std::max<int64_t>(0, Saturated((__int128{wall} + at - mono) / kNanosPerMilli));
  }
  MonoNanos Mono(int64_t wall_ms) const {
    if (wall_ms == kNever) return kNever;
    return Saturated(__int128{wall_ms} * kNanosPerMilli - wall + mono);
  }
  int64_t NowMs() const { return wall / kNanosPerMilli; }

  const int64_t wall;
  const MonoNanos mono;
};

void AppendFixed(uint64_t value, size_t bytes, std::string* out) {
  for (size_t i = bytes; i-- > 0;) *out += static_cast<char>(value >> (8 * i));
}

uint64_t ReadFixed(std::string_view from, size_t at, size_t bytes) {
  uint64_t value = 0;
  for (size_t i = at; i < at + bytes; ++i) value = value << 8 | static_cast<uint8_t>(from[i]);
  return value;
}

void AppendVarint(uint64_t value, std::string* out) {
  for (; value >= 0x80; value >>= 7) *out += static_cast<char>(value | 0x80);
  *out += static_cast<char>(value);
}

void AppendString(std::string_view text, std::string* out) {
  AppendVarint(text.size(), out);
  out->append(text);
}

void AppendList(const std::vector<std::string>& texts, std::string* out) {
  AppendVarint(texts.size(), out);
  for (const std::string& text : texts) AppendString(text, out);
}

void AppendHead(uint8_t flags, Encoding encoding, Version version, int64_t usable_until_ms,
                int64_t fresh_until_ms, std::string* out) {
  out->append(kMagic);
  AppendFixed(kFormat, 1, out);
  AppendFixed(flags, 1, out);
  AppendFixed(encoding, 2, out);
  AppendFixed(version, 8, out);
  AppendFixed(static_cast<uint64_t>(usable_until_ms), 8, out);
  AppendFixed(static_cast<uint64_t>(fresh_until_ms), 8, out);
}

uint32_t Checksum(std::string_view full_key, std::string_view envelope) {
  return Crc32c(Crc32c(0, full_key), envelope);
}

absl::Status Bad(const char* what) {
  return absl::DataLossError(absl::StrCat("bad envelope: ", what));
}

// Takes pieces off the front of `rest`. After the first failure everything fails.
struct Reader {
  bool Varint(uint64_t* value) {
    *value = 0;
    for (int shift = 0; shift < 64 && !rest.empty(); shift += 7) {
      const uint8_t byte = static_cast<uint8_t>(rest.front());
      rest.remove_prefix(1);
      // The tenth byte has room for one bit; the last byte of a longer number is not 0.
      if ((shift == 63 && byte > 1) || (shift > 0 && byte == 0)) break;
      *value |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) return true;
    }
    rest = {};
    return false;
  }

  bool String(std::string_view* text) {
    uint64_t size;
    if (!Varint(&size) || size > rest.size()) return false;
    *text = rest.substr(0, size);
    rest.remove_prefix(size);
    return true;
  }

  bool List(size_t texts_max, std::vector<std::string>* texts) {
    uint64_t count;
    if (!Varint(&count) || count == 0 || count > texts_max) return false;
    texts->reserve(count);
    for (uint64_t i = 0; i < count; ++i) {
      std::string_view text;
      if (!String(&text)) return false;
      texts->emplace_back(text);
    }
    return true;
  }

  std::string_view rest;
};

// Takes the parts that the flags name off the front, up to and with the payload.
absl::Status ReadBody(uint8_t flags, const Moment& moment, bool want_value, Reader* body,
                      TierRead* read) {
  Entry& entry = read->entry;
  uint64_t number;
  if (flags & kHasWritten) {
    if (!body->Varint(&number) || number > static_cast<uint64_t>(kNever)) return Bad("written");
    entry.written = moment.Mono(static_cast<int64_t>(number));
    if (entry.written == 0) entry.written = 1;  // 0 would mean that it is not known.
  }
  if (flags & kSliding) {
    if (!body->Varint(&number) || number == 0 || number > kNever / kNanosPerMilli)
      return Bad("sliding");
    entry.sliding = static_cast<int64_t>(number) * kNanosPerMilli;
  }
  if (entry.encoding != kPlain) {
    if (!body->Varint(&number) || number > kCodecBytesMax) return Bad("decoded size");
    entry.plain_bytes = static_cast<uint32_t>(number);
  }
  if (flags & kHasType) {
    std::string_view type;
    if (!body->String(&type) || type.empty()) return Bad("type");
    read->type = type;
  }
  if ((flags & kHasTags) && !body->List(kTagsMax, &entry.tags)) return Bad("tags");
  if ((flags & kHasDependencies) && !body->List(kTagsMax, &entry.depends_on))
    return Bad("dependencies");
  if (flags & kHasValidator) {
    std::string_view validator;
    if (!body->String(&validator) || validator.size() > kValidatorBytesMax) return Bad("validator");
    entry.validator = validator;
    entry.loaded = true;
  }
  std::string_view payload;
  if (!body->String(&payload)) return Bad("payload");
  if (!want_value) return absl::OkStatus();
  if (payload.size() < kSharedBytesMin) {
    entry.bytes = payload;
  } else {
    entry.shared = SharedBytes::Copy(payload);
  }
  return absl::OkStatus();
}

}  // namespace

std::string EncodeEnvelope(const EntryFields& fields, std::string_view type, const Clock& clock) {
  assert(fields.encoding < kDictionaryFirst);
  assert(fields.tags.size() <= kTagsMax && fields.depends_on.size() <= kTagsMax);
  assert(fields.validator.size() <= kValidatorBytesMax);
  const Moment moment(clock);
  uint8_t flags = 0;
  if (fields.negative) flags |= kNegative;
  if (fields.written != 0) flags |= kHasWritten;
  if (fields.sliding > 0) flags |= kSliding;
  if (!type.empty()) flags |= kHasType;
  if (!fields.tags.empty()) flags |= kHasTags;
  if (!fields.depends_on.empty()) flags |= kHasDependencies;
  if (fields.FromOrigin()) flags |= kHasValidator;

  std::string out;
  out.reserve(kEnvelopeHeadBytes + 32 + type.size() + fields.value.size());
  AppendHead(flags, fields.encoding, fields.version, moment.WallMs(fields.usable_until),
             moment.WallMs(fields.fresh_until), &out);
  if (flags & kHasWritten) AppendVarint(moment.WallMs(fields.written), &out);
  if (flags & kSliding) AppendVarint(std::max<int64_t>(1, fields.sliding / kNanosPerMilli), &out);
  if (fields.encoding != kPlain) AppendVarint(fields.plain_bytes, &out);
  if (flags & kHasType) AppendString(type, &out);
  if (flags & kHasTags) AppendList(fields.tags, &out);
  if (flags & kHasDependencies) AppendList(fields.depends_on, &out);
  if (flags & kHasValidator) AppendString(fields.validator, &out);
  AppendString(fields.value, &out);
  AppendFixed(Checksum(fields.full_key, out), kCrcBytes, &out);
  return out;
}

std::string EncodeTombstone(std::string_view full_key, Version version, absl::Time until) {
  std::string out;
  const int64_t until_ms =
      until == absl::InfiniteFuture() ? kNever : std::max<int64_t>(0, absl::ToUnixMillis(until));
  AppendHead(kTombstone, kPlain, version, until_ms, 0, &out);
  AppendFixed(Checksum(full_key, out), kCrcBytes, &out);
  return out;
}

absl::StatusOr<EnvelopeHead> DecodeEnvelopeHead(std::string_view envelope) {
  if (envelope.size() < kEnvelopeHeadBytes) return Bad("too short");
  if (envelope.substr(0, kMagic.size()) != kMagic) return Bad("magic");
  if (ReadFixed(envelope, kFormatAt, 1) != kFormat) return Bad("format");
  const uint8_t flags = static_cast<uint8_t>(ReadFixed(envelope, kFlagsAt, 1));
  EnvelopeHead head;
  head.version = ReadFixed(envelope, kVersionAt, 8);
  head.tombstone = (flags & kTombstone) != 0;
  head.negative = (flags & kNegative) != 0;
  head.listed = (flags & (kHasTags | kHasDependencies)) != 0;
  head.usable_until_ms = static_cast<int64_t>(ReadFixed(envelope, kUsableAt, 8));
  head.fresh_until_ms = static_cast<int64_t>(ReadFixed(envelope, kFreshAt, 8));
  if (head.usable_until_ms < 0 || head.fresh_until_ms < 0) return Bad("times");
  return head;
}

absl::StatusOr<EnvelopeHead> CheckEnvelope(std::string_view full_key, std::string_view envelope) {
  ASSIGN_OR_RETURN(const EnvelopeHead head, DecodeEnvelopeHead(envelope));
  if (envelope.size() < kEnvelopeHeadBytes + kCrcBytes) return Bad("too short");
  const size_t crc_at = envelope.size() - kCrcBytes;
  if (ReadFixed(envelope, crc_at, kCrcBytes) != Checksum(full_key, envelope.substr(0, crc_at)))
    return Bad("checksum");
  return head;
}

absl::StatusOr<TierRead> DecodeEnvelope(std::string_view full_key, std::string_view envelope,
                                        const Clock& clock, bool want_value) {
  ASSIGN_OR_RETURN(const EnvelopeHead head, CheckEnvelope(full_key, envelope));
  const uint8_t flags = static_cast<uint8_t>(ReadFixed(envelope, kFlagsAt, 1));
  const Moment moment(clock);
  TierRead read;
  Entry& entry = read.entry;
  entry.version = head.version;
  entry.encoding = static_cast<Encoding>(ReadFixed(envelope, kEncodingAt, 2));
  if (entry.encoding > kZstd) return Bad("encoding");
  Reader body{
      envelope.substr(kEnvelopeHeadBytes, envelope.size() - kEnvelopeHeadBytes - kCrcBytes)};
  if (head.tombstone) {
    if (flags != kTombstone || !body.rest.empty()) return Bad("tombstone");
    if (moment.NowMs() < head.usable_until_ms) read.kind = TierRead::Kind::kTombstone;
    return read;
  }
  entry.negative = head.negative;
  entry.usable_until = moment.Mono(head.usable_until_ms);
  entry.fresh_until = moment.Mono(head.fresh_until_ms);
  RETURN_IF_ERROR(ReadBody(flags, moment, want_value, &body, &read));
  if (!body.rest.empty()) return Bad("bytes after its end");
  if (moment.NowMs() < head.usable_until_ms) {
    read.kind = TierRead::Kind::kEntry;
    return read;
  }
  TierRead ended;
  ended.kind = TierRead::Kind::kEnded;
  ended.entry.version = head.version;
  return ended;
}

}  // namespace larder
