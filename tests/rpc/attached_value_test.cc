#include "rpc/attached_value.h"

#include <gtest/gtest.h>

#include <map>
#include <string>

#include "google/protobuf/unknown_field_set.h"
#include "google/protobuf/util/message_differencer.h"

namespace larder {
namespace {

using google::protobuf::UnknownField;
using google::protobuf::UnknownFieldSet;
using google::protobuf::util::MessageDifferencer;

constexpr size_t kSizes[] = {0,     1,     2,         100,           127,     128,     129,
                             16383, 16384, (1 << 20), (2 << 20) - 1, 2 << 20, 20 << 20};

void FillHit(v1::Hit* hit, size_t value_bytes) {
  hit->set_version(UINT64_MAX);
  hit->mutable_age()->set_seconds(12);
  hit->mutable_remaining_ttl()->set_nanos(1);
  hit->set_tier(v1::TIER_L1);
  hit->add_tags("red");
  hit->add_tags("");
  hit->set_value_bytes(value_bytes);
}

std::string OnTheWire(const google::protobuf::Message& response, const std::string& value) {
  const AttachedHead head(response, value.size());
  std::string wire(head.size(), '\0');
  head.WriteTo(reinterpret_cast<uint8_t*>(wire.data()));
  return wire + value;
}

template <typename Response>
void CheckParses() {
  for (const size_t size : kSizes) {
    SCOPED_TRACE(size);
    const std::string value(size, '\xfe');
    Response response;
    response.mutable_hit();
    for (const bool everything : {false, true}) {
      if (everything) FillHit(response.mutable_hit(), size);
      Response parsed;
      ASSERT_TRUE(parsed.ParseFromString(OnTheWire(response, value)));
      Response expected = response;
      expected.mutable_hit()->set_value(value);
      EXPECT_TRUE(MessageDifferencer::Equals(parsed, expected));
      EXPECT_TRUE(parsed.GetReflection()->GetUnknownFields(parsed).empty());
    }
  }
}

TEST(AttachedValueTest, HeadAndValueAreOneMessage) {
  CheckParses<v1::GetResponse>();
  CheckParses<v1::GetOrLoadResponse>();
}

TEST(AttachedValueTest, NoFieldIsThereTwice) {
  v1::GetResponse response;
  FillHit(response.mutable_hit(), 300);
  response.mutable_hit()->clear_tags();
  UnknownFieldSet outer;
  ASSERT_TRUE(outer.ParseFromString(OnTheWire(response, std::string(300, 'v'))));
  ASSERT_EQ(outer.field_count(), 1);
  ASSERT_EQ(outer.field(0).type(), UnknownField::TYPE_LENGTH_DELIMITED);
  UnknownFieldSet hit;
  ASSERT_TRUE(hit.ParseFromString(outer.field(0).length_delimited()));
  std::map<int, int> times;
  for (int i = 0; i < hit.field_count(); ++i) ++times[hit.field(i).number()];
  EXPECT_EQ(times, (std::map<int, int>{{1, 1}, {2, 1}, {3, 1}, {4, 1}, {5, 1}, {8, 1}}));
}

}  // namespace
}  // namespace larder
