// How a response whose value is attached (CallContext::AttachValue) goes over the wire: first the
// head, which is all of the message up to the value's bytes, then those bytes from where they are.
// Together they are one ordinary message. Thread safety: pure functions.

#ifndef LARDER_RPC_ATTACHED_VALUE_H_
#define LARDER_RPC_ATTACHED_VALUE_H_

#include <cstddef>
#include <cstdint>

#include "google/protobuf/message.h"
#include "larder/v1/cache.pb.h"

namespace larder {

class AttachedHead {
 public:
  // REQUIRES: `response` is a GetResponse or a GetOrLoadResponse with a hit that has no value. It
  // outlives the head.
  AttachedHead(const google::protobuf::Message& response, size_t value_bytes);

  size_t size() const { return size_; }
  // Writes size() bytes.
  void WriteTo(uint8_t* to) const;

 private:
  const v1::Hit& hit_;
  const uint32_t value_bytes_;
  uint32_t hit_bytes_;  // of the whole hit, its value included
  size_t size_;
};

}  // namespace larder

#endif  // LARDER_RPC_ATTACHED_VALUE_H_
