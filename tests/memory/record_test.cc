#include "memory/record.h"

#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <vector>

#include "core/key.h"
#include "tests/base/threads.h"
#include "tests/memory/records.h"

namespace larder {
namespace {

void ExpectParts(const Record& record, const Wanted& wanted, uint32_t bytes) {
  const EntryFields& fields = wanted.fields;
  const Moment now(kNow, kBegan);
  EXPECT_EQ(record.flags() & ~Record::kDead, wanted.flags);
  EXPECT_EQ(record.bytes(), bytes);
  EXPECT_EQ(record.key(), FullKey::KeyOf(wanted.full_key));
  EXPECT_EQ(record.key_size(), record.key().size());
  EXPECT_EQ(record.IsPlain(), (wanted.flags & ~Record::kNegative) == 0);
  if (record.IsPlain()) {
    EXPECT_EQ(record.plain_key(), record.key());
    EXPECT_EQ(record.PlainMsLeft(now), 200'000 - now.ms);
  }
  EXPECT_EQ(record.inline_value(), wanted.large() ? "" : wanted.value);
  EXPECT_EQ(record.stored_bytes(), wanted.value.size());
  EXPECT_EQ(record.plain_bytes(), record.Has(Record::kEncoded) ? 0x89abcdef : wanted.value.size());
  EXPECT_EQ(record.version(), fields.version);
  EXPECT_EQ(record.type_id(), fields.type_id);
  EXPECT_EQ(record.namespace_id(), fields.namespace_id);
  EXPECT_TRUE(record.LiveAt(now));
  EXPECT_EQ(record.FreshUntil(now), fields.fresh_until);
  EXPECT_EQ(record.UsableUntil(now), fields.usable_until);
  EXPECT_EQ(record.WrittenExplicitly(), fields.written);
  EXPECT_EQ(record.sliding(), fields.sliding);
  EXPECT_EQ(record.encoding(), fields.encoding);
  EXPECT_EQ(record.Hits(0), 3u);
  if (wanted.large()) {
    EXPECT_EQ(record.block(), wanted.detached);
    EXPECT_EQ(record.block_bytes(), wanted.block.allocated_bytes());
  }
}

void ExpectEntry(const Entry& entry, const Wanted& wanted) {
  const EntryFields& fields = wanted.fields;
  EXPECT_EQ(entry.stored(), wanted.value);
  EXPECT_EQ(static_cast<bool>(entry.shared), wanted.large());
  if (wanted.large()) {
    EXPECT_EQ(entry.bytes, "");
    EXPECT_EQ(entry.stored().data(), wanted.block.view().data()) << "was copied";
  }
  EXPECT_EQ(entry.encoding, fields.encoding);
  EXPECT_EQ(entry.plain_bytes, fields.plain_bytes);
  EXPECT_EQ(entry.negative, fields.negative);
  EXPECT_EQ(entry.version, fields.version);
  EXPECT_EQ(entry.sliding, fields.sliding);
  EXPECT_EQ(entry.type_id, fields.type_id);
  EXPECT_EQ(entry.namespace_id, fields.namespace_id);
  EXPECT_EQ(entry.tags, fields.tags);
  EXPECT_EQ(entry.validator, fields.validator);
  EXPECT_EQ(entry.loaded, fields.FromOrigin());
  EXPECT_EQ(entry.depends_on, fields.depends_on);
}

// All but kDead, which no entry begins with.
std::vector<uint8_t> AllFlags() {
  std::vector<uint8_t> all;
  for (int flags = 0; flags < 128; flags += 2) all.push_back(static_cast<uint8_t>(flags));
  return all;
}

TEST(RecordTest, GivesBackWhatWasWrittenForEveryCombinationOfParts) {
  // One entry for all, so that each read has to clear what the one before it left.
  Entry entry;
  for (const size_t key_size : {1, 2, 7, 8, 9, 31, 1024}) {
    for (const size_t value_size : {0, 1, 3, 4, 100, 5'001}) {
      for (const uint8_t flags : AllFlags()) {
        SCOPED_TRACE(testing::Message()
                     << "flags " << int{flags} << ", key " << key_size << ", value " << value_size);
        Wanted wanted(flags, key_size, value_size);
        Room room(Record::BytesFor(wanted.fields, wanted.large(), kNow));
        ASSERT_EQ(room.bytes() % Record::kAlign, 0u);
        const Record* const record = wanted.WriteTo(&room);
        ASSERT_EQ(reinterpret_cast<const char*>(record), room.at());
        ExpectParts(*record, wanted, room.bytes());
        record->Read(&entry);
        ExpectEntry(entry, wanted);

        Room other(record->bytes());
        const Record* const copy = record->CopyTo(other.at());
        ExpectParts(*copy, wanted, room.bytes());
        copy->Read(&entry);
        ExpectEntry(entry, wanted);
        if (testing::Test::HasFailure()) return;
      }
    }
  }
}

TEST(RecordTest, ReadsIntoAnEntryThatHeldAnythingElse) {
  for (const uint8_t before : AllFlags()) {
    for (const uint8_t after : AllFlags()) {
      Wanted first(before, 5, 200);
      Wanted second(after, 8, before % 3 == 0 ? 100 : 300);
      Room first_room(Record::BytesFor(first.fields, first.large(), kNow));
      Room second_room(Record::BytesFor(second.fields, second.large(), kNow));
      Entry entry;
      first.WriteTo(&first_room)->Read(&entry);
      second.WriteTo(&second_room)->Read(&entry);
      SCOPED_TRACE(testing::Message() << int{before} << " before " << int{after});
      ExpectEntry(entry, second);
      if (testing::Test::HasFailure()) return;
    }
  }
}

TEST(RecordTest, TakesTwentyFourBytesBesideKeyAndValueWithoutOptionalParts) {
  Wanted wanted(0, 20, 100);
  EXPECT_EQ(Record::BytesFor(wanted.fields, false, kNow), 24u + 20 + 100);
  Wanted odd(0, 21, 100);
  EXPECT_EQ(Record::BytesFor(odd.fields, false, kNow), 24u + 20 + 100 + 4);
}

TEST(RecordTest, HoldsTheLongestKeyAndValueThatFitInline) {
  std::string full_key(1, 0);
  full_key.append(Record::kKeyBytesMax, 'k');
  const std::string value(Record::kInlineBytesMax, 'v');
  EntryFields fields;
  fields.full_key = full_key;
  fields.value = value;
  fields.fresh_until = fields.usable_until = kNow + kHour;
  Room room(Record::BytesFor(fields, false, kNow));
  Record::Context context{};
  context.began = kBegan;
  context.now = kNow;
  const Record* const record = Record::Write(room.at(), fields, context);
  EXPECT_EQ(record->key(), full_key.substr(1));
  EXPECT_EQ(record->inline_value(), value);
  EXPECT_EQ(record->bytes(), room.bytes());
}

TEST(RecordTest, HoldsMoreTagsThanAnybodyMayGive) {
  Wanted wanted(Record::kListed, 5, 10);
  wanted.fields.tags.assign(300, "tag");
  wanted.fields.tags.emplace_back();
  wanted.fields.validator = std::string(256, 'v');
  wanted.fields.depends_on.assign(257, "key");
  Room room(Record::BytesFor(wanted.fields, false, kNow));
  const Record* const record = wanted.WriteTo(&room);
  EXPECT_EQ(record->bytes(), room.bytes());
  Entry entry;
  record->Read(&entry);
  ExpectEntry(entry, wanted);
}

TEST(RecordTest, StaysReadableWhenItIsDead) {
  for (const uint8_t flags : AllFlags()) {
    Wanted wanted(flags, 9, 33);
    Room room(Record::BytesFor(wanted.fields, wanted.large(), kNow));
    Record* const record = wanted.WriteTo(&room);
    EXPECT_FALSE(record->Has(Record::kDead));
    record->MarkDead();
    EXPECT_TRUE(record->Has(Record::kDead));
    // A reader may have found it just before.
    ExpectParts(*record, wanted, room.bytes());
    Entry entry;
    record->Read(&entry);
    ExpectEntry(entry, wanted);
    if (testing::Test::HasFailure()) return;
  }
}

// What L1 does with a record under the eyes of readers that take no lock.
TEST(RecordTest, CanBeReadWhileItIsCountedExtendedCopiedAndBuried) {
  Wanted wanted(Record::kSliding, 12, 100);
  Room room(Record::BytesFor(wanted.fields, false, kNow));
  Record* const record = wanted.WriteTo(&room);
  std::atomic<int> reading{3};
  std::atomic<int> wrong{0};
  Threads readers(3, [&](int) {
    Entry entry;
    for (int n = 0; n < 5'000; ++n) {
      const Moment at(kNow + n, kBegan);
      record->Read(&entry);
      record->CountHit(static_cast<uint8_t>(n / 100));
      if (entry.stored() != wanted.value || !record->LiveAt(at) ||
          record->FreshUntil(at) < wanted.fields.fresh_until || record->bytes() != room.bytes()) {
        ++wrong;
      }
    }
    --reading;
  });
  for (int n = 0; reading.load() > 0; ++n) {
    record->Extend(wanted.fields.fresh_until + n % 1'000 * kMs, kBegan);
    Room other(record->bytes());
    if (record->CopyTo(other.at())->inline_value() != wanted.value) ++wrong;
    if (n == 100) record->MarkDead();
  }
  readers.Join();
  EXPECT_EQ(wrong.load(), 0);
}

}  // namespace
}  // namespace larder
