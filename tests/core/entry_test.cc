#include "core/entry.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace larder {
namespace {

EntryFields Fields(std::string_view key, std::string_view value) {
  EntryFields fields;
  fields.full_key = key;
  fields.value = value;
  fields.version = 17;
  return fields;
}

TEST(EntryTest, KeepsEverythingItWasMadeFrom) {
  EntryFields fields = Fields(
      "\x07"
      "defaultuser:1",
      std::string("v\0w", 3));
  fields.written = 1;
  fields.fresh_until = 2;
  fields.usable_until = 3;
  fields.type_id = 4;
  fields.namespace_id = 5;
  fields.tags = {"red", "", "blue"};
  fields.depends_on = {"user:2"};
  const EntryPtr entry = Entry::New(fields);
  EXPECT_EQ(entry->full_key(), fields.full_key);
  EXPECT_EQ(entry->value(), fields.value);
  EXPECT_EQ(entry->version(), 17u);
  EXPECT_EQ(entry->written(), 1);
  EXPECT_EQ(entry->fresh_until(), 2);
  EXPECT_EQ(entry->usable_until(), 3);
  EXPECT_EQ(entry->type_id(), 4);
  EXPECT_EQ(entry->namespace_id(), 5);
  EXPECT_EQ(entry->tags(), fields.tags);
  EXPECT_EQ(entry->depends_on(), fields.depends_on);
  EXPECT_FALSE(entry->negative());
  entry->CountHit();
  entry->CarryHits(6);
  EXPECT_EQ(entry->hits(), 7u);
  entry->CarryHits(UINT32_MAX);
  EXPECT_EQ(entry->hits(), UINT32_MAX);
  EXPECT_GE(entry->allocated_bytes(), Entry::BytesFor(fields));
}

TEST(EntryTest, LivesAsLongAsAnyPointerOnAnyThread) {
  std::vector<std::thread> threads;
  {
    const EntryPtr entry = Entry::New(Fields("k", std::string(1000, 'x')));
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([copy = entry] {
        for (int n = 0; n < 10'000; ++n) {
          const EntryPtr another = copy;
          ASSERT_EQ(another->value().size(), 1000u);
        }
      });
    }
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(EntryTest, MovedFromPointerIsNull) {
  EntryPtr a = Entry::New(Fields("k", ""));
  const EntryPtr b = std::move(a);
  EXPECT_FALSE(a);
  EXPECT_TRUE(b);
}

}  // namespace
}  // namespace larder
