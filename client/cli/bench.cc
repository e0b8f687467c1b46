// `bench`: how fast a server is under a given load, what the cache is worth against its origin, and
// how two such measurements compare.
//
// It writes keys of its own, under `bench:`, and takes them away again. Where it is given keys it
// only reads them, unless it is told how much to write; and never does it write what would reach an
// origin without being told that it may.

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "client/cli/bench_report.h"
#include "client/cli/bench_run.h"
#include "client/cli/commands.h"
#include "client/cli/draw.h"
#include "client/cli/exit_code.h"
#include "client/cli/interrupt.h"
#include "client/cli/progress.h"

namespace larder::cli {
namespace {

constexpr char kOwnKeys[] = "bench:{n}";
constexpr char kOwnPrefix[] = "bench:";
constexpr uint64_t kKeysMax = 10'000'000;
constexpr size_t kFillBatch = 500;
constexpr size_t kFillBytes = 4 << 20;

struct Flags {
  double rate = 1'000;
  std::optional<absl::Duration> duration;
  std::optional<absl::Duration> warmup;
  std::string arrivals = "poisson";
  std::string reads;
  double zipf = 0.99;
  uint64_t keys = 10'000;
  std::string key;
  std::string keys_from;
  std::string value_bytes = "100";
  std::string type;
  std::optional<absl::Duration> ttl;
  int connections = 4;
  uint64_t seed = 1;
  size_t in_flight = 10'000;
  bool with_origin = false;
  bool write_origin = false;
  bool fill = true;
  bool keep = false;
  std::string out;
  std::vector<std::string> compare;
  std::optional<double> worse_than;
};

absl::Status Wrong(const std::string& what) { return absl::InvalidArgumentError(what); }

// `90%` or `90`.
absl::StatusOr<double> ParsePercent(const std::string& text) {
  double percent = 0;
  if (!absl::SimpleAtod(absl::StripSuffix(text, "%"), &percent) || !(percent >= 0) || percent > 100)
    return Wrong(absl::StrCat("--reads is 0% to 100%, not ", text));
  return percent / 100;
}

// `100` or `100..5000`.
absl::Status ParseSizes(const std::string& text, BenchPlan* plan) {
  const std::vector<std::string> ends = absl::StrSplit(text, absl::MaxSplits("..", 1));
  uint64_t least = 0;
  uint64_t most = 0;
  if (!absl::SimpleAtoi(ends[0], &least) || !absl::SimpleAtoi(ends.back(), &most) || most < least ||
      most > (64 << 20))
    return Wrong(absl::StrCat("--value-bytes is N or N..M, 0 to 67108864, not ", text));
  plan->value_bytes_min = least;
  plan->value_bytes_max = most;
  return absl::OkStatus();
}

// One run of the command.
class Bench {
 public:
  Bench(Session* session, const Flags& flags) : session_(session), flags_(flags) {}

  ExitCode Run() {
    for (const auto step :
         {&Bench::Plan, &Bench::Keys, &Bench::ConnectAll, &Bench::CheckType, &Bench::Fill}) {
      if (const absl::Status status = (this->*step)(); !status.ok()) return session_->Fail(status);
    }
    const CatchInterrupt ctrl_c;
    if (const absl::Status status =
            RunPart(flags_.with_origin ? BenchRead::kLoad : BenchRead::kGet, "cache");
        !status.ok())
      return session_->Fail(status);
    if (flags_.with_origin && !Interrupted()) {
      if (const absl::Status status = RunPart(BenchRead::kOrigin, "origin"); !status.ok())
        return session_->Fail(status);
    }
    CleanUp();
    return Report();
  }

 private:
  bool own_keys() const { return flags_.key.empty() && flags_.keys_from.empty(); }

  absl::Status Plan() {
    plan_.duration = flags_.duration.value_or(plan_.duration);
    plan_.warmup = flags_.warmup.value_or(plan_.warmup);
    if (plan_.duration < absl::Milliseconds(100) || plan_.duration > absl::Hours(24))
      return Wrong("--duration is 100ms to 24h");
    if (plan_.warmup < absl::ZeroDuration() || plan_.warmup > absl::Hours(1))
      return Wrong("--warmup is 0s to 1h");
    plan_.rate = flags_.rate;
    plan_.poisson = flags_.arrivals == "poisson";
    plan_.zipf = flags_.zipf;
    plan_.type = flags_.type;
    plan_.ttl = flags_.ttl;
    plan_.seed = flags_.seed;
    plan_.in_flight_max = flags_.in_flight;
    plan_.patience = session_->deadline;
    // Keys of others are not written over because somebody has forgotten a flag.
    std::string reads = flags_.reads;
    if (reads.empty()) reads = own_keys() ? "90%" : "100%";
    const absl::StatusOr<double> share = ParsePercent(reads);
    if (!share.ok()) return share.status();
    plan_.read_share = *share;
    if (flags_.with_origin && plan_.read_share < 1)
      return Wrong("--with-origin compares reads: leave out --reads, or give 100%");
    if (flags_.with_origin && own_keys())
      return Wrong(
          "--with-origin needs keys that the origin has: --key TEMPLATE or --keys-from FILE");
    if (!flags_.key.empty() && !flags_.keys_from.empty())
      return Wrong("give --key, or --keys-from");
    return ParseSizes(flags_.value_bytes, &plan_);
  }

