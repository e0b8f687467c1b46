#include <fmt/format.h>

#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/cli/commands.h"

namespace larder::cli {
namespace {

Json ExplainJson(const ExplainResult& result) {
  Json answer;
  answer.Field("type", result.type);
  answer.Field("match", Name(result.match));
  answer.Field("pattern", result.pattern);
  Json captures;
  for (const auto& [name, text] : result.captures) captures.Field(name, text);
  answer.Object("captures", captures);
  answer.Field("ttl_seconds", result.ttl);
  answer.Array("factors", result.factors, [](const TtlFactor& factor, Json* object) {
    object->Field("name", factor.name);
    object->Field("factor", factor.factor);
    object->Field("ttl_seconds", factor.ttl);
    object->Field("why", factor.why);
  });
  answer.Array("copies", result.copies, [](const CopyInfo& copy, Json* object) {
    object->Field("tier", Name(copy.tier));
    object->Version("version", copy.version);
    object->Field("age_seconds", copy.age);
    object->Field("remaining_ttl_seconds", copy.remaining_ttl);
    object->Field("value_bytes", copy.value_bytes);
    object->Field("negative", copy.negative);
    object->Field("tags", copy.tags);
    object->Field("depends_on", copy.depends_on);
    object->Field("hits", copy.hits);
    if (copy.checksum.has_value()) object->Field("checksum", *copy.checksum);
    object->Field("suspect", copy.suspect);
  });
  answer.Field("lease_held", result.lease_held);
  answer.Field("lease_waiters", result.lease_waiters);
  if (result.miss_reason != MissReason::kUnspecified)
    answer.Field("miss", Name(result.miss_reason));
  if (result.pending.has_value()) {
    Json pending;
    pending.Version("version", result.pending->version);
    pending.Field("age_seconds", result.pending->age);
    pending.Field("value_bytes", result.pending->value_bytes);
    pending.Field("deletion", result.pending->deletion);
    pending.Field("attempts", result.pending->attempts);
    if (!result.pending->last_error.empty())
      pending.Field("last_error", result.pending->last_error);
    if (result.pending->next_attempt.has_value())
      pending.Field("next_attempt_seconds", *result.pending->next_attempt);
    answer.Object("pending", pending);
  }
  if (!result.origin_error.empty()) answer.Field("origin_error", result.origin_error);
  answer.Array("rules", result.rules, [](const RecentRule& rule, Json* object) {
    object->Field("kind", rule.kind);
    object->Field("match", rule.match);
    object->Version("version", rule.version);
    object->Field("age_seconds", rule.age);
    object->Field("stale", rule.stale);
  });
  return answer;
}

std::string WhyType(const ExplainResult& result) {
  switch (result.match) {
    case TypeMatch::kRequest:
      return "the request names it";
    case TypeMatch::kPattern:
      return absl::StrCat("the key matches ", result.pattern);
    case TypeMatch::kDefault:
      return "no pattern matches the key";
    case TypeMatch::kUnspecified:
      break;
  }
  return "the server does not say why";
}

// Which of the copies a rule is about: those that are no newer.
std::string CoveredBy(const RecentRule& rule, const ExplainResult& result) {
  std::vector<std::string> covered;
  for (const CopyInfo& copy : result.copies) {
    if (copy.version != 0 && copy.version <= rule.version)
      covered.push_back(std::string(Name(copy.tier)));
  }
  if (!covered.empty()) return absl::StrJoin(covered, ", ");
  return result.copies.empty() ? "-" : "nothing: all is newer";
}

void PrintRules(const ExplainResult& result, Output* out) {
  if (result.rules.empty()) return;
  std::vector<Row> rows;
  for (const RecentRule& rule : result.rules) {
    rows.push_back({rule.kind, Shown(rule.match), absl::StrCat(rule.version), Shown(rule.age),
                    rule.stale ? "marks stale" : "removes", CoveredBy(rule, result)});
  }
  out->Line("");
  out->Table({"INVALIDATED BY", "MATCHES", ">UP TO VERSION", ">AGO", "WHAT", "COVERS"}, rows);
}

void PrintAttempts(const PendingWrite& pending, Output* out) {
  if (pending.attempts == 0 && pending.last_error.empty()) return;
  std::string next = "its next attempt waits";
  if (pending.next_attempt == absl::ZeroDuration()) {
    next = "the next is due";
  } else if (pending.next_attempt.has_value()) {
    next = fmt::format("the next in {}", Shown(*pending.next_attempt));
  }
  out->Line(fmt::format("  {} attempts so far, {}: {}", pending.attempts, next,
                        pending.last_error.empty() ? "no error" : Shown(pending.last_error)));
}

void PrintTables(const ExplainResult& result, Output* out) {
  out->Line(fmt::format("type {}: {}", result.type, WhyType(result)));
  for (const auto& [name, text] : result.captures)
    out->Line(fmt::format("  {} = {}", name, Shown(text)));
  out->Line(fmt::format("ttl  {}", Shown(result.ttl)));
  std::vector<Row> factors;
  for (const TtlFactor& factor : result.factors) {
    factors.push_back(
        {factor.name, fmt::format("{:.3g}", factor.factor), Shown(factor.ttl), factor.why});
  }
  out->Line("");
  out->Table({"STEP", ">FACTOR", ">TTL", "WHY"}, factors);
  out->Line("");
  if (result.copies.empty()) {
    out->Line(fmt::format("no copy: {}", Name(result.miss_reason)));
  } else {
    std::vector<Row> copies;
    for (const CopyInfo& copy : result.copies) {
      copies.push_back({std::string(Name(copy.tier)),
                        // What an origin has is of no version.
                        copy.version == 0 ? "" : absl::StrCat(copy.version), Shown(copy.age),
                        Shown(copy.remaining_ttl),
                        copy.negative ? "negative" : absl::StrCat(copy.value_bytes),
                        absl::StrCat(copy.hits), Shown(copy.tags), Shown(copy.depends_on)});
    }
    out->Table({"COPY", ">VERSION", ">AGE", ">TTL LEFT", ">BYTES", ">HITS", "TAGS", "DEPENDS ON"},
               copies);
  }
  if (result.lease_held)
    out->Line(fmt::format("a caller is loading it; {} wait", result.lease_waiters));
  if (result.pending.has_value()) {
    out->Line(fmt::format("its origin has yet to get {} of version {}, which waits for {}",
                          result.pending->deletion ? "the deletion" : "the write",
                          result.pending->version, Shown(result.pending->age)));
    PrintAttempts(*result.pending, out);
  }
  if (!result.origin_error.empty())
    out->Line(fmt::format("its origin does not tell: {}", Shown(result.origin_error)));
  PrintRules(result, out);
}

}  // namespace

void AddExplain(CLI::App* app, Session* session) {
  struct Flags {
    std::string key;
    ExplainOptions options;
  };
  auto flags = std::make_shared<Flags>();
  CLI::App* command =
      AddCommand(app, session, "explain", "Which type a key has, why its TTL, where its copies are",
                 [session, flags] {
                   const absl::StatusOr<ExplainResult> result =
                       session->client->Explain(flags->key, flags->options);
                   if (!result.ok()) return session->Fail(result.status());
                   if (session->json) {
                     session->out.Print(ExplainJson(*result));
                   } else {
                     PrintTables(*result, &session->out);
                   }
                   return kOk;
                 });
  AddKey(command, &flags->key);
  AddType(command, &flags->options.type);
  command
      ->add_option("--value-bytes", flags->options.value_bytes,
                   "Size of a value to explain the TTL for")
      ->type_name("BYTES");
  command->add_flag("--origin", flags->options.ask_origin, "Ask the type's origin, too");
}

}  // namespace larder::cli
