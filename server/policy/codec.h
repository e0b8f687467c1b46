// The codecs: lz4, zstd, zstd with a dictionary. They turn a plain block into a smaller one and
// back, and know nothing of types or policies. Thread safety: any function, any thread. Each thread
// keeps working memory of its own, a few MiB at most. Never blocks.
//
// Blocks carry no length, no checksum and no dictionary number: who keeps a block keeps those. A
// damaged block either fails or decodes to wrong bytes, but never to more than was asked for.

#ifndef LARDER_POLICY_CODEC_H_
#define LARDER_POLICY_CODEC_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "core/entry.h"

namespace larder {

// 0 is kPlain (core/entry.h).
inline constexpr Encoding kLz4 = 1;
inline constexpr Encoding kZstd = 2;
// This and all above: zstd with the dictionary of that number.
inline constexpr Encoding kDictionaryFirst = 16;

// The largest block that the codecs take.
inline constexpr size_t kCodecBytesMax = size_t{1} << 30;

// A zstd dictionary, ready for use in both directions. Never changes.
class Dictionary {
 public:
  // Null when `content` is no dictionary in zstd's format, or memory is short.
  static std::unique_ptr<const Dictionary> New(std::string content, int level);
  ~Dictionary();

  const std::string& content() const { return content_; }
  // All memory that it takes: the content and the tables of both directions.
  size_t bytes() const { return bytes_; }

 private:
  friend class ZstdCalls;
  struct Tables;
  Dictionary(std::string content, std::unique_ptr<Tables> tables);

  const std::string content_;
  const std::unique_ptr<Tables> tables_;
  size_t bytes_ = 0;
};

// `plain` compressed, when that takes at most `bytes_max`. The result is the thread's own memory
// and lasts until its next call of one of these.
std::optional<std::string_view> Lz4Compress(std::string_view plain, size_t bytes_max);
std::optional<std::string_view> ZstdCompress(std::string_view plain, int level, size_t bytes_max);
std::optional<std::string_view> ZstdCompress(std::string_view plain, const Dictionary& dictionary,
                                             size_t bytes_max);

// True when `stored` decodes to exactly `plain_bytes` bytes, which are then at `plain`. Never
// writes beyond them; what is there after a failure is unknown.
bool Lz4Decompress(std::string_view stored, char* plain, size_t plain_bytes);
bool ZstdDecompress(std::string_view stored, char* plain, size_t plain_bytes);
bool ZstdDecompress(std::string_view stored, const Dictionary& dictionary, char* plain,
                    size_t plain_bytes);

}  // namespace larder

#endif  // LARDER_POLICY_CODEC_H_
