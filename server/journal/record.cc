// The layouts. Numbers of fixed size are big-endian; lengths are varints of 7 bits a byte, the low
// ones first.
//
//   record                                   letter
//    0  1  'R'                                0  1  'L'
//    1  1  format, 1 or 2                     1  1  format, 1
//    2  1  flags: 1 removal, 2 put back,      2  4  attempts
//            4 traced, format 2 alone
//    3  8  version                            6  8  first attempt, nanoseconds since 1970
//   11  8  enqueued, nanoseconds since 1970  14  8  last attempt
//   19     key: length, bytes                22  8  seq that the record had
//          type: length, bytes                      error: length, bytes
//          request id: length, bytes                the record as on the left, to the end
//          trace parent, if traced:              4  CRC-32C of the id and of all bytes before
//            length, bytes
//          value: length, bytes
//       4  CRC-32C of the seq and of all
//          bytes before
//
// The checksum is looked at first: what passes it is what somebody wrote, and the lengths are then
// only checked so that a bug, or a later release, cannot make this one read past the end. No length
// is believed before so many bytes are there.
//
// Format 2 is for records with a trace parent, for which format 1 has no room. An older larder does
// not get to see one: the mark (journal_store_mark.cc) keeps it out.

#include "journal/record.h"

#include <limits>

#include "absl/status/status.h"
#include "base/crc32c.h"
#include "base/status.h"
#include "base/strings.h"

namespace larder {
namespace {

constexpr char kRecordMagic = 'R', kLetterMagic = 'L';
constexpr uint8_t kFormat = 1, kTracedFormat = 2;
constexpr uint8_t kRemove = 1, kPutBack = 2, kTraced = 4;
constexpr size_t kCrcBytes = 4;

template <typename T>
void AppendFixed(std::string* out, T value) {
  for (int shift = 8 * (static_cast<int>(sizeof(T)) - 1); shift >= 0; shift -= 8)
    out->push_back(static_cast<char>(value >> shift));
}

void AppendPiece(std::string* out, std::string_view piece) {
  uint64_t length = piece.size();
  for (; length >= 0x80; length >>= 7) out->push_back(static_cast<char>(length | 0x80));
  out->push_back(static_cast<char>(length));
  out->append(piece);
}

void AppendTime(std::string* out, absl::Time time) {
  AppendFixed(out, static_cast<uint64_t>(absl::ToUnixNanos(time)));
}

uint32_t CrcOf(uint64_t number, std::string_view bytes) {
  std::string prefix;
  AppendFixed(&prefix, number);
  return Crc32c(Crc32c(0, prefix), bytes);
}

void AppendCrc(std::string* out, uint64_t number) { AppendFixed(out, CrcOf(number, *out)); }

// Takes fields off the front. After a field that was not there, all that follow are empty and ok()
// is false.
class Fields {
 public:
  explicit Fields(std::string_view bytes) : rest_(bytes) {}

  template <typename T>
  T Fixed() {
    if (rest_.size() < sizeof(T)) return Fail<T>();
    T value = 0;
    for (size_t i = 0; i < sizeof(T); ++i)
      value = static_cast<T>((uint64_t{value} << 8) | static_cast<uint8_t>(rest_[i]));
    rest_.remove_prefix(sizeof(T));
    return value;
  }
  std::string_view Piece() {
    uint64_t length = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (rest_.empty()) return Fail<std::string_view>();
      const auto byte = static_cast<uint8_t>(rest_.front());
      rest_.remove_prefix(1);
      length |= uint64_t{byte & 0x7fu} << shift;
      if (byte < 0x80) {
        if (length > rest_.size()) break;
        const std::string_view piece = rest_.substr(0, length);
        rest_.remove_prefix(length);
        return piece;
      }
    }
    return Fail<std::string_view>();
  }
  absl::Time Time() {
    const auto nanos = static_cast<int64_t>(Fixed<uint64_t>());
    // What did not fit when it was written was cut to these.
    if (nanos == std::numeric_limits<int64_t>::max()) return absl::InfiniteFuture();
    if (nanos == std::numeric_limits<int64_t>::min()) return absl::InfinitePast();
    return absl::FromUnixNanos(nanos);
  }
  std::string_view rest() const { return rest_; }
  bool ok() const { return ok_; }

 private:
  template <typename T>
  T Fail() {
    ok_ = false;
    rest_ = {};
    return T{};
  }

