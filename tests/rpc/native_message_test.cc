// The framing and the headers of gRPC, without a connection.

#include "rpc/native_message.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

#include "larder/v1/cache.pb.h"
#include "rpc/native_metadata.h"

namespace larder {
namespace {

using Found = MessageReader::Found;

std::string Framed(const std::string& message) {
  std::string framed(1, '\0');
  for (int shift = 24; shift >= 0; shift -= 8) framed += static_cast<char>(message.size() >> shift);
  return framed + message;
}

TEST(MessageReaderTest, FindsMessagesHoweverTheyAreCut) {
  std::mt19937_64 random(7);
  for (int round = 0; round < 300; ++round) {
    std::vector<std::string> messages;
    std::string stream;
    for (uint64_t i = random() % 5; i > 0; --i) {
      messages.emplace_back(random() % (round % 2 == 0 ? 20 : 5000), static_cast<char>(random()));
      stream += Framed(messages.back());
    }
    MessageReader reader(5000);
    size_t found = 0;
    for (size_t at = 0; at < stream.size();) {
      const size_t size = std::min<size_t>(1 + random() % 700, stream.size() - at);
      const std::string piece = stream.substr(at, size);
      at += size;
      std::string_view data = piece;
      while (!data.empty()) {
        std::string_view message;
        const Found what = reader.Read(&data, &message);
        if (what == Found::kNothing) continue;
        ASSERT_EQ(what, Found::kMessage);
        ASSERT_LT(found, messages.size());
        ASSERT_EQ(message, messages[found++]);
      }
    }
    EXPECT_EQ(found, messages.size());
    EXPECT_TRUE(reader.at_rest());
  }
}

TEST(MessageReaderTest, TakesNoCopyOfAMessageThatIsWhole) {
  MessageReader reader(100);
  const std::string framed = Framed("hello");
  std::string_view data = framed;
  std::string_view message;
  ASSERT_EQ(reader.Read(&data, &message), Found::kMessage);
  EXPECT_EQ(message.data(), framed.data() + kMessagePrefixBytes);
  EXPECT_LT(reader.held_bytes(), 32u);
}

TEST(MessageReaderTest, DoesNotBelieveInLengths) {
  MessageReader reader(16 << 20);
  const std::string begun = Framed(std::string(16 << 20, 'x')).substr(0, 1000);
  std::string_view data = begun;
  std::string_view message;
  EXPECT_EQ(reader.Read(&data, &message), Found::kNothing);
  EXPECT_LT(reader.held_bytes(), 2'000u);
  EXPECT_EQ(reader.length(), size_t{16} << 20);
}

TEST(MessageReaderTest, RefusesWhatIsTooLargeCompressedOrNoMessage) {
  const auto read = [](std::string bytes) {
    MessageReader reader(10);
    std::string_view data = bytes;
    std::string_view message;
    return reader.Read(&data, &message);
  };
  EXPECT_EQ(read(Framed(std::string(10, 'x'))), Found::kMessage);
  EXPECT_EQ(read(Framed(std::string(11, 'x'))), Found::kTooLarge);
  EXPECT_EQ(read(Framed("")), Found::kMessage);
  EXPECT_EQ(read(std::string("\1\0\0\0\1x", 6)), Found::kCompressed);
  EXPECT_EQ(read(std::string("\2\0\0\0\1x", 6)), Found::kMalformed);
}

TEST(MessageBytesTest, HandsOutAMessageInPieces) {
  for (const size_t size : {0, 1, 100, 300, 320, 5000}) {
    v1::GetResponse response;
    response.mutable_hit()->set_value(std::string(size, 'v'));
    MessageBytes bytes;
    bytes.Assign(response);
    std::string all;
    while (bytes.left() > 0) {
      const auto pieces = bytes.Take(std::min<size_t>(bytes.left(), 37));
      all.append(pieces.head).append(pieces.value);
    }
    EXPECT_EQ(all, Framed(response.SerializeAsString()));
  }
}

TEST(MessageBytesTest, SendsAnAttachedValueFromWhereItIs) {
  const SharedBytes value = SharedBytes::Copy(std::string(100'000, 'v'));
  v1::GetResponse response;
  response.mutable_hit()->set_version(7);
  MessageBytes bytes;
  bytes.AssignAttached(response, value);
  std::string all;
  while (bytes.left() > 0) {
    const auto pieces = bytes.Take(std::min<size_t>(bytes.left(), 16'384));
    if (!pieces.value.empty()) {
      EXPECT_GE(pieces.value.data(), value.view().data());
      EXPECT_LE(pieces.value.data() + pieces.value.size(),
                value.view().data() + value.view().size());
    }
    all.append(pieces.head).append(pieces.value);
  }
  v1::GetResponse parsed;
  ASSERT_TRUE(parsed.ParseFromString(all.substr(kMessagePrefixBytes)));
  EXPECT_EQ(parsed.hit().value(), value.view());
  EXPECT_EQ(parsed.hit().version(), 7u);
}

TEST(NativeMetadataTest, ReadsTimeouts) {
  EXPECT_EQ(ParseGrpcTimeout("2H"), absl::Hours(2));
  EXPECT_EQ(ParseGrpcTimeout("3M"), absl::Minutes(3));
  EXPECT_EQ(ParseGrpcTimeout("4S"), absl::Seconds(4));
  EXPECT_EQ(ParseGrpcTimeout("5m"), absl::Milliseconds(5));
  EXPECT_EQ(ParseGrpcTimeout("6u"), absl::Microseconds(6));
  EXPECT_EQ(ParseGrpcTimeout("99999999n"), absl::Nanoseconds(99'999'999));
  EXPECT_EQ(ParseGrpcTimeout("99999999H"), absl::Hours(99'999'999));
  for (const char* wrong : {"", "S", "1", "1s", "-1S", "1.5S", "100000000n", " 1S", "1S "}) {
    EXPECT_EQ(ParseGrpcTimeout(wrong), std::nullopt) << wrong;
  }
}

TEST(NativeMetadataTest, EncodesMessages) {
  EXPECT_EQ(PercentEncoded("plain text, ~!"), "plain text, ~!");
  EXPECT_EQ(PercentEncoded("100%\n\xC3\xA9\x7F"), "100%25%0A%C3%A9%7F");
}

TEST(NativeMetadataTest, ReadsBinaryHeadersWithAndWithoutPadding) {
  const std::string bytes(
      "\0\1\xFF"
      "abc",
      6);
  for (size_t size = 0; size <= bytes.size(); ++size) {
    const std::string part = bytes.substr(0, size);
    const std::string header = BinaryHeader(part);
    EXPECT_EQ(header.find('='), std::string::npos);
    EXPECT_EQ(FromBinaryHeader(header), part);
    EXPECT_EQ(FromBinaryHeader(header + std::string((4 - header.size() % 4) % 4, '=')), part);
  }
  EXPECT_EQ(FromBinaryHeader("*"), std::nullopt);
}

TEST(NativeMetadataTest, KnowsGrpcByItsContentType) {
  for (const char* right : {"application/grpc", "application/grpc+proto", "application/grpc;a=b"}) {
    EXPECT_TRUE(IsGrpcContentType(right)) << right;
  }
  for (const char* wrong : {"", "application/grp", "application/grpc-web", "text/plain"}) {
    EXPECT_FALSE(IsGrpcContentType(wrong)) << wrong;
  }
}

}  // namespace
}  // namespace larder
