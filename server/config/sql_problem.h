// Says where in the configuration an SQL statement stands that cannot work. Thread safety: pure
// functions.

#ifndef LARDER_CONFIG_SQL_PROBLEM_H_
#define LARDER_CONFIG_SQL_PROBLEM_H_

#include <string>

#include "config/config.h"
#include "origin/sql.h"

namespace larder {

// The field that a problem is about: `types.user.sql.load`.
std::string SqlPath(const SqlProblem& problem);

// The problem as a line of LoadConfig's error: `larder.yaml:14:7: types.user.sql.load: ...`.
std::string SqlProblemLine(const Config& config, const SqlProblem& problem);

}  // namespace larder

#endif  // LARDER_CONFIG_SQL_PROBLEM_H_
