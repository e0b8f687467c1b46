#include "admin/admin_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "base/strings.h"
#include "google/protobuf/struct.pb.h"
#include "google/protobuf/util/json_util.h"
#include "tests/admin/http_client.h"
#include "tests/admin/sample_view.h"

namespace larder {
namespace {

using testing::HasSubstr;
using testing::Not;

// What the server's threads tell the test's.
template <typename T>
class Seen {
 public:
  void Add(T one) {
    MutexLock lock(&mu_);
    all_.push_back(std::move(one));
  }
  std::vector<T> All() const {
    MutexLock lock(&mu_);
    return all_;
  }

 private:
  mutable Mutex mu_;
  std::vector<T> all_ ABSL_GUARDED_BY(mu_);
};

class AdminServerTest : public testing::Test {
 protected:
  AdminServerTest() { Start(SampleView()); }

  void Start(AdminView view) {
    auto started = AdminServer::Start({.address = "127.0.0.1:0"}, std::move(view));
    ASSERT_TRUE(started.ok()) << started.status();
    server_ = *std::move(started);
  }

  static absl::Status ByToken(const AdminAsk& ask) {
    if (ask.authorization == "Bearer operator") return absl::OkStatus();
    return ask.authorization == "Bearer reader" ? absl::PermissionDeniedError("no operator")
                                                : absl::UnauthenticatedError("who is it");
  }

  std::string Get(const std::string& path, const std::string& more = "Host: localhost\r\n") {
    return HttpGet(server_->address(), path, more);
  }

