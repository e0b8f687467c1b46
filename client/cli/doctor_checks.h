// What `doctor` makes of what it has seen: findings, each with what to do about it. Thread safety:
// pure functions.

#ifndef LARDER_CLIENT_CLI_DOCTOR_CHECKS_H_
#define LARDER_CLIENT_CLI_DOCTOR_CHECKS_H_

#include <map>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "client/cli/admin_port.h"
#include "client/cli/output.h"
#include "client/cli/tls_look.h"
#include "larder/stats.h"

namespace larder::cli {

enum class Level {
  kOk,
  kNote,  // good to know
  kWarn,  // will become a problem, or is one for some
  kBad,   // is wrong
};
std::string_view Name(Level level);

struct Finding {
  Level level = Level::kOk;
  std::string check;   // such as `clock`
  std::string server;  // empty: of all together, or of this side
  std::string what;
  std::string mend = {};  // empty: nothing is to be done
};
using Findings = std::vector<Finding>;

// A replica, as far as it answered.
struct Replica {
  std::string address;
  ServerInfoResult info;
  // Its clock less ours, known to so much.
  absl::Duration clock_ahead = {};
  absl::Duration clock_within = absl::InfiniteDuration();  // infinite: it does not tell
};

void JudgeClocks(const std::vector<Replica>& replicas, Findings* findings);
void JudgeVersions(const std::vector<Replica>& replicas, const std::string& client_version,
                   Findings* findings);
// Node ids, limits, types: what the replicas of a fleet have in common.
void JudgeLikeness(const std::vector<Replica>& replicas, Findings* findings);
void JudgeLimits(const Replica& replica, uint64_t message_bytes, Findings* findings);
void JudgeCertificate(const std::string& server, const std::string& host, const TlsLook& look,
                      absl::Time now, Findings* findings);
void JudgeStats(const std::string& server, const StatsResult& stats, Findings* findings);
// The server's settings of connections, against what clients do.
void JudgeSettings(const std::string& server, const std::vector<Setting>& settings,
                   Findings* findings);
// Variables by which gRPC goes round through a proxy, and how many files this process may open.
void JudgeEnvironment(const std::map<std::string, std::string>& environment, uint64_t files_max,
                      Findings* findings);

size_t Count(const Findings& findings, Level level);
Json FindingsJson(const Findings& findings);
// Lines of text, the findings of `least` and above.
std::vector<std::string> FindingLines(const Findings& findings, Level least);

}  // namespace larder::cli

#endif  // LARDER_CLIENT_CLI_DOCTOR_CHECKS_H_
