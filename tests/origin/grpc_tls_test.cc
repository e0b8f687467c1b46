// TLS to a real gRPC server, with certificates that the test makes with the openssl program.

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>

#include "origin/grpc_origin.h"
#include "tests/base/await_task.h"
#include "tests/origin/origin_service.h"

namespace larder {
namespace {

// `ca` and `other` sign for nobody but themselves; `server` (origin.test) and `client` are `ca`'s.
class Certificates {
 public:
  Certificates() {
    std::string name = (std::filesystem::temp_directory_path() / "larder-grpc-tls-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) std::abort();
    directory_ = name;
    for (const char* authority : {"ca", "other"}) Make(authority, "");
    const std::string signed_by = " -CA " + Path("ca.pem") + " -CAkey " + Path("ca.key");
    Make("server", signed_by + " -addext subjectAltName=DNS:origin.test");
    Make("client", signed_by);
  }
  ~Certificates() {
    std::error_code ignored;
    std::filesystem::remove_all(directory_, ignored);
  }

  std::string Path(const std::string& file) const { return directory_ + "/" + file; }
  std::string Text(const std::string& file) const {
    std::ifstream in(Path(file));
    std::stringstream text;
    text << in.rdbuf();
    return text.str();
  }

 private:
  void Make(const std::string& name, const std::string& more) {
    const std::string command =
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=" +
        name + " -keyout " + Path(name + ".key") + " -out " + Path(name + ".pem") + more + " >" +
        Path("log") + " 2>&1";
    if (std::system(command.c_str()) != 0) {  // NOLINT(cert-env33-c): paths of our own
      ADD_FAILURE() << "openssl: " << Text("log");
      std::abort();
    }
  }

  std::string directory_;
};

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
            .server_name = "origin.test"};
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
