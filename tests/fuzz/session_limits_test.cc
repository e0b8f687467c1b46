// The time limits of connections, of which a loop looks at some at a time.

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <vector>

#include "tests/fuzz/session_rig.h"

namespace larder {
namespace {

constexpr absl::Duration kStep = absl::Milliseconds(10);

bool IsClosed(int fd) {
  char bytes[1024];
  ssize_t got = 0;
  while ((got = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT)) > 0) {
  }
  return got == 0;
}

// How long a silent connection lives, as far as the steps tell.
absl::Duration LifeOf(SessionRig* rig, int fd) {
  absl::Duration life;
  while (!IsClosed(fd) && life < absl::Minutes(5)) {
    rig->Advance(kStep);
    life += kStep;
  }
  return life;
}

TEST(SessionLimitsTest, ConnectionsThatGoHoldUpNoLimitOfThoseThatStay) {
  // Four thousand sockets are more than some shells give.
  rlimit files{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &files), 0);
  files.rlim_cur = files.rlim_max;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &files), 0);
  SessionRig rig;
  const int alone = rig.Connect();
  rig.Settle();
  const absl::Duration usual = LifeOf(&rig, alone);
  close(alone);

  std::vector<int> crowd;
  const int patient = rig.Connect();
  for (int i = 0; i < 2'000; ++i) crowd.push_back(rig.Connect());
  rig.Settle();
  // Shortly before its end, and at the beginning of a look at all of them.
  absl::Duration life;
  for (; life < usual * 3 / 4; life += kStep) rig.Advance(kStep);
  rig.Advance(usual / 8);
  life += usual / 8;
  ASSERT_FALSE(IsClosed(patient));
  for (const int fd : crowd) close(fd);
  rig.Settle();
  life += LifeOf(&rig, patient);
  // A round of looks and a step more or less.
  EXPECT_LE(life, usual + usual / 4 + 2 * kStep);
  EXPECT_LT(usual, absl::Minutes(5));
  close(patient);
  rig.ExpectEmpty();
}

}  // namespace
}  // namespace larder
