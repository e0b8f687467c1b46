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

// The hash of so many bytes with AES, computed by another implementation from what the top of
// keyed_hash.cc says, with an AES that agrees with FIPS 197's example.
constexpr uint64_t kAesOfLength[] = {
    0xd7b2c85aab36118a, 0x228dbf440efafb4d, 0x01e3d03176105a8f, 0x9ffb9926c99302bc,
    0xa67fb1a69c5a211a, 0x3ef18ba243ff1081, 0x93c9e5f185d4bd46, 0xa80a2af6dbed9430,
    0x7cc614762f4b1e28, 0x3b4829c98aa0489b, 0x8587ca2e065b34ef, 0xac0a8cc34c057558,
    0xb1d885ec8109b470, 0xc9f3d05bef031575, 0x5685baa1d8b3b4d2, 0xa35dfcaa79fcc4ab,
    0x697408c8f2687767, 0xdc18d7161d2c3458, 0x0f99ff448e32c8e5, 0xcb03eec383a77d96,
    0x01e7806c492efd43, 0xdbc8b19f86e72338, 0x735988873d82919c, 0x853779c0bd09de9d,
    0xa38130ccbaf84c37, 0xb9141a12595cd294, 0x8ed0ef2e0973cb37, 0x4555d9b1bdd30f62,
    0xd434a2c242c4d180, 0xd6e8b01d9d9b82a9, 0xbc09aff46c2ba8ad, 0xe8563f0375bfc409,
    0x199cd8351106c9d2, 0x3b745b63b2f247c1, 0xa25853822ad958e3, 0x18af2b34b908a048,
    0x183543e75d2378f8, 0x89371a63786dc5de, 0xa2f9f84aade6f104, 0xcd4af1e6e007ee5e,
    0x47da056633981941, 0x362626523c3e727a, 0x6dec4c0f1d89f752, 0x32a78454a82859fd,
    0x18fa5fafeb369d82, 0x17ec1ac2a5469716, 0xe91608a093417c4d, 0xd6f1993b0876f141,
    0x3056c20657a3e21f, 0xc443d3cb88b5bd79, 0xf6487e681c3f34f5, 0xfe3bd7f419a458b4,
    0xa03e3365550e89fb, 0x9aa1cbac4ed607d8, 0x2fc870a3948fb342, 0x6a57e2510184575a,
    0x504af1d06e0e5966, 0x7c6cac6cb4efb458, 0x07e1fbfa73ff802b, 0x66967b8f20e62d5c,
    0x6297b2adb9d3ed47, 0x3d9cf563dbb5b9a1, 0xb310a32eb3774c41, 0x482d2c0303236860,
    0xef6bb845534aa675, 0xc64f497345d89ea5,
};

// The same for strings that need several encryptions.
struct Long {
  size_t size;
  uint64_t hash;
};
constexpr Long kAesOfLong[] = {
    {127, 0x26c4d1d6e8621046}, {128, 0x8caa814fce4722a8},  {129, 0xd5c60762ceea19e3},
    {300, 0xb03310d824d2f862}, {1089, 0x266b5cb811da8eaa},
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

TEST(KeyedHashTest, IsTheEncryptedSumOfAnyLengthWithAes) {
  // Else the hash is the other function, whose tests always run.
  if (!KeyedHash::HasAes()) return;
  const KeyedHash hash = HashWith(Counting(16));
  for (size_t size = 0; size < std::size(kAesOfLength); ++size)
    EXPECT_EQ(KeyedHash::Aes(hash, Counting(size)), kAesOfLength[size]) << size << " bytes";
  for (const Long& message : kAesOfLong)
    EXPECT_EQ(KeyedHash::Aes(hash, Counting(message.size)), message.hash) << message.size;
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
