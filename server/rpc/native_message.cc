// A request nearly always comes in one DATA frame and is parsed where it was received. What comes
// in pieces is gathered in a buffer that grows with what has come, never with what was announced:
// four bytes that promise a large message cost the server nothing.

#include "rpc/native_message.h"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "rpc/attached_value.h"
#include "rpc/native_memory.h"

namespace larder {
namespace {

// Enough for a value that is copied rather than sent from where it is.
constexpr size_t kBlockBytes = 5 << 10;
constexpr size_t kFreeBlocksMax = 256;
thread_local std::vector<std::unique_ptr<char[]>> free_blocks;

}  // namespace

MessageReader::Found MessageReader::Read(std::string_view* data, std::string_view* message) {
  if (body_done_) {
    body_.clear();
    body_done_ = false;
  }
  if (prefix_bytes_ < kMessagePrefixBytes) {
    const size_t taken = std::min(data->size(), kMessagePrefixBytes - prefix_bytes_);
    std::memcpy(prefix_.data() + prefix_bytes_, data->data(), taken);
    prefix_bytes_ += taken;
    data->remove_prefix(taken);
    if (prefix_bytes_ < kMessagePrefixBytes) return Found::kNothing;
    length_ = size_t{prefix_[1]} << 24 | size_t{prefix_[2]} << 16 | size_t{prefix_[3]} << 8 |
              size_t{prefix_[4]};
    if (prefix_[0] == 1) return Found::kCompressed;
    if (prefix_[0] != 0) return Found::kMalformed;
    if (length_ > message_bytes_max_) return Found::kTooLarge;
  }
  if (body_.empty() && data->size() >= length_) {
    *message = data->substr(0, length_);
    data->remove_prefix(length_);
    prefix_bytes_ = 0;
    return Found::kMessage;
  }
  const size_t taken = std::min(data->size(), length_ - body_.size());
  body_.append(data->data(), taken);
  data->remove_prefix(taken);
  if (body_.size() < length_) return Found::kNothing;
  *message = body_;
  body_done_ = true;
  prefix_bytes_ = 0;
  return Found::kMessage;
}

uint8_t* MessageBytes::NewHead(size_t head_bytes, size_t message_bytes) {
  Clear();
  head_size_ = kMessagePrefixBytes + head_bytes;
  uint8_t* to = inline_.data();
  if (head_size_ > inline_.size()) {
    heap_bytes_ = std::max(head_size_, kBlockBytes);
    if (heap_bytes_ == kBlockBytes && !free_blocks.empty()) {
      heap_ = std::move(free_blocks.back());
      free_blocks.pop_back();
    } else {
      heap_ = std::unique_ptr<char[]>(new char[heap_bytes_]);
    }
    to = reinterpret_cast<uint8_t*>(heap_.get());
  }
  *to++ = 0;
  *to++ = static_cast<uint8_t>(message_bytes >> 24);
  *to++ = static_cast<uint8_t>(message_bytes >> 16);
  *to++ = static_cast<uint8_t>(message_bytes >> 8);
  *to++ = static_cast<uint8_t>(message_bytes);
  return to;
}

void MessageBytes::Assign(const google::protobuf::Message& message) {
  const size_t bytes = message.ByteSizeLong();
  message.SerializeWithCachedSizesToArray(NewHead(bytes, bytes));
}

void MessageBytes::AssignAttached(const google::protobuf::Message& response, SharedBytes value) {
  const size_t value_bytes = value.view().size();
  const AttachedHead head(response, value_bytes);
  head.WriteTo(NewHead(head.size(), head.size() + value_bytes));
  value_ = std::move(value);
  value_size_ = value_bytes;
}

void MessageBytes::AssignAttached(const google::protobuf::Message& response,
                                  std::string_view value) {
  const AttachedHead head(response, value.size());
  const size_t bytes = head.size() + value.size();
  uint8_t* const to = NewHead(bytes, bytes);
  head.WriteTo(to);
  std::memcpy(to + head.size(), value.data(), value.size());
}

void MessageBytes::FreeHeap() {
  const bool is_block = std::exchange(heap_bytes_, 0) == kBlockBytes;
  if (is_block && NativeMemory::Keeps() && free_blocks.size() < kFreeBlocksMax) {
    free_blocks.push_back(std::move(heap_));
  }
  heap_.reset();
}

void MessageBytes::Clear() {
  FreeHeap();
  value_ = SharedBytes();
  head_size_ = value_size_ = sent_ = 0;
}

MessageBytes::Pieces MessageBytes::Take(size_t bytes) {
  Pieces pieces;
  if (sent_ < head_size_) {
    pieces.head = {head() + sent_, std::min(bytes, head_size_ - sent_)};
    sent_ += pieces.head.size();
    bytes -= pieces.head.size();
  }
  if (bytes > 0) {
    pieces.value = value_.view().substr(sent_ - head_size_, bytes);
    sent_ += bytes;
  }
  return pieces;
}

}  // namespace larder
