// A batch is one transaction first, because that is cheap: one round trip, one commit. But in
// PostgreSQL an error ends its transaction, so one key that can never work (`user:abc` where users
// have numbers) would fail the 99 that it happens to be asked with, and whoever can choose keys
// could fail everybody's. So after such an error what has no answer is asked once more, each item
// in a transaction of its own. Errors that are not about an item (the table is gone, the server
// shuts down) are not asked twice: they are the answer to the whole call.
//
// A commit is an fsync, and hundreds of them would hold up everybody behind one bad write. So of
// writes only the one that failed goes alone, and the rest together again, for some rounds: few bad
// writes cost a transaction each. After that, or when the commit itself failed, which blames
// nobody, each is on its own. Rejected: a savepoint for each write, which costs all batches two
// statements a write for the sake of the few that fail.
//
// The same goes for a statement that answers many keys, and for rows of it that say a key that
// nobody asked for: `user:007` finds the row 7. Whose row that is cannot be said, so none of the
// keys without a row is called absent for it; each is asked for alone, and then it is clear whose
// it was.
//
// Writes are made in the order of their keys, so that two replicas that write the same keys at once
// wait for each other instead of deadlocking.

#include "origin/postgres_rounds.h"

#include <libpq-fe.h>

#include <algorithm>
#include <memory>
#include <numeric>
#include <utility>

#include "base/status.h"
#include "base/strings.h"
#include "origin/postgres_error.h"

namespace larder {
namespace {

// How often writes are tried in one transaction, without those that made the one before fail.
constexpr int kTogetherMost = 4;

constexpr Oid kBytea = 17, kJson = 114, kInterval = 1186, kJsonb = 3802;

class Row : public SqlRow {
 public:
  Row(const PGresult* result, int row) : result_(result), row_(row) {}
  SqlCell Cell(int column) const override {
    if (PQgetisnull(result_, row_, column) != 0) return {};
    const auto size = static_cast<size_t>(PQgetlength(result_, row_, column));
    const std::string_view text(PQgetvalue(result_, row_, column), size);
    return {.null = false, .text = text, .form = FormOf(PQftype(result_, column), text)};
  }

 private:
  static SqlCell::Form FormOf(Oid type, std::string_view text) {
    if (type == kBytea) return SqlCell::Form::kHex;
    if (type == kInterval) return SqlCell::Form::kInterval;
    const bool array = text.substr(0, 1) == "{" && type != kJson && type != kJsonb;
    return array ? SqlCell::Form::kArray : SqlCell::Form::kText;
  }

