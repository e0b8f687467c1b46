#include "client/cli/doctor_checks.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/src/keepalive.h"

namespace larder::cli {
namespace {

// Replicas order changes by hybrid clocks: those of a clock that is ahead win over later ones of
// another for as long as it is ahead. A write takes some milliseconds to be told to the others, so
// what is below that makes no difference that anybody sees.
constexpr absl::Duration kSkewWarn = absl::Milliseconds(100);
constexpr absl::Duration kSkewBad = absl::Seconds(1);
constexpr absl::Duration kExpirySoon = absl::Hours(24 * 14);
constexpr absl::Duration kExpiryNow = absl::Hours(24 * 3);
constexpr uint64_t kFilesFew = 1'024;

void Add(Findings* findings, Level level, std::string check, std::string server, std::string what,
         std::string mend = "") {
  findings->push_back(
      {level, std::move(check), std::move(server), std::move(what), std::move(mend)});
}

std::string Days(absl::Duration duration) {
  if (duration < absl::Hours(48)) return Shown(absl::Trunc(duration, absl::Minutes(1)));
  return fmt::format("{} days", duration / absl::Hours(24));
}

// Of a setting; empty when it is not there. Texts come with quotation marks.
std::string ValueOf(const std::vector<Setting>& settings, const std::string& path) {
  for (const Setting& setting : settings) {
    if (setting.path != path) continue;
    const std::string& value = setting.value;
    const bool quoted = value.size() >= 2 && value.front() == '"' && value.back() == '"';
    return quoted ? value.substr(1, value.size() - 2) : value;
  }
  return "";
}

std::string TypesText(const ServerInfoResult& info) {
  std::string text;
  for (const TypeInfo& type : info.types) {
    absl::StrAppend(&text, type.name, "|", absl::StrJoin(type.match, ","), "|",
                    absl::FormatDuration(type.base_ttl), "|", type.origin, "|", type.write_mode,
                    "\n");
  }
  return text;
}

std::string LimitsText(const ServerLimits& limits) {
  return absl::StrCat(limits.key_bytes, " ", limits.value_bytes, " ", limits.batch_keys, " ",
                      limits.message_bytes, " ", limits.namespaces, " ", limits.tags);
}

// The addresses by what `text` says of their replicas.
template <typename TextOf>
std::map<std::string, std::vector<std::string>> By(const std::vector<Replica>& replicas,
                                                   TextOf text) {
  std::map<std::string, std::vector<std::string>> groups;
  for (const Replica& replica : replicas) groups[text(replica)].push_back(replica.address);
  return groups;
}

void JudgeTiers(const std::string& server, const StatsResult& stats, Findings* findings) {
  for (const TierStats& tier : stats.tiers) {
    const std::string name(Name(tier.tier));
    if (!tier.state.empty() && tier.state != "ok") {
      Add(findings, Level::kBad, "tier", server, absl::StrCat(name, ": ", tier.state),
          "see docs/operations.md, The second tier; do not restart larder to cure it");
    }
    if (tier.owed > 0) {
      Add(findings, Level::kWarn, "tier", server,
          absl::StrCat(name, " is behind on ", tier.owed, " keys"),
          "nothing while it shrinks; a restart now would forget them");
    }
    if (tier.dropped_damaged > 0) {
      Add(findings, Level::kWarn, "tier", server,
          absl::StrCat(name, " was damaged and dropped ", tier.dropped_damaged, " times"),
          "look at the disk: dmesg, SMART");
    }
  }
}

void JudgeJournal(const std::string& server, const JournalStats& journal, Findings* findings) {
  if (!journal.state.empty() && journal.state != "ok") {
    Add(findings, Level::kBad, "journal", server, absl::StrCat("takes no writes: ", journal.state),
        "free or enlarge its disk, or raise journal.max_bytes; `larder journal status`");
  }
  if (!journal.paused.empty()) {
    Add(findings, Level::kWarn, "journal", server,
        absl::StrCat("deliveries are paused: ", absl::StrJoin(journal.paused, ", ")),
        "`larder journal resume` when the origin may be written to again");
  }
  if (journal.dead_letters > 0) {
    Add(findings, Level::kWarn, "journal", server,
        absl::StrCat(journal.dead_letters, " dead letters: writes that their origin refused"),
        "`larder dlq list`; mend the cause, then `larder dlq retry`");
  }
  if (journal.damage.has_value() && journal.damage->events > 0) {
    Add(findings, Level::kBad, "journal", server,
        absl::StrCat("was damaged: ", journal.damage->last),
        absl::StrCat("keep the copy in ", journal.damage->set_aside.empty()
                                              ? std::string("(none was needed)")
                                              : journal.damage->set_aside));
  }
  if (journal.depth > 0 && journal.oldest_age > absl::Minutes(1)) {
    Add(findings, Level::kWarn, "journal", server,
        fmt::format("{} writes wait, the oldest for {}", journal.depth, Shown(journal.oldest_age)),
        "look whether the origin answers: `larder stats`, Is the origin well?");
  }
}

void JudgeFleet(const std::string& server, const FleetStats& fleet, Findings* findings) {
  if (fleet.state != "following") {
    Add(findings, Level::kBad, "fleet", server, absl::StrCat("the bus: ", fleet.state),
        "get Redis back; the replica checks what it holds until then");
  }
  if (fleet.node_id_shared > 0) {
    Add(findings, Level::kBad, "fleet", server,
        absl::StrCat(fleet.node_id_shared, " replicas use the node id of another one"),
        "give each replica a node.id or a node.name of its own");
  }
  if (fleet.suspect && fleet.state == "following") {
    Add(findings, Level::kNote, "fleet", server,
        "it may have missed changes, and checks what it holds", "");
  }
}

}  // namespace

std::string_view Name(Level level) {
  switch (level) {
    case Level::kOk:
      return "ok";
    case Level::kNote:
      return "note";
    case Level::kWarn:
      return "warning";
    case Level::kBad:
      return "bad";
  }
  return "";
}

void JudgeClocks(const std::vector<Replica>& replicas, Findings* findings) {
  for (const Replica& replica : replicas) {
    if (replica.clock_within == absl::InfiniteDuration()) {
      Add(findings, Level::kNote, "clock", replica.address, "its version does not tell the time",
          "update it to have clocks compared");
      continue;
    }
    // Nothing hangs on this machine's clock but what is read here.
    const absl::Duration off = absl::AbsDuration(replica.clock_ahead) - replica.clock_within;
    Add(findings, off > absl::Seconds(5) ? Level::kNote : Level::kOk, "clock", replica.address,
        fmt::format("{} {} this machine's, to within {}",
                    Shown(absl::AbsDuration(replica.clock_ahead)),
                    replica.clock_ahead < absl::ZeroDuration() ? "behind" : "ahead of",
                    Shown(replica.clock_within)));
  }
  absl::Duration widest;
  std::string pair;
  for (const Replica& a : replicas) {
    for (const Replica& b : replicas) {
      if (a.clock_within == absl::InfiniteDuration() || b.clock_within == absl::InfiniteDuration())
        continue;
      // At least so much, whatever the network did to the answers.
      const absl::Duration apart = a.clock_ahead - b.clock_ahead - a.clock_within - b.clock_within;
      if (apart <= widest) continue;
      widest = apart;
      pair = absl::StrCat(a.address, " is ahead of ", b.address);
    }
  }
  if (widest <= kSkewWarn) return;
  Add(findings, widest > kSkewBad ? Level::kBad : Level::kWarn, "clock", "",
      fmt::format("{} by {} at least: of two writes of a key on different replicas the later one "
                  "may lose",
                  pair, Shown(widest)),
      "synchronize the clocks: `chronyc tracking` or `timedatectl` on each machine");
}

void JudgeVersions(const std::vector<Replica>& replicas, const std::string& client_version,
                   Findings* findings) {
  const auto groups = By(replicas, [](const Replica& replica) { return replica.info.version; });
  for (const auto& [version, addresses] : groups) {
    const bool own = version == client_version;
    Add(findings, own ? Level::kOk : Level::kNote, "version",
        addresses.size() == 1 ? addresses.front() : "",
        absl::StrCat(absl::StrJoin(addresses, ", "), addresses.size() > 1 ? " run " : " runs ",
                     version, own ? "" : absl::StrCat("; this command is ", client_version)),
        own ? "" : "use a `larder` of the servers' version for all that they can do");
  }
  if (groups.size() > 1) {
    Add(findings, Level::kWarn, "version", "", "the replicas are of different versions",
        "finish the rollout, or roll it back");
  }
}

void JudgeLikeness(const std::vector<Replica>& replicas, Findings* findings) {
  if (replicas.size() < 2) return;
  const auto by_node =
      By(replicas, [](const Replica& replica) { return absl::StrCat(replica.info.node_id); });
  for (const auto& [id, addresses] : by_node) {
    if (addresses.size() == 1) continue;
    std::set<std::string> starts;
    for (const Replica& replica : replicas) {
      if (absl::StrCat(replica.info.node_id) == id)
        starts.insert(absl::StrCat(replica.info.node, absl::FormatTime(replica.info.started)));
    }
    const std::string all = absl::StrJoin(addresses, ", ");
    if (starts.size() == 1) {
      Add(findings, Level::kNote, "fleet", "", absl::StrCat(all, " are one and the same replica"));
    } else {
      Add(findings, Level::kBad, "fleet", "",
          absl::StrCat(all, " share the node id ", id, ": they make the same versions"),
          "give each a node.id or a node.name of its own");
    }
  }
  const auto compare = [&](const char* check, const char* what, auto text) {
    const auto groups = By(replicas, text);
    if (groups.size() == 1) {
      Add(findings, Level::kOk, check, "", absl::StrCat("the same ", what, " on all replicas"));
      return;
    }
    std::vector<std::string> sides;
    for (const auto& [said, addresses] : groups) sides.push_back(absl::StrJoin(addresses, ", "));
    Add(findings, Level::kBad, check, "",
        absl::StrCat("the ", what, " of ", absl::StrJoin(sides, " and of "), " differ"),
        "give all replicas one configuration: `larder config diff` on each");
  };
  compare("types", "data types", [](const Replica& replica) { return TypesText(replica.info); });
  compare("limits", "limits",
          [](const Replica& replica) { return LimitsText(replica.info.limits); });
}

void JudgeLimits(const Replica& replica, uint64_t message_bytes, Findings* findings) {
  const ServerLimits& limits = replica.info.limits;
  if (limits.message_bytes > message_bytes) {
    Add(findings, Level::kWarn, "limits", replica.address,
        fmt::format("answers may be {}; clients take {}", ShownBytes(limits.message_bytes),
                    ShownBytes(message_bytes)),
        "raise ClientOptions::message_bytes_max, or lower limits.message_bytes");
    return;
  }
  Add(findings, Level::kOk, "limits", replica.address,
      fmt::format("keys of {}, values of {}, {} keys in a batch, messages of {}",
                  ShownBytes(limits.key_bytes), ShownBytes(limits.value_bytes), limits.batch_keys,
                  ShownBytes(limits.message_bytes)));
}

void JudgeCertificate(const std::string& server, const std::string& host, const TlsLook& look,
                      absl::Time now, Findings* findings) {
  const absl::Duration left = look.not_after - now;
  const std::string until =
      absl::FormatTime("%Y-%m-%d %H:%M UTC", look.not_after, absl::UTCTimeZone());
  const std::string renew =
      "renew it and write it where it was: the server reads it again by itself";
  if (now < look.not_before) {
    Add(findings, Level::kBad, "certificate", server,
        absl::StrCat("is not valid before ",
                     absl::FormatTime("%Y-%m-%d %H:%M UTC", look.not_before, absl::UTCTimeZone())),
        "look at the clocks of this machine and of the one that made it");
  } else if (left <= absl::ZeroDuration()) {
    Add(findings, Level::kBad, "certificate", server, absl::StrCat("expired on ", until), renew);
  } else if (left < kExpirySoon) {
    Add(findings, left < kExpiryNow ? Level::kBad : Level::kWarn, "certificate", server,
        absl::StrCat("expires in ", Days(left), ", on ", until), renew);
  } else {
    Add(findings, Level::kOk, "certificate", server,
        absl::StrCat(look.subject, ", by ", look.issuer, ", valid for ", Days(left)));
  }
  if (!look.for_host) {
    Add(findings, Level::kBad, "certificate", server,
        absl::StrCat("is not valid for ", host, ", but for ",
                     look.names.empty() ? "no name" : absl::StrJoin(look.names, ", ")),
        "call the server by one of its names, or add this one to the certificate");
  }
  if (!look.untrusted.empty()) {
    Add(findings, Level::kBad, "certificate", server,
        absl::StrCat("is not trusted: ", look.untrusted),
        "give the CA's certificate by --ca FILE; a server must also send what leads to its CA");
  }
  if (!look.h2) {
    Add(findings, Level::kBad, "tls", server, "does not offer HTTP/2 (ALPN h2)",
        "what answers there ends TLS before larder: let it pass h2 on");
  } else {
    Add(findings, Level::kOk, "tls", server, look.protocol);
  }
}

void JudgeStats(const std::string& server, const StatsResult& stats, Findings* findings) {
  const size_t before = findings->size();
  JudgeTiers(server, stats, findings);
  for (const OriginStats& origin : stats.origins) {
    if (origin.state.empty() || origin.state == "ok") continue;
    Add(findings, Level::kBad, "origin", server, absl::StrCat(origin.name, ": ", origin.state),
        "look at the origin; larder asks it again by itself");
  }
  for (const BreakerStats& breaker : stats.breakers) {
    if (breaker.state != BreakerState::kOpen) continue;
    Add(findings, Level::kBad, "breaker", server,
        absl::StrCat(breaker.name, " is open: ", breaker.reason),
        "look at what it is about; it closes by itself");
  }
  if (stats.journal.has_value()) JudgeJournal(server, *stats.journal, findings);
  if (stats.fleet.has_value()) JudgeFleet(server, *stats.fleet, findings);
  if (findings->size() == before) {
    Add(findings, Level::kOk, "state", server,
        "tiers, origins, breakers, journal and fleet are well, as far as there are any");
  }
}

void JudgeSettings(const std::string& server, const std::vector<Setting>& settings,
                   Findings* findings) {
  const auto duration = [&settings](const char* path, absl::Duration fallback) {
    absl::Duration parsed;
    return absl::ParseDuration(ValueOf(settings, path), &parsed) ? parsed : fallback;
  };
  const absl::Duration ping_min =
      duration("connections.ping_interval_min", absl::InfiniteDuration());
  if (ping_min != absl::InfiniteDuration() && internal::kKeepaliveTime < ping_min) {
    Add(findings, Level::kBad, "keepalive", server,
        fmt::format("clients ping every {} and the server allows a ping every {}: it ends their "
                    "connections (ENHANCE_YOUR_CALM)",
                    Shown(internal::kKeepaliveTime), Shown(ping_min)),
        "lower connections.ping_interval_min");
  } else if (ping_min != absl::InfiniteDuration()) {
    Add(findings, Level::kOk, "keepalive", server,
        fmt::format("clients ping every {}; the server allows every {}, and pings itself after {} "
                    "of silence",
                    Shown(internal::kKeepaliveTime), Shown(ping_min),
                    ValueOf(settings, "connections.keepalive_time")));
  }
  const absl::Duration silence = duration("connections.keepalive_time", absl::ZeroDuration());
  if (silence > absl::Minutes(5)) {
    Add(findings, Level::kWarn, "keepalive", server,
        fmt::format("the server pings only after {} of silence: load balancers and NAT drop "
                    "connections after some minutes",
                    Shown(silence)),
        "lower connections.keepalive_time to 2m");
  }
}

void JudgeEnvironment(const std::map<std::string, std::string>& environment, uint64_t files_max,
                      Findings* findings) {
  for (const char* name : {"grpc_proxy", "https_proxy", "http_proxy"}) {
    const auto found = environment.find(name);
    if (found == environment.end() || found->second.empty()) continue;
    // Its value may hold a password.
    Add(findings, Level::kWarn, "proxy", "",
        absl::StrCat(name, " is set: gRPC goes through that proxy"),
        "put the servers into no_proxy, or unset it for programs that call larder");
    break;
  }
  if (files_max < kFilesFew) {
    Add(findings, Level::kWarn, "limits", "",
        absl::StrCat("a process here may open ", files_max, " files: few connections"),
        "raise `ulimit -n`, or LimitNOFILE of the service");
  }
}

size_t Count(const Findings& findings, Level level) {
  return static_cast<size_t>(
      std::count_if(findings.begin(), findings.end(),
                    [level](const Finding& finding) { return finding.level == level; }));
}

Json FindingsJson(const Findings& findings) {
  Json answer;
  answer.Array("findings", findings, [](const Finding& finding, Json* object) {
    object->Field("level", Name(finding.level));
    object->Field("check", finding.check);
    object->Field("server", finding.server);
    object->Field("what", finding.what);
    object->Field("mend", finding.mend);
  });
  answer.Field("bad", Count(findings, Level::kBad));
  answer.Field("warnings", Count(findings, Level::kWarn));
  return answer;
}

std::vector<std::string> FindingLines(const Findings& findings, Level least) {
  std::vector<std::string> lines;
  for (const Finding& finding : findings) {
    if (finding.level < least) continue;
    lines.push_back(fmt::format("{:<8} {:<12} {}{}{}", Name(finding.level), finding.check,
                                Shown(finding.server), finding.server.empty() ? "" : ": ",
                                Shown(finding.what)));
    if (!finding.mend.empty())
      lines.push_back(fmt::format("{:<8} {:<12}   mend: {}", "", "", Shown(finding.mend)));
  }
  return lines;
}

}  // namespace larder::cli
