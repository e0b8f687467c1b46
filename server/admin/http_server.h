// HttpServer answers GET and POST requests over HTTP/1.1 on a port of its own, one to a connection.
// One thread keeps all connections, one more answers GET and one more POST, so a client that is
// slow to ask or to read costs a little memory, nobody waits for it, and no probe waits for an act.
// Thread safety: any method, any thread. Start and the destructor block.
// Errors: Start says in a sentence why it cannot listen. Requests that are too large, too late or
// none get an answer that says so, or an end.

#ifndef LARDER_ADMIN_HTTP_SERVER_H_
#define LARDER_ADMIN_HTTP_SERVER_H_

#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "admin/http_request.h"
#include "base/clock.h"

namespace larder {

class HttpServer {
 public:
  struct Options {
    // host:port; port 0 takes a free one.
    std::string address = "127.0.0.1:8080";
    // At a time, 1 to 1,024. One more ends the one that has been slow for the longest.
    size_t connections_max = 64;
    // Of a request, headers included.
    size_t head_bytes_max = 16 << 10;
    // Of what a POST sends with it.
    size_t body_bytes_max = 4 << 10;
    // Those that wait for the one that is being answered; one more gets 503. At least 1.
    size_t posts_waiting_max = 8;
    // How long a client may take to ask, and to read the answer.
    absl::Duration ask_limit = absl::Seconds(5);
    absl::Duration read_limit = absl::Seconds(20);
    Clock* clock = Clock::System();
  };

  // Answers GET and HEAD on one thread of the server's, POST on another one.
  using Handler = std::function<HttpReply(const HttpRequest&)>;

  // Listens when it returns.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(const Options& options, Handler handler);

  // Ends the connections, whatever they are at, and waits for a handler that runs.
  virtual ~HttpServer() = default;

  // The address that it listens on, with the real port.
  virtual std::string address() const = 0;
};

}  // namespace larder

#endif  // LARDER_ADMIN_HTTP_SERVER_H_
