#include "bus/frame.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <random>

namespace larder {
namespace {

Frame Sample() {
  Frame frame;
  frame.head.node = 1023;
  frame.head.incarnation = std::numeric_limits<uint64_t>::max();
  frame.head.number = 300;
  frame.head.sent = absl::FromUnixMicros(1'700'000'000'123'456);
  frame.head.sent_mono = 123'456'789'000;
  frame.head.goodbye = true;
  frame.head.wants_ack = true;
  frame.head.acks = {{1, 2, 2}, {std::numeric_limits<uint64_t>::max(), 7, 1u << 30}};
  FrameMessage changed;
  changed.message.version = std::numeric_limits<uint64_t>::max();
  changed.message.keys = {std::string("a\0b", 3), "", std::string(1'100, 'k')};
  changed.message.changes = {
      {KeyChange::What::kPut, true, kNoVersion, "user", {"a", "", std::string(128, 't')}},
      {KeyChange::What::kRemoved, false, std::numeric_limits<uint64_t>::max(), "", {}},
      {KeyChange::What::kUnknown, false, kNoVersion, "", {}}};
  changed.published = frame.head.sent - absl::Milliseconds(3);
  FrameMessage rule;
  rule.message.kind = BusMessage::Kind::kRule;
  rule.message.rule = std::string(5'000, 'r');
  rule.published = frame.head.sent;
  frame.messages = {changed, rule};
  return frame;
}

std::string Encode(const Frame& frame) {
  std::vector<EncodedMessage> messages;
  for (const FrameMessage& message : frame.messages)
    messages.push_back({EncodeMessage(message.message), frame.head.sent - message.published});
  return EncodeFrame(frame.head, messages);
}

TEST(FrameTest, ComesBackAsItWas) {
  const Frame sample = Sample();
  const absl::StatusOr<Frame> back = DecodeFrame(Encode(sample));
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(back->head.node, sample.head.node);
  EXPECT_EQ(back->head.incarnation, sample.head.incarnation);
  EXPECT_EQ(back->head.number, sample.head.number);
  EXPECT_EQ(back->head.sent, sample.head.sent);
  EXPECT_EQ(back->head.sent_mono, sample.head.sent_mono);
  EXPECT_TRUE(back->head.goodbye);
  EXPECT_TRUE(back->head.wants_ack);
  EXPECT_EQ(back->head.acks, sample.head.acks);
  ASSERT_EQ(back->messages.size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(back->messages[i].message.kind, sample.messages[i].message.kind);
    EXPECT_EQ(back->messages[i].message.version, sample.messages[i].message.version);
    EXPECT_EQ(back->messages[i].message.keys, sample.messages[i].message.keys);
    EXPECT_EQ(back->messages[i].message.rule, sample.messages[i].message.rule);
    EXPECT_EQ(back->messages[i].message.changes, sample.messages[i].message.changes);
    EXPECT_EQ(back->messages[i].message.node, 1023u);
    EXPECT_EQ(back->messages[i].published, sample.messages[i].published);
  }
}

// A frame as releases made it that said nothing of what happened to keys, byte for byte but for its
// check.
TEST(FrameTest, FramesOfBeforeSayNothingOfTheirKeysAndAreRead) {
  std::string bytes(9, '\1');
  bytes += std::string("\5", 1) + std::string(8, 'i') + std::string("\7", 1);
  bytes += std::string(16, '\0') + std::string("\0\0\1", 3);  // times, flags, acks, messages
  bytes += std::string("\0\1", 2) + std::string(8, '\2');     // waited, kChanged, version
  bytes += std::string("\2\1a\2bc\0", 7);                     // keys; no rule
  SealFrame(&bytes);
  const absl::StatusOr<Frame> frame = DecodeFrame(bytes);
  ASSERT_TRUE(frame.ok()) << frame.status();
  ASSERT_EQ(frame->messages.size(), 1u);
  EXPECT_EQ(frame->messages[0].message.keys, (std::vector<std::string>{"a", "bc"}));
  EXPECT_TRUE(frame->messages[0].message.changes.empty());
  BusMessage same;
  same.version = 0x0202020202020202;
  same.keys = {"a", "bc"};
  EXPECT_EQ(EncodeFrame(frame->head, {{EncodeMessage(same), {}}}), bytes);
}

TEST(FrameTest, WhatWasLoadedSaysSo) {
  BusMessage message;
  message.version = 7;
  message.keys = {"a", "b"};
  message.changes = {{KeyChange::What::kPut, true, kNoVersion, "user", {"t"}},
                     {KeyChange::What::kRemoved, false, 6, "", {}}};
  const auto decoded = [](const BusMessage& sent) {
    FrameHead head;
    head.number = 1;
    const auto frame = DecodeFrame(EncodeFrame(head, {{EncodeMessage(sent), {}}}));
    return frame.ok() ? frame->messages[0].message : BusMessage();
  };
  EXPECT_FALSE(decoded(message).loaded);
  message.loaded = true;
  EXPECT_TRUE(decoded(message).loaded);
  EXPECT_EQ(decoded(message).changes, message.changes);
  // For releases that do not know it, it is a key that has no version of its own.
  const std::string bytes = EncodeMessage(message);
  message.loaded = false;
  EXPECT_EQ(bytes.size(), EncodeMessage(message).size() + sizeof(Version));
  // Also where nothing else is known.
  message.loaded = true;
  message.changes.clear();
  EXPECT_TRUE(decoded(message).loaded);
  EXPECT_EQ(decoded(message).changes, std::vector<KeyChange>(2));
  message.kind = BusMessage::Kind::kRevised;
  EXPECT_FALSE(decoded(message).loaded);
}

TEST(FrameTest, WhatHappenedToKeysHasToFitThem) {
  const auto decoded = [](const BusMessage& message) {
    FrameHead head;
    head.number = 1;
    return DecodeFrame(EncodeFrame(head, {{EncodeMessage(message), {}}})).status().code();
  };
  BusMessage message;
  message.keys = {"a", "b"};
  message.changes = {{KeyChange::What::kPut, true, kNoVersion, "", {}}};
  EXPECT_EQ(decoded(message), absl::StatusCode::kDataLoss);
  message.changes.resize(3);
  EXPECT_EQ(decoded(message), absl::StatusCode::kDataLoss);
  message.changes.resize(2);
  EXPECT_EQ(decoded(message), absl::StatusCode::kOk);
  message.kind = BusMessage::Kind::kRevised;
  message.changes[0].what = KeyChange::What::kRevised;
  EXPECT_EQ(decoded(message), absl::StatusCode::kOk);
  // A bit that means nothing yet.
  message.changes[0].what = static_cast<KeyChange::What>(64);
  EXPECT_EQ(decoded(message), absl::StatusCode::kDataLoss);
}

TEST(FrameTest, AFrameOfNothingIsOne) {
  FrameHead head;
  head.number = 1;
  const absl::StatusOr<Frame> back = DecodeFrame(EncodeFrame(head, {}));
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_FALSE(back->head.goodbye);
  EXPECT_FALSE(back->head.wants_ack);
  EXPECT_TRUE(back->messages.empty());
}

TEST(FrameTest, EveryBitFlipIsFound) {
  FrameHead head = Sample().head;
  const std::string bytes = EncodeFrame(head, {{EncodeMessage(Sample().messages[0].message), {}}});
  for (size_t i = 0; i < bytes.size(); ++i) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string flipped = bytes;
      flipped[i] = static_cast<char>(flipped[i] ^ (1 << bit));
      EXPECT_EQ(DecodeFrame(flipped).status().code(), absl::StatusCode::kDataLoss) << i;
    }
  }
}

TEST(FrameTest, EveryPartOfAFrameIsNone) {
  const std::string bytes = Encode(Sample());
  for (size_t size = 0; size < bytes.size(); ++size)
    EXPECT_FALSE(DecodeFrame(std::string_view(bytes).substr(0, size)).ok()) << size;
  EXPECT_FALSE(DecodeFrame(bytes + "x").ok());
}

// What a later release, or an enemy with the checksum at hand, may send: never a crash, and nothing
// larger than what came in allows.
TEST(FrameTest, BytesWithTheRightChecksumAreNotBelievedEither) {
  std::mt19937_64 random(1);
  const std::string bytes = Encode(Sample());
  int decoded = 0;
  for (int i = 0; i < 100'000; ++i) {
    std::string changed = bytes.substr(0, 10 + random() % (bytes.size() - 9));
    for (uint64_t n = random() % 4; n > 0; --n)
      changed[9 + random() % (changed.size() - 9)] = static_cast<char>(random());
    SealFrame(&changed);
    const absl::StatusOr<Frame> frame = DecodeFrame(changed);
    decoded += frame.ok();
    if (frame.ok()) continue;
    EXPECT_EQ(frame.status().code(), absl::StatusCode::kDataLoss);
  }
  EXPECT_LT(decoded, 50'000);
}

TEST(FrameTest, RefusesOtherFormatsAndNodeIds) {
  std::string bytes = Encode(Sample());
  bytes[0] = 2;
  EXPECT_THAT(DecodeFrame(bytes).status().ToString(), testing::HasSubstr("format 2"));
  Frame frame = Sample();
  frame.head.node = 1024;
  EXPECT_THAT(DecodeFrame(Encode(frame)).status().ToString(), testing::HasSubstr("node id"));
  frame = Sample();
  frame.head.number = 0;
  EXPECT_FALSE(DecodeFrame(Encode(frame)).ok());
  frame = Sample();
  frame.messages[1].message.kind = static_cast<BusMessage::Kind>(99);
  EXPECT_THAT(DecodeFrame(Encode(frame)).status().ToString(), testing::HasSubstr("message"));
}

}  // namespace
}  // namespace larder
