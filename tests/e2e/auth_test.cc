// Who may do what, in a real larderd over its lanes and its admin port; and that no secret comes
// out of it anywhere.

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "larder/v1/admin.grpc.pb.h"
#include "larder/v1/cache.grpc.pb.h"
#include "tests/admin/http_client.h"
#include "tests/base/certificates.h"
#include "tests/e2e/server_process.h"
#include "tests/e2e/tcp_proxy.h"
#include "tests/redis/redis_server.h"

namespace larder {
namespace {

using grpc::StatusCode;
using testing::HasSubstr;
using testing::Not;

// The SHA-256 sums are of `canary-orders`, `canary-viewer`, `canary-oncall` and `canary-next`.
constexpr char kAuth[] = R"(
types:
  order: { match: ["order:*"] }
  user: { match: ["user:*"] }
auth:
  roles:
    orders:   { namespaces: [shop], types: [order], prefixes: ["order:"], allow: [read, write, invalidate] }
    viewer:   { namespaces: ["*"], allow: [read] }
    operator: { namespaces: ["*"], allow: [admin] }
  callers:
    orders: { roles: [orders], token_sha256: [@orders@] }
    viewer: { roles: [viewer], token_sha256: [@viewer@] }
    oncall: { roles: [operator], token_sha256: [@oncall@] }
)";

// What a shell command prints.
std::string OutputOf(const std::string& command) {
  std::FILE* const pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) return "";
  std::string out;
  std::array<char, 4096> buffer;
  while (const size_t n = fread(buffer.data(), 1, buffer.size(), pipe))
    out.append(buffer.data(), n);
  pclose(pipe);
  return out;
}

std::string SumOf(const std::string& token) {
  return OutputOf("printf %s " + token + " | sha256sum").substr(0, 64);
}

class AuthTest : public testing::Test {
 protected:
  // The configuration, with the sums of the tokens put in.
  std::string Write(std::string text, const std::string& orders_token = "canary-orders") const {
    const std::string file = dir_.path() + "/larder.yaml";
    for (const auto& [mark, token] :
         std::vector<std::pair<std::string, std::string>>{{"@orders@", orders_token},
                                                          {"@viewer@", "canary-viewer"},
                                                          {"@oncall@", "canary-oncall"}}) {
      if (const size_t at = text.find(mark); at != std::string::npos)
        text.replace(at, mark.size(), SumOf(token));
    }
    std::ofstream(file + ".new") << text;
    std::filesystem::rename(file + ".new", file);
    return file;
  }
  void Start(const std::vector<std::string>& more = {}, const std::string& text = kAuth) {
    std::vector<std::string> args = {"--config", Write(text)};
    args.insert(args.end(), more.begin(), more.end());
    server_ = std::make_unique<ServerProcess>(args);
    ASSERT_TRUE(server_->running());
  }
  std::shared_ptr<grpc::Channel> Channel(const std::string& lane) const {
    return grpc::CreateChannel(server_->AddressOf(lane), grpc::InsecureChannelCredentials());
  }
  static std::unique_ptr<grpc::ClientContext> As(const std::string& token) {
    auto context = std::make_unique<grpc::ClientContext>();
    context->set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
    if (!token.empty()) context->AddMetadata("authorization", "Bearer " + token);
    return context;
  }
  static StatusCode Get(const std::shared_ptr<grpc::Channel>& channel, const std::string& token,
                        const std::string& key = "order:1", const std::string& ns = "shop") {
    v1::GetRequest request;
    request.set_namespace_(ns);
    request.set_key(key);
    v1::GetResponse response;
    return v1::Cache::NewStub(channel)->Get(As(token).get(), request, &response).error_code();
  }
  static StatusCode Set(const std::shared_ptr<grpc::Channel>& channel, const std::string& token,
                        const std::string& key, const std::string& ns = "shop") {
    v1::SetRequest request;
    request.set_namespace_(ns);
    request.set_key(key);
    request.set_value("v");
    v1::SetResponse response;
    return v1::Cache::NewStub(channel)->Set(As(token).get(), request, &response).error_code();
  }
  static v1::StatsResponse Stats(const std::shared_ptr<grpc::Channel>& channel,
                                 const std::string& token) {
    v1::StatsResponse response;
    EXPECT_TRUE(v1::Cache::NewStub(channel)->Stats(As(token).get(), {}, &response).ok());
    return response;
  }
  std::string Page(const std::string& path, const std::string& token = "") const {
    return HttpGet(server_->AdminAddress(), path,
                   token.empty() ? "Host: localhost\r\n"
                                 : "Host: localhost\r\nAuthorization: Bearer " + token + "\r\n");
  }

