// The origin suite's rig in the PostgreSQL server that the tests of this binary share. Thread
// safety: as OriginRig.

#ifndef LARDER_TESTS_ORIGIN_POSTGRES_RIG_H_
#define LARDER_TESTS_ORIGIN_POSTGRES_RIG_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/executor.h"
#include "origin/postgres_origin.h"
#include "tests/conformance/origin_suite.h"

namespace larder {

// 'text', for SQL.
std::string Quoted(const std::string& text);

// A data type, whose patterns must be right.
SqlType SqlTypeOf(std::string name, const std::vector<std::string>& patterns);

// The origin from these options, which must be right; name, executor and URL are filled in where
// they are not.
std::unique_ptr<Origin> NewPostgres(PostgresOptions options, Executor* executor);

class PostgresRig : public OriginRig {
 public:
  // `load`: the statement by which types `doc` and `sealed` load.
  explicit PostgresRig(const std::string& load);

  Origin& origin() override { return *origin_; }
  void Put(const std::string& key, const OriginHeld& held) override { PutAll({{key, held}}); }
  void PutAll(const std::vector<std::pair<std::string, OriginHeld>>& all) override;
  std::optional<OriginHeld> Held(const std::string& key) override;
  void SetFault(const std::string& key, OriginFault fault) override;

 private:
  const std::unique_ptr<ThreadPool> executor_ = ThreadPool::New({.threads = 2});
  std::unique_ptr<Origin> origin_;
};

// One statement a key; one for all by key; one for all by what the pattern captures.
std::unique_ptr<OriginRig> NewPostgresRig();
std::unique_ptr<OriginRig> NewPostgresKeysRig();
std::unique_ptr<OriginRig> NewPostgresCapturesRig();

}  // namespace larder

#endif  // LARDER_TESTS_ORIGIN_POSTGRES_RIG_H_
