// Parameters have names because statements are written by people, in a configuration, far from the
// code that binds them: `$version` says what it is, and a `$3` that moved says nothing. Databases
// number them (or, as SQLite does, take names in a syntax that cannot hold a dot), so the text is
// rewritten once, when the configuration is read.
//
// Only what could be a parameter is looked for, so the text is cut into the pieces in which it
// could not: strings, names, comments, numbers, words. That is a lexer and no parser: whether the
// statement makes sense is for the database to say, which is asked before anything depends on it.
// Both dialects cut alike but for what one of them has alone: dollar quotes, E'' and comments
// inside comments in PostgreSQL; names in `` and [] in SQLite.

#include "origin/sql_statement.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "base/status.h"
#include "base/strings.h"
#include "core/suggest.h"

namespace larder {
namespace {

using Kind = SqlParameter::Kind;

constexpr uint32_t Bit(SqlUse use) { return 1u << static_cast<uint32_t>(use); }
constexpr uint32_t kAllUses =
    Bit(SqlUse::kLoad) | Bit(SqlUse::kStore) | Bit(SqlUse::kDelete) | Bit(SqlUse::kScan);
constexpr uint32_t kOfOneKey = kAllUses & ~Bit(SqlUse::kScan);
constexpr uint32_t kWrites = Bit(SqlUse::kStore) | Bit(SqlUse::kDelete);

struct Name {
  std::string_view name;
  Kind kind;
  uint32_t uses;
};
constexpr std::array<Name, 10> kNames = {{
    {"key", Kind::kKey, kOfOneKey},
    {"keys", Kind::kKeys, Bit(SqlUse::kLoad)},
    {"namespace", Kind::kNamespace, kAllUses},
    {"type", Kind::kType, kAllUses},
    {"value", Kind::kValue, Bit(SqlUse::kStore)},
    {"version", Kind::kVersion, kWrites},
    {"validator", Kind::kValidator, Bit(SqlUse::kLoad)},
    {"limit", Kind::kLimit, Bit(SqlUse::kScan)},
    {"cursor", Kind::kCursor, Bit(SqlUse::kScan)},
    {"keys_only", Kind::kKeysOnly, Bit(SqlUse::kScan)},
}};

bool IsLetter(char c) { return absl::ascii_isalpha(c) || c == '_' || (c & 0x80) != 0; }
bool IsNameByte(char c) { return absl::ascii_isalnum(c) || c == '_'; }
bool IsWordByte(char c) { return IsLetter(c) || absl::ascii_isdigit(c) || c == '$'; }

class Parser {
 public:
  Parser(std::string_view text, SqlUse use, SqlDialect dialect)
      : text_(text), use_(use), postgres_(dialect == SqlDialect::kPostgres) {}

  absl::StatusOr<SqlStatement> Parse();

 private:
  absl::Status Step();
  absl::Status Parameter();
  absl::Status Add(Kind kind, std::string_view capture);
  absl::Status SkipQuoted(char end, bool backslashes, std::string_view what);
  absl::Status SkipDollarQuoted(std::string_view tag);
  absl::Status SkipComment();

  // The tag of a dollar quote that begins here, with both dollars.
  std::optional<std::string_view> DollarTag() const;
  char At(size_t i) const { return i < text_.size() ? text_[i] : '\0'; }
  bool Next(std::string_view what) const { return text_.substr(at_, what.size()) == what; }
  absl::Status Keep(size_t end) {
    Copy(end);
    return absl::OkStatus();
  }
  // Copies up to `end` as it is.
  void Copy(size_t end) {
    out_.text.append(text_.substr(at_, end - at_));
    at_ = end;
  }

