// TLS on the native lane, with certificates that the test makes with the openssl program.

#include "rpc/native_tls.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/ssl.h>

#include <array>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "tests/base/certificates.h"
#include "tests/rpc/native_fixture.h"
#include "tests/rpc/native_raw_client.h"

namespace larder {
namespace {

class NativeTlsTest : public NativeFixture {
 protected:
  // The lane uses what this holds.
  ~NativeTlsTest() override { lane_.reset(); }

  TlsServer::Options Files(bool clients_need_one) const {
    return {.certificate_file = files_.Path("server.pem"),
            .key_file = files_.Path("server.key"),
            .client_ca_file = clients_need_one ? files_.Path("ca.pem") : ""};
  }
  void StartTls(bool clients_need_one = false, NativeLane::Options options = SomeOptions()) {
    absl::StatusOr<std::unique_ptr<TlsServer>> tls = TlsServer::Load(Files(clients_need_one));
    ASSERT_TRUE(tls.ok()) << tls.status();
    tls_ = *std::move(tls);
    options.tls = tls_.get();
    Start(options);
  }
  std::unique_ptr<v1::Cache::Stub> TlsClient(const std::string& ca = "ca",
                                             const std::string& certificate = "",
                                             const std::string& name = "lane.test") const {
    grpc::SslCredentialsOptions ssl;
    ssl.pem_root_certs = files_.Text(ca + ".pem");
    if (!certificate.empty()) {
      ssl.pem_cert_chain = files_.Text(certificate + ".pem");
      ssl.pem_private_key = files_.Text(certificate + ".key");
    }
    grpc::ChannelArguments arguments;
    arguments.SetSslTargetNameOverride(name);
    arguments.SetMaxReceiveMessageSize(-1);
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    return v1::Cache::NewStub(
        grpc::CreateCustomChannel(lane_->address(), grpc::SslCredentials(ssl), arguments));
  }
  static grpc::StatusCode CodeOf(v1::Cache::Stub* client) {
    v1::GetResponse response;
    return Get(client, "hit", &response, 3).error_code();
  }

