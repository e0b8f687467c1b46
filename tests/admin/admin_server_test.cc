#include "admin/admin_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "google/protobuf/util/json_util.h"
#include "tests/admin/http_client.h"
#include "tests/admin/sample_view.h"

namespace larder {
namespace {

using testing::HasSubstr;
using testing::Not;

class AdminServerTest : public testing::Test {
 protected:
  AdminServerTest() {
    auto started = AdminServer::Start({.address = "127.0.0.1:0"}, SampleView());
    EXPECT_TRUE(started.ok()) << started.status();
    server_ = *std::move(started);
  }

  std::string Get(const std::string& path, const std::string& more = "Host: localhost\r\n") {
    return HttpGet(server_->address(), path, more);
  }

  std::unique_ptr<AdminServer> server_;
};

TEST_F(AdminServerTest, SaysWhetherItIsWell) {
  EXPECT_EQ(StatusOf(Get("/healthz")), "200");
  EXPECT_EQ(StatusOf(Get("/readyz")), "503");
  EXPECT_EQ(BodyOf(Get("/readyz")), "starting\n");
  server_->SetReady(true, "ready");
  EXPECT_EQ(StatusOf(Get("/readyz")), "200");
  EXPECT_EQ(BodyOf(Get("/readyz")), "ready\n");
  server_->SetReady(false, "draining");
  EXPECT_EQ(StatusOf(Get("/readyz")), "503");
  EXPECT_EQ(StatusOf(Get("/healthz")), "200");
}

TEST_F(AdminServerTest, AsksForATokenWhereCallersAreKnown) {
  AdminView view = SampleView();
  view.authorize = [](std::string_view authorization) {
    if (authorization == "Bearer operator") return absl::OkStatus();
    return authorization == "Bearer reader" ? absl::PermissionDeniedError("no operator")
                                            : absl::UnauthenticatedError("who is it");
  };
  auto started = AdminServer::Start({.address = "127.0.0.1:0"}, std::move(view));
  ASSERT_TRUE(started.ok()) << started.status();
  server_ = *std::move(started);
  const std::string host = "Host: localhost\r\n";
  for (const char* path : {"/", "/stats.json", "/config.json", "/dashboard.js", "/dashboard.css",
                           "/icon.svg", "/stats.json?x", "//stats.json", "/%73tats.json", "/x"}) {
    const std::string nobody = Get(path);
    EXPECT_EQ(StatusOf(nobody), "401") << path;
    EXPECT_THAT(nobody, HasSubstr("\r\nWWW-Authenticate: Basic realm=\"larder\""));
    EXPECT_EQ(BodyOf(nobody), "who is it\n");
    const std::string reader = Get(path, host + "Authorization: Bearer reader\r\n");
    EXPECT_EQ(StatusOf(reader), "403") << path;
    EXPECT_EQ(BodyOf(reader), "no operator\n");
    const std::string two =
        Get(path, host + "Authorization: Bearer operator\r\nAuthorization: Bearer operator\r\n");
    EXPECT_EQ(StatusOf(two), "401") << path;
  }
  for (const char* path : {"/", "/stats.json", "/config.json", "/dashboard.js"})
    EXPECT_EQ(StatusOf(Get(path, host + "Authorization: Bearer operator\r\n")), "200") << path;
  for (const char* path : {"/metrics", "/healthz"}) EXPECT_EQ(StatusOf(Get(path)), "200") << path;
  // A page of elsewhere gets no further with the password that the browser remembers.
  EXPECT_EQ(StatusOf(Get("/stats.json", host + "Authorization: Bearer operator\r\n"
                                               "Origin: http://elsewhere.test\r\n")),
            "403");
}

TEST_F(AdminServerTest, GivesMetricsInTheFormatThatIsWanted) {
  const std::string text = Get("/metrics");
  EXPECT_THAT(text, HasSubstr("Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"));
  EXPECT_THAT(text, HasSubstr("\nlarder_hits_total{type=\"user\"} 7\n"));
  const std::string open =
      Get("/metrics", "Host: localhost\r\nAccept: application/openmetrics-text\r\n");
  EXPECT_THAT(open, HasSubstr("Content-Type: application/openmetrics-text; version=1.0.0"));
  EXPECT_TRUE(open.ends_with("# EOF\n"));
}

TEST_F(AdminServerTest, GivesTheStatisticsAsJson) {
  const std::string answer = Get("/stats.json");
  EXPECT_THAT(answer, HasSubstr("Content-Type: application/json; charset=utf-8\r\n"));
  v1::StatsResponse stats;
  ASSERT_TRUE(google::protobuf::util::JsonStringToMessage(BodyOf(answer), &stats).ok());
  EXPECT_EQ(stats.SerializeAsString(), SampleStats().SerializeAsString());
  // The names of the API, zeros included: scripts need not know which field was left out.
  EXPECT_THAT(answer, HasSubstr("\"hit_ratio\":0"));
}

TEST_F(AdminServerTest, GivesTheConfigurationWithWhereItCameFrom) {
  EXPECT_THAT(BodyOf(Get("/config.json")), HasSubstr("\"version\":\"1.2.3\""));
  EXPECT_THAT(BodyOf(Get("/config.json")), HasSubstr("\"value\":\"\\\"larder-0\\\"\""));
  EXPECT_THAT(BodyOf(Get("/config.json")), HasSubstr("\"source\":\"--set\""));
}

TEST_F(AdminServerTest, ServesThePageWithAllThatBelongsToIt) {
  const std::string page = Get("/");
  EXPECT_THAT(page, HasSubstr("Content-Type: text/html; charset=utf-8\r\n"));
  EXPECT_THAT(page, HasSubstr("<script src=\"/dashboard.js\">"));
  EXPECT_THAT(Get("/dashboard.js"), HasSubstr("Content-Type: text/javascript"));
  EXPECT_THAT(Get("/dashboard.css"), HasSubstr("Content-Type: text/css"));
  EXPECT_THAT(Get("/icon.svg"), HasSubstr("Content-Type: image/svg+xml"));
  for (const char* path : {"/", "/dashboard.js", "/dashboard.css"}) {
    EXPECT_THAT(BodyOf(Get(path)), Not(HasSubstr("https://"))) << path;
    EXPECT_THAT(BodyOf(Get(path)), Not(HasSubstr("innerHTML"))) << path;
  }
}

TEST_F(AdminServerTest, KnowsNoOtherPaths) {
  for (const char* path : {"/nothing", "/metrics/", "/../etc/passwd", "/%2e%2e/", "//", "/stats"})
    EXPECT_EQ(StatusOf(Get(path)), "404") << path;
}

TEST_F(AdminServerTest, AnswersNoOtherMethods) {
  const std::string answer = Exchange(server_->address(),
                                      "POST /metrics HTTP/1.1\r\nHost: localhost\r\n"
                                      "Content-Length: 0\r\n\r\n");
  EXPECT_EQ(StatusOf(answer), "405");
}

TEST_F(AdminServerTest, LetsNoPageOfElsewhereRead) {
  for (const char* path : {"/", "/metrics", "/stats.json", "/config.json"}) {
    EXPECT_EQ(StatusOf(Get(path, "Host: rebound.example\r\n")), "403") << path;
    EXPECT_EQ(StatusOf(Get(path, "Host: localhost\r\nOrigin: http://evil.example\r\n")), "403");
    EXPECT_EQ(StatusOf(Get(path, "Host: larder-0:8080\r\n")), "200") << path;
  }
  // Probes ask by any name, and learn nothing.
  EXPECT_EQ(StatusOf(Get("/healthz", "Host: any.example\r\n")), "200");
}

TEST_F(AdminServerTest, TellsBrowsersToBeStrict) {
  for (const char* path : {"/", "/metrics", "/stats.json", "/nothing"}) {
    const std::string answer = Get(path);
    EXPECT_THAT(answer, HasSubstr("Content-Security-Policy: default-src 'none'; ")) << path;
    EXPECT_THAT(answer, HasSubstr("X-Content-Type-Options: nosniff\r\n")) << path;
    EXPECT_THAT(answer, HasSubstr("X-Frame-Options: DENY\r\n")) << path;
    EXPECT_THAT(answer, HasSubstr("Referrer-Policy: no-referrer\r\n")) << path;
    EXPECT_THAT(answer, HasSubstr("Cross-Origin-Resource-Policy: same-origin\r\n")) << path;
    EXPECT_THAT(answer, HasSubstr("Cache-Control: no-store\r\n")) << path;
    EXPECT_THAT(answer, Not(HasSubstr("Access-Control-Allow"))) << path;
  }
}

}  // namespace
}  // namespace larder
