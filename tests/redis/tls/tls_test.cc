// TLS to a real redis-server, with certificates that the test makes with the openssl program. Built
// only where hiredis has TLS (tests/CMakeLists.txt); elsewhere options_test.cc says what larder
// answers instead.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <future>
#include <string>
#include <utility>
#include <vector>

#include "redis/redis.h"
#include "tests/redis/redis_fixture.h"
#include "tests/redis/redis_server.h"

namespace larder {
namespace {

using ::testing::HasSubstr;

// Two authorities, `ca` and `other`; `server` and `client` with certificates of the first, the
// server's in the names redis.test and 127.0.0.1.
class Certificates {
 public:
  Certificates() {
    std::string name =
        (std::filesystem::temp_directory_path() / "larder-redis-tls-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) std::abort();
    directory_ = name;
    for (const char* authority : {"ca", "other"}) Make(authority, "");
    const std::string signed_by = " -CA " + Path("ca.pem") + " -CAkey " + Path("ca.key");
    Make("server", signed_by + " -addext subjectAltName=DNS:redis.test,IP:127.0.0.1");
    Make("client", signed_by);
  }
  ~Certificates() {
    std::error_code ignored;
    std::filesystem::remove_all(directory_, ignored);
  }

  std::string Path(const std::string& file) const { return directory_ + "/" + file; }

 private:
  void Make(const std::string& name, const std::string& more) {
    const std::string command =
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=" +
        name + " -keyout " + Path(name + ".key") + " -out " + Path(name + ".pem") + more + " >" +
        Path("log") + " 2>&1";
    if (std::system(command.c_str()) != 0) {  // NOLINT(cert-env33-c): paths of our own
      std::ifstream log(Path("log"));
      ADD_FAILURE() << "openssl: " << log.rdbuf();
      std::abort();
    }
  }

  std::string directory_;
};

class RedisTlsTest : public ::testing::Test {
 protected:
  explicit RedisTlsTest(const std::string& clients = "no")
      : port_(FreePort()),
        server_({"tls-port " + std::to_string(port_),
                 "tls-cert-file " + certificates_.Path("server.pem"),
                 "tls-key-file " + certificates_.Path("server.key"),
                 "tls-ca-cert-file " + certificates_.Path("ca.pem"),
                 "tls-auth-clients " + clients}) {}

  Redis::Options TlsOptions() const {
    Redis::Options options;
    options.addresses = {"127.0.0.1:" + std::to_string(port_)};
    options.tls = true;
    options.tls_ca_file = certificates_.Path("ca.pem");
    options.reconnect_max = absl::Milliseconds(100);
    return options;
  }
  // What a first call of such a client ends with.
  static absl::Status StatusWith(const Redis::Options& options) {
    RedisUnderTest client(options);
    return client.Call({"PING"}).status();
  }
  static std::string Refused(const Redis::Options& options) {
    const absl::Status status = StatusWith(options);
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
    return std::string(status.message());
  }

