// What `verify` shows. Thread safety: pure functions.

#ifndef LARDER_CLIENT_CLI_VERIFY_REPORT_H_
#define LARDER_CLIENT_CLI_VERIFY_REPORT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "client/cli/comparison.h"
#include "client/cli/json.h"
#include "client/cli/output.h"

namespace larder::cli {

struct VerifiedReplica {
  std::string address;
  uint64_t answers = 0;
  uint64_t failures = 0;
  std::string error = {};  // the last
};

struct Verified {
  size_t keys = 0;
  uint64_t rounds = 0;
  // Everything that was to be compared could be.
  bool complete = false;
  const std::vector<VerifiedReplica>& replicas;
  const Comparison::Report& report;
};

Json VerifyJson(const Verified& verified);
// `origin`: the origins were asked.
void PrintVerified(const Verified& verified, bool origin, Output* out);

}  // namespace larder::cli

#endif  // LARDER_CLIENT_CLI_VERIFY_REPORT_H_