  const std::string_view text_;
  const SqlUse use_;
  const bool postgres_;
  size_t at_ = 0;
  bool any_ = false;    // something else than blanks and comments
  bool ended_ = false;  // by a semicolon
  SqlStatement out_;
};

absl::StatusOr<SqlStatement> Parser::Parse() {
  if (text_.size() > SqlStatement::kBytesMax) {
    return absl::InvalidArgumentError(
        StrCat("the statement is ", text_.size(), " bytes; at most ", SqlStatement::kBytesMax));
  }
  if (text_.find('\0') != std::string_view::npos) {
    return absl::InvalidArgumentError("the statement holds a zero byte");
  }
  while (at_ < text_.size()) RETURN_IF_ERROR(Step());
  if (!any_) return absl::InvalidArgumentError("there is no statement");
  const std::string_view trimmed = ToStd(absl::StripAsciiWhitespace(out_.text));
  out_.text = std::string(trimmed);
  return std::move(out_);
}

absl::Status Parser::Step() {
  const char c = text_[at_];
  if (absl::ascii_isspace(c)) return Keep(at_ + 1);
  if (Next("--")) return Keep(std::min(text_.find('\n', at_), text_.size()));
  if (Next("/*")) return SkipComment();
  if (ended_) return absl::InvalidArgumentError("there is a second statement after the ';'");
  if (c == ';') {
    ended_ = true;
    ++at_;
    return absl::OkStatus();
  }
  any_ = true;
  if (c == '\'') return SkipQuoted('\'', false, "string");
  if (postgres_ && (c == 'e' || c == 'E') && At(at_ + 1) == '\'') {
    Copy(at_ + 1);
    return SkipQuoted('\'', true, "string");
  }
  if (c == '"') return SkipQuoted('"', false, "name");
  if (!postgres_ && c == '`') return SkipQuoted('`', false, "name");
  if (!postgres_ && c == '[') return SkipQuoted(']', false, "name");
  if (postgres_ && c == '$') {
    if (const auto tag = DollarTag()) return SkipDollarQuoted(*tag);
  }
  if (c == '$') return Parameter();
  if (!postgres_ && (c == '?' || c == ':' || c == '@')) {
    return absl::InvalidArgumentError(StrCat(
        "'", std::string_view(&c, 1), "' begins a parameter of SQLite; write $key and so on"));
  }
  if (IsLetter(c) || absl::ascii_isdigit(c)) {
    size_t end = at_ + 1;
    while (IsWordByte(At(end))) ++end;
    Copy(end);
    return absl::OkStatus();
  }
  Copy(at_ + 1);
  return absl::OkStatus();
}

absl::Status Parser::SkipQuoted(char end, bool backslashes, std::string_view what) {
  for (size_t i = at_ + 1; i < text_.size(); ++i) {
    if (backslashes && text_[i] == '\\') {
      ++i;
    } else if (text_[i] == end) {
      if (At(i + 1) != end || end == ']') return Keep(i + 1);
      ++i;
    }
  }
  return absl::InvalidArgumentError(
      StrCat("the ", what, " that begins at byte ", at_ + 1, " does not end"));
}

std::optional<std::string_view> Parser::DollarTag() const {
  size_t end = at_ + 1;
  if (IsLetter(At(end))) {
    while (IsLetter(At(end)) || absl::ascii_isdigit(At(end))) ++end;
  }
  if (At(end) != '$') return std::nullopt;
  return text_.substr(at_, end + 1 - at_);
}

absl::Status Parser::SkipDollarQuoted(std::string_view tag) {
  const size_t end = text_.find(tag, at_ + tag.size());
  if (end == std::string_view::npos) {
    return absl::InvalidArgumentError(
        StrCat("the string that begins with ", tag, " at byte ", at_ + 1, " does not end"));
  }
  Copy(end + tag.size());
  return absl::OkStatus();
}

absl::Status Parser::SkipComment() {
  int depth = 1;
  size_t i = at_ + 2;
  while (i < text_.size()) {
    if (text_[i] == '*' && At(i + 1) == '/') {
      i += 2;
      if (--depth == 0) return Keep(i);
    } else if (postgres_ && text_[i] == '/' && At(i + 1) == '*') {
      ++depth;
      i += 2;
    } else {
      ++i;
    }
  }
  return absl::InvalidArgumentError(
      StrCat("the comment that begins at byte ", at_ + 1, " does not end"));
}

absl::Status Parser::Parameter() {
  size_t end = at_ + 1;
  while (IsNameByte(At(end))) ++end;
  const std::string_view name = text_.substr(at_ + 1, end - at_ - 1);
  if (name.empty())
    return absl::InvalidArgumentError(StrCat("a '$' without a name at byte ", at_ + 1));
  const auto found = std::find_if(kNames.begin(), kNames.end(),
                                  [name](const Name& known) { return known.name == name; });
  if (found == kNames.end()) {
    std::vector<std::string_view> known;
    for (const Name& each : kNames) {
      if ((each.uses & Bit(use_)) != 0) known.push_back(each.name);
    }
    const auto meant = Suggest(name, known);
    return absl::InvalidArgumentError(
        StrCat("unknown parameter $", name, meant ? StrCat("; did you mean $", *meant, "?") : ""));
  }
  if ((found->uses & Bit(use_)) == 0) {
    return absl::InvalidArgumentError(
        StrCat("a ", SqlUseName(use_), " statement has no parameter $", name));
  }
  if (found->kind == Kind::kKeys && !postgres_) {
    return absl::InvalidArgumentError("SQLite has no arrays, so there is no parameter $keys");
  }
  Kind kind = found->kind;
  std::string_view capture;
  if ((kind == Kind::kKey || kind == Kind::kKeys) && At(end) == '.' && IsNameByte(At(end + 1))) {
    const size_t begin = ++end;
    while (IsNameByte(At(end))) ++end;
    capture = text_.substr(begin, end - begin);
    kind = kind == Kind::kKey ? Kind::kCapture : Kind::kCaptures;
  }
  at_ = end;
  return Add(kind, capture);
}

absl::Status Parser::Add(Kind kind, std::string_view capture) {
  const SqlParameter wanted{kind, std::string(capture)};
  auto& all = out_.parameters;
  const auto found = std::find(all.begin(), all.end(), wanted);
  const size_t number = static_cast<size_t>(found - all.begin()) + 1;
  if (found == all.end()) all.push_back(wanted);
  if (all.size() > SqlStatement::kParametersMax) {
    return absl::InvalidArgumentError(
        StrCat("more than ", SqlStatement::kParametersMax, " parameters"));
  }
  StrAppend(&out_.text, postgres_ ? "$" : "?", number);
  return absl::OkStatus();
}

}  // namespace

bool SqlStatement::Has(SqlParameter::Kind kind) const {
  return std::any_of(parameters.begin(), parameters.end(),
                     [kind](const SqlParameter& each) { return each.kind == kind; });
}

absl::StatusOr<SqlStatement> ParseSqlStatement(std::string_view text, SqlUse use,
                                               SqlDialect dialect) {
  return Parser(text, use, dialect).Parse();
}

}  // namespace larder