  const Certificates certificates_;
  const int port_;
  RedisServer server_;
};

TEST_F(RedisTlsTest, CarriesCommandsAndValuesOfAllSizes) {
  RedisUnderTest client(TlsOptions());
  EXPECT_EQ(client.Text({"SET", "k", "v"}), "OK");
  EXPECT_EQ(client.Text({"GET", "k"}), "v");
  // What the plain port says is what was written through the other.
  EXPECT_EQ(server_.Run({"GET", "k"}), "v");
  std::string big(3 << 20, 'x');
  for (size_t i = 0; i < big.size(); ++i) big[i] = static_cast<char>(i * 31 + i / 251);
  std::vector<RedisCommand> sets;
  std::vector<RedisCommand> gets;
  for (int i = 0; i < 200; ++i) {
    const std::string key = "k" + std::to_string(i);
    sets.push_back({{"SET", key, i % 40 == 0 ? big + key : key}});
    gets.push_back({{"GET", key}});
  }
  for (const auto& reply : Await(client.redis->CallMany(sets, In(absl::Seconds(20))))) {
    ASSERT_TRUE(reply.ok()) << reply.status();
  }
  const auto values = Await(client.redis->ReadMany(gets, In(absl::Seconds(20))));
  for (size_t i = 0; i < values.size(); ++i) {
    ASSERT_TRUE(values[i].ok()) << values[i].status();
    EXPECT_TRUE(values[i]->text == sets[i].args[2]) << i;
  }
  EXPECT_EQ(client.redis->Stats().disconnects, 0u);
}

TEST_F(RedisTlsTest, CarriesManyCallsAtOnce) {
  RedisUnderTest client(TlsOptions());
  std::vector<std::future<absl::StatusOr<RedisReply>>> calls;
  for (int i = 0; i < 5000; ++i) {
    RedisCommand echo{{"ECHO", std::to_string(i)}};
    calls.push_back(Begin(client.redis->Call(echo, In(absl::Seconds(20)))));
  }
  for (int i = 0; i < 5000; ++i) {
    const auto reply = calls[static_cast<size_t>(i)].get();
    ASSERT_TRUE(reply.ok()) << reply.status();
    EXPECT_EQ(reply->text, std::to_string(i));
  }
}

TEST_F(RedisTlsTest, RefusesTheCertificateOfAnotherAuthority) {
  Redis::Options options = TlsOptions();
  options.tls_ca_file = certificates_.Path("other.pem");
  EXPECT_THAT(Refused(options), HasSubstr("certificate verify failed"));
}

TEST_F(RedisTlsTest, RefusesACertificateInAnotherName) {
  Redis::Options options = TlsOptions();
  options.tls_server_name = "another.test";
  EXPECT_THAT(Refused(options), HasSubstr("certificate verify failed"));
  options.tls_server_name = "127.0.0.2";
  EXPECT_THAT(Refused(options), HasSubstr("certificate verify failed"));
}

TEST_F(RedisTlsTest, TakesTheNameFromTheOptionsOrTheAddress) {
  Redis::Options options = TlsOptions();
  EXPECT_TRUE(StatusWith(options).ok());
  options.tls_server_name = "redis.test";
  EXPECT_TRUE(StatusWith(options).ok());
  // In nobody's certificate.
  options.tls_server_name = "";
  options.addresses = {"localhost:" + std::to_string(port_)};
  EXPECT_THAT(Refused(options), HasSubstr("certificate verify failed"));
}

TEST_F(RedisTlsTest, PlainServerIsUnavailableAndLearnsNoPassword) {
  const std::string password = server_.directory() + "/password";
  std::ofstream(password) << "secret";
  Redis::Options options = TlsOptions();
  options.addresses = {server_.address()};
  options.password_file = password;
  options.connect_timeout = absl::Milliseconds(300);
  Refused(options);
  EXPECT_EQ(server_.Info("cmdstat_auth"), "");
}

TEST_F(RedisTlsTest, PlainClientIsRefusedByTheTlsPort) {
  Redis::Options options = TlsOptions();
  options.tls = false;
  options.connect_timeout = absl::Milliseconds(300);
  Refused(options);
}

TEST_F(RedisTlsTest, ServerThatNeverShakesHandsIsGivenUp) {
  server_.Freeze();
  Redis::Options options = TlsOptions();
  options.connect_timeout = absl::Milliseconds(500);
  const std::clock_t before = std::clock();
  EXPECT_THAT(Refused(options), HasSubstr("no connection in 500ms"));
  // It waits; it does not ask all the time whether it may write.
  EXPECT_LT(std::clock() - before, CLOCKS_PER_SEC / 4);
  server_.Thaw();
}

// OpenSSL's errors belong to the thread, which all connections share.
TEST_F(RedisTlsTest, ConnectionsThatAreRefusedLeaveTheOthersAlone) {
  RedisUnderTest client(TlsOptions());
  ASSERT_EQ(client.Text({"SET", "k", "v"}), "OK");
  WaitUntil("all are connected", [&] { return client.redis->Stats().connected == 2; });
  ASSERT_EQ(server_.Run({"CONFIG", "SET", "tls-cert-file", certificates_.Path("other.pem"),
                         "tls-key-file", certificates_.Path("other.key")}),
            "OK");
  for (int i = 0; i < 10; ++i) {
    RedisCommand ping{{"PING"}};
    auto refused = Begin(client.redis->CallBlocking("a", ping, In(absl::Milliseconds(200))));
    for (int k = 0; k < 50; ++k) ASSERT_EQ(client.Text({"GET", "k"}), "v");
    EXPECT_THAT(std::string(refused.get().status().message()),
                HasSubstr("certificate verify failed"));
  }
  EXPECT_EQ(client.redis->Stats().disconnects, 0u);
}

TEST_F(RedisTlsTest, LostConnectionIsMadeAgain) {
  RedisUnderTest client(TlsOptions());
  ASSERT_EQ(client.Text({"SET", "k", "v"}), "OK");
  server_.Kill();
  WaitUntil("the client knows",
            [&] { return absl::IsUnavailable(client.Call({"GET", "k"}).status()); });
  server_.Start();
  WaitUntil("it is connected", [&] { return client.redis->Stats().state == "ok"; });
  EXPECT_EQ(client.Text({"SET", "k", "w"}), "OK");
}

TEST_F(RedisTlsTest, FilesThatCannotBeUsedAreInvalidAndNamed) {
  const auto executor = ThreadPool::New({1, 10});
  Redis::Options options = TlsOptions();
  options.executor = executor.get();
  const auto refusal = [&] {
    const auto made = Redis::New(options);
    EXPECT_EQ(made.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(made.status().message());
  };
  options.tls_ca_file = certificates_.Path("absent.pem");
  EXPECT_THAT(refusal(), HasSubstr("absent.pem"));
  options.tls_ca_file = certificates_.Path("ca.pem");
  options.tls_cert_file = certificates_.Path("client.key");
  options.tls_key_file = certificates_.Path("client.key");
  EXPECT_THAT(refusal(), HasSubstr("the certificate"));
  options.tls_cert_file = certificates_.Path("client.pem");
  // A key, but of another certificate.
  options.tls_key_file = certificates_.Path("server.key");
  EXPECT_THAT(refusal(), HasSubstr("the key"));
}

class RedisMutualTlsTest : public RedisTlsTest {
 protected:
  RedisMutualTlsTest() : RedisTlsTest("yes") {}
};

TEST_F(RedisMutualTlsTest, ServerThatWantsACertificateGetsIt) {
  Redis::Options options = TlsOptions();
  Refused(options);
  options.tls_cert_file = certificates_.Path("client.pem");
  options.tls_key_file = certificates_.Path("client.key");
  EXPECT_TRUE(StatusWith(options).ok());
  // Of an authority that the server does not know.
  options.tls_cert_file = certificates_.Path("other.pem");
  options.tls_key_file = certificates_.Path("other.key");
  Refused(options);
}

}  // namespace
}  // namespace larder
