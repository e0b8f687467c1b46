#include "config/text_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace larder {

absl::StatusOr<std::string> ReadTextFile(const std::string& field, const std::string& path,
                                         size_t bytes_max) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  const auto fail = [&](int error) {
    return absl::FailedPreconditionError(
        absl::StrCat(field, ": ", path, " cannot be read: ", std::strerror(error)));
  };
  if (fd < 0) return fail(errno);
  // Room for the end of the line, and one byte more to see that there is more.
  constexpr size_t kSpace = 64;
  std::string text(bytes_max + kSpace, '\0');
  size_t size = 0;
  ssize_t count = 1;
  while (count > 0 && size < text.size()) {
    do {
      count = read(fd, text.data() + size, text.size() - size);
    } while (count < 0 && errno == EINTR);
    if (count > 0) size += static_cast<size_t>(count);
  }
  const int error = errno;
  close(fd);
  if (count < 0) return fail(error);
  text.resize(size);
  text = std::string(absl::StripAsciiWhitespace(text));
  if (size == bytes_max + kSpace || text.size() > bytes_max) {
    return absl::InvalidArgumentError(
        absl::StrCat(field, ": ", path, " has more than ", bytes_max, " bytes"));
  }
  return text;
}

}  // namespace larder
