// TLS on the reference lane, with the certificate of a TlsServer. What both lanes are to do alike
// is asked of both.

#include "rpc/reference_tls.h"

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "rpc/health_probe.h"
#include "rpc/native_tls.h"
#include "rpc/reference_lane.h"
#include "tests/base/certificates.h"
#include "tests/rpc/native_fixture.h"

namespace larder {
namespace {

class ReferenceTlsTest : public NativeFixture {
 protected:
  ~ReferenceTlsTest() override {
    reference_.reset();
    lane_.reset();
  }

  // Both lanes.
  void StartBoth(bool clients_need_one = false) {
    absl::StatusOr<std::unique_ptr<TlsServer>> tls =
        TlsServer::Load({.certificate_file = files_.Path("server.pem"),
                         .key_file = files_.Path("server.key"),
                         .client_ca_file = clients_need_one ? files_.Path("ca.pem") : ""});
    ASSERT_TRUE(tls.ok()) << tls.status();
    tls_ = *std::move(tls);
    NativeLane::Options native = SomeOptions();
    native.tls = tls_.get();
    Start(native);
    ReferenceLane::Options options;
    options.address = "127.0.0.1:0";
    options.tls = tls_.get();
    auto reference = ReferenceLane::Start(options, &methods_, &dispatcher_);
    ASSERT_TRUE(reference.ok()) << reference.status();
    reference_ = *std::move(reference);
    reference_->SetReady(true);
  }
  std::vector<std::string> Addresses() const { return {reference_->address(), lane_->address()}; }

  std::unique_ptr<v1::Cache::Stub> Client(const std::string& address,
                                          const std::string& certificate = "",
                                          const std::string& name = "lane.test",
                                          const std::string& ca = "ca") const {
    grpc::SslCredentialsOptions ssl;
    ssl.pem_root_certs = files_.Text(ca + ".pem");
    if (!certificate.empty()) {
      ssl.pem_cert_chain = files_.Text(certificate + ".pem");
      ssl.pem_private_key = files_.Text(certificate + ".key");
    }
    grpc::ChannelArguments arguments;
    arguments.SetSslTargetNameOverride(name);
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    return v1::Cache::NewStub(
        grpc::CreateCustomChannel(address, grpc::SslCredentials(ssl), arguments));
  }
  static grpc::StatusCode CodeOf(v1::Cache::Stub* client) {
    v1::GetResponse response;
    return Get(client, "hit", &response, 30).error_code();
  }