  std::string Post(const std::string& path, const std::string& more, const std::string& body = "") {
    return Exchange(server_->address(),
                    StrCat("POST ", path, " HTTP/1.1\r\nHost: localhost\r\n", more,
                           "Content-Length: ", body.size(), "\r\n\r\n", body));
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
  view.authorize = ByToken;
  Start(std::move(view));
  const std::string host = "Host: localhost\r\n";
  for (const char* path : {"/", "/stats.json", "/status.json", "/history.json", "/config.json",
                           "/charts.js", "/dashboard.js", "/dashboard.css", "/icon.svg",
                           "/stats.json?x", "//stats.json", "/%73tats.json", "/x"}) {
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
  for (const char* path :
       {"/", "/stats.json", "/history.json", "/config.json", "/charts.js", "/dashboard.js"})
    EXPECT_EQ(StatusOf(Get(path, host + "Authorization: Bearer operator\r\n")), "200") << path;
  for (const char* path : {"/metrics", "/healthz"}) EXPECT_EQ(StatusOf(Get(path)), "200") << path;
  // A page of elsewhere gets no further with the password that the browser remembers.
  EXPECT_EQ(StatusOf(Get("/stats.json", host + "Authorization: Bearer operator\r\n"
                                               "Origin: http://elsewhere.test\r\n")),
            "403");
}

// The dashboard says by itself that a token is needed, in place of a window every few seconds.
TEST_F(AdminServerTest, AsksNoWindowOfTheBrowsersForAPageThatSaysItItself) {
  AdminView view = SampleView();
  view.authorize = ByToken;
  Start(std::move(view));
  const std::string answer = Get("/stats.json", "Host: localhost\r\nX-Requested-With: larder\r\n");
  EXPECT_EQ(StatusOf(answer), "401");
  EXPECT_THAT(answer, HasSubstr("\r\nWWW-Authenticate: Bearer realm=\"larder\"\r\n"));
  EXPECT_THAT(answer, Not(HasSubstr("Basic")));
  EXPECT_THAT(BodyOf(Get("/dashboard.js", "Host: localhost\r\nAuthorization: Bearer operator\r\n")),
              HasSubstr("'X-Requested-With'"));
}

TEST_F(AdminServerTest, TellsOfEachRefusalWhoAskedForWhat) {
  Seen<AdminAsk> asks;
  Seen<std::pair<AdminAsk, std::string>> refusals;
  AdminView view = SampleView();
  view.authorize = [&](const AdminAsk& ask) {
    asks.Add(ask);
    return ByToken(ask);
  };
  view.refused = [&](const AdminAsk& ask, std::string_view why) {
    refusals.Add({ask, std::string(why)});
  };
  Start(std::move(view));
  Get("/config.json?token=x",
      "Host: localhost\r\nAuthorization: Bearer reader\r\ntraceparent: 00-1-2-01\r\n");
  const std::vector<AdminAsk> asked = asks.All();
  ASSERT_EQ(asked.size(), 1u);
  EXPECT_EQ(asked[0].what, "GET /config.json");
  EXPECT_EQ(asked[0].authorization, "Bearer reader");
  EXPECT_THAT(asked[0].peer, testing::StartsWith("127.0.0.1:"));
  EXPECT_EQ(asked[0].traceparent, "00-1-2-01");
  EXPECT_FALSE(asked[0].changes);
  EXPECT_TRUE(refusals.All().empty());
  Get("/metrics", "Host: rebound.example\r\n");
  Get("/", "Host: localhost\r\nOrigin: http://evil.example\r\n");
  Get("/healthz", "Host: rebound.example\r\n");
  const auto refused = refusals.All();
  ASSERT_EQ(refused.size(), 2u);
  EXPECT_EQ(asks.All().size(), 1u);
  EXPECT_EQ(refused[0].first.what, "GET /metrics");
  EXPECT_THAT(refused[0].second, HasSubstr("rebound.example"));
  EXPECT_EQ(refused[1].first.what, "GET /");
  EXPECT_EQ(refused[1].second, "pages of other sites may not ask");
}

class AdminReloadTest : public AdminServerTest {
 protected:
  AdminReloadTest() {
    AdminView view = SampleView();
    view.authorize = [](const AdminAsk& ask) {
      return ask.changes ? ByToken(ask) : absl::OkStatus();
    };
    view.reload = [this](bool dry_run) -> absl::StatusOr<v1::ReloadConfigResponse> {
      reloads_.Add(dry_run);
      if (is_wrong_) return absl::InvalidArgumentError("larder.yaml:14:7: unknown field \"ttll\"");
      v1::ReloadConfigResponse response;
      v1::ConfigChange& change = *response.add_changes();
      change.set_path("memory.l1");
      change.set_before("1GiB");
      change.set_after("2GiB");
      change.set_needs_restart(true);
      return response;
    };
    Start(std::move(view));
  }

  Seen<bool> reloads_;
  std::atomic<bool> is_wrong_ = false;
};

constexpr char kOperator[] = "Authorization: Bearer operator\r\n";

TEST_F(AdminReloadTest, SaysWhatChangedAndWhatNeedsARestart) {
  const std::string answer = Post("/reload", kOperator);
  EXPECT_EQ(StatusOf(answer), "200");
  EXPECT_THAT(answer, HasSubstr("Content-Type: application/json"));
  EXPECT_EQ(BodyOf(answer),
            "{\"changes\":[{\"path\":\"memory.l1\",\"before\":\"1GiB\",\"after\":\"2GiB\","
            "\"needs_restart\":true}]}");
  EXPECT_EQ(StatusOf(Post("/reload", kOperator, "{}")), "200");
  EXPECT_EQ(StatusOf(Post("/reload", kOperator, R"({"dry_run":true})")), "200");
  EXPECT_EQ(reloads_.All(), (std::vector<bool>{false, false, true}));
}

TEST_F(AdminReloadTest, SaysWhatIsWrong) {
  is_wrong_ = true;
  const std::string answer = Post("/reload", kOperator);
  EXPECT_EQ(StatusOf(answer), "409");
  EXPECT_EQ(BodyOf(answer), R"({"error":"larder.yaml:14:7: unknown field \"ttll\""})");
  for (const char* body : {"x", "{", R"({"dry":true})", R"({"dry_run":7})", "[]"})
    EXPECT_EQ(StatusOf(Post("/reload", kOperator, body)), "400") << body;
  EXPECT_EQ(StatusOf(Post("/reload", kOperator, std::string(5'000, ' '))), "413");
  EXPECT_EQ(reloads_.All().size(), 1u);
}

TEST_F(AdminReloadTest, IsForOperatorsByPostAlone) {
  for (const char* method : {"GET", "HEAD"}) {
    const std::string answer = Exchange(
        server_->address(), StrCat(method, " /reload HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    EXPECT_EQ(StatusOf(answer), "405");
    EXPECT_THAT(answer, HasSubstr("\r\nAllow: POST\r\n"));
  }
  const std::string nobody = Post("/reload", "");
  EXPECT_EQ(StatusOf(nobody), "401");
  EXPECT_THAT(nobody, HasSubstr("WWW-Authenticate: Bearer"));
  EXPECT_THAT(nobody, Not(HasSubstr("Basic")));
  EXPECT_EQ(StatusOf(Post("/reload", "Authorization: Bearer reader\r\n")), "403");
  for (const std::string& elsewhere :
       {std::string("Origin: http://evil.example\r\n"), std::string("Origin: null\r\n"),
        std::string("Sec-Fetch-Site: cross-site\r\n"),
        std::string("Sec-Fetch-Site: same-site\r\nSec-Fetch-Mode: navigate\r\n"
                    "Sec-Fetch-Dest: document\r\n")})
    EXPECT_EQ(StatusOf(Post("/reload", kOperator + elsewhere)), "403") << elsewhere;
  EXPECT_EQ(StatusOf(Post("/reload?x", kOperator)), "200");
  for (const char* path : {"/reload/", "//reload", "/", "/stats.json", "/healthz", "/metrics"})
    EXPECT_EQ(StatusOf(Post(path, kOperator)), "405") << path;
  EXPECT_EQ(reloads_.All().size(), 1u);
}

TEST_F(AdminReloadTest, IsForNobodyWhereNobodyIsKnown) {
  AdminView view = SampleView();
  view.reload = [](bool) { return v1::ReloadConfigResponse(); };
  Start(std::move(view));
  EXPECT_EQ(StatusOf(Post("/reload", kOperator)), "403");
  Start(SampleView());
  EXPECT_EQ(StatusOf(Get("/reload")), "404");
  EXPECT_EQ(StatusOf(Post("/reload", kOperator)), "405");
}

TEST_F(AdminServerTest, TellsInJsonWhatStatsDoesNot) {
  AdminView view = SampleView();
  view.memory_tight = [] { return true; };
  view.reloads = [] {
    return ReloadTally{.applied = 3,
                       .unchanged = 1,
                       .refused = 1,
                       .last_ok = false,
                       .last_good = absl::FromUnixSeconds(1'800'000'000),
                       .trouble = "larder.yaml:3:1: typo"};
  };
  Start(std::move(view));
  const auto fields = [this] {
    google::protobuf::Struct all;
    EXPECT_TRUE(
        google::protobuf::util::JsonStringToMessage(BodyOf(Get("/status.json")), &all).ok());
    return all.fields();
  };
  auto all = fields();
  EXPECT_FALSE(all.at("ready").bool_value());
  EXPECT_EQ(all.at("why").string_value(), "starting");
  EXPECT_TRUE(all.at("memory_tight").bool_value());
  const auto& shed = all.at("shed").struct_value().fields();
  EXPECT_EQ(shed.at("in_flight").number_value(), 7);
  EXPECT_EQ(shed.at("quota").number_value(), 2);
  EXPECT_EQ(all.at("calls").struct_value().fields().at("limit").number_value(), 100);
  const auto& config = all.at("config").struct_value().fields();
  EXPECT_EQ(config.at("read").number_value(), 4);
  EXPECT_EQ(config.at("refused").number_value(), 1);
  EXPECT_FALSE(config.at("last_ok").bool_value());
  EXPECT_EQ(config.at("last_good_ms").number_value(), 1.8e12);
  EXPECT_EQ(config.at("trouble").string_value(), "larder.yaml:3:1: typo");
  const auto& replicas = all.at("replicas").list_value();
  ASSERT_EQ(replicas.values_size(), 2);
  const auto& silent = replicas.values(1).struct_value().fields();
  EXPECT_EQ(silent.at("node_id").number_value(), 2);
  EXPECT_EQ(silent.at("state").string_value(), "silent");
  EXPECT_EQ(silent.at("heard_ago_ms").number_value(), 90'000);
  const auto& certificate = all.at("certificates").list_value().values(0).struct_value().fields();
  EXPECT_EQ(certificate.at("lane").string_value(), "native");
  EXPECT_EQ(certificate.at("ends_ms").number_value(), 1.9e12);
  server_->SetReady(true, "ready");
  EXPECT_TRUE(fields().at("ready").bool_value());
  view = SampleView();
  view.certificates = nullptr;
  Start(std::move(view));
  all = fields();
  EXPECT_FALSE(all.at("memory_tight").bool_value());
  EXPECT_EQ(all.at("certificates").list_value().values_size(), 0);
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
  for (const char* path : {"/", "/charts.js", "/dashboard.js", "/dashboard.css"}) {
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

// A page that is opened has a past at once: the first sample is as old as the server.
TEST_F(AdminServerTest, RemembersForChartsThatAreOpenedLater) {
  AdminView view = SampleView();
  view.stats = [] {
    v1::StatsResponse stats = SampleStats();
    stats.mutable_total()->set_misses(4);
    stats.mutable_total()->set_evictions(6);
    stats.add_latencies()->set_count(20);
    stats.add_latencies()->set_count(3);
    return stats;
  };
  Start(std::move(view));
  google::protobuf::Struct all;
  do {
    ASSERT_TRUE(
        google::protobuf::util::JsonStringToMessage(BodyOf(Get("/history.json")), &all).ok());
  } while (all.fields().at("ten_minutes").list_value().values().empty());
  for (const char* stretch : {"ten_minutes", "day"}) {
    const auto& row = all.fields().at(stretch).list_value().values(0).list_value();
    ASSERT_EQ(row.values_size(), all.fields().at("columns").list_value().values_size());
    EXPECT_LE(row.values(0).number_value(), all.fields().at("now_ms").number_value());
    EXPECT_EQ(row.values(1).number_value(), 23);
    EXPECT_EQ(row.values(2).number_value(), 9);
    EXPECT_EQ(row.values(3).number_value(), 13);
    EXPECT_EQ(row.values(4).number_value(), 6);
  }
}

TEST_F(AdminServerTest, LetsNoPageOfElsewhereRead) {
  for (const char* path :
       {"/", "/metrics", "/stats.json", "/status.json", "/history.json", "/config.json"}) {
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
