#include "rpc/log_key.h"

#include <atomic>
#include <string>

#include "absl/strings/escaping.h"
#include "rpc/access_table.h"

namespace larder {
namespace {

// Half of a sum's digits name a key well enough to be looked for.
constexpr size_t kHashDigits = 16;

std::atomic<bool> hash_keys{true};

}  // namespace

void HashKeysInLog(bool hash) { hash_keys.store(hash, std::memory_order_relaxed); }

LogField KeyForLog(std::string_view key) {
  if (!hash_keys.load(std::memory_order_relaxed)) return {"key", key};
  if (key.empty()) return {"key_hash", ""};
  const Sha256Sum sum = Sha256Of(key);
  const std::string digits = absl::BytesToHexString(
      absl::string_view(reinterpret_cast<const char*>(sum.data()), sum.size()));
  return {"key_hash", digits.substr(0, kHashDigits)};
}

}  // namespace larder
