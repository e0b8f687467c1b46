#include "admin/http_request.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"

namespace larder {
namespace {

HttpRequest Asking(std::vector<std::pair<std::string, std::string>> headers) {
  return {"GET", "/metrics", std::move(headers)};
}

TEST(HttpRequestTest, ReadsWhatIsAskedFor) {
  const auto request = ParseHttpHead(
      "GET /metrics?x=1 HTTP/1.1\r\nHOST: localhost:8080\r\nAccept:  a \r\nAccept: b");
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(request->method, "GET");
  EXPECT_EQ(request->path, "/metrics");
  EXPECT_EQ(request->Header("host"), "localhost:8080");
  EXPECT_EQ(request->Header("accept"), "a, b");
  EXPECT_EQ(request->Header("origin"), "");
}

TEST(HttpRequestTest, RefusesWhatIsNoRequest) {
  const std::string host = "\r\nHost: localhost";
  for (const std::string& head : std::vector<std::string>{
           "", "GET", "GET /", "GET / HTTP/2.0" + host, "GET / HTTP/1.1 more" + host,
           "GET  / HTTP/1.1" + host, "GET http://localhost/ HTTP/1.1" + host,
           "GET metrics HTTP/1.1" + host, "G\x01T / HTTP/1.1" + host, "GET /\x7f HTTP/1.1" + host,
           "GET / HTTP/1.1" + host + "\r\nno colon", "GET / HTTP/1.1" + host + "\r\n folded: line",
           "GET / HTTP/1.1" + host + "\r\nA: \x02", "GET / HTTP/1.1" + host + "\r\n: empty",
           std::string("GET /\0 HTTP/1.1", 15) + host}) {
    EXPECT_EQ(ParseHttpHead(head).status().code(), absl::StatusCode::kInvalidArgument) << head;
  }
}

TEST(HttpRequestTest, WantsExactlyOneHost) {
  EXPECT_FALSE(ParseHttpHead("GET / HTTP/1.1").ok());
  EXPECT_FALSE(ParseHttpHead("GET / HTTP/1.1\r\nHost: a\r\nHost: b").ok());
  EXPECT_TRUE(ParseHttpHead("GET / HTTP/1.0\r\nHost: a").ok());
}

TEST(HttpRequestTest, TakesSoManyHeadersAndNotOneMore) {
  std::string head = "GET / HTTP/1.1\r\nHost: a";
  for (size_t i = 1; i < HttpRequest::kHeadersMax; ++i) absl::StrAppend(&head, "\r\nH", i, ": v");
  EXPECT_TRUE(ParseHttpHead(head).ok());
  EXPECT_FALSE(ParseHttpHead(head + "\r\nOne: more").ok());
}

TEST(HttpRequestTest, AnswersByAddressLocalhostAndOwnName) {
  for (const char* host :
       {"localhost", "localhost:8080", "LOCALHOST:8080", "larder.localhost:1", "127.0.0.1:8080",
        "10.1.2.3", "[::1]:8080", "[fe80::1]", "larder-0:8080", "Larder-0"}) {
    EXPECT_TRUE(CheckHttpCaller(Asking({{"host", host}}), {"larder-0"}).ok()) << host;
  }
}

// A page of evil.example whose name now leads here: its browser still sends that name.
TEST(HttpRequestTest, RefusesNamesThatAnybodyCouldGiveIt) {
  for (const char* host :
       {"evil.example", "evil.example:8080", "localhost.evil.example", "", "127.0.0.1.evil.example",
        "larder-0.evil.example", "[evil]", "[::1", "[]", "::1"}) {
    EXPECT_EQ(CheckHttpCaller(Asking({{"host", host}}), {"larder-0"}).code(),
              absl::StatusCode::kPermissionDenied)
        << host;
  }
}

TEST(HttpRequestTest, RefusesPagesOfOtherSites) {
  const auto check = [](std::vector<std::pair<std::string, std::string>> more) {
    more.emplace_back("host", "localhost:8080");
    return CheckHttpCaller(Asking(std::move(more)), {}).code();
  };
  constexpr auto kOk = absl::StatusCode::kOk;
  constexpr auto kDenied = absl::StatusCode::kPermissionDenied;
  EXPECT_EQ(check({{"origin", "http://localhost:8080"}}), kOk);
  EXPECT_EQ(check({{"origin", "http://localhost:9090"}}), kDenied);
  EXPECT_EQ(check({{"origin", "https://localhost:8080"}}), kDenied);
  EXPECT_EQ(check({{"origin", "null"}}), kDenied);
  EXPECT_EQ(check({{"sec-fetch-site", "same-origin"}}), kOk);
  EXPECT_EQ(check({{"sec-fetch-site", "none"}}), kOk);
  EXPECT_EQ(check({{"sec-fetch-site", "cross-site"}, {"sec-fetch-mode", "no-cors"}}), kDenied);
  EXPECT_EQ(check({{"sec-fetch-site", "same-site"}, {"sec-fetch-mode", "cors"}}), kDenied);
  // A link in a wiki.
  EXPECT_EQ(check({{"sec-fetch-site", "cross-site"},
                   {"sec-fetch-mode", "navigate"},
                   {"sec-fetch-dest", "document"}}),
            kOk);
  EXPECT_EQ(check({{"sec-fetch-site", "cross-site"},
                   {"sec-fetch-mode", "navigate"},
                   {"sec-fetch-dest", "iframe"}}),
            kDenied);
}

// What a page of elsewhere can send with a click is a form, which arrives as a link does.
TEST(HttpRequestTest, RefusesFormsOfOtherSites) {
  HttpRequest form = Asking({{"host", "localhost:8080"},
                             {"sec-fetch-site", "cross-site"},
                             {"sec-fetch-mode", "navigate"},
                             {"sec-fetch-dest", "document"}});
  EXPECT_TRUE(CheckHttpCaller(form, {}).ok());
  form.method = "POST";
  EXPECT_EQ(CheckHttpCaller(form, {}).code(), absl::StatusCode::kPermissionDenied);
  form.headers = {{"host", "localhost:8080"}, {"origin", "null"}};
  EXPECT_EQ(CheckHttpCaller(form, {}).code(), absl::StatusCode::kPermissionDenied);
}

TEST(HttpRequestTest, TakesOneLengthOfABodyAndNothingElse) {
  const auto bytes = [](std::vector<std::pair<std::string, std::string>> headers) {
    return HttpBodyBytes(Asking(std::move(headers)));
  };
  EXPECT_EQ(bytes({}).value(), 0u);
  EXPECT_EQ(bytes({{"content-length", "0"}}).value(), 0u);
  EXPECT_EQ(bytes({{"content-length", "4096"}}).value(), 4096u);
  for (const char* wrong : {"-1", "+1", "1 ", "0x10", "one", "1.5", "99999999999999999999"})
    EXPECT_FALSE(bytes({{"content-length", wrong}}).ok()) << wrong;
  EXPECT_FALSE(bytes({{"content-length", "3"}, {"content-length", "3"}}).ok());
  EXPECT_FALSE(bytes({{"transfer-encoding", "chunked"}}).ok());
  EXPECT_FALSE(bytes({{"content-length", "3"}, {"transfer-encoding", "chunked"}}).ok());
}

TEST(HttpRequestTest, WritesAnAnswer) {
  const HttpReply reply{.status = 405, .body = "no\n", .headers = {"Allow: GET"}};
  EXPECT_EQ(FormatHttpReply(reply, true),
            "HTTP/1.1 405 Method Not Allowed\r\nContent-Type: text/plain; charset=utf-8\r\n"
            "Content-Length: 3\r\nConnection: close\r\nAllow: GET\r\n\r\nno\n");
  EXPECT_THAT(FormatHttpReply(reply, false), testing::EndsWith("Allow: GET\r\n\r\n"));
}

}  // namespace
}  // namespace larder