  std::string Post(const std::string& path, const std::string& token = "",
                   const std::string& body = "") const {
    const std::string authorization =
        token.empty() ? "" : absl::StrCat("Authorization: Bearer ", token, "\r\n");
    return Exchange(server_->AdminAddress(),
                    absl::StrCat("POST ", path, " HTTP/1.1\r\nHost: localhost\r\n", authorization,
                                 "Content-Length: ", body.size(), "\r\n\r\n", body));
  }

  const TempDir dir_;
  std::unique_ptr<ServerProcess> server_;
};

TEST_F(AuthTest, TokensAndRolesHoldOnBothLanes) {
  Start();
  for (const char* lane : {"reference", "native"}) {
    const auto channel = Channel(lane);
    EXPECT_EQ(Get(channel, ""), StatusCode::UNAUTHENTICATED) << lane;
    EXPECT_EQ(Get(channel, "wrong"), StatusCode::UNAUTHENTICATED) << lane;
    EXPECT_EQ(Set(channel, "canary-orders", "order:1"), StatusCode::OK) << lane;
    EXPECT_EQ(Get(channel, "canary-orders"), StatusCode::OK) << lane;
    EXPECT_EQ(Get(channel, "canary-viewer", "user:1", "crm"), StatusCode::OK) << lane;
    EXPECT_EQ(Set(channel, "canary-viewer", "order:1"), StatusCode::PERMISSION_DENIED) << lane;
    EXPECT_EQ(Set(channel, "canary-orders", "user:1"), StatusCode::PERMISSION_DENIED) << lane;
    EXPECT_EQ(Get(channel, "canary-orders", "order:1", "crm"), StatusCode::PERMISSION_DENIED);
    EXPECT_EQ(Get(channel, "canary-oncall"), StatusCode::PERMISSION_DENIED) << lane;
    v1::ServerInfoResponse info;
    const auto admin = v1::Admin::NewStub(channel);
    EXPECT_TRUE(admin->ServerInfo(As("canary-orders").get(), {}, &info).ok());
    EXPECT_EQ(admin->ServerInfo(As("").get(), {}, &info).error_code(), StatusCode::UNAUTHENTICATED);
    v1::PauseDeliveryResponse paused;
    EXPECT_EQ(admin->PauseDelivery(As("canary-viewer").get(), {}, &paused).error_code(),
              StatusCode::PERMISSION_DENIED);
    // Allowed, and then there is no journal.
    EXPECT_EQ(admin->PauseDelivery(As("canary-oncall").get(), {}, &paused).error_code(),
              StatusCode::FAILED_PRECONDITION);
  }
  const std::string metrics = Page("/metrics");
  EXPECT_THAT(metrics, HasSubstr("\nlarder_auth_unknown_total 6\n"));
  EXPECT_THAT(metrics, HasSubstr("\nlarder_auth_denied_total{permission=\"write\"} 4\n"));
  EXPECT_THAT(metrics, HasSubstr("\nlarder_auth_denied_total{permission=\"admin\"} 2\n"));
}