  const Certificates files_;
  std::unique_ptr<TlsServer> tls_;
  std::unique_ptr<ReferenceLane> reference_;
};

TEST_F(ReferenceTlsTest, ServesOverTlsAndNotInPlainText) {
  StartBoth();
  const auto client = Client(reference_->address());
  EXPECT_EQ(ValueOf(client.get(), "hit"), "now");
  EXPECT_EQ(ValueOf(client.get(), "miss"), "later miss");
  EXPECT_EQ(ValueOf(client.get(), "peer"), "");
  const auto plain = v1::Cache::NewStub(
      grpc::CreateChannel(reference_->address(), grpc::InsecureChannelCredentials()));
  EXPECT_EQ(CodeOf(plain.get()), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(CodeOf(Client(reference_->address(), "", "lane.test", "other").get()),
            grpc::StatusCode::UNAVAILABLE);
}

TEST_F(ReferenceTlsTest, BothLanesReadTheSameNameFromACertificate) {
  StartBoth(/*clients_need_one=*/true);
  for (const std::string& address : Addresses()) {
    EXPECT_EQ(ValueOf(Client(address, "client").get(), "peer"), "spiffe://test/client") << address;
    EXPECT_EQ(ValueOf(Client(address, "server").get(), "peer"), "lane.test") << address;
    EXPECT_EQ(ValueOf(Client(address, "named").get(), "peer"), "named") << address;
    EXPECT_EQ(ValueOf(Client(address, "both").get(), "peer"), "spiffe://test/both") << address;
    EXPECT_EQ(CodeOf(Client(address).get()), grpc::StatusCode::UNAVAILABLE) << address;
    EXPECT_EQ(CodeOf(Client(address, "other").get()), grpc::StatusCode::UNAVAILABLE) << address;
  }
}

TEST_F(ReferenceTlsTest, BothLanesChangeTheirCertificateTogetherAndKeepAPairThatFits) {
  StartBoth();
  std::vector<std::unique_ptr<v1::Cache::Stub>> before;
  for (const std::string& address : Addresses()) {
    before.push_back(Client(address));
    EXPECT_EQ(CodeOf(before.back().get()), grpc::StatusCode::OK);
  }
  files_.Replace("server.pem", "second.pem");
  EXPECT_FALSE(tls_->ReloadIfChanged().ok()) << "the key is still the first's";
  for (const std::string& address : Addresses())
    EXPECT_EQ(CodeOf(Client(address).get()), grpc::StatusCode::OK) << address;
  files_.Replace("server.key", "second.key");
  EXPECT_EQ(tls_->ReloadIfChanged().value(), true);
  for (const std::string& address : Addresses()) {
    EXPECT_EQ(CodeOf(Client(address, "", "second.test").get()), grpc::StatusCode::OK) << address;
    EXPECT_EQ(CodeOf(Client(address).get()), grpc::StatusCode::UNAVAILABLE) << address;
  }
  for (const auto& client : before) EXPECT_EQ(CodeOf(client.get()), grpc::StatusCode::OK);
}

// Files are exchanged one by one again and again while clients connect: each handshake goes well.
TEST_F(ReferenceTlsTest, NoHandshakeFailsForAnExchange) {
  StartBoth();
  // The same name with another key, so that whoever connects need not know which one it is.
  files_.Make("third", files_.ByCa() + " -addext subjectAltName=DNS:lane.test");
  files_.Replace("first.pem", "server.pem");
  files_.Replace("first.key", "server.key");
  std::atomic<bool> stop = false;
  int exchanged = 0;
  std::thread exchange([&] {
    for (int i = 0; !stop; ++i) {
      const std::string next = i % 2 == 0 ? "third" : "first";
      files_.Replace("server.pem", next + ".pem");
      static_cast<void>(tls_->ReloadIfChanged());
      files_.Replace("server.key", next + ".key");
      if (tls_->Reload().ok()) ++exchanged;
    }
  });
  for (int i = 0; i < 40; ++i) {
    for (const std::string& address : Addresses())
      EXPECT_EQ(CodeOf(Client(address).get()), grpc::StatusCode::OK) << i << " " << address;
  }
  stop = true;
  exchange.join();
  EXPECT_GT(exchanged, 2);
}

TEST_F(ReferenceTlsTest, TakesANewClientCa) {
  StartBoth(/*clients_need_one=*/true);
  files_.Replace("old.pem", "ca.pem");
  files_.Replace("ca.pem", "other.pem");
  ASSERT_TRUE(tls_->Reload().ok());
  files_.Make("stranger", " -CA " + files_.Path("other.pem") + " -CAkey " +
                              files_.Path("other.key") + " -addext subjectAltName=DNS:new.test");
  for (const std::string& address : Addresses()) {
    EXPECT_EQ(CodeOf(Client(address, "client", "lane.test", "old").get()),
              grpc::StatusCode::UNAVAILABLE);
    EXPECT_EQ(ValueOf(Client(address, "stranger", "lane.test", "old").get(), "peer"), "new.test");
  }
}

TEST_F(ReferenceTlsTest, TheHealthProbeSpeaksTls) {
  StartBoth(/*clients_need_one=*/true);
  for (const std::string& address : Addresses()) {
    const ProbeTls tls{true, files_.Path("server.pem"), files_.Path("server.key")};
    const absl::Status well = ProbeHealth(address, "readiness", absl::Seconds(30), tls);
    EXPECT_TRUE(well.ok()) << address << ": " << well;
    // The files are ahead of the server: it is asked all the same.
    EXPECT_TRUE(ProbeHealth(address, "liveness", absl::Seconds(30),
                            {true, files_.Path("second.pem"), files_.Path("second.key")})
                    .ok());
    EXPECT_FALSE(ProbeHealth(address, "readiness", absl::Milliseconds(500), {true}).ok());
    EXPECT_FALSE(ProbeHealth(address, "readiness", absl::Milliseconds(500)).ok());
  }
}

TEST_F(ReferenceTlsTest, KnowsWhenItsCertificateEnds) {
  StartBoth();
  const absl::Time end = tls_->pem()->not_after;
  EXPECT_GT(end, absl::Now() + absl::Hours(47));
  EXPECT_LT(end, absl::Now() + absl::Hours(49));
}

}  // namespace
}  // namespace larder