  absl::Status Keys() {
    if (!flags_.keys_from.empty()) {
      absl::StatusOr<std::vector<std::string>> keys = ReadKeys(flags_.keys_from);
      if (!keys.ok()) return keys.status();
      plan_.keys = *std::move(keys);
      return absl::OkStatus();
    }
    const std::string key = own_keys() ? kOwnKeys : flags_.key;
    if (key.find("{n}") == std::string::npos)
      return Wrong("--key needs {n}, in whose place the numbers 0, 1, 2, ... come");
    for (uint64_t n = 0; n < flags_.keys; ++n)
      plan_.keys.push_back(absl::StrReplaceAll(key, {{"{n}", absl::StrCat(n)}}));
    return absl::OkStatus();
  }

  absl::Status ConnectAll() {
    for (int i = 0; i < flags_.connections; ++i) {
      ClientOptions options = session_->OptionsFor(session_->server, session_->deadline);
      options.user_agent = "larder-bench/" LARDER_VERSION;
      // A repeat would make two calls of one, and hide that the first one failed.
      options.retry.attempts_max = 1;
      absl::StatusOr<std::unique_ptr<Client>> client = Connect(options);
      if (!client.ok()) return client.status();
      // The handshake is not what is measured.
      if (const absl::StatusOr<PingResult> there = (*client)->Ping(); !there.ok())
        return there.status();
      clients_.push_back(*std::move(client));
    }
    return absl::OkStatus();
  }

  // What the type of the first key makes of reads and writes.
  absl::Status CheckType() {
    const absl::StatusOr<ServerInfoResult> info = session_->client->ServerInfo();
    if (!info.ok()) return info.status();
    version_ = info->version;
    ExplainOptions options;
    options.type = flags_.type;
    const absl::StatusOr<ExplainResult> first =
        session_->client->Explain(plan_.keys.front(), options);
    if (!first.ok()) return first.status();
    type_ = first->type;
    for (const TypeInfo& type : info->types) {
      if (type.name != type_) continue;
      origin_ = type.origin;
      const bool reaches_origin = type.write_mode != "cache_only" && !type.origin.empty();
      if ((plan_.read_share < 1 || (own_keys() && flags_.fill)) && reaches_origin &&
          !flags_.write_origin) {
        return absl::FailedPreconditionError(absl::StrCat(
            "writes of type ", type_, " reach its origin ", type.origin,
            ": read only (--reads 100% with --key or --keys-from), or say --write-origin"));
      }
    }
    if (flags_.with_origin && origin_.empty()) {
      return absl::FailedPreconditionError(absl::StrCat(plan_.keys.front(), " is of type ", type_,
                                                        ", which has no origin to compare with"));
    }
    return absl::OkStatus();
  }

  absl::Status Fill() {
    if (!own_keys() || !flags_.fill) return absl::OkStatus();
    const std::string pool =
        BenchValue(plan_.seed, std::max<size_t>(1 << 20, 2 * plan_.value_bytes_max));
    Draw draw(plan_.seed);
    BatchSetOptions options;
    options.call.deadline = std::max(session_->deadline, absl::Seconds(10));
    const size_t together =
        std::clamp<size_t>(kFillBytes / std::max<size_t>(plan_.value_bytes_max, 1), 1, kFillBatch);
    for (size_t at = 0; at < plan_.keys.size(); at += together) {
      std::vector<SetItem> items;
      for (size_t i = at; i < std::min(at + together, plan_.keys.size()); ++i) {
        const size_t bytes =
            plan_.value_bytes_min + draw.Below(plan_.value_bytes_max - plan_.value_bytes_min + 1);
        SetItem item;
        item.key = plan_.keys[i];
        item.value = pool.substr(draw.Below(pool.size() - bytes + 1), bytes);
        item.type = plan_.type;
        item.ttl = plan_.ttl;
        items.push_back(std::move(item));
      }
      const absl::StatusOr<std::vector<SetResult>> set = session_->client->BatchSet(items, options);
      if (!set.ok()) return set.status();
      if (at > 0) continue;
      // At once, so that what is missing was never kept and is not gone already.
      if (const absl::Status seen = SeeWhatIsKept(items); !seen.ok()) return seen;
    }
    filled_ = true;
    return absl::OkStatus();
  }

