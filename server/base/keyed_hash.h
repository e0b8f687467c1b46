// KeyedHash is a pseudo-random function of 64 bits, for tables whose keys strangers choose: without
// its secret nobody can make keys that collide, so nobody can make a table slow.
// Immutable. Thread safety: any method, any thread.

#ifndef LARDER_BASE_KEYED_HASH_H_
#define LARDER_BASE_KEYED_HASH_H_

#include <array>
#include <cstdint>
#include <string_view>

#if defined(__x86_64__)
#include <emmintrin.h>
#endif

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
#if defined(__x86_64__)
  // Aes, see keyed_hash_aes.h.
  static uint64_t AesInline(const KeyedHash& hash, std::string_view bytes);
#endif

 private:
  using Block = std::array<uint64_t, 2>;
  static constexpr int kRounds = 10;
  // Blocks that are added up before they are encrypted.
  static constexpr size_t kSumBlocks = 4;
  static constexpr size_t kPieceBytes = kSumBlocks * sizeof(Block);

  void ExpandForAes();
#if defined(__x86_64__)
  // What the last piece's sum begins with: the whole pieces before it and the length.
  static __m128i LongSum(const KeyedHash& hash, std::string_view bytes);
#endif

  uint64_t (*function_)(const KeyedHash& hash, std::string_view bytes);
  Block secret_;
  // One for each block of a sum.
  alignas(16) std::array<Block, kSumBlocks> sum_keys_ = {};
  // Takes the first round key's place for the last sum.
  alignas(16) Block last_key_ = {};
  alignas(16) std::array<Block, kRounds + 1> round_keys_ = {};
};

}  // namespace larder

#endif  // LARDER_BASE_KEYED_HASH_H_
