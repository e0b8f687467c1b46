// The layout, little-endian: 1 byte format, 8 check of all that follows, 8 fleet, 4 node, 8 boot,
// 8 position. The check finds what was cut or mixed up on its way. It is no signature: who makes a
// token up learns nothing by it that he could not watch anyway.

#include "engine/resume_token.h"

#include "base/keyed_hash.h"

namespace larder {
namespace {

constexpr char kFormat = 1;
constexpr size_t kCheckedFrom = 9;
constexpr size_t kBytes = kCheckedFrom + 28;

uint64_t CheckOf(std::string_view bytes) {
  static const KeyedHash hash(0x6c61726465722077, 0x6174636820746f6b);
  return KeyedHash::Sip(hash, bytes);
}

void Put(std::string* out, uint64_t value, size_t size) {
  for (size_t i = 0; i < size; ++i) out->push_back(static_cast<char>(value >> (8 * i)));
}

uint64_t Take(std::string_view* bytes, size_t size) {
  uint64_t value = 0;
  for (size_t i = 0; i < size; ++i)
    value |= static_cast<uint64_t>(static_cast<uint8_t>((*bytes)[i])) << (8 * i);
  bytes->remove_prefix(size);
  return value;
}

}  // namespace

std::string EncodeResumeToken(const ResumeToken& token) {
  std::string checked;
  Put(&checked, token.fleet, 8);
  Put(&checked, token.node, 4);
  Put(&checked, token.boot, 8);
  Put(&checked, token.position, 8);
  std::string out(1, kFormat);
  Put(&out, CheckOf(checked), 8);
  return out + checked;
}

std::optional<ResumeToken> DecodeResumeToken(std::string_view bytes) {
  if (bytes.size() != kBytes || bytes[0] != kFormat) return std::nullopt;
  bytes.remove_prefix(1);
  const uint64_t check = Take(&bytes, 8);
  if (check != CheckOf(bytes)) return std::nullopt;
  ResumeToken token;
  token.fleet = Take(&bytes, 8);
  token.node = static_cast<uint32_t>(Take(&bytes, 4));
  token.boot = Take(&bytes, 8);
  token.position = Take(&bytes, 8);
  return token;
}

}  // namespace larder
