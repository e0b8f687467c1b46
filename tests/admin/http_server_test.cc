#include "admin/http_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>

#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "tests/admin/http_client.h"

namespace larder {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

HttpReply Echo(const HttpRequest& request) { return {.body = request.path + "\n"}; }

std::unique_ptr<HttpServer> NewServer(HttpServer::Options options = {},
                                      HttpServer::Handler handler = Echo) {
  options.address = "127.0.0.1:0";
  auto server = HttpServer::Start(options, std::move(handler));
  EXPECT_TRUE(server.ok()) << server.status();
  return *std::move(server);
}

TEST(HttpServerTest, AnswersGetAndHead) {
  const auto server = NewServer();
  const std::string answer = HttpGet(server->address(), "/a/b?c");
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_EQ(BodyOf(answer), "/a/b\n");
  const std::string head =
      Exchange(server->address(), "HEAD /a HTTP/1.1\r\nHost: localhost\r\n\r\n");
  EXPECT_THAT(head, HasSubstr("Content-Length: 3\r\n"));
  EXPECT_EQ(BodyOf(head), "");
}

TEST(HttpServerTest, RefusesOtherMethods) {
  const auto server = NewServer();
  for (const std::string method :
       {"PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "get"}) {
    const std::string answer =
        Exchange(server->address(),
                 method + " / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nbody");
    EXPECT_EQ(StatusOf(answer), "405") << method;
    EXPECT_THAT(answer, HasSubstr("Allow: GET, HEAD, POST\r\n"));
  }
}

std::string Post(size_t length, const std::string& body) {
  return absl::StrCat("POST /act HTTP/1.1\r\nHost: localhost\r\nContent-Length: ", length,
                      "\r\n\r\n", body);
}

TEST(HttpServerTest, HandsOnWhatAPostSends) {
  HttpServer::Options options;
  options.body_bytes_max = 100;
  const auto server = NewServer(options, [](const HttpRequest& request) {
    return HttpReply{.body = request.method + " " + request.body};
  });
  const auto ask = [&](const std::string& text) { return Exchange(server->address(), text); };
  EXPECT_EQ(BodyOf(ask(Post(0, ""))), "POST ");
  EXPECT_EQ(BodyOf(ask("POST /act HTTP/1.1\r\nHost: localhost\r\n\r\n")), "POST ");
  EXPECT_EQ(BodyOf(ask(Post(4, "body and more"))), "POST body");
  EXPECT_EQ(BodyOf(ask(Post(100, std::string(100, 'x')))), "POST " + std::string(100, 'x'));
  EXPECT_EQ(StatusOf(ask(Post(101, ""))), "413");
  EXPECT_EQ(StatusOf(ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n")), "400");
  EXPECT_EQ(StatusOf(ask("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")),
            "400");
  // What comes with a GET means nothing.
  EXPECT_EQ(BodyOf(ask("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 999\r\n\r\nbody")), "GET ");
  const HttpClient bits(server->address());
  for (const char c : Post(4, "slow")) ASSERT_TRUE(bits.Send(std::string(1, c)));
  EXPECT_EQ(BodyOf(bits.ReadAll()), "POST slow");
}

TEST(HttpServerTest, EndsAClientWhoseBodyDoesNotComeInTime) {
  HttpServer::Options options;
  options.ask_limit = absl::Milliseconds(50);
  const auto server = NewServer(options);
  EXPECT_EQ(Exchange(server->address(), Post(4, "bod")), "");
}

TEST(HttpServerTest, SaysWhoAsks) {
  const auto server =
      NewServer({}, [](const HttpRequest& request) { return HttpReply{.body = request.peer}; });
  EXPECT_THAT(BodyOf(HttpGet(server->address(), "/")), StartsWith("127.0.0.1:"));
}

// An act waits for the disk, say.
TEST(HttpServerTest, NoProbeWaitsForAPost) {
  absl::Notification posted, go_on;
  HttpServer::Options options;
  options.posts_waiting_max = 1;
  const auto server = NewServer(options, [&](const HttpRequest& request) {
    if (request.body == "first") {
      posted.Notify();
      go_on.WaitForNotification();
    }
    return HttpReply{.body = request.method};
  });
  const HttpClient first(server->address()), second(server->address()), third(server->address());
  ASSERT_TRUE(first.Send(Post(5, "first")));
  posted.WaitForNotification();
  for (int i = 0; i < 10; ++i) EXPECT_EQ(BodyOf(HttpGet(server->address(), "/healthz")), "GET");
  // One may wait; which of the two it is, is the order of their arrival.
  ASSERT_TRUE(second.Send(Post(0, "")));
  ASSERT_TRUE(third.Send(Post(0, "")));
  pollfd refused[] = {{second.fd(), POLLIN, 0}, {third.fd(), POLLIN, 0}};
  ASSERT_EQ(poll(refused, 2, 30'000), 1);
  EXPECT_EQ(StatusOf((refused[0].revents != 0 ? second : third).ReadAll()), "503");
  go_on.Notify();
  EXPECT_EQ(BodyOf(first.ReadAll()), "POST");
  EXPECT_EQ(BodyOf((refused[0].revents != 0 ? third : second).ReadAll()), "POST");
}

TEST(HttpServerTest, SaysWhatIsWrongWithARequest) {
  const auto server = NewServer();
  EXPECT_EQ(StatusOf(Exchange(server->address(), "nonsense\r\n\r\n")), "400");
  EXPECT_EQ(StatusOf(Exchange(server->address(), "GET / HTTP/1.1\r\n\r\n")), "400");
  EXPECT_EQ(StatusOf(Exchange(server->address(), "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")), "400");
}

TEST(HttpServerTest, TakesAHeadOfItsLimitAndNotOneByteMore) {
  HttpServer::Options options;
  options.head_bytes_max = 1'000;
  const auto server = NewServer(options);
  std::string head = "GET / HTTP/1.1\r\nHost: localhost\r\nFill: ";
  head.append(options.head_bytes_max - head.size(), 'x');
  EXPECT_EQ(StatusOf(Exchange(server->address(), head + "\r\n\r\n")), "200");
  EXPECT_EQ(StatusOf(Exchange(server->address(), head + "x\r\n\r\n")), "431");
  // One that never ends.
  EXPECT_EQ(StatusOf(Exchange(server->address(), std::string(5'000, 'x'))), "431");
}

TEST(HttpServerTest, ReadsARequestThatComesByteByByte) {
  const auto server = NewServer();
  const HttpClient client(server->address());
  for (const char c : std::string("GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n"))
    ASSERT_TRUE(client.Send(std::string(1, c)));
  EXPECT_EQ(BodyOf(client.ReadAll()), "/slow\n");
}

TEST(HttpServerTest, EndsAClientThatDoesNotAskInTime) {
  HttpServer::Options options;
  options.ask_limit = absl::Milliseconds(50);
  const auto server = NewServer(options);
  const HttpClient silent(server->address());
  EXPECT_EQ(silent.ReadAll(), "");
}

TEST(HttpServerTest, EndsAClientThatDoesNotReadInTime) {
  HttpServer::Options options;
  options.read_limit = absl::Milliseconds(50);
  constexpr size_t kLarge = 64 << 20;  // more than the sockets hold
  const auto server = NewServer(options, [](const HttpRequest& request) {
    return HttpReply{.body = request.path == "/large" ? std::string(kLarge, 'x') : "small"};
  });
  const HttpClient lazy(server->address());
  ASSERT_TRUE(lazy.Send("GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n"));
  // Others are answered meanwhile.
  for (int i = 0; i < 10; ++i) EXPECT_EQ(BodyOf(HttpGet(server->address(), "/")), "small");
  // The end of the connection is seen without reading what lies before it.
  pollfd gone{lazy.fd(), POLLRDHUP, 0};
  ASSERT_EQ(poll(&gone, 1, 30'000), 1);
  EXPECT_LT(lazy.ReadAll().size(), kLarge);
}

// As many as it takes at a time, who never ask.
TEST(HttpServerTest, SlowClientsKeepNobodyOut) {
  HttpServer::Options options;
  options.connections_max = 8;
  options.ask_limit = absl::Hours(1);
  const auto server = NewServer(options);
  std::vector<std::unique_ptr<HttpClient>> slow;
  for (int i = 0; i < 100; ++i) {
    slow.push_back(std::make_unique<HttpClient>(server->address()));
    ASSERT_TRUE(slow.back()->connected());
    slow.back()->Send("GET / HTTP/1.1\r\n");
    EXPECT_EQ(BodyOf(HttpGet(server->address(), "/fast")), "/fast\n") << i;
  }
  // The first of them had to go.
  EXPECT_EQ(slow[0]->ReadAll(), "");
}

TEST(HttpServerTest, AnswersManyAtOnce) {
  const auto server = NewServer();
  std::vector<std::unique_ptr<HttpClient>> clients;
  for (int i = 0; i < 50; ++i) clients.push_back(std::make_unique<HttpClient>(server->address()));
  for (const auto& client : clients)
    ASSERT_TRUE(client->Send("GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n"));
  for (const auto& client : clients) EXPECT_EQ(BodyOf(client->ReadAll()), "/x\n");
}

TEST(HttpServerTest, GoesDownWhileAnAnswerIsMade) {
  absl::Notification asked, go_on;
  auto server = NewServer({}, [&](const HttpRequest&) {
    asked.Notify();
    go_on.WaitForNotification();
    return HttpReply{.body = "late"};
  });
  const HttpClient client(server->address());
  ASSERT_TRUE(client.Send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"));
  asked.WaitForNotification();
  go_on.Notify();
  server.reset();
  EXPECT_THAT(client.ReadAll(), testing::AnyOf("", HasSubstr("late")));
}

TEST(HttpServerTest, SaysWhyItCannotListen) {
  const auto server = NewServer();
  HttpServer::Options options;
  options.address = server->address();
  const auto second = HttpServer::Start(options, Echo);
  EXPECT_EQ(second.status().message(),
            "cannot listen on " + server->address() + ": Address already in use");
  options.address = "no-such-host.invalid:1";
  EXPECT_FALSE(HttpServer::Start(options, Echo).ok());
}

}  // namespace
}  // namespace larder
