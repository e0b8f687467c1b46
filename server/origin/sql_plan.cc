#include "origin/sql_plan.h"

#include <algorithm>
#include <limits>
#include <optional>

#include "base/status.h"
#include "base/strings.h"
#include "origin/sql_value.h"

namespace larder {
namespace {

using Kind = SqlParameter::Kind;
using KeyCaptures = std::vector<std::pair<std::string, std::string_view>>;

// Every pattern has to have every capture: which pattern a key matches is not known before.
absl::Status CheckCaptures(const SqlType& type, const SqlStatement& statement) {
  for (const SqlParameter& parameter : statement.parameters) {
    if (parameter.kind != Kind::kCapture && parameter.kind != Kind::kCaptures) continue;
    const std::string_view name = parameter.kind == Kind::kCapture ? "$key." : "$keys.";
    if (type.match.empty()) {
      return absl::InvalidArgumentError(
          StrCat(name, parameter.capture, ": the type has no patterns to capture it from"));
    }
    for (const Pattern& pattern : type.match) {
      if (pattern.text().find(StrCat("{", parameter.capture, "}")) == std::string::npos) {
        return absl::InvalidArgumentError(StrCat(name, parameter.capture, ": the pattern \"",
                                                 pattern.text(), "\" has no {", parameter.capture,
                                                 "}"));
      }
    }
  }
  return absl::OkStatus();
}

std::string_view Capture(const KeyCaptures& captures, std::string_view name) {
  const auto found = std::find_if(captures.begin(), captures.end(),
                                  [name](const auto& each) { return each.first == name; });
  return found == captures.end() ? std::string_view() : found->second;
}

SqlArgument Text(std::string_view text) { return {SqlArgument::Form::kText, std::string(text)}; }
SqlArgument Integer(uint64_t number) {
  return {SqlArgument::Form::kInteger, StrCat(number), static_cast<int64_t>(number)};
}

// Counts the rows of a scan. They end with $limit, which bounds the count, and begin at no cursor.
SqlStatement CountOf(const SqlStatement& scan) {
  SqlStatement count = scan;
  // The line ends what may be a comment.
  count.text = StrCat("SELECT count(*) FROM (", scan.text, "\n) AS listed");
  return count;
}

SqlArgument Bound(const SqlParameter& parameter, const SqlInput& input,
                  const std::vector<KeyCaptures>& captures) {
  switch (parameter.kind) {
    case Kind::kKey:
      return Text(input.keys.front());
    case Kind::kCapture:
      return Text(Capture(captures.front(), parameter.capture));
    case Kind::kKeys: {
      const std::vector<std::string> keys(input.keys.begin(), input.keys.end());
      return Text(FormatSqlArray(keys));
    }
    case Kind::kCaptures: {
      std::vector<std::string> parts;
      for (const KeyCaptures& each : captures) parts.emplace_back(Capture(each, parameter.capture));
      return Text(FormatSqlArray(parts));
    }
    case Kind::kNamespace:
      return Text(input.call->name_space);
    case Kind::kType:
      return Text(input.call->type);
    case Kind::kValue:
      return {SqlArgument::Form::kBytes, std::string(input.value)};
    case Kind::kVersion:
      return Integer(input.version);
    case Kind::kValidator:
      return Text(input.validator);
    case Kind::kLimit:
      return Integer(input.limit);
    case Kind::kCursor:
      return {SqlArgument::Form::kCursor, std::string(input.cursor)};
    case Kind::kKeysOnly:
      break;
  }
  // Every database reads these as a truth value.
  return Integer(input.keys_only ? 1 : 0);
}

}  // namespace

absl::StatusOr<SqlStatement> PlanSqlStatement(const SqlType& type, SqlUse use, SqlDialect dialect) {
  ASSIGN_OR_RETURN(SqlStatement statement, ParseSqlStatement(type.Statement(use), use, dialect));
  RETURN_IF_ERROR(CheckCaptures(type, statement));
  if (statement.batch()) {
    for (const SqlParameter& parameter : statement.parameters) {
      if (parameter.kind == Kind::kKey || parameter.kind == Kind::kCapture ||
          parameter.kind == Kind::kValidator) {
        return absl::InvalidArgumentError(
            "a statement with $keys answers many keys at once: $key and $validator, which are of "
            "one key, cannot be in it");
      }
      if (parameter.kind == Kind::kCaptures && dialect == SqlDialect::kSqlite) {
        return absl::InvalidArgumentError("SQLite has no arrays, so there is no parameter $keys");
      }
    }
  }
  if (use == SqlUse::kScan && !(statement.Has(Kind::kLimit) && statement.Has(Kind::kCursor))) {
    return absl::InvalidArgumentError(
        "a scan needs $limit and $cursor, or it would give the same page for ever");
  }
  return statement;
}

absl::Status CheckSqlCall(size_t items, size_t most, MonoNanos deadline, const Clock& clock) {
  if (items > most) {
    return absl::InvalidArgumentError(StrCat(items, " items in one call; at most ", most));
  }
  if (deadline <= clock.Mono()) return absl::DeadlineExceededError("the deadline is past");
  return absl::OkStatus();
}

SqlInput SqlScanInput(const OriginScan& scan, bool counts) {
  SqlInput input{.call = &scan.call};
  input.limit =
      counts ? std::min<uint64_t>(scan.count_to, std::numeric_limits<int64_t>::max()) : scan.limit;
  if (!counts) input.cursor = scan.cursor;
  input.keys_only = counts || scan.keys_only;
  return input;
}

MonoNanos SqlCountDeadline(MonoNanos deadline, const Clock& clock) {
  constexpr absl::Duration kMost = absl::Seconds(5);
  const MonoNanos now = clock.Mono();
  return MonoAfter(now, std::min(kMost, absl::Nanoseconds(deadline - now) / 2));
}

absl::StatusOr<SqlPlans> SqlPlans::Make(const std::vector<SqlType>& types, SqlDialect dialect) {
  SqlPlans plans;
  for (const SqlType& type : types) {
    Plan plan{type.name, type.match, {}};
    for (const SqlUse use : kAllSqlUses) {
      int& number = plan.statement[static_cast<size_t>(use)];
      number = -1;
      if (type.Statement(use).empty()) continue;
      auto statement = PlanSqlStatement(type, use, dialect);
      if (!statement.ok()) {
        return absl::InvalidArgumentError(StrCat("types.", type.name, ".sql.", SqlUseName(use),
                                                 ": ", ToStd(statement.status().message())));
      }
      number = static_cast<int>(plans.statements_.size());
      plans.statements_.push_back({type.name, use, *std::move(statement)});
    }
    if (const int scan = plan.statement[static_cast<size_t>(SqlUse::kScan)]; scan >= 0) {
      plan.count = static_cast<int>(plans.statements_.size());
      const SqlStatement& listing = plans.statements_[static_cast<size_t>(scan)].statement;
      plans.statements_.push_back({type.name, SqlUse::kScan, CountOf(listing), true});
    }
    plans.plans_.emplace(type.name, std::move(plan));
  }
  return plans;
}

absl::StatusOr<const SqlPlans::Plan*> SqlPlans::Find(std::string_view type, SqlUse use) const {
  const auto found = plans_.find(ToAbsl(type));
  if (found == plans_.end()) {
    return absl::FailedPreconditionError(StrCat("the origin has no statements for type ", type));
  }
  if (found->second.statement[static_cast<size_t>(use)] < 0) {
    return absl::FailedPreconditionError(
        StrCat("type ", type, " has no ", SqlUseName(use), " statement"));
  }
  return &found->second;
}

absl::Status SqlPlans::CheckWrites(const OriginStore& store) const {
  absl::Status last = absl::OkStatus();
  for (const OriginStore::Write& write : store.writes) {
    const auto plan = Find(store.call.type, write.remove ? SqlUse::kDelete : SqlUse::kStore);
    if (plan.ok()) return absl::OkStatus();
    last = plan.status();
  }
  return last;
}

absl::StatusOr<KeyCaptures> SqlPlans::Captures(const Plan& plan, std::string_view key) {
  KeyCaptures captures;
  for (const Pattern& pattern : plan.match) {
    if (pattern.Match(key, &captures)) return captures;
  }
  return absl::InvalidArgumentError(StrCat("the key matches no pattern of type ", plan.type,
                                           ", so that its statement lacks what it captures"));
}

absl::StatusOr<std::vector<SqlArgument>> SqlPlans::Bind(const Plan& plan,
                                                        const SqlStatement& statement,
                                                        const SqlInput& input) {
  std::vector<KeyCaptures> captures;
  if (statement.Has(Kind::kCapture) || statement.Has(Kind::kCaptures)) {
    for (const std::string_view key : input.keys) {
      ASSIGN_OR_RETURN(KeyCaptures of_key, Captures(plan, key));
      captures.push_back(std::move(of_key));
    }
  }
  std::vector<SqlArgument> arguments;
  arguments.reserve(statement.parameters.size());
  for (const SqlParameter& parameter : statement.parameters) {
    arguments.push_back(Bound(parameter, input, captures));
  }
  return arguments;
}

}  // namespace larder
