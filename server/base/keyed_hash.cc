// Two functions that nobody is known to tell from chance without the secret. Where the processor
// has instructions for AES (every x86 server of the last decade), it is AES-128-CMAC cut to 64
// bits: a key of 28 bytes takes some forty instructions. Elsewhere it is SipHash-1-3, three times
// as many. A lookup in a small cache is hardly longer than its hash, so this is worth two
// functions; a hash without a secret is not on offer.
//
// Written out here because it has to be close: libraries offer both as MACs behind several calls
// and an allocation, which cost more than the hash.

#include "base/keyed_hash.h"

#include <bit>

#include "base/words.h"

#if defined(__x86_64__)
#include <wmmintrin.h>
#endif

namespace larder {
namespace {

struct SipState {
  uint64_t v0, v1, v2, v3;

  void Round() {
    v0 += v1;
    v2 += v3;
    v1 = std::rotl(v1, 13) ^ v0;
    v3 = std::rotl(v3, 16) ^ v2;
    v0 = std::rotl(v0, 32);
    v2 += v1;
    v0 += v3;
    v1 = std::rotl(v1, 17) ^ v2;
    v3 = std::rotl(v3, 21) ^ v0;
    v2 = std::rotl(v2, 32);
  }
  void Compress(uint64_t word) {
    v3 ^= word;
    Round();
    v0 ^= word;
  }
};

}  // namespace

KeyedHash::KeyedHash(uint64_t secret_low, uint64_t secret_high)
    : function_(HasAes() ? &Aes : &Sip), secret_{secret_low, secret_high} {
  if (HasAes()) ExpandForAes();
}

uint64_t KeyedHash::Sip(const KeyedHash& hash, std::string_view bytes) {
  SipState state{hash.secret_[0] ^ 0x736f6d6570736575, hash.secret_[1] ^ 0x646f72616e646f6d,
                 hash.secret_[0] ^ 0x6c7967656e657261, hash.secret_[1] ^ 0x7465646279746573};
  const char* at = bytes.data();
  size_t left = bytes.size();
  for (; left >= sizeof(uint64_t); left -= sizeof(uint64_t), at += sizeof(uint64_t))
    state.Compress(LoadWord(at));
  // The last word: what is left, and the length in the top byte.
  state.Compress(static_cast<uint64_t>(bytes.size()) << 56 | LoadPart(at, left));
  state.v2 ^= 0xff;
  state.Round();
  state.Round();
  state.Round();
  return state.v0 ^ state.v1 ^ state.v2 ^ state.v3;
}

#if defined(__x86_64__)

#define LARDER_WITH_AES __attribute__((target("aes,sse2")))

bool KeyedHash::HasAes() { return __builtin_cpu_supports("aes"); }

namespace {

LARDER_WITH_AES inline __m128i Load(const void* from) {
  return _mm_loadu_si128(static_cast<const __m128i*>(from));
}

LARDER_WITH_AES inline __m128i Encrypt(__m128i block, const void* round_keys) {
  const auto* const keys = static_cast<const __m128i*>(round_keys);
  block = _mm_xor_si128(block, _mm_load_si128(keys));
#pragma GCC unroll 9
  for (int round = 1; round < 10; ++round)
    block = _mm_aesenc_si128(block, _mm_load_si128(keys + round));
  return _mm_aesenclast_si128(block, _mm_load_si128(keys + 10));
}

// A block out of two words, each loaded by itself. As one load it would wait until both stores that
// a FullKey was just written with have left the processor's queue. The compiler must not see that
// the words are neighbours.
LARDER_WITH_AES inline __m128i LoadWords(const char* from) {
  uint64_t low = LoadWord(from);
  uint64_t high = LoadWord(from + sizeof(low));
  asm("" : "+r"(low), "+r"(high));
  return _mm_set_epi64x(static_cast<int64_t>(high), static_cast<int64_t>(low));
}

// One step of AES-128's key schedule.
template <int kConstant>
LARDER_WITH_AES __m128i NextRoundKey(__m128i key) {
  const __m128i assist =
      _mm_shuffle_epi32(_mm_aeskeygenassist_si128(key, kConstant), _MM_SHUFFLE(3, 3, 3, 3));
  key = _mm_xor_si128(key, _mm_slli_si128(key, 4));
  key = _mm_xor_si128(key, _mm_slli_si128(key, 4));
  key = _mm_xor_si128(key, _mm_slli_si128(key, 4));
  return _mm_xor_si128(key, assist);
}

}  // namespace

LARDER_WITH_AES void KeyedHash::ExpandForAes() {
  auto* const keys = reinterpret_cast<__m128i*>(round_keys_.data());
  keys[0] = Load(secret_.data());
  keys[1] = NextRoundKey<0x01>(keys[0]);
  keys[2] = NextRoundKey<0x02>(keys[1]);
  keys[3] = NextRoundKey<0x04>(keys[2]);
  keys[4] = NextRoundKey<0x08>(keys[3]);
  keys[5] = NextRoundKey<0x10>(keys[4]);
  keys[6] = NextRoundKey<0x20>(keys[5]);
  keys[7] = NextRoundKey<0x40>(keys[6]);
  keys[8] = NextRoundKey<0x80>(keys[7]);
  keys[9] = NextRoundKey<0x1b>(keys[8]);
  keys[10] = NextRoundKey<0x36>(keys[9]);

  // CMAC's two subkeys: the encrypted zero block, doubled once and twice in its field, whose bytes
  // are in network order.
  Block zero = {};
  _mm_storeu_si128(reinterpret_cast<__m128i*>(zero.data()), Encrypt(Load(zero.data()), keys));
  uint64_t high = __builtin_bswap64(zero[0]);
  uint64_t low = __builtin_bswap64(zero[1]);
  for (Block& subkey : last_keys_) {
    const uint64_t carry = (high >> 63) != 0 ? 0x87 : 0;
    high = high << 1 | low >> 63;
    low = low << 1 ^ carry;
    subkey = {__builtin_bswap64(high), __builtin_bswap64(low)};
  }
}

LARDER_WITH_AES uint64_t KeyedHash::Aes(const KeyedHash& hash, std::string_view bytes) {
  const char* at = bytes.data();
  size_t left = bytes.size();
  const void* const keys = hash.round_keys_.data();
  __m128i state = _mm_setzero_si128();
  for (; left > 16; left -= 16, at += 16)
    state = Encrypt(_mm_xor_si128(state, LoadWords(at)), keys);
  __m128i last;
  if (left == 16) {
    last = _mm_xor_si128(LoadWords(at), Load(hash.last_keys_[0].data()));
  } else {
    // Padded by one bit and zeroes.
    Block padded;
    if (left >= 8) {
      padded = {LoadWord(at), LoadPart(at + 8, left - 8) | uint64_t{0x80} << (8 * (left - 8))};
    } else {
      padded = {LoadPart(at, left) | uint64_t{0x80} << (8 * left), 0};
    }
    last = _mm_xor_si128(
        _mm_set_epi64x(static_cast<int64_t>(padded[1]), static_cast<int64_t>(padded[0])),
        Load(hash.last_keys_[1].data()));
  }
  return static_cast<uint64_t>(_mm_cvtsi128_si64(Encrypt(_mm_xor_si128(state, last), keys)));
}

#else

bool KeyedHash::HasAes() { return false; }
void KeyedHash::ExpandForAes() {}
uint64_t KeyedHash::Aes(const KeyedHash& hash, std::string_view bytes) { return Sip(hash, bytes); }

#endif

}  // namespace larder
