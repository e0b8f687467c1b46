// The layout, little-endian:
//
//   1 byte format, then for each rule:
//   1 kind, its highest bit: stale | 2 node | 8 version | 1 length, namespace | 2 length, match

#include "engine/rule_codec.h"

#include "base/status.h"
#include "core/glob.h"
#include "core/key.h"

namespace larder {
namespace {

constexpr char kFormat = 1;
constexpr uint8_t kStale = 0x80;
constexpr size_t kFixedBytes = 1 + 2 + 8;

template <typename T>
void Put(std::string* out, T value) {
  for (size_t i = 0; i < sizeof(T); ++i) out->push_back(static_cast<char>(value >> (8 * i)));
}

// Takes bytes from the front; false when there are not so many.
template <typename T>
bool Take(std::string_view* bytes, T* value) {
  if (bytes->size() < sizeof(T)) return false;
  *value = 0;
  for (size_t i = 0; i < sizeof(T); ++i) {
    *value = static_cast<T>(*value | static_cast<T>(static_cast<uint8_t>((*bytes)[i])) << (8 * i));
  }
  bytes->remove_prefix(sizeof(T));
  return true;
}

bool TakeText(std::string_view* bytes, size_t size, std::string* text) {
  if (bytes->size() < size) return false;
  text->assign(bytes->substr(0, size));
  bytes->remove_prefix(size);
  return true;
}

bool TakeRule(std::string_view* bytes, Rule* rule) {
  uint8_t kind = 0, name_size = 0;
  uint16_t node = 0, match_size = 0;
  if (!Take(bytes, &kind) || !Take(bytes, &node) || !Take(bytes, &rule->version)) return false;
  if (!Take(bytes, &name_size) || !TakeText(bytes, name_size, &rule->name_space)) return false;
  if (!Take(bytes, &match_size) || !TakeText(bytes, match_size, &rule->match)) return false;
  rule->stale = (kind & kStale) != 0;
  rule->kind = static_cast<Rule::Kind>(kind & ~kStale);
  rule->node = node;
  return rule->kind >= Rule::Kind::kTag && rule->kind <= Rule::Kind::kAll &&
         rule->node <= Rule::kEveryNode && rule->version != kNoVersion &&
         name_size <= kNamespaceBytesMax && match_size <= kKeyBytesMax;
}

}  // namespace

std::string RuleIdentity(const Rule& rule) {
  std::string identity;
  identity.reserve(4 + rule.name_space.size() + rule.match.size());
  Put<uint8_t>(&identity,
               static_cast<uint8_t>(static_cast<uint8_t>(rule.kind) | (rule.stale ? kStale : 0)));
  Put<uint16_t>(&identity, static_cast<uint16_t>(rule.node));
  Put<uint8_t>(&identity, static_cast<uint8_t>(rule.name_space.size()));
  return identity + rule.name_space + rule.match;
}

std::string EncodeRules(const std::vector<Rule>& rules) {
  std::string bytes(1, kFormat);
  for (const Rule& rule : rules) {
    Put<uint8_t>(&bytes,
                 static_cast<uint8_t>(static_cast<uint8_t>(rule.kind) | (rule.stale ? kStale : 0)));
    Put<uint16_t>(&bytes, static_cast<uint16_t>(rule.node));
    Put<uint64_t>(&bytes, rule.version);
    Put<uint8_t>(&bytes, static_cast<uint8_t>(rule.name_space.size()));
    bytes += rule.name_space;
    Put<uint16_t>(&bytes, static_cast<uint16_t>(rule.match.size()));
    bytes += rule.match;
  }
  return bytes;
}

absl::StatusOr<std::vector<Rule>> DecodeRules(std::string_view bytes) {
  if (bytes.empty() || bytes[0] != kFormat) return absl::DataLossError("no rules, or newer ones");
  bytes.remove_prefix(1);
  std::vector<Rule> rules;
  rules.reserve(bytes.size() / (kFixedBytes + 16));
  while (!bytes.empty()) {
    Rule rule;
    if (!TakeRule(&bytes, &rule)) return absl::DataLossError("a rule that is none");
    rules.push_back(std::move(rule));
  }
  return rules;
}

}  // namespace larder
