// The hash function of KeyedHash for processors with AES, to be inlined where a call costs: a
// function with LARDER_WITH_AES may call it. What it computes and why is told in keyed_hash.cc.
// REQUIRES: KeyedHash::HasAes(). Thread safety: pure functions.

#ifndef LARDER_BASE_KEYED_HASH_AES_H_
#define LARDER_BASE_KEYED_HASH_AES_H_

#if defined(__x86_64__)

#include <wmmintrin.h>  // AES and PCLMULQDQ

#include <cstdint>
#include <string_view>

#include "base/keyed_hash.h"
#include "base/words.h"

#define LARDER_WITH_AES __attribute__((target("aes,pclmul,sse2")))

namespace larder {

// The rounds after the first key was XORed in.
LARDER_WITH_AES inline __m128i EncryptKeyed(__m128i block, const void* round_keys) {
  const auto* const keys = static_cast<const __m128i*>(round_keys);
#pragma GCC unroll 9
  for (int round = 1; round < 10; ++round)
    block = _mm_aesenc_si128(block, _mm_load_si128(keys + round));
  return _mm_aesenclast_si128(block, _mm_load_si128(keys + 10));
}

// A block out of two words, each loaded by itself. As one load it would wait until both stores that
// a FullKey was just written with have left the processor's queue. The compiler must not see that
// the words are neighbours.
LARDER_WITH_AES inline __m128i LoadWords(const char* from) {
  __m128i block = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(from));
  asm("" : "+x"(block));
  return _mm_castps_si128(
      _mm_loadh_pi(_mm_castsi128_ps(block), reinterpret_cast<const __m64*>(from + 8)));
}

// The `size` bytes at `from`, less than a block, and zeroes.
LARDER_WITH_AES inline __m128i LoadPartOfBlock(const char* from, size_t size) {
  if (size < sizeof(uint64_t)) return _mm_cvtsi64_si128(static_cast<int64_t>(LoadPart(from, size)));
  const __m128i low = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(from));
  const uint64_t high = LoadPart(from + sizeof(uint64_t), size - sizeof(uint64_t));
  return _mm_unpacklo_epi64(low, _mm_cvtsi64_si128(static_cast<int64_t>(high)));
}

// The product of the block's halves, each XORed with its secret word.
LARDER_WITH_AES inline __m128i Product(__m128i block, const void* key) {
  const __m128i keyed = _mm_xor_si128(block, _mm_load_si128(static_cast<const __m128i*>(key)));
  return _mm_clmulepi64_si128(keyed, keyed, 0x10);
}

LARDER_WITH_AES inline uint64_t KeyedHash::AesInline(const KeyedHash& hash,
                                                     std::string_view bytes) {
  const char* at = bytes.data();
  size_t left = bytes.size();
  const Block* key = hash.sum_keys_.data();
  __m128i sum = _mm_cvtsi64_si128(static_cast<int64_t>(left));
  if (left >= kPieceBytes) {
    sum = LongSum(hash, bytes);
    at += left / kPieceBytes * kPieceBytes;
    left %= kPieceBytes;
  }
#pragma GCC unroll 3
  for (size_t i = 1; i < kSumBlocks && left >= sizeof(Block); ++i) {
    sum = _mm_xor_si128(sum, Product(LoadWords(at), key++));
    at += sizeof(Block);
    left -= sizeof(Block);
  }
  sum = _mm_xor_si128(sum, Product(LoadPartOfBlock(at, left), key));
  sum = _mm_xor_si128(sum, _mm_load_si128(reinterpret_cast<const __m128i*>(&hash.last_key_)));
  auto word = static_cast<uint64_t>(_mm_cvtsi128_si64(EncryptKeyed(sum, hash.round_keys_.data())));
  // In a register of its own from here on, which the compiler otherwise puts off.
  asm("" : "+r"(word));
  return word;
}

}  // namespace larder

#endif  // defined(__x86_64__)

#endif  // LARDER_BASE_KEYED_HASH_AES_H_
