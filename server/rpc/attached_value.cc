// Protobuf writes fields in the order of their numbers, so the value would come first of a Hit. But
// a parser takes them in any order, and with the value last everything before it is in one piece:
//
//   hit's tag | hit's length | the hit without its value | value's tag | value's length || value
//
// Each field and each length is there once; nothing relies on how submessages are merged.

#include "rpc/attached_value.h"

#include "google/protobuf/io/coded_stream.h"

namespace larder {
namespace {

using google::protobuf::io::CodedOutputStream;

// Field number and type "so many bytes follow".
constexpr uint8_t Tag(int field) { return static_cast<uint8_t>(field << 3 | 2); }

constexpr uint8_t kHitTag = Tag(v1::GetResponse::kHitFieldNumber);
constexpr uint8_t kValueTag = Tag(v1::Hit::kValueFieldNumber);
static_assert(int{v1::GetOrLoadResponse::kHitFieldNumber} == int{v1::GetResponse::kHitFieldNumber});

const v1::Hit& HitOf(const google::protobuf::Message& response) {
  if (response.GetDescriptor() == v1::GetResponse::descriptor()) {
    return static_cast<const v1::GetResponse&>(response).hit();
  }
  return static_cast<const v1::GetOrLoadResponse&>(response).hit();
}

}  // namespace

AttachedHead::AttachedHead(const google::protobuf::Message& response, size_t value_bytes)
    : hit_(HitOf(response)), value_bytes_(static_cast<uint32_t>(value_bytes)) {
  const size_t before_value =
      hit_.ByteSizeLong() + 1 + CodedOutputStream::VarintSize32(value_bytes_);
  hit_bytes_ = static_cast<uint32_t>(before_value + value_bytes);
  size_ = 1 + CodedOutputStream::VarintSize32(hit_bytes_) + before_value;
}

void AttachedHead::WriteTo(uint8_t* to) const {
  *to++ = kHitTag;
  to = CodedOutputStream::WriteVarint32ToArray(hit_bytes_, to);
  to = hit_.SerializeWithCachedSizesToArray(to);
  *to++ = kValueTag;
  CodedOutputStream::WriteVarint32ToArray(value_bytes_, to);
}

}  // namespace larder
