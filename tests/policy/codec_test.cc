#include "policy/codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "tests/policy/values.h"

namespace larder {
namespace {

using Compress = std::function<std::optional<std::string_view>(std::string_view, size_t)>;
using Decompress = std::function<bool(std::string_view, char*, size_t)>;

struct Codec {
  std::string name;
  Compress compress;
  Decompress decompress;
};

Codec Zstd(int level) {
  return {absl::StrCat("zstd level ", level),
          [level](std::string_view plain, size_t most) { return ZstdCompress(plain, level, most); },
          [](std::string_view stored, char* plain, size_t bytes) {
            return ZstdDecompress(stored, plain, bytes);
          }};
}

Codec ZstdWith(std::shared_ptr<const Dictionary> dictionary) {
  return {"zstd with a dictionary",
          [dictionary](std::string_view plain, size_t most) {
            return ZstdCompress(plain, *dictionary, most);
          },
          [dictionary](std::string_view stored, char* plain, size_t bytes) {
            return ZstdDecompress(stored, *dictionary, plain, bytes);
          }};
}

std::vector<Codec> AllCodecs() {
  const Codec lz4{"lz4", Lz4Compress, Lz4Decompress};
  return {lz4, Zstd(1), Zstd(3), Zstd(9), ZstdWith(DictionaryFor("order", 1))};
}

// Decodes into a place with guards behind it, which have to stay as they are.
bool DecodeGuarded(const Codec& codec, std::string_view stored, size_t bytes, std::string* plain) {
  static constexpr char kGuard = 0x5a;
  static constexpr size_t kGuards = 64;
  std::string place(bytes + kGuards, kGuard);
  const bool ok = codec.decompress(stored, place.data(), bytes);
  EXPECT_EQ(place.substr(bytes), std::string(kGuards, kGuard)) << codec.name << " wrote too much";
  *plain = place.substr(0, bytes);
  return ok;
}

TEST(CodecTest, ValuesOfEverySizeComeBackAsTheyWere) {
  Generator generator(11);
  std::vector<size_t> sizes;
  for (size_t bytes = 1; bytes <= 70; ++bytes) sizes.push_back(bytes);
  for (size_t bytes = 128; bytes <= 1 << 20; bytes *= 2) {
    sizes.insert(sizes.end(), {bytes - 1, bytes, bytes + bytes / 3});
  }
  for (const Codec& codec : AllCodecs()) {
    for (const size_t bytes : sizes) {
      for (const std::string& plain :
           {Prose(bytes, &generator), Noise(bytes, &generator), std::string(bytes, 'a')}) {
        const auto stored = codec.compress(plain, plain.size() + plain.size() / 8 + 64);
        ASSERT_TRUE(stored) << codec.name << ", " << bytes << " bytes";
        std::string back;
        ASSERT_TRUE(DecodeGuarded(codec, std::string(*stored), bytes, &back))
            << codec.name << ", " << bytes << " bytes";
        ASSERT_EQ(back, plain) << codec.name << ", " << bytes << " bytes";
      }
    }
  }
}

TEST(CodecTest, FailsWhenTheResultIsLargerThanAllowed) {
  Generator generator(12);
  const std::string plain = Prose(10'000, &generator);
  for (const Codec& codec : AllCodecs()) {
    const auto stored = codec.compress(plain, plain.size());
    ASSERT_TRUE(stored) << codec.name;
    const size_t bytes = stored->size();
    EXPECT_FALSE(codec.compress(plain, bytes / 2)) << codec.name;
    EXPECT_FALSE(codec.compress(plain, 0)) << codec.name;
    EXPECT_FALSE(codec.compress(Noise(10'000, &generator), 9'000)) << codec.name;
    // And works again afterwards.
    EXPECT_TRUE(codec.compress(plain, plain.size())) << codec.name;
  }
}

TEST(CodecTest, HasNoFormForAnEmptyValue) {
  char out = 0;
  for (const Codec& codec : AllCodecs()) {
    EXPECT_FALSE(codec.compress("", 100)) << codec.name;
    EXPECT_FALSE(codec.decompress("", &out, 1)) << codec.name;
  }
}

TEST(CodecTest, DecodesToTheExactSizeOnly) {
  Generator generator(13);
  const std::string plain = Record("order", &generator);
  for (const Codec& codec : AllCodecs()) {
    const std::string stored(*codec.compress(plain, 1000));
    std::string back;
    for (const size_t bytes : {size_t{1}, plain.size() / 2, plain.size() - 1, plain.size() + 1,
                               2 * plain.size(), size_t{100'000}}) {
      EXPECT_FALSE(DecodeGuarded(codec, stored, bytes, &back)) << codec.name << ", " << bytes;
    }
    EXPECT_TRUE(DecodeGuarded(codec, stored, plain.size(), &back)) << codec.name;
  }
}

TEST(CodecTest, NoTruncatedBlockDecodes) {
  Generator generator(14);
  const std::string plain = Record("order", &generator);
  for (const Codec& codec : AllCodecs()) {
    const std::string stored(*codec.compress(plain, 1000));
    std::string back;
    for (size_t bytes = 0; bytes < stored.size(); ++bytes) {
      EXPECT_FALSE(DecodeGuarded(codec, stored.substr(0, bytes), plain.size(), &back))
          << codec.name << ", " << bytes << " of " << stored.size();
    }
  }
}

TEST(CodecTest, DamagedBlocksNeverWritePastTheBound) {
  Generator generator(15);
  const std::vector<Codec> codecs = AllCodecs();
  for (int step = 0; step < 20'000; ++step) {
    const Codec& codec = codecs[generator() % codecs.size()];
    const std::string plain = generator() % 2 == 0 ? Record("order", &generator)
                                                   : Prose(1 + generator() % 3000, &generator);
    const auto compressed = codec.compress(plain, 2 * plain.size() + 100);
    ASSERT_TRUE(compressed);
    std::string stored(*compressed);
    size_t bytes = plain.size();
    switch (generator() % 5) {
      case 0:  // flipped bits
        for (uint64_t flips = 1 + generator() % 8; flips > 0; --flips) {
          char& byte = stored[generator() % stored.size()];
          byte = static_cast<char>(byte ^ (1 << (generator() % 8)));
        }
        break;
      case 1:  // another size
        bytes = 1 + generator() % (3 * plain.size());
        break;
      case 2:  // something behind it
        stored += Noise(1 + generator() % 100, &generator);
        break;
      case 3:  // no block at all
        stored = Noise(1 + generator() % 500, &generator);
        break;
      default:  // two blocks
        stored += stored;
    }
    std::string back;
    DecodeGuarded(codec, stored, bytes, &back);
  }
}

TEST(CodecTest, BlocksOfOneCodecDoNotReachPastTheBoundOfAnother) {
  Generator generator(16);
  std::vector<Codec> codecs = AllCodecs();
  codecs.push_back(ZstdWith(DictionaryFor("invoice", 2)));
  for (const Codec& writer : codecs) {
    for (const Codec& reader : codecs) {
      for (int i = 0; i < 100; ++i) {
        const std::string plain = Record("order", &generator);
        std::string back;
        DecodeGuarded(reader, std::string(*writer.compress(plain, 1000)), plain.size(), &back);
      }
    }
  }
}

TEST(DictionaryTest, IsNotMadeOfAnythingElse) {
  Generator generator(17);
  EXPECT_EQ(Dictionary::New("", 3), nullptr);
  EXPECT_EQ(Dictionary::New(Noise(100, &generator), 3), nullptr);
  EXPECT_EQ(Dictionary::New(Prose(10'000, &generator), 3), nullptr);
  std::string damaged = DictionaryFor("order", 3)->content();
  damaged.resize(20);
  EXPECT_EQ(Dictionary::New(damaged, 3), nullptr);
}

TEST(DictionaryTest, CountsItsTables) {
  const auto dictionary = DictionaryFor("order", 4);
  EXPECT_GT(dictionary->bytes(), dictionary->content().size() + 20'000);
  EXPECT_LT(dictionary->bytes(), 12 * dictionary->content().size() + 50'000);
}

TEST(DictionaryTest, ServesEveryLevel) {
  Generator generator(18);
  const std::string content = DictionaryFor("order", 5)->content();
  const std::string plain = Record("order", &generator);
  for (int level = 1; level <= 19; ++level) {
    const std::shared_ptr<const Dictionary> dictionary = Dictionary::New(content, level);
    ASSERT_NE(dictionary, nullptr) << level;
    const Codec codec = ZstdWith(dictionary);
    const auto stored = codec.compress(plain, plain.size());
    ASSERT_TRUE(stored) << level;
    EXPECT_LT(stored->size(), plain.size() / 2) << level;
    std::string back;
    ASSERT_TRUE(DecodeGuarded(codec, std::string(*stored), plain.size(), &back)) << level;
    EXPECT_EQ(back, plain) << level;
  }
}

}  // namespace
}  // namespace larder
