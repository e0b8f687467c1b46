// The layout. All numbers are big-endian.
//
//   part:   0   4  magic "LHKP"            index:   0   4  magic "LHKI"
//           4   1  format, 1                        4   1  format, 1
//           5   1  level                            5   8  keys of all parts
//           6   4  keys                            13   4  parts
//          10      each: length of the key 2,      17      each: level 1
//                  key, version 8
//               4  CRC-32C of all before                4  CRC-32C of all before
//
// What is there says exactly how long the file is; more bytes or fewer are damage. A format that is
// not known comes from another release and is as good as damage: the list is made anew within a
// minute or at the next stop.

#include "engine/hot_list.h"

#include <utility>

#include "base/crc32c.h"
#include "base/status.h"
#include "base/strings.h"

namespace larder {
namespace {

constexpr std::string_view kPartMagic = "LHKP";
constexpr std::string_view kIndexMagic = "LHKI";
constexpr uint8_t kFormat = 1;
constexpr size_t kCrcBytes = 4;
constexpr size_t kPartKeysAt = 6;
constexpr size_t kPartHeaderBytes = 10;
static_assert(kPartHeaderBytes + kCrcBytes == HotListPart::kFrameBytes);

template <typename Number>
void Append(std::string* to, Number number) {
  for (int shift = 8 * (static_cast<int>(sizeof(Number)) - 1); shift >= 0; shift -= 8)
    to->push_back(static_cast<char>(static_cast<uint64_t>(number) >> shift));
}

// Reads numbers and bytes from the front, and remembers when there were too few.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : left_(bytes) {}

  std::string_view Bytes(size_t size) {
    if (size > left_.size()) {
      short_ = true;
      left_ = {};
      return {};
    }
    const std::string_view bytes = left_.substr(0, size);
    left_.remove_prefix(size);
    return bytes;
  }
  template <typename Number>
  Number Get() {
    uint64_t number = 0;
    for (const char byte : Bytes(sizeof(Number))) number = number << 8 | static_cast<uint8_t>(byte);
    return static_cast<Number>(number);
  }
  size_t left() const { return left_.size(); }
  bool TooShort() const { return short_; }

 private:
  std::string_view left_;
  bool short_ = false;
};

absl::Status Damage(std::string_view what) {
  return absl::DataLossError(StrCat("the list of hot keys is damaged: ", what));
}

// What is between the format and the checksum.
absl::StatusOr<std::string_view> Open(std::string_view bytes, std::string_view magic) {
  Reader reader(bytes);
  if (reader.Bytes(magic.size()) != magic) return Damage("it does not begin as one");
  const auto format = reader.Get<uint8_t>();
  if (reader.TooShort() || reader.left() < kCrcBytes) return Damage("it is too short");
  if (format != kFormat) return Damage(StrCat("its format is ", format, ", not ", kFormat));
  const std::string_view body = reader.Bytes(reader.left() - kCrcBytes);
  if (reader.Get<uint32_t>() != Crc32c(0, bytes.substr(0, bytes.size() - kCrcBytes)))
    return Damage("its checksum is not that of its bytes");
  return body;
}

bool IsFullKey(std::string_view bytes) {
  if (bytes.empty()) return false;
  const size_t name_space = static_cast<uint8_t>(bytes[0]);
  return name_space > 0 && bytes.size() > 1 + name_space &&
         CheckNamespace(FullKey::NamespaceOf(bytes)).ok() && CheckKey(FullKey::KeyOf(bytes)).ok();
}

}  // namespace

void HotListPart::Add(std::string_view full_key, Version version) {
  if (bytes_.empty()) {
    bytes_ = kPartMagic;
    Append(&bytes_, kFormat);
    bytes_.resize(kPartHeaderBytes);
  }
  Append(&bytes_, static_cast<uint16_t>(full_key.size()));
  bytes_ += full_key;
  Append(&bytes_, version);
  ++keys_;
}

std::string HotListPart::Finish(HotLevel level) {
  std::string header;
  Append(&header, level);
  Append(&header, std::exchange(keys_, 0));
  bytes_.replace(kPartKeysAt - 1, header.size(), header);
  Append(&bytes_, Crc32c(0, bytes_));
  return std::exchange(bytes_, std::string());
}

absl::StatusOr<std::vector<HotKey>> DecodeHotListPart(std::string_view bytes) {
  ASSIGN_OR_RETURN(const std::string_view body, Open(bytes, kPartMagic));
  Reader reader(body);
  const auto level = reader.Get<HotLevel>();
  const auto count = reader.Get<uint32_t>();
  if (count > reader.left() / HotListPart::kKeyOverheadBytes) return Damage("it is too short");
  std::vector<HotKey> keys(count);
  for (HotKey& key : keys) {
    key.full_key = reader.Bytes(reader.Get<uint16_t>());
    key.version = reader.Get<Version>();
    key.level = level;
    if (!IsFullKey(key.full_key)) return Damage("a key in it is none");
  }
  if (reader.TooShort() || reader.left() > 0) return Damage("its length is wrong");
  return keys;
}

std::string EncodeHotListIndex(const HotListIndex& index) {
  std::string bytes(kIndexMagic);
  Append(&bytes, kFormat);
  Append(&bytes, index.keys);
  Append(&bytes, static_cast<uint32_t>(index.levels.size()));
  for (const HotLevel level : index.levels) Append(&bytes, level);
  Append(&bytes, Crc32c(0, bytes));
  return bytes;
}

absl::StatusOr<HotListIndex> DecodeHotListIndex(std::string_view bytes) {
  ASSIGN_OR_RETURN(const std::string_view body, Open(bytes, kIndexMagic));
  Reader reader(body);
  HotListIndex index;
  index.keys = reader.Get<uint64_t>();
  if (reader.Get<uint32_t>() != reader.left() || reader.TooShort())
    return Damage("its length is wrong");
  while (reader.left() > 0) index.levels.push_back(reader.Get<HotLevel>());
  return index;
}

HotListCut HotListCount::CutAt(uint64_t keys_max, uint64_t bytes_max) const {
  for (size_t level = kHotLevels; level-- > 0;) {
    const Level& at = levels_[level];
    if (at.keys <= keys_max && at.bytes <= bytes_max) {
      keys_max -= at.keys;
      bytes_max -= at.bytes;
      continue;
    }
    const uint64_t fit = bytes_max / (at.bytes / at.keys);
    return {static_cast<HotLevel>(level), std::min(keys_max, fit)};
  }
  return {0, keys_max + levels_[0].keys};
}

}  // namespace larder
