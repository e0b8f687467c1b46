// The rounds in which a call is put to PostgreSQL: all items together, and then, when one of them
// made that fail, those that have no answer yet: of a load each on its own, of a store the rest
// together again. They make batches and read answers; who runs the batches is somebody else.
// Thread safety: none; one thread at a time.

#ifndef LARDER_ORIGIN_POSTGRES_ROUNDS_H_
#define LARDER_ORIGIN_POSTGRES_ROUNDS_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "origin/origin.h"
#include "origin/postgres_connection.h"
#include "origin/sql_plan.h"
#include "origin/sql_row.h"

namespace larder {

enum class PostgresRound : uint8_t { kTogether, kAlone };

class PostgresLoad {
 public:
  // `plan` has a load statement, number `statement`.
  PostgresLoad(OriginLoad load, const SqlPlans::Plan* plan, size_t number,
               const SqlStatement* statement, size_t answer_bytes_max);

  // What is to be asked now; may be nothing.
  PostgresBatch Ask(PostgresRound round, MonoNanos deadline);
  // The answers to that. An error is that of the whole call.
  absl::Status Take(PostgresRound round, std::vector<PostgresAnswer> answers);

  std::vector<OriginLoaded> TakeResults() { return std::move(results_); }
  uint64_t bad_answers() const { return bad_; }

 private:
  void Execute(const std::vector<size_t>& items, PostgresBatch* batch);
  absl::Status TakeOne(PostgresRound round, const std::vector<size_t>& items,
                       PostgresAnswer answer);
  absl::Status Read(PostgresRound round, const std::vector<size_t>& items, const pg_result* result);
  void ReadBatch(PostgresRound round, const std::vector<size_t>& items, const pg_result* result);
  void Answer(size_t item, OriginLoaded loaded);
  void Fail(size_t item, absl::Status error);
  std::string IdentityOf(size_t item) const;

  const OriginLoad load_;
  const SqlPlans::Plan* const plan_;
  const size_t number_;
  const SqlStatement& statement_;
  size_t bytes_left_;

  std::vector<OriginLoaded> results_;
  std::vector<bool> answered_;
  // Of each execution that was asked: its items.
  std::vector<std::vector<size_t>> asked_;
  std::optional<SqlColumns> columns_;
  uint64_t bad_ = 0;
};

class PostgresStore {
 public:
  PostgresStore(OriginStore store, const SqlPlans* plans);

  // What is to be asked now; may be nothing.
  PostgresBatch Ask(MonoNanos deadline);
  // The answers to that. An error is that of the whole call. True: there is more to ask.
  absl::StatusOr<bool> Take(std::vector<PostgresAnswer> answers);

  std::vector<OriginStored> TakeResults() { return std::move(results_); }

 private:
  // False: it cannot be bound, and is rejected.
  bool Execute(size_t write, PostgresBatch* batch);
  void TakeAlone(size_t write, PostgresAnswer answer);
  absl::Status TakeTogether(const std::vector<size_t>& asked, std::vector<PostgresAnswer> answers);

  const OriginStore store_;
  const SqlPlans* const plans_;
  std::vector<OriginStored> results_;
  int rounds_ = 0;
  // Numbers of writes that are open, in the order of their keys: to be asked each on its own, and
  // in one transaction.
  std::vector<size_t> alone_;
  std::vector<size_t> together_;
};

// The page that a scan statement answered. Counts rows that make no sense.
absl::StatusOr<OriginPage> ReadPostgresPage(const OriginScan& scan, const SqlStatement& statement,
                                            const pg_result* result, size_t answer_bytes_max,
                                            uint64_t* bad);

// What a statement that counts answered.
std::optional<uint64_t> ReadPostgresCount(const pg_result* result);

}  // namespace larder

#endif  // LARDER_ORIGIN_POSTGRES_ROUNDS_H_
