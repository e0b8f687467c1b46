// ustar (POSIX.1-1988), which every tar reads: a header of 512 bytes for each file, with numbers in
// octal, its bytes in blocks of 512, and two empty blocks.

#include "client/cli/tarball.h"

#include <zlib.h>

#include <cstdio>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace larder::cli {
namespace {

constexpr size_t kBlock = 512;
constexpr size_t kNameMax = 99;

// As in the standard: offset and width of the fields that are not zeros.
struct Header {
  char name[100] = {};
  char mode[8] = "0000600";
  char uid[8] = "0000000";
  char gid[8] = "0000000";
  char size[12] = {};
  char mtime[12] = {};
  char checksum[8] = {};
  char type = '0';
  char link[100] = {};
  char magic[6] = "ustar";
  char version[2] = {'0', '0'};
  char rest[247] = {};
};
static_assert(sizeof(Header) == kBlock);

std::string HeaderOf(const BundleFile& file, absl::Time time) {
  Header header;
  std::memcpy(header.name, file.name.data(), file.name.size());
  std::snprintf(header.size, sizeof header.size, "%011zo", file.content.size());
  std::snprintf(header.mtime, sizeof header.mtime, "%011lo",
                static_cast<unsigned long>(absl::ToUnixSeconds(time)));
  // The sum of all bytes, its own field taken as blanks.
  std::memset(header.checksum, ' ', sizeof header.checksum);
  unsigned sum = 0;
  const auto* bytes = reinterpret_cast<const unsigned char*>(&header);
  for (size_t i = 0; i < kBlock; ++i) sum += bytes[i];
  std::snprintf(header.checksum, sizeof header.checksum, "%06o", sum);
  return std::string(reinterpret_cast<const char*>(&header), kBlock);
}

absl::StatusOr<std::string> Gzip(const std::string& bytes) {
  z_stream stream = {};
  constexpr int kGzip = 16;  // added to the size of the window
  if (deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, MAX_WBITS + kGzip, 8,
                   Z_DEFAULT_STRATEGY) != Z_OK)
    return absl::InternalError("no memory to compress the bundle");
  std::string packed(deflateBound(&stream, bytes.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = reinterpret_cast<Bytef*>(packed.data());
  stream.avail_out = static_cast<uInt>(packed.size());
  const int done = deflate(&stream, Z_FINISH);
  packed.resize(packed.size() - stream.avail_out);
  deflateEnd(&stream);
  if (done != Z_STREAM_END) return absl::InternalError("the bundle could not be compressed");
  return packed;
}

}  // namespace

absl::StatusOr<std::string> TarGz(const std::vector<BundleFile>& files, absl::Time time) {
  std::string tar;
  for (const BundleFile& file : files) {
    if (file.name.empty() || file.name.size() > kNameMax)
      return absl::InvalidArgumentError(absl::StrCat("no name for a file: ", file.name));
    tar += HeaderOf(file, time);
    tar += file.content;
    tar.resize((tar.size() + kBlock - 1) / kBlock * kBlock);
  }
  tar.append(2 * kBlock, '\0');
  return Gzip(tar);
}

}  // namespace larder::cli