TEST_F(AuthTest, StatsAndHotKeysShowWhatTheCallerMayRead) {
  Start();
  const auto channel = Channel("native");
  const auto cache = v1::Cache::NewStub(channel);
  const auto admin = v1::Admin::NewStub(channel);
  ASSERT_EQ(Set(channel, "canary-orders", "order:1"), StatusCode::OK);
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(Get(channel, "canary-orders"), StatusCode::OK);
    EXPECT_EQ(Get(channel, "canary-viewer", "user:1", "shop"), StatusCode::OK);
    EXPECT_EQ(Get(channel, "canary-viewer", "order:1", "crm"), StatusCode::OK);
  }
  const v1::StatsResponse orders = Stats(channel, "canary-orders");
  ASSERT_EQ(orders.namespaces_size(), 1);
  EXPECT_EQ(orders.namespaces(0).namespace_(), "shop");
  ASSERT_EQ(orders.types_size(), 1);
  EXPECT_EQ(orders.types(0).type(), "order");
  EXPECT_FALSE(orders.has_total());
  EXPECT_FALSE(orders.has_memory());
  EXPECT_EQ(orders.tiers_size() + orders.latencies_size() + orders.breakers_size(), 0);
  EXPECT_GT(orders.hot_keys_size(), 0);
  for (const v1::HotKey& key : orders.hot_keys())
    EXPECT_EQ(key.namespace_() + "/" + key.key(), "shop/order:1");
  EXPECT_GT(orders.types(0).hot_keys_size(), 0);
  for (const v1::HotKey& key : orders.types(0).hot_keys())
    EXPECT_EQ(key.namespace_() + "/" + key.key(), "shop/order:1");
  const v1::StatsResponse viewer = Stats(channel, "canary-viewer");
  EXPECT_GE(viewer.namespaces_size(), 2);
  EXPECT_TRUE(viewer.has_total());
  EXPECT_FALSE(viewer.has_memory());
  const v1::StatsResponse oncall = Stats(channel, "canary-oncall");
  EXPECT_GE(oncall.namespaces_size(), 2);
  EXPECT_TRUE(oncall.has_memory());
  EXPECT_GT(oncall.latencies_size(), 0);
  EXPECT_EQ(oncall.hot_keys_size(), 0) << "admin reads no keys";
  for (const v1::TypeStats& type : oncall.types()) EXPECT_EQ(type.hot_keys_size(), 0);

  v1::HotKeysResponse hot;
  ASSERT_TRUE(admin->HotKeys(As("canary-orders").get(), {}, &hot).ok());
  EXPECT_GT(hot.keys_size() + hot.previous_size(), 0);
  for (const v1::HotKey& key : hot.keys())
    EXPECT_EQ(key.namespace_() + "/" + key.key(), "shop/order:1");
  v1::HotKeysRequest crm;
  crm.set_namespace_("crm");
  EXPECT_EQ(admin->HotKeys(As("canary-orders").get(), crm, &hot).error_code(),
            StatusCode::PERMISSION_DENIED);
  v1::StatsRequest users;
  users.add_types("user");
  v1::StatsResponse none;
  EXPECT_EQ(cache->Stats(As("canary-orders").get(), users, &none).error_code(),
            StatusCode::PERMISSION_DENIED);
}

TEST_F(AuthTest, TheAdminPortShowsMostOfItToOperators) {
  Start();
  for (const char* path : {"/healthz", "/readyz", "/metrics"})
    EXPECT_EQ(StatusOf(Page(path)), "200") << path;
  for (const char* path : {"/", "/stats.json", "/status.json", "/config.json"}) {
    EXPECT_EQ(StatusOf(Page(path)), "401") << path;
    EXPECT_EQ(StatusOf(Page(path, "canary-viewer")), "403") << path;
    EXPECT_EQ(StatusOf(Page(path, "canary-oncall")), "200") << path;
  }
}

TEST_F(AuthTest, AnOperatorHasTheConfigurationReadAgainOverHttp) {
  Start();
  const auto channel = Channel("native");
  EXPECT_EQ(StatusOf(Page("/reload", "canary-oncall")), "405");
  EXPECT_EQ(StatusOf(Post("/reload")), "401");
  EXPECT_EQ(StatusOf(Post("/reload", "canary-viewer")), "403");
  std::string text = kAuth;
  text.replace(text.find("[viewer]"), 8, "[orders]");
  text += "memory: { l1: 64MiB }\n";
  Write(text);
  // Looking changes nothing.
  const std::string would = BodyOf(Post("/reload", "canary-oncall", R"({"dry_run":true})"));
  EXPECT_THAT(would, HasSubstr("\"path\":\"auth.callers.viewer.roles\""));
  EXPECT_EQ(Get(channel, "canary-viewer", "user:1"), StatusCode::OK);
  EXPECT_EQ(BodyOf(Post("/reload", "canary-oncall")), would);
  EXPECT_THAT(would, HasSubstr("\"path\":\"memory.l1\""));
  EXPECT_THAT(would, HasSubstr("\"after\":\"64MiB\",\"needs_restart\":true"));
  EXPECT_EQ(Get(channel, "canary-viewer", "user:1"), StatusCode::PERMISSION_DENIED);
  Write(text + "typo: 1\n");
  const std::string refused = Post("/reload", "canary-oncall");
  EXPECT_EQ(StatusOf(refused), "409");
  EXPECT_THAT(BodyOf(refused), HasSubstr("unknown field \\\"typo\\\""));
}

