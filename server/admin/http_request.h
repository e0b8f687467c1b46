// One HTTP/1 request, as far as an admin port needs it: what is asked for and by whom, and a body
// of which the length is told before it. Thread safety: values and functions without state. Errors:
// InvalidArgument says in a few words what is wrong with a request.

#ifndef LARDER_ADMIN_HTTP_REQUEST_H_
#define LARDER_ADMIN_HTTP_REQUEST_H_

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace larder {

struct HttpRequest {
  static constexpr size_t kHeadersMax = 100;

  std::string method;
  std::string path;  // as it was sent, without what follows `?`
  std::vector<std::pair<std::string, std::string>> headers;  // names in lower case
  std::string body = {};
  std::string peer = {};  // host:port of the other end

  // The value of a header by its lower-case name, of several all, joined by commas; empty: none.
  std::string Header(std::string_view name) const;
};

struct HttpReply {
  int status = 200;
  std::string content_type = "text/plain; charset=utf-8";
  std::string body = {};
  // More headers, as `Name: value`.
  std::vector<std::string> headers = {};
};

// `head` is a request up to the empty line, which is not part of it.
absl::StatusOr<HttpRequest> ParseHttpHead(std::string_view head);

// How long the body is that follows the head; 0: there is none. InvalidArgument: that is not told
// before it comes, or is no number.
absl::StatusOr<size_t> HttpBodyBytes(const HttpRequest& request);

// As it is sent. `with_body` is false for HEAD: the headers tell of a body that does not follow.
std::string FormatHttpReply(const HttpReply& reply, bool with_body);

// Keeps pages of elsewhere from reading and changing what is served here through somebody's
// browser: OK, or PermissionDenied with why not.
//
// A browser lets a page read only what comes from the page's own host. A page whose name in DNS is
// changed to lead here passes that test, so the host that the browser asked for must be one that no
// stranger can give a name to: an address, localhost, or one of `names`.
absl::Status CheckHttpCaller(const HttpRequest& request, const std::vector<std::string>& names);

}  // namespace larder

#endif  // LARDER_ADMIN_HTTP_REQUEST_H_
