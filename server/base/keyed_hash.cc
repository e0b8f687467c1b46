// Two functions that nobody is known to tell from chance without the secret. Where the processor
// multiplies polynomials and has instructions for AES (every x86 server of the last decade), the
// string is summed and the sum encrypted, as below: a key of 28 bytes takes some forty
// instructions, one encryption's latency. Elsewhere it is SipHash-1-3, five times as many. A lookup
// in a small cache is hardly longer than its hash, so this is worth two functions; a hash without a
// secret is not on offer.
//
// The sum. A string of less than 64 bytes is padded with zeroes to blocks of two words, a_i and
// b_i, the last of which is never full. With secret words k_i and l_i, and multiplication without
// carries (of polynomials over GF(2)),
//
//   sum = XOR of (a_i ^ k_i) * (b_i ^ l_i), XOR the length
//   hash = the low half of AES-128(sum ^ m)            m: a secret block
//
// This is NH, the universal hash of UMAC (Black et al., CRYPTO 1999), in the form of CLHASH (Lemire
// and Kaser, 2016), before a block cipher: the classic way to a MAC of Wegman and Carter.
//
// Why that is enough. Take two different strings, chosen without knowledge of the secret words. If
// they have as many blocks and differ in the i-th, say in a_i, their sums are equal only if
// (a_i ^ a'_i) * l_i is one particular value, for which there is at most one l_i. If no block
// differs, the lengths do. If one has more blocks, its last product, of two words that the other
// does not use, has to be one particular value: worst is zero, for which one factor has to be zero.
// So the chance of equal sums is at most 2^-63, whatever the strings are. Sums are never seen, only
// their encryption; as long as none are equal, that is AES of different blocks under a secret key.
// After q hashes of strings of anyone's choice, each choice made with all earlier hashes before
// one's eyes, nobody tells them from random numbers better than by breaking AES, or with a chance
// of q^2 * 2^-64: for 2^24 strings, one in 65,536. An attacker who only measures how long lookups
// take sees far less. SipHash rests on nobody having found anything better than guessing; this on
// the same about AES, with all ten rounds, and on the lines above. It is weaker in one place: two
// strings with equal sums, once found, say something about k and l, and further ones could be made
// from them. To find two takes some 2^32 hashes, and seeing all of their bits.
//
// Longer strings are cut into pieces of 64 bytes and a last one of less. Each piece's sum is XORed
// with the encryption of what came before, as CBC-MAC does with blocks; m is XORed in for the last
// one only, so that no hash is what another string has on its way (as in CMAC). Equal sums of
// different pieces are as unlikely as above, and CBC-MAC's own bound is smaller. k, l, m and the
// key of the encryption are encryptions of 0, 1, 2 ... under the secret.
//
// Rejected: AES-CMAC, one encryption for each 16 bytes, each waiting for the one before: twice the
// time for most keys. Fewer rounds: 2 to 3 ns less, and nothing to say for its safety.
//
// Written out here because it has to be close: libraries offer MACs behind several calls and an
// allocation, which cost more than the hash.

#include "base/keyed_hash.h"

#include <bit>

#include "base/keyed_hash_aes.h"
#include "base/words.h"

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

bool KeyedHash::HasAes() {
  return __builtin_cpu_supports("aes") && __builtin_cpu_supports("pclmul");
}

namespace {

LARDER_WITH_AES inline __m128i Load(const void* from) {
  return _mm_loadu_si128(static_cast<const __m128i*>(from));
}

LARDER_WITH_AES inline __m128i Encrypt(__m128i block, const void* round_keys) {
  return EncryptKeyed(_mm_xor_si128(block, Load(round_keys)), round_keys);
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

LARDER_WITH_AES void ExpandKey(const void* key, void* round_keys) {
  auto* const keys = static_cast<__m128i*>(round_keys);
  keys[0] = Load(key);
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
}

}  // namespace

LARDER_WITH_AES void KeyedHash::ExpandForAes() {
  alignas(16) std::array<Block, kRounds + 1> secret_keys;
  ExpandKey(secret_.data(), secret_keys.data());
  uint64_t number = 0;
  const auto next = [&]() LARDER_WITH_AES {
    const __m128i block = _mm_cvtsi64_si128(static_cast<int64_t>(number++));
    Block derived;
    _mm_storeu_si128(reinterpret_cast<__m128i*>(derived.data()),
                     Encrypt(block, secret_keys.data()));
    return derived;
  };
  ExpandKey(next().data(), round_keys_.data());
  last_key_ = next();
  for (int half = 0; half < 2; ++half) last_key_[half] ^= round_keys_[0][half];
  for (Block& key : sum_keys_) key = next();
}

LARDER_WITH_AES __m128i KeyedHash::LongSum(const KeyedHash& hash, std::string_view bytes) {
  __m128i sum = _mm_cvtsi64_si128(static_cast<int64_t>(bytes.size()));
  for (; bytes.size() >= kPieceBytes; bytes.remove_prefix(kPieceBytes)) {
    for (size_t i = 0; i < kSumBlocks; ++i)
      sum = _mm_xor_si128(sum, Product(Load(&bytes[i * sizeof(Block)]), &hash.sum_keys_[i]));
    sum = Encrypt(sum, hash.round_keys_.data());
  }
  return sum;
}

LARDER_WITH_AES uint64_t KeyedHash::Aes(const KeyedHash& hash, std::string_view bytes) {
  return AesInline(hash, bytes);
}

#else

bool KeyedHash::HasAes() { return false; }
void KeyedHash::ExpandForAes() {}
uint64_t KeyedHash::Aes(const KeyedHash& hash, std::string_view bytes) { return Sip(hash, bytes); }

#endif

}  // namespace larder