  const PGresult* const result_;
  const int row_;
};

std::vector<std::string> ColumnNames(const PGresult* result) {
  std::vector<std::string> names;
  for (int i = 0; i < PQnfields(result); ++i) names.emplace_back(PQfname(result, i));
  return names;
}

absl::Status TooLarge() {
  return absl::ResourceExhaustedError(
      "the values of the answer are larger than all of one answer may be");
}

// Nobody says what became of it.
absl::Status NotRun() { return absl::UnavailableError("PostgreSQL: the statement was not run"); }

}  // namespace

// ---- loads

PostgresLoad::PostgresLoad(OriginLoad load, const SqlPlans::Plan* plan, size_t number,
                           const SqlStatement* statement, size_t answer_bytes_max)
    : load_(std::move(load)),
      plan_(plan),
      number_(number),
      statement_(*statement),
      bytes_left_(answer_bytes_max),
      results_(load_.items.size()),
      answered_(load_.items.size(), false) {}

void PostgresLoad::Answer(size_t item, OriginLoaded loaded) {
  answered_[item] = true;
  if (loaded.kind == OriginLoaded::Kind::kFailed &&
      loaded.error.code() == absl::StatusCode::kDataLoss) {
    ++bad_;
  }
  if (loaded.value.size() > bytes_left_) loaded = FailedLoad(TooLarge());
  bytes_left_ -= loaded.value.size();
  results_[item] = std::move(loaded);
}

void PostgresLoad::Fail(size_t item, absl::Status error) {
  Answer(item, FailedLoad(std::move(error)));
}

void PostgresLoad::Execute(const std::vector<size_t>& items, PostgresBatch* batch) {
  SqlInput input{.call = &load_.call};
  for (const size_t item : items) input.keys.push_back(load_.items[item].key);
  input.validator = load_.items[items.front()].validator;
  auto arguments = SqlPlans::Bind(*plan_, statement_, input);
  if (!arguments.ok()) {
    for (const size_t item : items) Fail(item, arguments.status());
    return;
  }
  batch->executions.push_back({number_, *std::move(arguments)});
  asked_.push_back(items);
}

PostgresBatch PostgresLoad::Ask(PostgresRound round, MonoNanos deadline) {
  PostgresBatch batch;
  batch.deadline = deadline;
  asked_.clear();
  std::vector<size_t> items;
  for (size_t i = 0; i < load_.items.size(); ++i) {
    if (answered_[i]) continue;
    if (!statement_.batch() || round == PostgresRound::kAlone) {
      Execute({i}, &batch);
      continue;
    }
    // A key that cannot be bound must not keep the others from it.
    if (statement_.Has(SqlParameter::Kind::kCaptures)) {
      const auto captures = SqlPlans::Captures(*plan_, load_.items[i].key);
      if (!captures.ok()) {
        Fail(i, captures.status());
        continue;
      }
    }
    items.push_back(i);
  }
  if (!items.empty()) Execute(items, &batch);
  if (round == PostgresRound::kAlone) batch.alone = batch.executions.size();
  return batch;
}

absl::Status PostgresLoad::Take(PostgresRound round, std::vector<PostgresAnswer> answers) {
  for (size_t i = 0; i < asked_.size(); ++i) {
    RETURN_IF_ERROR(TakeOne(round, asked_[i], std::move(answers[i])));
  }
  return absl::OkStatus();
}

absl::Status PostgresLoad::TakeOne(PostgresRound round, const std::vector<size_t>& items,
                                   PostgresAnswer answer) {
  if (answer.kind == PostgresAnswer::Kind::kOk) return Read(round, items, answer.result.get());
  const bool first = round == PostgresRound::kTogether;
  if (answer.kind == PostgresAnswer::Kind::kNotRun) {
    if (!first) Fail(items.front(), NotRun());
    return absl::OkStatus();
  }
  if (first && !PostgresBlamesItem(answer.sqlstate)) return answer.error;
  // Many keys that took too long at once will not be quicker one after the other.
  const bool slow = answer.error.code() == absl::StatusCode::kDeadlineExceeded;
  if (first && slow && items.size() > 1) return answer.error;
  if (items.size() == 1) Fail(items.front(), std::move(answer.error));
  return absl::OkStatus();
}

absl::Status PostgresLoad::Read(PostgresRound round, const std::vector<size_t>& items,
                                const pg_result* result) {
  if (!columns_.has_value()) {
    ASSIGN_OR_RETURN(columns_, SqlColumns::Make(ColumnNames(result), SqlUse::kLoad, statement_));
  }
  if (statement_.batch()) {
    ReadBatch(round, items, result);
    return absl::OkStatus();
  }
  const size_t item = items.front();
  const int rows = PQntuples(result);
  if (rows == 0) {
    Answer(item, {.kind = OriginLoaded::Kind::kAbsent});
    return absl::OkStatus();
  }
  bad_ += static_cast<uint64_t>(rows) - 1;
  Answer(item, ReadSqlRow(*columns_, Row(result, 0), load_.items[item].validator, true));
  return absl::OkStatus();
}

std::string PostgresLoad::IdentityOf(size_t item) const {
  const std::string& key = load_.items[item].key;
  if (columns_->key >= 0) return key;
  std::string joined;
  // Cannot fail: what does not match was not asked for.
  const auto captures = SqlPlans::Captures(*plan_, key);
  for (const std::string& name : columns_->identity) {
    if (&name != &columns_->identity.front()) joined.push_back(kSqlIdentityGlue);
    for (const auto& [captured, text] : *captures) {
      if (captured == name) joined.append(text);
    }
  }
  return joined;
}

void PostgresLoad::ReadBatch(PostgresRound round, const std::vector<size_t>& items,
                             const pg_result* result) {
  absl::flat_hash_map<std::string, std::vector<size_t>> wanted;
  for (const size_t item : items) wanted[IdentityOf(item)].push_back(item);
  uint64_t strange = 0;
  for (int i = 0; i < PQntuples(result); ++i) {
    const Row row(result, i);
    const auto identity = columns_->Identity(row);
    const auto found = identity.has_value() ? wanted.find(*identity) : wanted.end();
    if (found == wanted.end()) {
      ++strange;
      continue;
    }
    for (const size_t item : found->second) {
      if (answered_[item]) {
        ++bad_;
        continue;
      }
      Answer(item, ReadSqlRow(*columns_, row, load_.items[item].validator, true));
    }
  }
  const bool again = strange > 0 && round == PostgresRound::kTogether && items.size() > 1;
  for (const size_t item : items) {
    if (answered_[item] || again) continue;
    if (strange > 0) {
      Fail(item, absl::DataLossError("the row that was found says another key"));
    } else {
      Answer(item, {.kind = OriginLoaded::Kind::kAbsent});
    }
  }
}

// ---- stores

PostgresStore::PostgresStore(OriginStore store, const SqlPlans* plans)
    : store_(std::move(store)),
      plans_(plans),
      results_(store_.writes.size()),
      together_(store_.writes.size()) {
  std::iota(together_.begin(), together_.end(), size_t{0});
  std::sort(together_.begin(), together_.end(),
            [this](size_t a, size_t b) { return store_.writes[a].key < store_.writes[b].key; });
}

bool PostgresStore::Execute(size_t i, PostgresBatch* batch) {
  const OriginStore::Write& write = store_.writes[i];
  const SqlUse use = write.remove ? SqlUse::kDelete : SqlUse::kStore;
  const auto plan = plans_->Find(store_.call.type, use);
  if (!plan.ok()) {
    results_[i] = {OriginStored::Kind::kReject, plan.status()};
    return false;
  }
  const auto number = static_cast<size_t>((*plan)->statement[static_cast<size_t>(use)]);
  SqlInput input{.call = &store_.call, .keys = {write.key}};
  input.value = write.value;
  input.version = write.version;
  auto arguments = SqlPlans::Bind(**plan, plans_->statements()[number].statement, input);
  if (!arguments.ok()) {
    results_[i] = {OriginStored::Kind::kReject, arguments.status()};
    return false;
  }
  batch->executions.push_back({number, *std::move(arguments)});
  return true;
}

PostgresBatch PostgresStore::Ask(MonoNanos deadline) {
  PostgresBatch batch;
  batch.deadline = deadline;
  std::erase_if(alone_, [&](size_t i) { return !Execute(i, &batch); });
  batch.alone = batch.executions.size();
  std::erase_if(together_, [&](size_t i) { return !Execute(i, &batch); });
  return batch;
}

absl::StatusOr<bool> PostgresStore::Take(std::vector<PostgresAnswer> answers) {
  ++rounds_;
  const std::vector<size_t> alone = std::exchange(alone_, {});
  const std::vector<size_t> together = std::exchange(together_, {});
  const auto second = answers.begin() + static_cast<ptrdiff_t>(alone.size());
  for (size_t i = 0; i < alone.size(); ++i) TakeAlone(alone[i], std::move(answers[i]));
  RETURN_IF_ERROR(TakeTogether(
      together, {std::make_move_iterator(second), std::make_move_iterator(answers.end())}));
  return !alone_.empty() || !together_.empty();
}

void PostgresStore::TakeAlone(size_t write, PostgresAnswer answer) {
  OriginStored& result = results_[write];
  switch (answer.kind) {
    case PostgresAnswer::Kind::kOk:
      result = {OriginStored::Kind::kDone};
      return;
    case PostgresAnswer::Kind::kNotRun:
      result = {OriginStored::Kind::kRetry, NotRun()};
      return;
    case PostgresAnswer::Kind::kFailed:
      result.kind = PostgresRejects(answer.sqlstate) ? OriginStored::Kind::kReject
                                                     : OriginStored::Kind::kRetry;
      result.error = std::move(answer.error);
  }
}

absl::Status PostgresStore::TakeTogether(const std::vector<size_t>& asked,
                                         std::vector<PostgresAnswer> answers) {
  std::vector<size_t> failed;
  for (size_t i = 0; i < asked.size(); ++i) {
    const PostgresAnswer& answer = answers[i];
    if (answer.kind != PostgresAnswer::Kind::kFailed) continue;
    if (!PostgresBlamesItem(answer.sqlstate)) return answer.error;
    failed.push_back(asked[i]);
  }
  if (failed.empty() || asked.size() == 1) {
    for (size_t i = 0; i < asked.size(); ++i) TakeAlone(asked[i], std::move(answers[i]));
    return absl::OkStatus();
  }
  if (failed.size() > 1 || rounds_ >= kTogetherMost) {
    alone_ = asked;
    return absl::OkStatus();
  }
  alone_ = failed;
  together_ = asked;
  std::erase(together_, failed.front());
  return absl::OkStatus();
}

// ---- scans

absl::StatusOr<OriginPage> ReadPostgresPage(const OriginScan& scan, const SqlStatement& statement,
                                            const pg_result* result, size_t answer_bytes_max,
                                            uint64_t* bad) {
  ASSIGN_OR_RETURN(const SqlColumns columns,
                   SqlColumns::Make(ColumnNames(result), SqlUse::kScan, statement));
  std::vector<Row> rows;
  for (int i = 0; i < PQntuples(result); ++i) rows.emplace_back(result, i);
  std::vector<const SqlRow*> pointers;
  for (const Row& row : rows) pointers.push_back(&row);
  ASSIGN_OR_RETURN(OriginPage page, ReadSqlPage(columns, pointers, scan, bad));
  size_t bytes = 0;
  for (const OriginPage::Item& item : page.items) bytes += item.loaded.value.size();
  if (bytes > answer_bytes_max) return TooLarge();
  return page;
}

std::optional<uint64_t> ReadPostgresCount(const pg_result* result) {
  uint64_t count = 0;
  if (PQntuples(result) != 1 || !absl::SimpleAtoi(PQgetvalue(result, 0, 0), &count)) return {};
  return count;
}

}  // namespace larder
