#include "journal/record.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

#include "base/crc32c.h"
#include "tests/journal/store_rig.h"

namespace larder {
namespace {

JournalRecord Rich() {
  JournalRecord record = RecordOf(77);
  record.value = std::string("zero \0 and \xff", 12);
  record.request_id = "";
  return record;
}

TEST(RecordTest, ComesBackAsItWas) {
  JournalRecord removal;
  removal.seq = 5;
  removal.remove = true;
  removal.version = 9;
  removal.enqueued = absl::FromUnixNanos(-1);
  for (const JournalRecord& record : {Rich(), RecordOf(1, 0), RecordOf(2, 300'000), removal}) {
    const auto decoded = DecodeRecord(record.seq, EncodeRecord(record));
    ASSERT_TRUE(decoded.ok()) << decoded.status();
    EXPECT_TRUE(SameRecord(*decoded, record));
  }
}

TEST(RecordTest, KeepsThatItWasPutBack) {
  JournalRecord record = RecordOf(4);
  for (const bool remove : {false, true}) {
    record.remove = remove;
    for (const bool put_back : {false, true}) {
      record.put_back = put_back;
      EXPECT_EQ(DecodeRecord(4, EncodeRecord(record))->put_back, put_back);
      EXPECT_EQ(DecodeRecord(4, EncodeRecord(record))->remove, remove);
    }
  }
}

TEST(RecordTest, KeepsTheTraceParentInAFormatOfItsOwn) {
  JournalRecord record = Rich();
  EXPECT_EQ(EncodeRecord(record)[1], 1);
  record.trace_parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
  const std::string bytes = EncodeRecord(record);
  EXPECT_EQ(bytes[1], 2);
  EXPECT_EQ(EncodeRecord(record, /*traced=*/false), EncodeRecord(Rich()));
  const auto decoded = DecodeRecord(77, bytes);
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_EQ(decoded->trace_parent, record.trace_parent);
  EXPECT_TRUE(SameRecord(*decoded, record));
  uint64_t value_bytes = 0;
  EXPECT_TRUE(DecodeRecordHead(77, bytes, &value_bytes).ok());
  DeadLetter letter = LetterOf(12, 7);
  letter.record.trace_parent = record.trace_parent;
  EXPECT_EQ(DecodeLetter(12, EncodeLetter(letter))->record.trace_parent, record.trace_parent);
}

// Byte by byte as larder has written it from the first release on.
TEST(RecordTest, ReadsWhatAnOlderLarderWrote) {
  std::string bytes("R\x01\x02", 3);
  bytes += std::string("\0\0\0\0\0\0\x04\xd2", 8);  // version 1234
  bytes += std::string("\0\0\0\0\0\0\0\x07", 8);    // 7 ns
  bytes += std::string(
      "\x03"
      "a/k"
      "\x04"
      "user"
      "\x02"
      "r1"
      "\x05"
      "value");
  const uint32_t crc = Crc32c(Crc32c(0, std::string("\0\0\0\0\0\0\0\x09", 8)), bytes);
  for (int shift = 24; shift >= 0; shift -= 8) bytes.push_back(static_cast<char>(crc >> shift));
  const auto decoded = DecodeRecord(9, bytes);
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_EQ(decoded->version, 1234u);
  EXPECT_TRUE(decoded->put_back);
  EXPECT_EQ(decoded->full_key, "a/k");
  EXPECT_EQ(decoded->type, "user");
  EXPECT_EQ(decoded->request_id, "r1");
  EXPECT_EQ(decoded->trace_parent, "");
  EXPECT_EQ(decoded->value, "value");
  EXPECT_EQ(EncodeRecord(*decoded), bytes);
}

TEST(RecordTest, KeepsTimesThatHaveNoEnd) {
  JournalRecord record = RecordOf(1);
  for (const absl::Time time : {absl::InfiniteFuture(), absl::InfinitePast()}) {
    record.enqueued = time;
    EXPECT_EQ(DecodeRecord(1, EncodeRecord(record))->enqueued, time);
  }
}

TEST(RecordTest, HeadIsTheRecordWithoutItsValue) {
  const JournalRecord record = RecordOf(3, 1000);
  uint64_t value_bytes = 0;
  const auto head = DecodeRecordHead(3, EncodeRecord(record), &value_bytes);
  ASSERT_TRUE(head.ok()) << head.status();
  EXPECT_EQ(value_bytes, record.value.size());
  EXPECT_EQ(head->value, "");
  EXPECT_EQ(head->full_key, record.full_key);
  EXPECT_EQ(head->version, record.version);
}

TEST(RecordTest, LetterComesBackAsItWas) {
  const DeadLetter letter = LetterOf(12, 7);
  const std::string bytes = EncodeLetter(letter);
  const auto decoded = DecodeLetter(12, bytes);
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_TRUE(SameRecord(decoded->record, letter.record));
  EXPECT_EQ(decoded->id, 12u);
  EXPECT_EQ(decoded->error, letter.error);
  EXPECT_EQ(decoded->attempts, letter.attempts);
  EXPECT_EQ(decoded->first_attempt, letter.first_attempt);
  EXPECT_EQ(decoded->last_attempt, letter.last_attempt);
  uint64_t value_bytes = 0;
  const auto head = DecodeLetterHead(12, bytes, &value_bytes);
  ASSERT_TRUE(head.ok()) << head.status();
  EXPECT_EQ(value_bytes, letter.record.value.size());
  EXPECT_EQ(head->record.value, "");
}

TEST(RecordTest, FindsEveryFlippedBit) {
  const std::string record = EncodeRecord(Rich()), letter = EncodeLetter(LetterOf(12, 7));
  for (std::string bytes : {record, letter}) {
    for (size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
      bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << bit % 8));
      EXPECT_EQ(DecodeRecord(77, bytes).status().code(), absl::StatusCode::kDataLoss) << bit;
      EXPECT_EQ(DecodeLetter(12, bytes).status().code(), absl::StatusCode::kDataLoss) << bit;
      bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << bit % 8));
    }
  }
}

