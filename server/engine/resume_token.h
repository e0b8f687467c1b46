// A resume token says where a stream of changes was: which replica, which start of it, which place.
// To clients it is bytes. Thread safety: values and pure functions.

#ifndef LARDER_ENGINE_RESUME_TOKEN_H_
#define LARDER_ENGINE_RESUME_TOKEN_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace larder {

struct ResumeToken {
  static constexpr size_t kBytesMax = 256;

  uint64_t fleet = 0;  // a hash of its name
  uint32_t node = 0;
  uint64_t boot = 0;
  uint64_t position = 0;

  bool operator==(const ResumeToken&) const = default;
};

std::string EncodeResumeToken(const ResumeToken& token);
// Null: these bytes are none, or one of a later release.
std::optional<ResumeToken> DecodeResumeToken(std::string_view bytes);

}  // namespace larder

#endif  // LARDER_ENGINE_RESUME_TOKEN_H_