  const Certificates files_;
  std::unique_ptr<TlsServer> tls_;
};

TEST_F(NativeTlsTest, ServesSmallAndLargeOverTls) {
  StartTls();
  const auto client = TlsClient();
  EXPECT_EQ(ValueOf(client.get(), "hit"), "now");
  EXPECT_EQ(ValueOf(client.get(), "miss"), "later miss");
  EXPECT_EQ(ValueOf(client.get(), "large"), std::string(2 << 20, 'L'));
  EXPECT_EQ(ValueOf(client.get(), "peer"), "");
  v1::GetRequest request;
  request.set_key(std::string(3 << 20, 'k'));
  v1::GetResponse response;
  EXPECT_TRUE(client->Get(Within(10).get(), request, &response).ok());
  EXPECT_EQ(response.hit().value().size(), request.key().size() + 6);
}

TEST_F(NativeTlsTest, KnowsItsClientsByTheirCertificates) {
  StartTls(/*clients_need_one=*/true);
  EXPECT_EQ(ValueOf(TlsClient("ca", "client").get(), "peer"), "spiffe://test/client");
  EXPECT_EQ(CodeOf(TlsClient("ca").get()), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(CodeOf(TlsClient("ca", "other").get()), grpc::StatusCode::UNAVAILABLE);
  EXPECT_TRUE(Becomes([&] { return Stat("connections") <= 1; }));
}

TEST_F(NativeTlsTest, IsNotTrustedByThoseWhoTrustAnotherCa) {
  StartTls();
  EXPECT_EQ(CodeOf(TlsClient("other").get()), grpc::StatusCode::UNAVAILABLE);
  EXPECT_TRUE(Becomes([&] { return Stat("handshake_failures") >= 1; }));
}

TEST_F(NativeTlsTest, ShowsItsNewCertificateAfterReload) {
  StartTls();
  const auto old_client = TlsClient();
  EXPECT_EQ(CodeOf(old_client.get()), grpc::StatusCode::OK);
  files_.Replace("server.pem", "second.pem");
  EXPECT_FALSE(tls_->Reload().ok()) << "the key is still the first's";
  EXPECT_EQ(CodeOf(TlsClient().get()), grpc::StatusCode::OK);
  files_.Replace("server.key", "second.key");
  EXPECT_EQ(tls_->ReloadIfChanged().value(), true);
  EXPECT_EQ(tls_->ReloadIfChanged().value(), false);
  EXPECT_EQ(CodeOf(TlsClient("ca", "", "second.test").get()), grpc::StatusCode::OK);
  EXPECT_EQ(CodeOf(TlsClient().get()), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(CodeOf(old_client.get()), grpc::StatusCode::OK) << "connections stay";
}

// By the program of OpenSSL, whose last words tell what was agreed on.
TEST_F(NativeTlsTest, SpeaksTls12And13AndH2Only) {
  StartTls();
  const auto agreed = [&](const std::string& flags) {
    const std::string command = "openssl s_client -connect 127.0.0.1:" + std::to_string(port()) +
                                " " + flags + " </dev/null 2>&1";
    std::FILE* const pipe = popen(command.c_str(), "r");  // NOLINT(cert-env33-c): of our own
    std::string said;
    std::array<char, 4096> buffer;
    while (const size_t n = fread(buffer.data(), 1, buffer.size(), pipe)) {
      said.append(buffer.data(), n);
    }
    pclose(pipe);
    return said;
  };
  EXPECT_THAT(agreed("-tls1_2 -alpn h2"), testing::AllOf(testing::HasSubstr("New, TLSv1.2"),
                                                         testing::HasSubstr("ALPN protocol: h2")));
  EXPECT_THAT(
      agreed("-tls1_3 -alpn h2,http/1.1"),
      testing::AllOf(testing::HasSubstr("New, TLSv1.3"), testing::HasSubstr("ALPN protocol: h2")));
  for (const char* refused : {"-tls1_1 -cipher ALL:@SECLEVEL=0 -alpn h2", "-alpn http/1.1", ""}) {
    EXPECT_TRUE(Becomes([&, before = Stat("handshake_failures")] {
      agreed(refused);
      return Stat("handshake_failures") > before;
    })) << refused;
  }
  EXPECT_EQ(CodeOf(TlsClient().get()), grpc::StatusCode::OK);
}

TEST_F(NativeTlsTest, SaysWhichFileIsWrong) {
  TlsServer::Options options = Files(false);
  options.key_file = files_.Path("client.key");
  EXPECT_THAT(std::string(TlsServer::Load(options).status().message()),
              testing::HasSubstr("client.key"));
  options.certificate_file = files_.Path("nowhere.pem");
  EXPECT_THAT(std::string(TlsServer::Load(options).status().message()),
              testing::HasSubstr("nowhere.pem"));
}

// What a client of TLS says first.
std::string ClientHello() {
  const std::unique_ptr<SSL_CTX, void (*)(SSL_CTX*)> context(SSL_CTX_new(TLS_client_method()),
                                                             SSL_CTX_free);
  const std::unique_ptr<SSL, void (*)(SSL*)> ssl(SSL_new(context.get()), SSL_free);
  BIO* const said = BIO_new(BIO_s_mem());
  SSL_set_bio(ssl.get(), BIO_new(BIO_s_mem()), said);  // takes both
  constexpr std::array<unsigned char, 3> kH2 = {2, 'h', '2'};
  SSL_set_alpn_protos(ssl.get(), kH2.data(), kH2.size());
  SSL_connect(ssl.get());
  std::string hello(16 << 10, '\0');
  hello.resize(static_cast<size_t>(BIO_read(said, hello.data(), static_cast<int>(hello.size()))));
  return hello;
}

TEST_F(NativeTlsTest, ServesAGoodClientBesideHandshakesThatAreBegunAndLeft) {
  NativeLane::Options options = SomeOptions();
  options.handshake_timeout = absl::Milliseconds(500);
  StartTls(false, options);
  const auto good = TlsClient();
  ASSERT_EQ(ValueOf(good.get(), "hit"), "now");
  const std::string hello = ClientHello();
  constexpr int kAttackers = 100;
  std::vector<std::unique_ptr<RawClient>> attackers;
  for (int i = 0; i < kAttackers; ++i) {
    attackers.push_back(std::make_unique<RawClient>(port()));
    // Half of them leave even the first word half said.
    attackers.back()->Send(i % 2 == 0 ? hello : hello.substr(0, hello.size() / 2));
    EXPECT_EQ(ValueOf(good.get(), "hit"), "now");
  }
  EXPECT_TRUE(Becomes([&] {
    EXPECT_EQ(ValueOf(good.get(), "hit"), "now");
    return Stat("handshake_timeouts") == kAttackers;
  }));
  for (const auto& attacker : attackers) EXPECT_NE(attacker->ReadUntilClosed(), -1);
  EXPECT_TRUE(Becomes([&] { return Stat("connections") == 1; }));
}

TEST_F(NativeTlsTest, ClosesHalfHandshakesAndPlainTalk) {
  NativeLane::Options options = SomeOptions();
  options.handshake_timeout = absl::Milliseconds(200);
  StartTls(false, options);
  RawClient silent(port());
  RawClient half(port());
  half.Send(std::string("\x16\x03\x01\x02\x00\x01", 6));
  RawClient plain(port());
  plain.Greet();
  EXPECT_NE(plain.ReadUntilClosed(), -1);
  EXPECT_NE(silent.ReadUntilClosed(), -1);
  EXPECT_NE(half.ReadUntilClosed(), -1);
  EXPECT_EQ(Stat("handshake_timeouts"), 2u);
  EXPECT_EQ(Stat("handshake_failures"), 1u);
  EXPECT_EQ(CodeOf(TlsClient().get()), grpc::StatusCode::OK);
}

}  // namespace
}  // namespace larder