  std::string_view rest_;
  bool ok_ = true;
};

absl::Status Damaged(std::string_view kind, uint64_t number, std::string_view what) {
  return absl::DataLossError(StrCat(kind, " ", number, " of the journal ", what));
}

// What lies between the format, which is `newest` at most, and the checksum.
absl::StatusOr<std::string_view> Body(std::string_view kind, char magic, uint8_t newest,
                                      uint64_t number, std::string_view bytes) {
  if (bytes.size() < 2 + kCrcBytes) return Damaged(kind, number, "is cut short");
  const std::string_view covered = bytes.substr(0, bytes.size() - kCrcBytes);
  if (CrcOf(number, covered) != Fields(bytes.substr(covered.size())).Fixed<uint32_t>())
    return Damaged(kind, number, "does not match its checksum");
  if (covered[0] != magic) return Damaged(kind, number, "is something else");
  const auto format = static_cast<uint8_t>(covered[1]);
  if (format < kFormat || format > newest) {
    return Damaged(
        kind, number,
        StrCat("has format ", uint32_t{format}, "; this larder reads up to ", uint32_t{newest}));
  }
  return covered.substr(2);
}

// `value_bytes`: only the length of the value is wanted.
absl::StatusOr<JournalRecord> Decode(uint64_t seq, std::string_view bytes, uint64_t* value_bytes) {
  ASSIGN_OR_RETURN(const std::string_view body,
                   Body("record", kRecordMagic, kTracedFormat, seq, bytes));
  const uint8_t known =
      bytes[1] == kTracedFormat ? kRemove | kPutBack | kTraced : kRemove | kPutBack;
  Fields fields(body);
  JournalRecord record;
  record.seq = seq;
  const auto flags = fields.Fixed<uint8_t>();
  record.remove = (flags & kRemove) != 0;
  record.put_back = (flags & kPutBack) != 0;
  record.version = fields.Fixed<uint64_t>();
  record.enqueued = fields.Time();
  record.full_key = fields.Piece();
  record.type = fields.Piece();
  record.request_id = fields.Piece();
  if ((flags & kTraced) != 0) record.trace_parent = fields.Piece();
  const std::string_view value = fields.Piece();
  if (value_bytes != nullptr) {
    *value_bytes = value.size();
  } else {
    record.value = value;
  }
  if (!fields.ok() || !fields.rest().empty() || (flags & ~known) != 0)
    return Damaged("record", seq, "has fields that this larder cannot read");
  return record;
}

absl::StatusOr<DeadLetter> DecodeLetterWith(uint64_t id, std::string_view bytes,
                                            uint64_t* value_bytes) {
  ASSIGN_OR_RETURN(const std::string_view body,
                   Body("dead letter", kLetterMagic, kFormat, id, bytes));
  Fields fields(body);
  DeadLetter letter;
  letter.id = id;
  letter.attempts = fields.Fixed<uint32_t>();
  letter.first_attempt = fields.Time();
  letter.last_attempt = fields.Time();
  const auto seq = fields.Fixed<uint64_t>();
  letter.error = fields.Piece();
  if (!fields.ok()) return Damaged("dead letter", id, "has fields that this larder cannot read");
  ASSIGN_OR_RETURN(letter.record, Decode(seq, fields.rest(), value_bytes));
  return letter;
}

}  // namespace

std::string EncodeRecord(const JournalRecord& record, bool traced) {
  traced = traced && !record.trace_parent.empty();
  std::string out;
  out.reserve(64 + record.full_key.size() + record.type.size() + record.request_id.size() +
              record.trace_parent.size() + record.value.size());
  out.push_back(kRecordMagic);
  out.push_back(static_cast<char>(traced ? kTracedFormat : kFormat));
  out.push_back(static_cast<char>((record.remove ? kRemove : 0) | (record.put_back ? kPutBack : 0) |
                                  (traced ? kTraced : 0)));
  AppendFixed(&out, uint64_t{record.version});
  AppendTime(&out, record.enqueued);
  AppendPiece(&out, record.full_key);
  AppendPiece(&out, record.type);
  AppendPiece(&out, record.request_id);
  if (traced) AppendPiece(&out, record.trace_parent);
  AppendPiece(&out, record.value);
  AppendCrc(&out, record.seq);
  return out;
}

absl::StatusOr<JournalRecord> DecodeRecord(uint64_t seq, std::string_view bytes) {
  return Decode(seq, bytes, nullptr);
}

absl::StatusOr<JournalRecord> DecodeRecordHead(uint64_t seq, std::string_view bytes,
                                               uint64_t* value_bytes) {
  return Decode(seq, bytes, value_bytes);
}

std::string EncodeLetter(const DeadLetter& letter, bool traced) {
  std::string out;
  out.push_back(kLetterMagic);
  out.push_back(static_cast<char>(kFormat));
  AppendFixed(&out, letter.attempts);
  AppendTime(&out, letter.first_attempt);
  AppendTime(&out, letter.last_attempt);
  AppendFixed(&out, letter.record.seq);
  AppendPiece(&out, letter.error);
  out += EncodeRecord(letter.record, traced);
  AppendCrc(&out, letter.id);
  return out;
}

absl::StatusOr<DeadLetter> DecodeLetter(uint64_t id, std::string_view bytes) {
  return DecodeLetterWith(id, bytes, nullptr);
}

absl::StatusOr<DeadLetter> DecodeLetterHead(uint64_t id, std::string_view bytes,
                                            uint64_t* value_bytes) {
  return DecodeLetterWith(id, bytes, value_bytes);
}

}  // namespace larder