  absl::Status SeeWhatIsKept(const std::vector<SetItem>& items) {
    std::vector<std::string> keys;
    for (const SetItem& item : items) keys.push_back(item.key);
    GetOptions options;
    options.type = plan_.type;
    options.metadata_only = true;
    const absl::StatusOr<std::vector<GetResult>> found = session_->client->BatchGet(keys, options);
    if (!found.ok()) return found.status();
    const auto kept = std::count_if(found->begin(), found->end(),
                                    [](const GetResult& result) { return result.hit(); });
    kept_ratio_ = static_cast<double>(kept) / static_cast<double>(keys.size());
    return absl::OkStatus();
  }

  absl::StatusOr<std::optional<uint64_t>> OriginLoads() const {
    if (origin_.empty()) return std::optional<uint64_t>();
    const absl::StatusOr<StatsResult> stats = session_->client->Stats();
    if (!stats.ok()) return stats.status();
    for (const OriginStats& origin : stats->origins) {
      if (origin.name == origin_) return std::optional<uint64_t>(origin.load_items);
    }
    return std::optional<uint64_t>();
  }

  absl::Status RunPart(BenchRead read, const std::string& name) {
    const absl::StatusOr<std::optional<uint64_t>> before = OriginLoads();
    if (!before.ok()) return before.status();
    plan_.read = read;
    Progress view(&session_->out, false, name, 0);
    const absl::Time began = absl::Now();
    BenchPart part;
    part.name = name;
    part.kept_ratio = kept_ratio_;
    part.outcome =
        RunBench(plan_, clients_, [&](uint64_t answered, uint64_t failed, uint64_t planned) {
          if (session_->json) return;
          WarmProgress so_far;
          so_far.failed = failed;
          so_far.loaded = answered - std::min(answered, failed);
          so_far.total = std::max(planned, answered);
          view.Show(so_far, absl::Now() - began);
        });
    view.Clear();
    const absl::StatusOr<std::optional<uint64_t>> after = OriginLoads();
    if (before->has_value() && after.ok() && after->has_value())
      part.origin_loads = **after - **before;
    report_.parts.push_back(std::move(part));
    return absl::OkStatus();
  }

  void CleanUp() {
    if (!own_keys() || flags_.keep || (plan_.read_share == 1 && !filled_)) return;
    Selector own;
    own.prefix = kOwnPrefix;
    if (const auto gone = session_->client->InvalidateBy(own); !gone.ok())
      fmt::print(stderr, "larder: its own keys are left: {}\n", Told(gone.status()));
  }

  ExitCode Report() {
    report_.server = session_->server;
    report_.server_version = version_;
    report_.client_version = LARDER_VERSION;
    report_.time = absl::Now();
    report_.settings = {
        {"rate", fmt::format("{:g}", plan_.rate)},
        {"duration", absl::FormatDuration(plan_.duration)},
        {"warmup", absl::FormatDuration(plan_.warmup)},
        {"arrivals", flags_.arrivals},
        {"reads", fmt::format("{:g}%", 100 * plan_.read_share)},
        {"zipf", fmt::format("{:g}", plan_.zipf)},
        {"keys", absl::StrCat(plan_.keys.size())},
        {"value_bytes", flags_.value_bytes},
        {"type", type_},
        {"connections", absl::StrCat(flags_.connections)},
    };
    const Json json = BenchJson(report_);
    if (!flags_.out.empty()) {
      if (absl::Status status = WriteFile(flags_.out, json.Text() + "\n"); !status.ok())
        return session_->Fail(status);
    }
    if (session_->json) {
      session_->out.Print(json);
    } else {
      PrintBench(report_, &session_->out);
    }
    if (Interrupted()) return kInterrupted;
    for (const BenchPart& part : report_.parts) {
      if (part.outcome.failed() > 0) return kMiss;
    }
    return kOk;
  }

