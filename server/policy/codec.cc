// Small values decide everything here: a cache holds millions of them, and each is a block of its
// own. So frames are stripped of what the entry knows already or can do without. Zstandard's magic
// number, content size, checksum and dictionary id are 4 to 14 bytes; a profile of 1,200 bytes
// compresses to about 290, so they would cost up to 5%. zstd calls the format without the magic
// number experimental, which does not matter here: its blocks stay in the memory of the process
// that wrote them.
//
// Making a zstd context takes longer than compressing a small value. Each thread keeps one in each
// direction and only exchanges the dictionary that it refers to. A context grows with the largest
// value that it meets; one that has grown beyond kKeptBytesMax is thrown away after the call. The
// tables of a dictionary are built once, in Dictionary, and shared by all threads.
//
// zstd sizes a dictionary's match tables for its level, not for the dictionary: 400 KB for 16 KiB
// at level 3. Cut to about one cell a byte they take a third of that and compress 0.4% less.
//
// A context may be left with a reference to a dictionary that is gone. zstd does not look at it:
// every call sets its dictionary, or none, before anything else.

#include "policy/codec.h"

#include <lz4.h>
#define ZSTD_STATIC_LINKING_ONLY
#include <zstd.h>

#include <algorithm>
#include <bit>
#include <utility>

namespace larder {
namespace {

// What a thread keeps of each kind of working memory.
constexpr size_t kKeptBytesMax = 4 << 20;
// Smaller ones cannot hold what zstd's format begins with.
constexpr size_t kDictionaryContentMin = 256;

struct FreeZstd {
  void operator()(ZSTD_CCtx* context) const { ZSTD_freeCCtx(context); }
  void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
  void operator()(ZSTD_CDict* dictionary) const { ZSTD_freeCDict(dictionary); }
  void operator()(ZSTD_DDict* dictionary) const { ZSTD_freeDDict(dictionary); }
};
using Compression = std::unique_ptr<ZSTD_CCtx, FreeZstd>;
using Decompression = std::unique_ptr<ZSTD_DCtx, FreeZstd>;

bool Ok(size_t zstd_result) { return ZSTD_isError(zstd_result) == 0; }

Compression NewCompression() {
  Compression context(ZSTD_createCCtx());
  if (context == nullptr) return nullptr;
  for (const auto& [parameter, value] :
       {std::pair{ZSTD_c_format, static_cast<int>(ZSTD_f_zstd1_magicless)},
        {ZSTD_c_contentSizeFlag, 0},
        {ZSTD_c_checksumFlag, 0},
        {ZSTD_c_dictIDFlag, 0}}) {
    if (!Ok(ZSTD_CCtx_setParameter(context.get(), parameter, value))) return nullptr;
  }
  return context;
}

Decompression NewDecompression() {
  Decompression context(ZSTD_createDCtx());
  if (context == nullptr ||
      !Ok(ZSTD_DCtx_setParameter(context.get(), ZSTD_d_format, ZSTD_f_zstd1_magicless))) {
    return nullptr;
  }
  return context;
}

// What a thread keeps between calls.
struct ThreadMemory {
  // At least `bytes`; what the calls before it left there is gone.
  char* Buffer(size_t bytes) {
    if (bytes > buffer_bytes || (buffer_bytes > kKeptBytesMax && bytes <= kKeptBytesMax)) {
      buffer.reset();
      buffer_bytes = std::max<size_t>(bytes, 16 << 10);
      buffer.reset(new char[buffer_bytes]);
    }
    return buffer.get();
  }

