#include "admin/admin_server.h"

#include <thread>
#include <utility>

#include "admin/answers.h"
#include "admin/history.h"
#include "admin/metrics.h"
#include "admin/pages.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "base/strings.h"
#include "base/thread_name.h"

namespace larder {
namespace {

// What every answer tells a browser: guess no types, tell nobody where the reader came from, show
// it in no frame, give it to no page of elsewhere, keep nothing.
const std::vector<std::string>& SecurityHeaders() {
  static const auto* const headers = new std::vector<std::string>{
      "Cache-Control: no-store",
      "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; "
      "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
      "frame-ancestors 'none'",
      "Cross-Origin-Opener-Policy: same-origin",
      "Cross-Origin-Resource-Policy: same-origin",
      "Referrer-Policy: no-referrer",
      "X-Content-Type-Options: nosniff",
      "X-Frame-Options: DENY",
  };
  return *headers;
}

HttpReply Page(std::string content_type, std::string_view text) {
  return {.content_type = std::move(content_type), .body = std::string(text)};
}

// Asks for a token. A browser asks its user for it, as the password of any name; not for a page
// that says so itself, where the question would come again and again, and not for an act, which
// needs what no browser sends by itself.
HttpReply AskForToken(const HttpRequest& request, bool changes, std::string_view why) {
  HttpReply reply{.status = 401,
                  .body = StrCat(why, "\n"),
                  .headers = {"WWW-Authenticate: Bearer realm=\"larder\""}};
  if (!changes && request.Header("x-requested-with").empty())
    reply.headers.emplace_back("WWW-Authenticate: Basic realm=\"larder\", charset=\"UTF-8\"");
  return reply;
}

std::string HostOfAddress(const std::string& address) {
  return address.substr(0, address.rfind(':'));
}

class Server final : public AdminServer {
 public:
  explicit Server(AdminView view) : view_(std::move(view)) {}

  absl::Status Listen(const HttpServer::Options& options) {
    names_ = {view_.node, HostOfAddress(options.address)};
    auto http = HttpServer::Start(options, [this](const HttpRequest& request) {
      HttpReply reply = Answer(request);
      reply.headers.insert(reply.headers.end(), SecurityHeaders().begin(), SecurityHeaders().end());
      return reply;
    });
    if (!http.ok()) return http.status();
    http_ = *std::move(http);
    recorder_ = std::thread([this] { Record(); });
    return absl::OkStatus();
  }

  ~Server() override {
    {
      MutexLock lock(&mu_);
      ends_ = true;
    }
    wakes_.SignalAll();
    if (recorder_.joinable()) recorder_.join();
  }

  std::string address() const override { return http_->address(); }

  void SetReady(bool ready, std::string why) override {
    MutexLock lock(&mu_);
    ready_ = ready;
    why_ = std::move(why);
  }

 private:
  HttpReply Answer(const HttpRequest& request) {
    const bool posts = request.method == "POST";
    // Whether it is well is no secret, and probes ask by any name.
    if (request.path == "/healthz" && !posts) return {.body = "alive\n"};
    if (request.path == "/readyz" && !posts) return Readiness();
    const bool changes = request.path == "/reload" && view_.reload != nullptr;
    const AdminAsk ask{.what = StrCat(request.method, " ", request.path),
                       .authorization = request.Header("authorization"),
                       .peer = request.peer,
                       .traceparent = request.Header("traceparent"),
                       .changes = changes};
    const absl::Status caller = CheckHttpCaller(request, names_);
    if (!caller.ok()) {
      if (view_.refused != nullptr) view_.refused(ask, ToStd(caller.message()));
      return {.status = 403, .body = StrCat(ToStd(caller.message()), "\n")};
    }
    if (posts != changes) {
      const std::string methods = changes ? "POST" : "GET, HEAD";
      return {.status = 405,
              .body = StrCat("only ", methods, " is answered here\n"),
              .headers = {StrCat("Allow: ", methods)}};
    }
    if (request.path == "/metrics") return Metrics(request);
    if (changes && view_.authorize == nullptr)
      return {.status = 403, .body = "nobody may change anything\n"};
    const absl::Status known = view_.authorize == nullptr ? absl::OkStatus() : view_.authorize(ask);
    if (absl::IsUnauthenticated(known))
      return AskForToken(request, changes, ToStd(known.message()));
    if (!known.ok()) return {.status = 403, .body = StrCat(ToStd(known.message()), "\n")};
    if (changes) return ReloadReply(view_, request.body);
    return Shown(request.path);
  }

  HttpReply Shown(std::string_view path) {
    if (path == "/stats.json") return StatsReply(view_);
    if (path == "/history.json") return HistoryReply(history_, absl::Now());
    if (path == "/config.json") return ConfigReply(view_);
    if (path == "/status.json") {
      const auto [ready, why] = State();
      return StatusReply(view_, ready, why);
    }
    if (path == "/") return Page("text/html; charset=utf-8", kDashboardHtml);
    if (path == "/dashboard.js") return Page("text/javascript; charset=utf-8", kDashboardJs);
    if (path == "/charts.js") return Page("text/javascript; charset=utf-8", kChartsJs);
    if (path == "/dashboard.css") return Page("text/css; charset=utf-8", kDashboardCss);
    if (path == "/icon.svg") return Page("image/svg+xml", kIconSvg);
    return {.status = 404,
            .body =
                "there are /, /metrics, /healthz, /readyz, /stats.json, /status.json, "
                "/history.json, /config.json and, with POST, /reload\n"};
  }

  // Adds to the history at even steps until the end.
  void Record() {
    NameThisThread("admin-history");
    while (true) {
      Remember();
      MutexLock lock(&mu_);
      const MonoNanos next = MonoAfter(Clock::System()->Mono(), History::kStep);
      while (!ends_) {
        const MonoNanos now = Clock::System()->Mono();
        if (now >= next) break;
        wakes_.WaitFor(&mu_, absl::Nanoseconds(next - now));
      }
      if (ends_) return;
    }
  }

  void Remember() {
    const v1::StatsResponse stats = view_.stats();
    HistorySample sample{.at = absl::Now(),
                         .hits = stats.total().hits(),
                         .reads = stats.total().hits() + stats.total().misses(),
                         .evictions = stats.total().evictions()};
    for (const v1::LatencyStats& latency : stats.latencies()) sample.calls += latency.count();
    history_.Add(sample);
  }

  std::pair<bool, std::string> State() {
    MutexLock lock(&mu_);
    return {ready_, why_};
  }

  HttpReply Readiness() {
    const auto [ready, why] = State();
    return {.status = ready ? 200 : 503, .body = why + "\n"};
  }

  HttpReply Metrics(const HttpRequest& request) {
    const Exposition::Format format = Exposition::FormatFor(request.Header("accept"));
    return {.content_type = std::string(Exposition::ContentType(format)),
            .body = RenderMetrics(view_, State().first, format)};
  }

  const AdminView view_;
  std::vector<std::string> names_;
  Mutex mu_;
  bool ready_ ABSL_GUARDED_BY(mu_) = false;
  std::string why_ ABSL_GUARDED_BY(mu_) = "starting";
  bool ends_ ABSL_GUARDED_BY(mu_) = false;
  CondVar wakes_;
  History history_;
  // Last, for its threads use all of the above.
  std::unique_ptr<HttpServer> http_;
  std::thread recorder_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<AdminServer>> AdminServer::Start(const HttpServer::Options& options,
                                                                AdminView view) {
  auto server = std::make_unique<Server>(std::move(view));
  const absl::Status listening = server->Listen(options);
  if (!listening.ok()) return listening;
  return server;
}

}  // namespace larder