TEST_F(AuthTest, NothingIsChangedOverHttpWhereNobodyIsKnown) {
  Start({}, "log: { level: info }\n");
  EXPECT_EQ(StatusOf(Page("/config.json")), "200");
  const std::string refused = Post("/reload");
  EXPECT_EQ(StatusOf(refused), "403");
  EXPECT_THAT(BodyOf(refused), HasSubstr("set auth.callers"));
  EXPECT_EQ(StatusOf(Post("/reload", "canary-oncall")), "403");
  server_->Signal(SIGTERM);
  const std::string log = server_->Wait().err;
  EXPECT_THAT(log, HasSubstr("\"rpc\":\"POST /reload\",\"reason\":\"NOT_ALLOWED\""));
  EXPECT_THAT(log, Not(HasSubstr("config_reloaded")));
}

TEST_F(AuthTest, DenialsAndActsOnTheAdminPortAreWrittenDown) {
  Start({"--set", "log.lines_per_second=1"});
  Page("/config.json");
  Page("/config.json?canary-query", "canary-wrong");
  Page("/stats.json", "canary-viewer");
  HttpGet(server_->AdminAddress(), "/metrics", "Host: rebound.example\r\n");
  HttpGet(server_->AdminAddress(), "/", "Host: localhost\r\nOrigin: http://evil.example\r\n");
  Post("/reload");
  Post("/reload", "canary-oncall");
  Page("/stats.json", "canary-oncall");
  const std::string metrics = Page("/metrics");
  EXPECT_THAT(metrics, HasSubstr("\nlarder_auth_unknown_total 3\n"));
  EXPECT_THAT(metrics, HasSubstr("\nlarder_auth_denied_total{permission=\"admin\"} 1\n"));
  server_->Signal(SIGTERM);
  const std::string log = server_->Wait().err;
  std::vector<std::string> lines;
  for (const absl::string_view line : absl::StrSplit(log, '\n')) {
    if (line.find("\"access_denied\"") != line.npos || line.find("\"admin_act\"") != line.npos)
      lines.emplace_back(line);
  }
  const std::vector<std::vector<std::string>> expected = {
      {"access_denied", "\"caller\":\"\"", "GET /config.json\"", "NOT_AUTHENTICATED"},
      {"access_denied", "\"caller\":\"\"", "GET /config.json\"", "NOT_AUTHENTICATED"},
      {"access_denied", "\"caller\":\"viewer\"", "GET /stats.json\"", "NOT_ALLOWED"},
      {"access_denied", "\"caller\":\"\"", "GET /metrics\"", "NOT_ALLOWED", "rebound.example"},
      {"access_denied", "\"caller\":\"\"", "GET /\"", "NOT_ALLOWED", "other sites"},
      {"access_denied", "\"caller\":\"\"", "POST /reload\"", "NOT_AUTHENTICATED"},
      {"admin_act", "\"caller\":\"oncall\"", "POST /reload\""}};
  ASSERT_EQ(lines.size(), expected.size()) << log;
  for (size_t i = 0; i < lines.size(); ++i) {
    for (const std::string& part : expected[i]) EXPECT_THAT(lines[i], HasSubstr(part));
    EXPECT_THAT(lines[i], HasSubstr("\"peer\":\"127.0.0.1:"));
  }
  EXPECT_THAT(log, Not(HasSubstr("canary-")));
}

