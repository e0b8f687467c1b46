// Where the admin port listens.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "config/config.h"
#include "larder/config/v1/config.pb.h"
#include "tests/config/some_machine.h"

namespace larder {
namespace {

// The address and where it comes from.
std::string AdminOf(const std::string& listen) {
  const auto config =
      LoadConfig({.file_name = "f", .text = "listen: {" + listen + "}"}, SomeMachine());
  if (!config.ok()) return std::string(config.status().message());
  for (const Setting& setting : config->settings) {
    if (setting.path != "listen.admin") continue;
    return absl::StrCat(config->proto->listen().admin(), " # ", setting.source);
  }
  return "";
}

TEST(AdminAddressTest, IsThisMachineAloneUnlessToldOtherwise) {
  EXPECT_EQ(AdminOf("grpc: \"0.0.0.0:6000\""), "127.0.0.1:8080 # auto: this machine alone");
  EXPECT_EQ(AdminOf("admin: \"0.0.0.0:9000\""), "0.0.0.0:9000 # f:1:17");
  EXPECT_EQ(AdminOf("admin: \"[::1]:9000\""), "[::1]:9000 # f:1:17");
}

TEST(AdminAddressTest, IsAFreePortBesideAFreePort) {
  EXPECT_EQ(AdminOf("grpc: \"127.0.0.1:0\""), "127.0.0.1:0 # auto: a free port, as listen.grpc");
  EXPECT_EQ(AdminOf("grpc: \"127.0.0.1:60\""), "127.0.0.1:8080 # auto: this machine alone");
}

TEST(AdminAddressTest, CanBeOff) { EXPECT_EQ(AdminOf("admin: off"), " # f:1:17"); }

TEST(AdminAddressTest, IsAnAddress) {
  EXPECT_THAT(AdminOf("admin: 8080"), testing::HasSubstr("listen.admin: \"8080\" is no address"));
  EXPECT_THAT(AdminOf("admin: \"localhost:99999\""), testing::HasSubstr("listen.admin"));
}

}  // namespace
}  // namespace larder
