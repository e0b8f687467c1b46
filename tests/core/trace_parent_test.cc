#include "core/trace_parent.h"

#include <gtest/gtest.h>

#include <string>

namespace larder {
namespace {

TEST(TraceParentTest, HasTheFormOfVersion00) {
  const std::string good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
  EXPECT_TRUE(IsTraceParent(good));
  EXPECT_FALSE(IsTraceParent(""));
  EXPECT_FALSE(IsTraceParent(good + "0"));
  EXPECT_FALSE(IsTraceParent(good.substr(1)));
  for (size_t i = 0; i < good.size(); ++i) {
    for (const char bad : {'\xff', '\x80', '\0', 'g', 'A', ' ', good[i] == '-' ? '0' : '-'}) {
      std::string text = good;
      text[i] = bad;
      EXPECT_FALSE(IsTraceParent(text)) << i << " " << static_cast<int>(bad);
    }
  }
}

}  // namespace
}  // namespace larder
