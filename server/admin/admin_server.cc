#include "admin/admin_server.h"

#include <utility>

#include "admin/metrics.h"
#include "admin/pages.h"
#include "base/mutex.h"
#include "base/strings.h"
#include "google/protobuf/struct.pb.h"
#include "google/protobuf/util/json_util.h"

namespace larder {
namespace {

constexpr char kJson[] = "application/json; charset=utf-8";

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

HttpReply Json(const google::protobuf::Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.always_print_primitive_fields = true;
  options.preserve_proto_field_names = true;
  HttpReply reply{.content_type = kJson};
  const auto written = google::protobuf::util::MessageToJsonString(message, &reply.body, options);
  // Fails for text that is no UTF-8 and for times out of range: a mistake of ours.
  if (!written.ok()) return {.status = 500, .body = written.ToString() + "\n"};
  return reply;
}

HttpReply Page(std::string content_type, std::string_view text) {
  return {.content_type = std::move(content_type), .body = std::string(text)};
}

HttpReply Config(const AdminView& view) {
  google::protobuf::Struct all;
  auto& fields = *all.mutable_fields();
  fields["version"].set_string_value(view.version);
  fields["node"].set_string_value(view.node);
  fields["started_ms"].set_number_value(static_cast<double>(absl::ToUnixMillis(view.started)));
  google::protobuf::ListValue& settings = *fields["settings"].mutable_list_value();
  for (const ShownSetting& setting : view.settings()) {
    auto& one = *settings.add_values()->mutable_struct_value()->mutable_fields();
    one["path"].set_string_value(setting.path);
    one["value"].set_string_value(setting.value);
    one["source"].set_string_value(setting.source);
  }
  return Json(all);
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
    return absl::OkStatus();
  }

  std::string address() const override { return http_->address(); }

  void SetReady(bool ready, std::string why) override {
    MutexLock lock(&mu_);
    ready_ = ready;
    why_ = std::move(why);
  }

 private:
  HttpReply Answer(const HttpRequest& request) {
    // Whether it is well is no secret, and probes ask by any name.
    if (request.path == "/healthz") return {.body = "alive\n"};
    if (request.path == "/readyz") return Readiness();
    const absl::Status caller = CheckHttpCaller(request, names_);
    if (!caller.ok()) return {.status = 403, .body = StrCat(ToStd(caller.message()), "\n")};
    if (request.path == "/metrics") return Metrics(request);
    // A browser asks its user for the token, as the password of any name.
    const absl::Status known = view_.authorize == nullptr
                                   ? absl::OkStatus()
                                   : view_.authorize(request.Header("authorization"));
    if (absl::IsUnauthenticated(known)) {
      return {.status = 401,
              .body = StrCat(ToStd(known.message()), "\n"),
              .headers = {"WWW-Authenticate: Bearer realm=\"larder\"",
                          "WWW-Authenticate: Basic realm=\"larder\", charset=\"UTF-8\""}};
    }
    if (!known.ok()) return {.status = 403, .body = StrCat(ToStd(known.message()), "\n")};
    if (request.path == "/stats.json") return Json(view_.stats());
    if (request.path == "/config.json") return Config(view_);
    if (request.path == "/") return Page("text/html; charset=utf-8", kDashboardHtml);
    if (request.path == "/dashboard.js")
      return Page("text/javascript; charset=utf-8", kDashboardJs);
    if (request.path == "/dashboard.css") return Page("text/css; charset=utf-8", kDashboardCss);
    if (request.path == "/icon.svg") return Page("image/svg+xml", kIconSvg);
    return {.status = 404,
            .body = "there are /, /metrics, /healthz, /readyz, /stats.json and /config.json\n"};
  }

  HttpReply Readiness() {
    MutexLock lock(&mu_);
    return {.status = ready_ ? 200 : 503, .body = why_ + "\n"};
  }

  HttpReply Metrics(const HttpRequest& request) {
    const Exposition::Format format = Exposition::FormatFor(request.Header("accept"));
    bool ready;
    {
      MutexLock lock(&mu_);
      ready = ready_;
    }
    return {.content_type = std::string(Exposition::ContentType(format)),
            .body = RenderMetrics(view_, ready, format)};
  }

  const AdminView view_;
  std::vector<std::string> names_;
  Mutex mu_;
  bool ready_ ABSL_GUARDED_BY(mu_) = false;
  std::string why_ ABSL_GUARDED_BY(mu_) = "starting";
  // Last, for its threads use all of the above.
  std::unique_ptr<HttpServer> http_;
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
