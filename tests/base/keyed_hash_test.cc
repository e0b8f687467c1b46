#include "base/keyed_hash.h"

#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cstring>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "tests/base/guarded_page.h"

namespace larder {
namespace {

using Function = uint64_t (*)(const KeyedHash& hash, std::string_view bytes);

// The hash with a secret of 16 bytes.
KeyedHash HashWith(std::string_view secret) {
  uint64_t words[2];
  std::memcpy(words, secret.data(), sizeof(words));
  return {words[0], words[1]};
}

// 0, 1, 2 and so on: the secret and the message of the tables below.
std::string Counting(size_t size) {
  std::string bytes(size, 0);
  for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>(i);
  return bytes;
}

// The first 8 bytes of the AES-CMAC of so many bytes, computed by OpenSSL.
constexpr uint64_t kAesOfLength[] = {
    0x56bd2c885a6edd97, 0x5a0e87af63168ad7, 0x42163199cff4cc17, 0x093d15a12da011ba,
    0x9223aae4a0faf11b, 0x84f723e8dd041960, 0x1a8a9edb9a7ad691, 0x862bf526cef332f2,
    0x32001f93b12e8042, 0xd3666b03e0f95520, 0xb89dd8463197d3cd, 0xcdb5b4a4822900a1,
    0x38031ffc898dc218, 0x4b7f56d2a97469de, 0x848322b55789275a, 0xf4c33f9e9169fb40,
    0x8ba62e7acabbcf7b, 0xa7c5be3f4259abdb, 0xf8e5ac2d5487db15, 0x856b44e595551046,
    0x529c4c5f7be80a98, 0xf85c661deeb275c0, 0x0374f7540b7f89ad, 0x613d2ca6c680c8c3,
    0xf3c54d3f1a0de552, 0xa9f76447be4e99a3, 0x48e2f715f678e0cb, 0xea4006ef85dda531,
    0x3540765e7620fdb0, 0x043cd5f704d5d895, 0xe1e215fac5ecea44, 0x1297106669310616,
    0x2a281b32f8fadb73, 0x3344abc7abb0259e, 0x9168f5d11603c387, 0x4fd6f00c0c07cfae,
    0xc3d911c66361324c, 0xceaca8dd46418292, 0x701e3cd7e017b264, 0x60fdcac2268eb445,
    0xd92a432aa66c1429, 0x218138bd63f73037, 0x31f63c76d4fd060a, 0xd583c25eeb8b4434,
    0x24e8d83645a0265f, 0x17a35b240952fe58, 0xce1a308ce7a53c74, 0xd39dada268e485f4,
    0x3307e5b01d124752, 0x61eb076ac0bd1694, 0xaa859397a883419f, 0x0d532f20ddc3ddf0,
    0x47ac74e6b612f5dd, 0x8be52b06b17ad555, 0x5a20dc6d8ae09e55, 0x66dc39496a49b6bb,
    0x4a88f889dfa8634f, 0xc84d0efab5eed1c8, 0x877a27b97182ea6c, 0x1a9d1ab23f4a1b88,
    0x1fae4df2da58fe66, 0x7e842bd59244f481, 0xc2d2c257ce1b7a28, 0xaba23bdbd4f95eb6,
    0xd4685a616b05006b,
};

// The SipHash-1-3 of so many bytes, computed by another implementation, which agrees with the
// vectors of SipHash-2-4's paper and with CPython's own hash.
constexpr uint64_t kSipOfLength[] = {
    0xabac0158050fc4dc, 0xc9f49bf37d57ca93, 0x82cb9b024dc7d44d, 0x8bf80ab8e7ddf7fb,
    0xcf75576088d38328, 0xdef9d52f49533b67, 0xc50d2b50c59f22a7, 0xd3927d989bb11140,
    0x369095118d299a8e, 0x25a48eb36c063de4, 0x79de85ee92ff097f, 0x70c118c1f94dc352,
    0x78a384b157b4d9a2, 0x306f760c1229ffa7, 0x605aa111c0f95d34, 0xd320d86d2a519956,
    0xcc4fdd1a7d908b66, 0x9cf2689063dbd80c, 0x8ffc389cb473e63e, 0xf21f9de58d297d1c,
    0xc0dc2f46a6cce040, 0xb992abfe2b45f844, 0x7ffe7b9ba320872e, 0x525a0e7fdae6c123,
    0xf464aeb267349c8c, 0x45cd5928705b0979, 0x3a3e35e3ca9913a5, 0xa91dc74e4ade3b35,
    0xfb0bed02ef6cd00d, 0x88d93cb44ab1e1f4, 0x540f11d643c5e663, 0x2370dd1f8c21d1bc,
    0x81157b6c16a7b60d, 0x4d54b9e57a8ff9bf, 0x759f12781f2a753e, 0xcea1a3bebf186b91,
    0x2cf508d3ada26206, 0xb6101c2da3c33057, 0xb3f47496ae3a36a1, 0x626b57547b108392,
    0xc1d2363299e41531, 0x667cc1923f1ad944, 0x65704ffec8138825, 0x24f280d1c28949a6,
    0xc2ca1cedfaf8876b, 0xc2164bfc9f042196, 0xa16e9c9368b1d623, 0x49fb169c8b5114fd,
    0x9f3143f8df074c46, 0xc6fdaf2412cc86b3, 0x7eaf49d10a52098f, 0x1cf313559d292f9a,
    0xc44a30dda2f41f12, 0x36fae98943a71ed0, 0x318fb34c73f0bce6, 0xa27abf3670a7e980,
    0xb4bcc0db243c6d75, 0x23f8d852fdb71513, 0x8f035f4da67d8a08, 0xd89cd0e5b7e8f148,
    0xf6f4e6bcf7a644ee, 0xaec59ad80f1837f2, 0xc3b2f6154b6694e0, 0x9d199062b7bbb3a8,
    0xf17997ec4b4a6065,
};

std::vector<Function> AllFunctions() {
  std::vector<Function> functions = {&KeyedHash::Sip};
  if (KeyedHash::HasAes()) functions.push_back(&KeyedHash::Aes);
  return functions;
}

TEST(KeyedHashTest, IsTheCmacOfRfc4493WithAes) {
  // Else the hash is the other function, whose tests always run.
  if (!KeyedHash::HasAes()) return;
  const KeyedHash hash =
      HashWith("\x2b\x7e\x15\x16\x28\xae\xd2\xa6\xab\xf7\x15\x88\x09\xcf\x4f\x3c");
  const std::string message =
      "\x6b\xc1\xbe\xe2\x2e\x40\x9f\x96\xe9\x3d\x7e\x11\x73\x93\x17\x2a"
      "\xae\x2d\x8a\x57\x1e\x03\xac\x9c\x9e\xb7\x6f\xac\x45\xaf\x8e\x51"
      "\x30\xc8\x1c\x46\xa3\x5c\xe4\x11\xe5\xfb\xc1\x19\x1a\x0a\x52\xef"
      "\xf6\x9f\x24\x45\xdf\x4f\x9b\x17\xad\x2b\x41\x7b\xe6\x6c\x37\x10";
  ASSERT_EQ(message.size(), 64u);
  const auto of_first = [&](size_t size) {
    return KeyedHash::Aes(hash, std::string_view(message).substr(0, size));
  };
  // The RFC's bb1d6929e9593728..., 070a16b46b4d4144..., dfa66747de9ae630..., 51f0bebf7e3b9d92...
  EXPECT_EQ(of_first(0), 0x283759e929691dbb);
  EXPECT_EQ(of_first(16), 0x44414d6bb4160a07);
  EXPECT_EQ(of_first(40), 0x30e69ade4767a6df);
  EXPECT_EQ(of_first(64), 0x929d3b7ebfbef051);
}

TEST(KeyedHashTest, IsTheCmacOfAnyLengthWithAes) {
  // Else the hash is the other function, whose tests always run.
  if (!KeyedHash::HasAes()) return;
  const KeyedHash hash = HashWith(Counting(16));
  for (size_t size = 0; size < std::size(kAesOfLength); ++size)
    EXPECT_EQ(KeyedHash::Aes(hash, Counting(size)), kAesOfLength[size]) << size << " bytes";
}

TEST(KeyedHashTest, IsSipHash13OfAnyLengthWithoutAes) {
  const KeyedHash hash = HashWith(Counting(16));
  for (size_t size = 0; size < std::size(kSipOfLength); ++size)
    EXPECT_EQ(KeyedHash::Sip(hash, Counting(size)), kSipOfLength[size]) << size << " bytes";
}

TEST(KeyedHashTest, UsesAesWhereThereIsAny) {
  const KeyedHash hash(1, 2);
  EXPECT_EQ(hash("key"),
            KeyedHash::HasAes() ? KeyedHash::Aes(hash, "key") : KeyedHash::Sip(hash, "key"));
}

TEST(KeyedHashTest, TellsEveryLengthOfTheSameBytesApart) {
  const KeyedHash hash(0x0123456789abcdef, 0xfedcba9876543210);
  for (const Function function : AllFunctions()) {
    // Also of the bytes that pad a block.
    for (const std::string& bytes : {std::string(64, 0), std::string(64, '\x80'),
                                     std::string(64, '\xff'), "\x80" + std::string(63, 0)}) {
      std::set<uint64_t> seen;
      for (size_t size = 0; size <= 64; ++size)
        seen.insert(function(hash, std::string_view(bytes).substr(0, size)));
      EXPECT_EQ(seen.size(), 65u);
    }
  }
}

TEST(KeyedHashTest, ReadsNoByteOutsideAndDoesNotDependOnTheAddress) {
  GuardedPage page;
  const KeyedHash hash = HashWith(Counting(16));
  for (const Function function : AllFunctions()) {
    for (size_t size = 0; size <= 64; ++size) {
      SCOPED_TRACE(size);
      const std::string bytes = Counting(size);
      const uint64_t value = function(hash, bytes);
      EXPECT_EQ(function(hash, page.AtBegin(bytes)), value);
      EXPECT_EQ(function(hash, page.AtEnd(bytes)), value);
      for (size_t shift = 1; shift < 16; ++shift) {
        const std::string around = std::string(shift, '\xff') + bytes + "\xff\xff\xff";
        EXPECT_EQ(function(hash, std::string_view(around).substr(shift, size)), value);
      }
    }
  }
}

TEST(KeyedHashTest, FlipsHalfOfTheBitsForAnyBitOfTheInput) {
  constexpr int kMessages = 64;
  std::mt19937_64 random(1);
  for (const Function function : AllFunctions()) {
    for (const size_t size : {1, 3, 7, 8, 15, 16, 17, 20, 31, 32, 33, 48}) {
      SCOPED_TRACE(size);
      const KeyedHash hash(random(), random());
      std::vector<int> flipped_by(size * 8);
      std::array<int, 64> flips_of = {};
      for (int n = 0; n < kMessages; ++n) {
        std::string bytes(size, 0);
        for (char& byte : bytes) byte = static_cast<char>(random());
        const uint64_t before = function(hash, bytes);
        for (size_t bit = 0; bit < size * 8; ++bit) {
          bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ 1 << bit % 8);
          const uint64_t flipped = before ^ function(hash, bytes);
          bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ 1 << bit % 8);
          flipped_by[bit] += std::popcount(flipped);
          for (int out = 0; out < 64; ++out) flips_of[out] += static_cast<int>(flipped >> out & 1);
        }
      }
      // Half a bit is the standard deviation of the mean of 64 messages: these are ten of them.
      for (const int flips : flipped_by) EXPECT_NEAR(flips / double{kMessages}, 32, 5);
      // No less: one byte has 512 flips of a bit.
      for (const int flips : flips_of) {
        EXPECT_NEAR(flips / static_cast<double>(kMessages * size * 8), 0.5, 0.12);
      }
    }
  }
}

TEST(KeyedHashTest, FlipsHalfOfTheBitsForAnyBitOfTheSecret) {
  std::mt19937_64 random(2);
  for (const Function function : AllFunctions()) {
    for (int bit = 0; bit < 128; ++bit) {
      int flipped = 0;
      for (int n = 0; n < 64; ++n) {
        const uint64_t low = random();
        const uint64_t high = random();
        const uint64_t other_low = bit < 64 ? low ^ uint64_t { 1 } << bit : low;
        const uint64_t other_high = bit < 64 ? high : high ^ uint64_t { 1 } << (bit - 64);
        const std::string bytes = Counting(static_cast<size_t>(n));
        flipped += std::popcount(function(KeyedHash(low, high), bytes) ^
                                 function(KeyedHash(other_low, other_high), bytes));
      }
      EXPECT_NEAR(flipped / 64.0, 32, 5) << "bit " << bit;
    }
  }
}

}  // namespace
}  // namespace larder
