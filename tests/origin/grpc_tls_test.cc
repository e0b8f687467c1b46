// TLS to a real gRPC server, with certificates that the test makes with the openssl program.

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "origin/grpc_origin.h"
#include "tests/base/await_task.h"
#include "tests/base/certificates.h"
#include "tests/origin/origin_service.h"

namespace larder {
namespace {

class GrpcTlsTest : public testing::Test {
 protected:
  static std::shared_ptr<grpc::ServerCredentials> ServerCredentials(const Certificates& files) {
    grpc::SslServerCredentialsOptions options(
        GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
    options.pem_root_certs = files.Text("ca.pem");
    options.pem_key_cert_pairs.push_back({files.Text("server.key"), files.Text("server.pem")});
    return grpc::SslServerCredentials(options);
  }

  absl::Status Load(const GrpcOriginOptions::Tls& tls) {
    GrpcOriginOptions options;
    options.name = "profiles";
    options.target = service_.target();
    options.tls = tls;
    options.executor = executor_.get();
    auto origin = NewGrpcOrigin(options);
    if (!origin.ok()) return origin.status();
    OriginLoad load{{.name_space = "shop", .type = "user"}, {{"a"}}};
    return AwaitTask((*origin)->Load(std::move(load),
                                     MonoAfter(Clock::System()->Mono(), absl::Seconds(10))))
        .status();
  }
  GrpcOriginOptions::Tls Right() const {
    return {.enabled = true,
            .ca_file = files_.Path("ca.pem"),
            .cert_file = files_.Path("client.pem"),
            .key_file = files_.Path("client.key"),
            .server_name = "lane.test"};
  }

  const Certificates files_;
  OriginService service_{ServerCredentials(files_)};
  const std::unique_ptr<ThreadPool> executor_ = ThreadPool::New({.threads = 2});
};

TEST_F(GrpcTlsTest, BothSidesShowTheirCertificates) {
  const absl::Status status = Load(Right());
  EXPECT_TRUE(status.ok()) << status;
}

TEST_F(GrpcTlsTest, RefusesAServiceOfAnotherAuthorityOrName) {
  GrpcOriginOptions::Tls tls = Right();
  tls.ca_file = files_.Path("other.pem");
  EXPECT_TRUE(absl::IsUnavailable(Load(tls)));
  tls = Right();
  tls.server_name = "elsewhere.test";
  EXPECT_TRUE(absl::IsUnavailable(Load(tls)));
  tls = Right();
  tls.server_name = "";
  EXPECT_TRUE(absl::IsUnavailable(Load(tls))) << "127.0.0.1 is not in the certificate";
}

TEST_F(GrpcTlsTest, WithoutACertificateOrWithoutTlsTheServiceRefuses) {
  GrpcOriginOptions::Tls tls = Right();
  tls.cert_file = tls.key_file = "";
  EXPECT_TRUE(absl::IsUnavailable(Load(tls)));
  EXPECT_TRUE(absl::IsUnavailable(Load({})));
}

TEST_F(GrpcTlsTest, FileThatIsNoPemIsAnError) {
  GrpcOriginOptions::Tls tls = Right();
  tls.ca_file = files_.Path("log");
  EXPECT_TRUE(absl::IsInvalidArgument(Load(tls)));
}

}  // namespace
}  // namespace larder