TEST(RecordTest, FindsEveryTruncationAndWhatFollows) {
  for (const std::string& bytes : {EncodeRecord(Rich()), EncodeLetter(LetterOf(12, 7))}) {
    for (size_t length = 0; length < bytes.size(); ++length) {
      EXPECT_FALSE(DecodeRecord(77, bytes.substr(0, length)).ok()) << length;
      EXPECT_FALSE(DecodeLetter(12, bytes.substr(0, length)).ok()) << length;
    }
    EXPECT_FALSE(DecodeRecord(77, bytes + "x").ok());
    EXPECT_FALSE(DecodeLetter(12, bytes + "x").ok());
  }
}

// Bytes that a disk gives back in another's place.
TEST(RecordTest, FindsWhatLiesUnderAnotherNumber) {
  const auto record = DecodeRecord(78, EncodeRecord(Rich()));
  EXPECT_EQ(record.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(record.status().message(), "record 78 of the journal does not match its checksum");
  EXPECT_FALSE(DecodeLetter(13, EncodeLetter(LetterOf(12, 7))).ok());
  EXPECT_FALSE(DecodeLetter(77, EncodeRecord(Rich())).ok());
}

TEST(RecordTest, TakesAnyBytesWithoutCrashing) {
  std::mt19937 random(3);
  for (int i = 0; i < 20'000; ++i) {
    std::string bytes(random() % 200, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random());
    if (bytes.size() > 2) {
      bytes[0] = i % 2 == 0 ? 'R' : 'L';
      bytes[1] = 1;
    }
    EXPECT_FALSE(DecodeRecord(1, bytes).ok());
    EXPECT_FALSE(DecodeLetter(1, bytes).ok());
  }
}

}  // namespace
}  // namespace larder
