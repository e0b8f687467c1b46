// Tokens and TLS of the client: what its options allow, and that files are followed.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

#include "client/src/tls.h"
#include "client/src/token.h"
#include "larder/options.h"

namespace larder {
namespace {

using testing::HasSubstr;

class WhoTest : public testing::Test {
 protected:
  WhoTest() {
    std::string name = (std::filesystem::temp_directory_path() / "larder-who-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) std::abort();
    dir_ = name;
  }
  ~WhoTest() override {
    std::error_code ignored;
    std::filesystem::remove_all(dir_, ignored);
  }
  std::string Write(const std::string& name, const std::string& text) const {
    std::ofstream(dir_ + "/" + name) << text;
    return dir_ + "/" + name;
  }
  static ClientOptions At(const std::string& target) {
    return ClientOptions(target, absl::Seconds(1));
  }
  static std::string Wrong(const ClientOptions& options) {
    return std::string(ValidateClientOptions(options).message());
  }

  std::string dir_;
};

TEST_F(WhoTest, ATokenGoesToThisMachineOrOverTls) {
  for (const char* target :
       {"localhost:1", "127.0.0.1:1", "127.8.8.8", "[::1]:1", "unix:/run/x", "dns:localhost:1",
        "dns:///localhost:1", "ipv4:127.0.0.1:1", "ipv6:[::1]:1", "localhost:1,127.0.0.1:2"}) {
    ClientOptions options = At(target);
    options.token = "t";
    EXPECT_EQ(Wrong(options), "") << target;
  }
  for (const char* target :
       {"larder:1", "10.0.0.1:1", "127.0.0.1.example.org:1", "localhost.example.org:1",
        "127.example.org:1", "[2001:db8::1]:1", "localhost:1,larder:1", "dns://8.8.8.8/localhost:1",
        "ipv4:127.0.0.1:1,10.0.0.1:1", "xds:///localhost", "localhosts"}) {
    ClientOptions options = At(target);
    options.token = "t";
    EXPECT_THAT(Wrong(options), HasSubstr("in plain text")) << target;
    options.token_without_tls = true;
    EXPECT_EQ(Wrong(options), "") << target;
    options.token_without_tls = false;
    options.tls.enabled = true;
    EXPECT_EQ(Wrong(options), "") << target;
  }
}

TEST_F(WhoTest, SaysWhatIsWrongWithATokenAndNotWhatItIs) {
  ClientOptions options = At("localhost:1");
  for (const std::string& token : {std::string("a b"), std::string("a\n"),
                                   std::string("caf\xC3\xA9"), std::string(4097, 'x')}) {
    options.token = token;
    EXPECT_THAT(Wrong(options), HasSubstr("printable ASCII")) << token;
    EXPECT_THAT(Wrong(options), testing::Not(HasSubstr(token)));
  }
  options.token = std::string(4096, 'x');
  EXPECT_EQ(Wrong(options), "");
  options.token_file = Write("token", "t");
  EXPECT_THAT(Wrong(options), HasSubstr("only one"));
  options.token.clear();
  EXPECT_EQ(Wrong(options), "");
  options.token_file = Write("empty", " \n");
  EXPECT_THAT(Wrong(options), HasSubstr("1 to 4096"));
  options.token_file = dir_ + "/nowhere";
  EXPECT_THAT(Wrong(options), HasSubstr("nowhere: No such file"));
}

TEST_F(WhoTest, SaysWhatIsWrongWithTls) {
  ClientOptions options = At("larder:1");
  options.tls.ca_file = Write("ca", "x");
  EXPECT_THAT(Wrong(options), HasSubstr("tls.enabled is false"));
  options.tls.enabled = true;
  EXPECT_EQ(Wrong(options), "");
  options.tls.certificate_file = Write("certificate", "x");
  EXPECT_THAT(Wrong(options), HasSubstr("go together"));
  options.tls.key_file = dir_ + "/nowhere";
  EXPECT_THAT(Wrong(options), HasSubstr("nowhere: No such file"));
}

TEST_F(WhoTest, FollowsItsFileAndKeepsTheLastTokenWhileItIsAway) {
  const std::string file = Write("token", " first\n");
  internal::TokenSource source("", file);
  EXPECT_EQ(source.Header(), "Bearer first");
  EXPECT_EQ(internal::TokenSource("fixed", "").Header(), "Bearer fixed");
  EXPECT_EQ(internal::TokenSource("", "").Header(), "");
  Write("token", "second");
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (source.Header() != "Bearer second" && std::chrono::steady_clock::now() < until) {
    // The source goes by the machine's clock.
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  EXPECT_EQ(source.Header(), "Bearer second");
  std::filesystem::remove(file);
  internal::TokenSource missing("", file);
  EXPECT_EQ(missing.Header(), "");
  Write("token", "third");
  EXPECT_EQ(missing.Header(), "Bearer third") << "without a token it looks each time";
}

}  // namespace
}  // namespace larder