  Compression compression;
  Decompression decompression;
  std::unique_ptr<char[]> buffer;
  size_t buffer_bytes = 0;
};

ThreadMemory& Mine() {
  static thread_local ThreadMemory memory;
  return memory;
}

bool SizesAllowed(std::string_view plain, size_t bytes_max) {
  return !plain.empty() && plain.size() <= kCodecBytesMax && bytes_max > 0;
}

}  // namespace

struct Dictionary::Tables {
  std::unique_ptr<ZSTD_CDict, FreeZstd> compression;
  std::unique_ptr<ZSTD_DDict, FreeZstd> decompression;
};

Dictionary::Dictionary(std::string content, std::unique_ptr<Tables> tables)
    : content_(std::move(content)), tables_(std::move(tables)) {}

Dictionary::~Dictionary() = default;

std::unique_ptr<const Dictionary> Dictionary::New(std::string content, int level) {
  if (content.size() < kDictionaryContentMin) return nullptr;
  std::unique_ptr<Dictionary> made(new Dictionary(std::move(content), std::make_unique<Tables>()));
  const std::string& kept = made->content_;
  Tables& tables = *made->tables_;
  ZSTD_compressionParameters parameters = ZSTD_getCParams(level, 0, kept.size());
  const auto log = static_cast<unsigned>(std::bit_width(kept.size() - 1));
  parameters.hashLog = std::min(parameters.hashLog, std::max<unsigned>(log, ZSTD_HASHLOG_MIN));
  parameters.chainLog =
      std::min(parameters.chainLog, std::max<unsigned>(log - 1, ZSTD_CHAINLOG_MIN));
  // The tables refer to the content that the dictionary keeps.
  tables.compression.reset(ZSTD_createCDict_advanced(
      kept.data(), kept.size(), ZSTD_dlm_byRef, ZSTD_dct_fullDict, parameters, ZSTD_defaultCMem));
  tables.decompression.reset(ZSTD_createDDict_advanced(kept.data(), kept.size(), ZSTD_dlm_byRef,
                                                       ZSTD_dct_fullDict, ZSTD_defaultCMem));
  if (tables.compression == nullptr || tables.decompression == nullptr) return nullptr;
  made->bytes_ = sizeof(Dictionary) + kept.capacity() +
                 ZSTD_sizeof_CDict(tables.compression.get()) +
                 ZSTD_sizeof_DDict(tables.decompression.get());
  return made;
}

// The calls that all forms share.
class ZstdCalls {
 public:
  static std::optional<std::string_view> Compress(std::string_view plain, int level,
                                                  const Dictionary* dictionary, size_t bytes_max) {
    if (!SizesAllowed(plain, bytes_max)) return std::nullopt;
    ThreadMemory& memory = Mine();
    if (memory.compression == nullptr) memory.compression = NewCompression();
    ZSTD_CCtx* const context = memory.compression.get();
    if (context == nullptr) return std::nullopt;
    const ZSTD_CDict* const tables =
        dictionary == nullptr ? nullptr : dictionary->tables_->compression.get();
    // A call that ran out of room leaves the context in the middle of it.
    if (!Ok(ZSTD_CCtx_reset(context, ZSTD_reset_session_only)) ||
        !Ok(ZSTD_CCtx_refCDict(context, tables)) ||
        !Ok(ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, level))) {
      return std::nullopt;
    }
    const size_t room = std::min(bytes_max, ZSTD_compressBound(plain.size()));
    char* const out = memory.Buffer(room);
    const size_t size = ZSTD_compress2(context, out, room, plain.data(), plain.size());
    if (ZSTD_sizeof_CCtx(context) > kKeptBytesMax) memory.compression.reset();
    if (!Ok(size)) return std::nullopt;
    return std::string_view(out, size);
  }

  static bool Decompress(std::string_view stored, const Dictionary* dictionary, char* plain,
                         size_t plain_bytes) {
    ThreadMemory& memory = Mine();
    if (memory.decompression == nullptr) memory.decompression = NewDecompression();
    ZSTD_DCtx* const context = memory.decompression.get();
    if (context == nullptr) return false;
    const ZSTD_DDict* const tables =
        dictionary == nullptr ? nullptr : dictionary->tables_->decompression.get();
    if (!Ok(ZSTD_DCtx_refDDict(context, tables))) return false;
    return ZSTD_decompressDCtx(context, plain, plain_bytes, stored.data(), stored.size()) ==
           plain_bytes;
  }
};

std::optional<std::string_view> Lz4Compress(std::string_view plain, size_t bytes_max) {
  if (!SizesAllowed(plain, bytes_max)) return std::nullopt;
  const int plain_bytes = static_cast<int>(plain.size());
  const size_t room = std::min<size_t>(bytes_max, LZ4_compressBound(plain_bytes));
  const char* const in = plain.data();
  char* const out = Mine().Buffer(room);
  const int size = LZ4_compress_default(in, out, plain_bytes, static_cast<int>(room));
  if (size <= 0) return std::nullopt;
  return std::string_view(out, size);
}

std::optional<std::string_view> ZstdCompress(std::string_view plain, int level, size_t bytes_max) {
  return ZstdCalls::Compress(plain, level, nullptr, bytes_max);
}

std::optional<std::string_view> ZstdCompress(std::string_view plain, const Dictionary& dictionary,
                                             size_t bytes_max) {
  return ZstdCalls::Compress(plain, 0, &dictionary, bytes_max);
}

bool Lz4Decompress(std::string_view stored, char* plain, size_t plain_bytes) {
  if (stored.size() > kCodecBytesMax || plain_bytes > kCodecBytesMax) return false;
  const int size = LZ4_decompress_safe(stored.data(), plain, static_cast<int>(stored.size()),
                                       static_cast<int>(plain_bytes));
  return size >= 0 && static_cast<size_t>(size) == plain_bytes;
}

bool ZstdDecompress(std::string_view stored, char* plain, size_t plain_bytes) {
  return ZstdCalls::Decompress(stored, nullptr, plain, plain_bytes);
}

bool ZstdDecompress(std::string_view stored, const Dictionary& dictionary, char* plain,
                    size_t plain_bytes) {
  return ZstdCalls::Decompress(stored, &dictionary, plain, plain_bytes);
}

}  // namespace larder
