// KeyedHash is a pseudo-random function of 64 bits, for tables whose keys strangers choose: without
// its secret nobody can make keys that collide, so nobody can make a table slow.
// Immutable. Thread safety: any method, any thread.

#ifndef LARDER_BASE_KEYED_HASH_H_
#define LARDER_BASE_KEYED_HASH_H_

#include <array>
#include <cstdint>
#include <string_view>

namespace larder {

class KeyedHash {
 public:
  // The same secret gives the same hashes on every machine of one kind, but not on another kind.
  KeyedHash(uint64_t secret_low, uint64_t secret_high);

  uint64_t operator()(std::string_view bytes) const { return function_(*this, bytes); }

  // The two functions, for tests. Aes: REQUIRES: HasAes().
  static bool HasAes();
  static uint64_t Aes(const KeyedHash& hash, std::string_view bytes);
  static uint64_t Sip(const KeyedHash& hash, std::string_view bytes);

 private:
  using Block = std::array<uint64_t, 2>;
  static constexpr int kRounds = 10;

  void ExpandForAes();

  uint64_t (*function_)(const KeyedHash& hash, std::string_view bytes);
  Block secret_;
  alignas(16) std::array<Block, kRounds + 1> round_keys_ = {};
  // What is mixed into the last block: one for a whole one, one for a padded one.
  alignas(16) std::array<Block, 2> last_keys_ = {};
};

}  // namespace larder

#endif  // LARDER_BASE_KEYED_HASH_H_
