#include "origin/sql_row.h"

#include <algorithm>
#include <utility>

#include "base/status.h"
#include "base/strings.h"
#include "core/key.h"
#include "origin/sql_value.h"

namespace larder {
namespace {

// The text of a cell, its bytes where it is bytes. An error names the column.
absl::StatusOr<std::string> TextOf(const SqlCell& cell) {
  if (cell.form != SqlCell::Form::kHex) return std::string(cell.text);
  return ParseSqlHex(cell.text);
}

absl::Status InColumn(std::string_view column, const absl::Status& status) {
  return absl::DataLossError(StrCat("the column ", column, " ", ToStd(status.message())));
}

absl::StatusOr<std::vector<std::string>> StringsOf(const SqlCell& cell) {
  if (cell.form == SqlCell::Form::kArray) return ParseSqlArray(cell.text, kTagsMax);
  return ParseJsonStrings(cell.text, kTagsMax);
}

absl::Status ReadTtl(const SqlColumns& columns, const SqlRow& row, OriginLoaded* loaded) {
  if (columns.ttl < 0) return absl::OkStatus();
  const SqlCell cell = row.Cell(columns.ttl);
  if (cell.null) return absl::OkStatus();
  const auto ttl = cell.form == SqlCell::Form::kInterval ? ParseSqlInterval(cell.text)
                                                         : ParseSqlSeconds(cell.text);
  if (!ttl.ok()) return InColumn("ttl", ttl.status());
  loaded->ttl = *ttl;
  return absl::OkStatus();
}

// `check` of each element; both limits are those of callers.
absl::Status ReadStrings(int column, std::string_view name, const SqlRow& row,
                         absl::Status (*check)(std::string_view), std::vector<std::string>* out) {
  if (column < 0) return absl::OkStatus();
  const SqlCell cell = row.Cell(column);
  if (cell.null) return absl::OkStatus();
  auto strings = StringsOf(cell);
  if (!strings.ok()) return InColumn(name, strings.status());
  for (const std::string& each : *strings) {
    if (const absl::Status status = check(each); !status.ok()) {
      return absl::DataLossError(StrCat("the column ", name, ": ", ToStd(status.message())));
    }
  }
  *out = *std::move(strings);
  return absl::OkStatus();
}

absl::Status ReadValidator(const SqlColumns& columns, const SqlRow& row, OriginLoaded* loaded) {
  if (columns.validator < 0) return absl::OkStatus();
  const SqlCell cell = row.Cell(columns.validator);
  if (cell.null) return absl::OkStatus();
  auto text = TextOf(cell);
  if (!text.ok()) return InColumn("validator", text.status());
  if (text->size() > kValidatorBytesMax) {
    return absl::DataLossError(
        StrCat("the column validator is ", text->size(), " bytes; at most ", kValidatorBytesMax));
  }
  loaded->validator = *std::move(text);
  return absl::OkStatus();
}

absl::Status ReadAll(const SqlColumns& columns, const SqlRow& row, std::string_view validator,
                     bool with_value, OriginLoaded* loaded) {
  RETURN_IF_ERROR(ReadTtl(columns, row, loaded));
  RETURN_IF_ERROR(ReadValidator(columns, row, loaded));
  // Before the value: a statement may leave it out for whom $validator says that it is held.
  if (!validator.empty() && loaded->validator == validator) {
    loaded->kind = OriginLoaded::Kind::kUnchanged;
    return absl::OkStatus();
  }
  if (with_value) {
    const SqlCell cell = columns.value < 0 ? SqlCell{} : row.Cell(columns.value);
    if (cell.null) {
      loaded->kind = OriginLoaded::Kind::kAbsent;
      loaded->validator.clear();
      return absl::OkStatus();
    }
    auto value = TextOf(cell);
    if (!value.ok()) return InColumn("value", value.status());
    loaded->value = *std::move(value);
  }
  RETURN_IF_ERROR(ReadStrings(columns.tags, "tags", row, &CheckTag, &loaded->tags));
  RETURN_IF_ERROR(
      ReadStrings(columns.depends_on, "depends_on", row, &CheckKey, &loaded->depends_on));
  loaded->kind = OriginLoaded::Kind::kFound;
  return absl::OkStatus();
}

absl::StatusOr<std::string> CellText(int column, const SqlRow& row) {
  const SqlCell cell = row.Cell(column);
  if (cell.null) return std::string();
  return TextOf(cell);
}

}  // namespace

OriginLoaded FailedLoad(absl::Status error) {
  OriginLoaded loaded;
  loaded.kind = OriginLoaded::Kind::kFailed;
  loaded.error = std::move(error);
  return loaded;
}

absl::StatusOr<SqlColumns> SqlColumns::Make(const std::vector<std::string>& names, SqlUse use,
                                            const SqlStatement& statement) {
  SqlColumns columns;
  const std::pair<std::string_view, int*> known[] = {
      {"value", &columns.value},         {"ttl", &columns.ttl},
      {"tags", &columns.tags},           {"depends_on", &columns.depends_on},
      {"validator", &columns.validator}, {"key", &columns.key},
      {"cursor", &columns.cursor},
  };
  const auto find = [&names](std::string_view name) {
    const auto found = std::find(names.begin(), names.end(), name);
    return found == names.end() ? -1 : static_cast<int>(found - names.begin());
  };
  for (const auto& [name, place] : known) *place = find(name);
  if (statement.batch() && columns.key < 0) {
    for (const SqlParameter& parameter : statement.parameters) {
      if (parameter.kind == SqlParameter::Kind::kKeys) {
        return absl::FailedPreconditionError(
            "its rows have no column key, which says which of $keys they are of");
      }
      if (parameter.kind != SqlParameter::Kind::kCaptures) continue;
      const int column = find(parameter.capture);
      if (column < 0) {
        return absl::FailedPreconditionError(
            StrCat("its rows have neither a column key nor a column ", parameter.capture,
                   ", which say which of $keys they are of"));
      }
      columns.captures.push_back(column);
      columns.identity.push_back(parameter.capture);
    }
  }
  for (size_t i = 0; columns.value < 0 && i < names.size(); ++i) {
    const int column = static_cast<int>(i);
    const bool taken = names[i] == "version" ||
                       std::any_of(std::begin(known), std::end(known),
                                   [&](const auto& each) { return *each.second == column; }) ||
                       std::find(columns.captures.begin(), columns.captures.end(), column) !=
                           columns.captures.end();
    if (!taken) columns.value = column;
  }
  if (use == SqlUse::kLoad && columns.value < 0) {
    return absl::FailedPreconditionError("its rows have no column value");
  }
  if (use == SqlUse::kScan && columns.key < 0) {
    return absl::FailedPreconditionError("its rows have no column key");
  }
  return columns;
}

std::optional<std::string> SqlColumns::Identity(const SqlRow& row) const {
  if (key >= 0) {
    const SqlCell cell = row.Cell(key);
    if (cell.null) return std::nullopt;
    return std::string(cell.text);
  }
  std::string joined;
  for (size_t i = 0; i < captures.size(); ++i) {
    const SqlCell cell = row.Cell(captures[i]);
    if (cell.null) return std::nullopt;
    if (i > 0) joined.push_back(kSqlIdentityGlue);
    joined.append(cell.text);
  }
  return joined;
}

OriginLoaded ReadSqlRow(const SqlColumns& columns, const SqlRow& row, std::string_view validator,
                        bool with_value) {
  OriginLoaded loaded;
  absl::Status status = ReadAll(columns, row, validator, with_value, &loaded);
  return status.ok() ? loaded : FailedLoad(std::move(status));
}

absl::StatusOr<OriginPage> ReadSqlPage(const SqlColumns& columns,
                                       const std::vector<const SqlRow*>& rows,
                                       const OriginScan& scan, uint64_t* bad) {
  OriginPage page;
  const size_t count = std::min<size_t>(rows.size(), scan.limit);
  if (columns.value < 0 && !scan.keys_only && count > 0) {
    return absl::FailedPreconditionError("the rows of the scan have no column value");
  }
  for (size_t i = 0; i < count; ++i) {
    ASSIGN_OR_RETURN(std::string key, CellText(columns.key, *rows[i]));
    if (!CheckKey(key).ok()) {
      ++*bad;
      continue;
    }
    OriginLoaded loaded = ReadSqlRow(columns, *rows[i], {}, !scan.keys_only);
    if (loaded.kind == OriginLoaded::Kind::kFailed) ++*bad;
    if (loaded.kind != OriginLoaded::Kind::kFound) continue;
    page.items.push_back({std::move(key), std::move(loaded)});
  }
  if (count == 0 || rows.size() < scan.limit) return page;
  const int column = columns.cursor >= 0 ? columns.cursor : columns.key;
  ASSIGN_OR_RETURN(page.cursor, CellText(column, *rows[count - 1]));
  if (!page.cursor.empty() && page.cursor == scan.cursor) {
    return absl::DataLossError("the page of the scan ends where it began");
  }
  return page;
}

}  // namespace larder
