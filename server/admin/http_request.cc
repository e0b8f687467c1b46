#include "admin/http_request.h"

#include <arpa/inet.h>

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "base/strings.h"

namespace larder {
namespace {

absl::Status Bad(std::string_view why) { return absl::InvalidArgumentError(ToAbsl(why)); }

constexpr std::string_view kTokenOthers = "!#$%&'*+-.^_`|~";

bool IsToken(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) ||
           kTokenOthers.find(c) != std::string_view::npos;
  });
}

bool HasControl(std::string_view text) {
  return std::any_of(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) < 0x20 && c != '\t') || c == 0x7f;
  });
}

std::string_view ReasonPhrase(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 409:
      return "Conflict";
    case 413:
      return "Content Too Large";
    case 431:
      return "Request Header Fields Too Large";
    case 500:
      return "Internal Server Error";
    case 503:
      return "Service Unavailable";
    default:
      return "Error";
  }
}

// The host of a Host header: without the port, and without the brackets of IPv6.
std::string HostOf(std::string_view header) {
  if (header.starts_with("[")) {
    const size_t end = header.find(']');
    return end == std::string_view::npos ? "" : std::string(header.substr(1, end - 1));
  }
  return absl::AsciiStrToLower(ToAbsl(header.substr(0, header.find(':'))));
}

bool IsIpAddress(const std::string& host) {
  in6_addr address;
  return inet_pton(AF_INET, host.c_str(), &address) == 1 ||
         inet_pton(AF_INET6, host.c_str(), &address) == 1;
}

}  // namespace

std::string HttpRequest::Header(std::string_view name) const {
  std::string all;
  for (const auto& [header, value] : headers) {
    if (header == name) StrAppend(&all, all.empty() ? "" : ", ", value);
  }
  return all;
}

absl::StatusOr<HttpRequest> ParseHttpHead(std::string_view head) {
  const std::vector<std::string> lines = absl::StrSplit(ToAbsl(head), "\r\n");
  const std::vector<std::string> words = absl::StrSplit(lines[0], ' ');
  if (words.size() != 3 || !IsToken(words[0]) || HasControl(words[1]))
    return Bad("the request line is none");
  if (words[2] != "HTTP/1.1" && words[2] != "HTTP/1.0") return Bad("only HTTP/1.1 is spoken here");
  if (!words[1].starts_with("/")) return Bad("the path does not begin with a slash");
  if (lines.size() - 1 > HttpRequest::kHeadersMax) return Bad("too many headers");
  HttpRequest request;
  request.method = words[0];
  request.path = words[1].substr(0, words[1].find('?'));
  for (size_t i = 1; i < lines.size(); ++i) {
    const size_t colon = lines[i].find(':');
    const std::string name = lines[i].substr(0, colon);
    if (colon == std::string::npos || !IsToken(name) || HasControl(lines[i]))
      return Bad("a header is none");
    request.headers.emplace_back(
        absl::AsciiStrToLower(name),
        std::string(absl::StripAsciiWhitespace(lines[i].substr(colon + 1))));
  }
  const auto hosts = std::count_if(request.headers.begin(), request.headers.end(),
                                   [](const auto& header) { return header.first == "host"; });
  if (hosts != 1) return Bad("there must be one Host header");
  return request;
}

absl::StatusOr<size_t> HttpBodyBytes(const HttpRequest& request) {
  if (!request.Header("transfer-encoding").empty())
    return Bad("a body needs a Content-Length, and no Transfer-Encoding");
  // Two of them are joined by a comma, which is no digit: there is no telling where the body ends.
  const std::string length = request.Header("content-length");
  const bool digits = std::all_of(length.begin(), length.end(), [](char c) {
    return absl::ascii_isdigit(static_cast<unsigned char>(c));
  });
  size_t bytes = 0;
  if (!length.empty() && (!digits || !absl::SimpleAtoi(length, &bytes)))
    return Bad("Content-Length is no number");
  return bytes;
}

std::string FormatHttpReply(const HttpReply& reply, bool with_body) {
  std::string out = StrCat("HTTP/1.1 ", reply.status, " ", ReasonPhrase(reply.status),
                           "\r\nContent-Type: ", reply.content_type,
                           "\r\nContent-Length: ", reply.body.size(), "\r\nConnection: close\r\n");
  for (const std::string& header : reply.headers) StrAppend(&out, header, "\r\n");
  out += "\r\n";
  if (with_body) out += reply.body;
  return out;
}

absl::Status CheckHttpCaller(const HttpRequest& request, const std::vector<std::string>& names) {
  const std::string header = request.Header("host");
  const std::string host = HostOf(header);
  const bool known =
      host == "localhost" || absl::EndsWith(host, ".localhost") || IsIpAddress(host) ||
      std::any_of(names.begin(), names.end(),
                  [&host](const std::string& name) { return absl::AsciiStrToLower(name) == host; });
  if (!known) {
    return absl::PermissionDeniedError(
        StrCat("ask by address, by localhost or by the name of the node, not by \"", host, "\""));
  }
  const std::string origin = request.Header("origin");
  if (!origin.empty() && origin != "http://" + header)
    return absl::PermissionDeniedError("pages of other sites may not ask");
  // A link that somebody follows is fine: what it leads to, the other site cannot read. A form that
  // is sent looks the same but for its method.
  const std::string site = request.Header("sec-fetch-site");
  const bool follows = (request.method == "GET" || request.method == "HEAD") &&
                       request.Header("sec-fetch-mode") == "navigate" &&
                       request.Header("sec-fetch-dest") == "document";
  if ((site == "cross-site" || site == "same-site") && !follows)
    return absl::PermissionDeniedError("pages of other sites may not ask");
  return absl::OkStatus();
}

}  // namespace larder
