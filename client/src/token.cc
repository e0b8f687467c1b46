#include "client/src/token.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace larder::internal {
namespace {

constexpr size_t kTokenBytesMax = 4096;
constexpr std::chrono::seconds kLookAgain{5};

std::string HeaderOf(const std::string& token) { return absl::StrCat("Bearer ", token); }

}  // namespace

absl::Status CheckToken(const std::string& token) {
  const bool fine = std::all_of(token.begin(), token.end(),
                                [](unsigned char c) { return absl::ascii_isgraph(c); });
  if (!token.empty() && token.size() <= kTokenBytesMax && fine) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("a token is 1 to ", kTokenBytesMax,
                                                 " printable ASCII characters without spaces"));
}

absl::StatusOr<std::string> ReadToken(const std::string& file) {
  errno = 0;
  std::ifstream in(file, std::ios::binary);
  if (!in.is_open())
    return absl::InvalidArgumentError(
        absl::StrCat("cannot read ", file, ": ", std::strerror(errno)));
  std::string text(std::istreambuf_iterator<char>(in), {});
  absl::StripAsciiWhitespace(&text);
  if (const absl::Status fine = CheckToken(text); !fine.ok())
    return absl::InvalidArgumentError(absl::StrCat(file, ": ", fine.message()));
  return text;
}

TokenSource::TokenSource(const std::string& token, std::string file) : file_(std::move(file)) {
  if (!token.empty()) header_ = HeaderOf(token);
}

std::string TokenSource::Header() {
  MutexLock lock(&mu_);
  if (file_.empty()) return header_;
  // Under the lock: those who would send the old token meanwhile wait for the new one.
  const auto now = std::chrono::steady_clock::now();
  if (!header_.empty() && now - read_at_ < kLookAgain) return header_;
  if (const auto token = ReadToken(file_); token.ok()) header_ = HeaderOf(*token);
  read_at_ = now;
  return header_;
}

}  // namespace larder::internal