TEST_F(AuthTest, AReloadChangesCallersForTheNextCallAndEndsStreams) {
  Start();
  const auto channel = Channel("native");
  EXPECT_EQ(Get(channel, "canary-orders"), StatusCode::OK);
  v1::WatchRequest watch;
  watch.set_namespace_("shop");
  watch.set_prefix("order:");
  // Types limit the role, so a prefix is too much for it; the viewer may watch it.
  grpc::ClientContext denied;
  denied.AddMetadata("authorization", "Bearer canary-orders");
  v1::WatchResponse event;
  const auto cache = v1::Cache::NewStub(channel);
  EXPECT_EQ(cache->Watch(&denied, watch)->Finish().error_code(), StatusCode::PERMISSION_DENIED);
  grpc::ClientContext context;
  context.AddMetadata("authorization", "Bearer canary-viewer");
  watch.mutable_heartbeat()->set_nanos(100'000'000);
  const auto stream = cache->Watch(&context, watch);
  ASSERT_TRUE(stream->Read(&event));

  std::string text = kAuth;
  text.replace(text.find("[viewer]"), 8, "[orders]");
  Write(text, "canary-next");
  server_->Signal(SIGHUP);
  while (Get(channel, "canary-next") != StatusCode::OK) {
    // The other process says nothing when it has done it.
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_EQ(Get(channel, "canary-orders"), StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(Get(channel, "canary-viewer", "user:1"), StatusCode::PERMISSION_DENIED);
  while (stream->Read(&event)) {
  }
  EXPECT_EQ(stream->Finish().error_code(), StatusCode::PERMISSION_DENIED);
}

TEST_F(AuthTest, CertificatesNameTheCallerOverTlsOnBothLanes) {
  const Certificates files;
  std::string text = kAuth;
  text += absl::StrCat("    robot: { roles: [viewer], certificates: [\"spiffe://test/client\"] }\n",
                       "listen: { tls: { certificate_file: ", files.Path("server.pem"),
                       ", key_file: ", files.Path("server.key"),
                       ", client_ca_file: ", files.Path("ca.pem"), " } }\n");
  Start({}, text);
  grpc::ChannelArguments arguments;
  arguments.SetSslTargetNameOverride("lane.test");
  for (const char* lane : {"reference", "native"}) {
    for (const auto& [certificate, token, code] :
         std::vector<std::tuple<std::string, std::string, StatusCode>>{
             {"client", "", StatusCode::OK},
             {"client", "canary-oncall", StatusCode::PERMISSION_DENIED},
             {"client", "wrong", StatusCode::UNAUTHENTICATED},
             {"named", "", StatusCode::UNAUTHENTICATED},
             {"named", "canary-orders", StatusCode::OK}}) {
      const auto channel = grpc::CreateCustomChannel(
          server_->AddressOf(lane),
          grpc::SslCredentials({files.Text("ca.pem"), files.Text(certificate + ".key"),
                                files.Text(certificate + ".pem")}),
          arguments);
      EXPECT_EQ(Get(channel, token), code) << lane << " " << certificate << " " << token;
    }
  }
  for (const char* lane : {"reference", "native"}) {
    const Ended well = RunLarderd({"--config", dir_.path() + "/larder.yaml", "healthcheck",
                                   "--address", server_->AddressOf(lane), "--timeout", "30"});
    EXPECT_EQ(well.exit_code, 0) << well.err;
  }
  const std::string metrics = Page("/metrics");
  for (const char* lane : {"reference", "native"}) {
    EXPECT_THAT(metrics,
                HasSubstr(absl::StrCat(
                    "\nlarder_tls_certificate_not_after_timestamp_seconds{lane=\"", lane, "\"} ")));
  }
  // The command, with its flags.
  std::ofstream(dir_.path() + "/token") << "canary-viewer\n";
  const std::string command = absl::StrCat(
      LARDER_BIN_DIR, "/larder --server ", server_->AddressOf("native"), " --namespace shop",
      " --tls-ca ", files.Path("ca.pem"), " --tls-cert ", files.Path("named.pem"), " --tls-key ",
      files.Path("named.key"), " --tls-name lane.test");
  EXPECT_THAT(OutputOf(command + " --token-file " + dir_.path() + "/token get user:1 --json"),
              HasSubstr("\"hit\":false"));
  EXPECT_THAT(OutputOf(command + " get user:1 --json 2>&1"), HasSubstr("NOT_AUTHENTICATED"));
}

TEST_F(AuthTest, DenialsAndActsAreWrittenDown) {
  // Enough for the lines of its start alone.
  Start({"--set", "log.lines_per_second=2"});
  const auto channel = Channel("native");
  const auto context = As("canary-orders");
  context->AddMetadata("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
  v1::GetRequest request;
  request.set_namespace_("shop");
  request.set_key("user:canary-key");
  v1::GetResponse response;
  EXPECT_EQ(v1::Cache::NewStub(channel)->Get(context.get(), request, &response).error_code(),
            StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(Get(channel, "canary-wrong"), StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(Get(channel, "canary-wrong"), StatusCode::UNAUTHENTICATED);
  v1::DropDeadLettersRequest drop;
  drop.mutable_filter()->set_namespace_("shop");
  v1::DropDeadLettersResponse dropped;
  EXPECT_FALSE(
      v1::Admin::NewStub(channel)->DropDeadLetters(As("canary-oncall").get(), drop, &dropped).ok());
  server_->Signal(SIGTERM);
  const std::string log = server_->Wait().err;
  std::vector<std::string> denied;
  std::vector<std::string> acts;
  for (const absl::string_view line : absl::StrSplit(log, '\n')) {
    if (line.find("\"access_denied\"") != line.npos) denied.emplace_back(line);
    if (line.find("\"admin_act\"") != line.npos) acts.emplace_back(line);
  }
  ASSERT_EQ(denied.size(), 3u);
  for (const char* part :
       {"\"caller\":\"orders\"", "\"rpc\":\"/larder.v1.Cache/Get\"", "\"reason\":\"NOT_ALLOWED\"",
        "\"permission\":\"read\"", "\"namespace\":\"shop\"",
        "\"peer\":\"127.0.0.1:", "\"traceparent\":\"00-0af7651916cd43dd8448eb211c80319c-"})
    EXPECT_THAT(denied[0], HasSubstr(part));
  EXPECT_THAT(denied[0],
              HasSubstr("\"key_hash\":\"" + SumOf("user:canary-key").substr(0, 16) + "\""));
  EXPECT_THAT(denied[1], HasSubstr("\"caller\":\"\""));
  EXPECT_THAT(denied[1], HasSubstr("\"reason\":\"NOT_AUTHENTICATED\""));
  ASSERT_EQ(acts.size(), 1u);
  for (const char* part : {"\"caller\":\"oncall\"", "\"rpc\":\"/larder.v1.Admin/DropDeadLetters\"",
                           "\"namespace\":\"shop\"", "\"peer\":\"127.0.0.1:"})
    EXPECT_THAT(acts[0], HasSubstr(part));
}

// Everything that is secret is called canary-something here, and none of it comes out.
TEST_F(AuthTest, NoSecretComesOut) {
  RedisServer redis({"requirepass canary-password"});
  std::ofstream(dir_.path() + "/password") << "canary-password\n";
  std::ofstream(dir_.path() + "/url") << "redis://:canary-password@127.0.0.1:1\n";
  std::ofstream(dir_.path() + "/token") << "canary-oncall\n";
  const std::string text = absl::StrCat(
      kAuth, "l2: { redis: { url: \"redis://", redis.address(), "\", password_file: ", dir_.path(),
      "/password } }\n",
      "origins: { shop: { grpc: { target: \"127.0.0.1:1\", metadata: { authorization: { value: "
      "canary-metadata } } } } }\n");
  Start({"--set", "log.level=debug"}, text);
  std::string all;
  for (const char* lane : {"reference", "native"}) {
    const auto channel = Channel(lane);
    EXPECT_EQ(Get(channel, "canary-orders", "order:canary-key"), StatusCode::OK);
    EXPECT_EQ(Get(channel, "canary-orders", "user:canary-key"), StatusCode::PERMISSION_DENIED);
    EXPECT_EQ(Get(channel, "canary-wrong", "order:canary-key"), StatusCode::UNAUTHENTICATED);
    EXPECT_EQ(Set(channel, "canary-viewer", "order:canary-key"), StatusCode::PERMISSION_DENIED);
    v1::GetRequest request;
    request.set_key("k");
    v1::GetResponse response;
    all += v1::Cache::NewStub(channel)
               ->Get(As("canary-wrong").get(), request, &response)
               .error_message();
  }
  for (const char* path : {"/", "/stats.json", "/config.json"})
    all += Page(path) + Page(path, "canary-wrong") + Page(path, "canary-viewer");
  all += Page("/metrics") + Page("/config.json", "canary-oncall");
  const std::string file = dir_.path() + "/larder.yaml";
  const Ended checked = RunLarderd({"--config", file, "--check"});
  EXPECT_EQ(checked.exit_code, 0) << checked.err;
  all += checked.out + checked.err;
  // A token where its sum should be, and urls with passwords.
  for (const std::vector<std::string>& wrong : std::vector<std::vector<std::string>>{
           {"--set", "auth.callers.x={roles: [viewer], token_sha256: [canary-token]}"},
           {"--set", "l2.redis.url=redis://:canary-password@127.0.0.1:1"},
           {"--set", "l2.redis.url=", "--set", "l2.redis.url_file=" + dir_.path() + "/url"}}) {
    // Started in earnest: the file of a url is read only then.
    std::vector<std::string> args = {
        "--config", file, "--set", "listen.grpc=127.0.0.1:0", "--set", "listen.admin=off"};
    args.insert(args.end(), wrong.begin(), wrong.end());
    const Ended ended = RunLarderd(args);
    EXPECT_NE(ended.exit_code, 0) << wrong[1];
    all += ended.out + ended.err;
  }
  server_->Signal(SIGTERM);
  const std::string log = server_->Wait().err;
  EXPECT_THAT(log, HasSubstr("access_denied"));
  all += log;
  EXPECT_THAT(all, Not(HasSubstr("canary-")));
  const Ended printed = RunLarderd({"--config", file, "--print-config"});
  EXPECT_THAT(printed.out, HasSubstr("authorization"));
  for (const char* secret :
       {"canary-password", "canary-orders", "canary-oncall", "canary-metadata"})
    EXPECT_THAT(printed.out, Not(HasSubstr(secret)));
}

// What a balancer that passes TLS on, and says first whom it speaks for, is to the server.
TEST_F(AuthTest, ABalancersCallersAreKnownByTheirOwnAddresses) {
  const Certificates certificates;
  Start({"--set", "listen.proxy_protocol=true", "--set",
         "listen.tls.certificate_file=" + certificates.Path("server.pem"), "--set",
         "listen.tls.key_file=" + certificates.Path("server.key")});
  const std::string native = server_->AddressOf("native");
  TcpProxy balancer(std::stoi(native.substr(native.rfind(':') + 1)),
                    std::string("\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"
                                "\xCB\0\x71\x07\xC0\0\x02\x01\x12\x67\x01\xBB",
                                28));
  grpc::SslCredentialsOptions trust;
  trust.pem_root_certs = certificates.Text("ca.pem");
  grpc::ChannelArguments arguments;
  arguments.SetSslTargetNameOverride("lane.test");
  const auto through = [&](const std::string& address) {
    return grpc::CreateCustomChannel(address, grpc::SslCredentials(trust), arguments);
  };
  const auto channel = through(absl::StrCat("127.0.0.1:", balancer.port()));
  EXPECT_EQ(Set(channel, "canary-orders", "order:1"), StatusCode::OK);
  EXPECT_EQ(Get(channel, "canary-orders"), StatusCode::OK);
  EXPECT_EQ(Set(channel, "canary-viewer", "order:1"), StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(Get(through(native), "canary-orders"), StatusCode::UNAVAILABLE);
  server_->Signal(SIGTERM);
  const Ended ended = server_->Wait();
  EXPECT_EQ(ended.exit_code, 0);
  EXPECT_THAT(ended.err, HasSubstr("203.0.113.7:4711"));
}

}  // namespace
}  // namespace larder
