// gRPC's framing: every message travels behind a flag (compressed or not) and its length.
// MessageReader finds the messages in the bytes of a stream; MessageBytes holds one that is to be
// sent. Thread safety: none; one thread at a time.

#ifndef LARDER_RPC_NATIVE_MESSAGE_H_
#define LARDER_RPC_NATIVE_MESSAGE_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "core/shared_bytes.h"
#include "google/protobuf/message.h"

namespace larder {

inline constexpr size_t kMessagePrefixBytes = 5;

class MessageReader {
 public:
  enum class Found {
    kNothing,     // all bytes were taken, and the message goes on
    kMessage,     // *message is one
    kTooLarge,    // a message of length() bytes begins, more than the maximum
    kCompressed,  // a compressed message begins
    kMalformed,   // what begins is no message
  };

  explicit MessageReader(size_t message_bytes_max) : message_bytes_max_(message_bytes_max) {}

  // Takes bytes from the front of `*data` up to the end of a message. A message is not copied when
  // `*data` holds all of it; the view is good until the next call, and while `*data` is. After
  // anything but kNothing and kMessage the reader is of no more use.
  Found Read(std::string_view* data, std::string_view* message);

  // What the message that was begun last says of itself.
  size_t length() const { return length_; }
  // Bytes that the reader holds.
  size_t held_bytes() const { return body_.capacity(); }
  // True between messages.
  bool at_rest() const { return prefix_bytes_ == 0; }
  // Gives back the memory of the last message.
  void Release() { std::string().swap(body_); }

 private:
  size_t message_bytes_max_;
  std::array<uint8_t, kMessagePrefixBytes> prefix_;
  size_t prefix_bytes_ = 0;
  size_t length_ = 0;
  std::string body_;
  bool body_done_ = false;
};

// A framed message and how much of it was sent. Its last part may be a value that is sent from
// where it is.
class MessageBytes {
 public:
  MessageBytes() = default;
  ~MessageBytes() { FreeHeap(); }
  MessageBytes(const MessageBytes&) = delete;
  MessageBytes& operator=(const MessageBytes&) = delete;

  // Replaces what was held.
  void Assign(const google::protobuf::Message& message);
  // The same for a response whose value is attached.
  void AssignAttached(const google::protobuf::Message& response, SharedBytes value);
  // The same, with a copy of the value.
  void AssignAttached(const google::protobuf::Message& response, std::string_view value);
  void Clear();

  size_t left() const { return head_size_ + value_size_ - sent_; }
  size_t sent() const { return sent_; }
  // Bytes that it keeps beyond sizeof. An attached value is shared with the cache, but stays for as
  // long as it is sent, whatever the cache does with it.
  size_t held_bytes() const { return heap_bytes_ + value_size_; }

  // The next `bytes` bytes, in at most two pieces: from the head, and from the value.
  struct Pieces {
    std::string_view head;
    std::string_view value;
  };
  // REQUIRES: bytes <= left().
  Pieces Take(size_t bytes);
  const SharedBytes& value() const { return value_; }

 private:
  void FreeHeap();
  // The place for a head of so many bytes, its prefix written.
  uint8_t* NewHead(size_t head_bytes, size_t message_bytes);
  const char* head() const {
    return heap_ == nullptr ? reinterpret_cast<const char*>(inline_.data()) : heap_.get();
  }

  // Most replies fit in here.
  std::array<uint8_t, 320> inline_;
  std::unique_ptr<char[]> heap_;
  size_t heap_bytes_ = 0;
  size_t head_size_ = 0;
  SharedBytes value_;
  size_t value_size_ = 0;
  size_t sent_ = 0;
};

}  // namespace larder

#endif  // LARDER_RPC_NATIVE_MESSAGE_H_