  Session* const session_;
  const Flags& flags_;
  BenchPlan plan_;
  std::vector<std::unique_ptr<Client>> clients_;
  std::string version_;
  std::string type_;
  std::string origin_;
  bool filled_ = false;
  std::optional<double> kept_ratio_;
  BenchReport report_;
};

ExitCode RunCompare(Session* session, const Flags& flags) {
  std::vector<std::string> texts;
  for (const std::string& file : flags.compare) {
    absl::StatusOr<std::string> text = ReadValue(file == "-" ? "-" : "@" + file);
    if (!text.ok()) return session->Fail(text.status());
    texts.push_back(*std::move(text));
  }
  const absl::StatusOr<BenchComparison> comparison = CompareBenches(texts[0], texts[1]);
  if (!comparison.ok()) return session->Fail(comparison.status());
  if (session->json) {
    session->out.Print(ComparisonJson(*comparison));
  } else {
    PrintComparison(*comparison, &session->out);
  }
  if (!flags.worse_than.has_value()) return kOk;
  return comparison->Worse(*flags.worse_than) ? kMiss : kOk;
}

void AddLoadFlags(CLI::App* command, Flags* flags) {
  command->add_option("--rate", flags->rate, "Calls a second")
      ->check(CLI::Range(0.1, 1e6))
      ->capture_default_str()
      ->type_name("CALLS");
  AddDuration(command, "--duration", &flags->duration, "How long to measure; default 10s");
  AddDuration(command, "--warmup", &flags->warmup, "How long before that; default 2s");
  command
      ->add_option("--arrivals", flags->arrivals, "poisson, as of independent callers, or steady")
      ->check(CLI::IsMember({"poisson", "steady"}))
      ->capture_default_str()
      ->type_name("HOW");
  command
      ->add_option("--reads", flags->reads,
                   "Part of the calls that read; default 90%, of keys that are given 100%")
      ->type_name("PERCENT");
  command->add_option("--value-bytes", flags->value_bytes, "Size of values: N, or N..M")
      ->capture_default_str()
      ->type_name("BYTES");
  AddDuration(command, "--ttl", &flags->ttl, "TTL of what it writes; default: by the type");
  command->add_option("--connections", flags->connections, "Connections to the server")
      ->check(CLI::Range(1, 256))
      ->capture_default_str()
      ->type_name("COUNT");
  command
      ->add_option("--in-flight", flags->in_flight,
                   "Calls under way at most; beyond it calls begin late")
      ->check(CLI::Range(1, 1'000'000))
      ->capture_default_str()
      ->type_name("CALLS");
  command->add_option("--seed", flags->seed, "Of what is left to chance")
      ->capture_default_str()
      ->type_name("NUMBER");
}

void AddKeyFlags(CLI::App* command, Flags* flags) {
  command->add_option("--keys", flags->keys, "So many different keys")
      ->check(CLI::Range(uint64_t{1}, kKeysMax))
      ->capture_default_str()
      ->type_name("KEYS");
  command->add_option("--zipf", flags->zipf, "How uneven keys come up: 0 all alike, 1 as is usual")
      ->check(CLI::Range(0.0, 4.0))
      ->capture_default_str()
      ->type_name("SKEW");
  command->add_option("--key", flags->key, "Keys such as user:{n}; default: its own, bench:{n}")
      ->type_name("TEMPLATE");
  command->add_option("--keys-from", flags->keys_from, "The keys in this file, one a line")
      ->type_name("FILE");
  AddType(command, &flags->type);
  command->add_flag("!--no-fill", flags->fill, "Do not store its own keys beforehand");
  command->add_flag("--keep", flags->keep, "Leave its own keys in the cache");
}

}  // namespace

void AddBench(CLI::App* app, Session* session) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = AddCommand(
      app, session, "bench", "Measure a server under a load, or compare two measurements",
      [session, flags] {
        return flags->compare.empty() ? Bench(session, *flags).Run() : RunCompare(session, *flags);
      });
  AddLoadFlags(command, flags.get());
  AddKeyFlags(command, flags.get());
  command->add_flag("--with-origin", flags->with_origin,
                    "Read with the cache, then the same past it, from the origin");
  command->add_flag("--write-origin", flags->write_origin,
                    "Write also where writes reach an origin");
  command->add_option("--out", flags->out, "Write the result as JSON to this file, too")
      ->type_name("FILE");
  CLI::Option* const compare =
      command->add_option("--compare", flags->compare, "Compare two results in place of measuring")
          ->type_name("A.json B.json")
          ->expected(2);
  command
      ->add_option("--worse-than", flags->worse_than,
                   "With --compare: exit 3 when B is worse in something by more than this factor")
      ->check(CLI::Range(1.0, 1'000.0))
      ->type_name("FACTOR")
      ->needs(compare);
  command->parse_complete_callback(
      [session, flags] { session->offline = !flags->compare.empty(); });
}

}  // namespace larder::cli
