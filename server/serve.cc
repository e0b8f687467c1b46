// Shutdown, in order: readiness goes off, so that load balancers send new calls elsewhere; after
// shutdown.delay, callers that wait in line for somebody else's load are told to go elsewhere;
// connections are closed gracefully and running calls get up to shutdown.drain; in what is left of
// that the journal delivers what waits, and keeps the rest; then the workers finish what they have
// and everything goes down in reverse.
//
// With a data directory, the versions that this node has given out are kept ahead of the clock on
// disk: a node that restarts after its wall clock was set back still makes versions above all
// earlier ones. A little long, because Serve shows in one place what is made of what.

#include "serve.h"

#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <climits>
#include <filesystem>
#include <memory>
#include <string>
#include <system_error>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "admin_port.h"
#include "auth.h"
#include "base/data_dir.h"
#include "base/executor.h"
#include "base/log.h"
#include "base/status.h"
#include "base/strings.h"
#include "below.h"
#include "config/auto.h"
#include "config/journal.h"
#include "config/l2.h"
#include "core/version.h"
#include "engine/engine.h"
#include "engine/origin_warmer.h"
#include "engine/request_ids.h"
#include "engine/warm.h"
#include "lanes.h"
#include "larder/config/v1/config.pb.h"
#include "load_limits.h"
#include "memory/memory_watch.h"
#include "reloader.h"
#include "rpc/access.h"
#include "rpc/admin_handlers.h"
#include "rpc/cache_handlers.h"
#include "rpc/control_handlers.h"
#include "rpc/dispatcher.h"
#include "rpc/log_key.h"
#include "rpc/methods.h"
#include "rpc/watch_handler.h"
#include "sources.h"

namespace larder {
namespace {

// A request id with what it answered: most answers are small, those of batches are not.
constexpr uint64_t kRequestIdBytes = 512;
// How long calls of the second tier that are under way may hold up the end, and the last messages
// to the other replicas.
constexpr absl::Duration kStopMost = absl::Seconds(5);
constexpr absl::Duration kGoodbyeMost = absl::Seconds(1);
// How long the journal delivers at the end in any case, however long calls have taken.
constexpr absl::Duration kDeliverLeast = absl::Seconds(1);
// How often the state of the journal is looked at for readiness.
constexpr absl::Duration kJournalLook = absl::Milliseconds(100);
constexpr char kVersionFile[] = "version";
constexpr absl::Duration kVersionsAhead = absl::Minutes(1);
// While versions are ahead of the wall clock they grow by counting, four million to the second.
constexpr absl::Duration kVersionsHeadroom = absl::Seconds(1);
constexpr absl::Duration kVersionSaveInterval = absl::Seconds(20);

absl::Duration FromProto(const google::protobuf::Duration& duration) {
  return absl::Seconds(duration.seconds()) + absl::Nanoseconds(duration.nanos());
}

LogOptions LogOptionsFrom(const config::v1::Log& log) {
  LogOptions options;
  switch (log.level()) {
    case config::v1::LOG_LEVEL_DEBUG:
      options.level = LogLevel::kDebug;
      break;
    case config::v1::LOG_LEVEL_WARN:
      options.level = LogLevel::kWarning;
      break;
    case config::v1::LOG_LEVEL_ERROR:
      options.level = LogLevel::kError;
      break;
    default:
      options.level = LogLevel::kInfo;
  }
  options.event_lines_per_second =
      log.lines_per_second() == 0 ? INT_MAX : static_cast<int>(log.lines_per_second());
  if (log.format() == config::v1::LOG_FORMAT_TEXT) options.format = LogOptions::Format::kText;
  if (log.format() == config::v1::LOG_FORMAT_JSON) options.format = LogOptions::Format::kJson;
  return options;
}

Engine::Options EngineOptionsFrom(const Config& config, const MemoryWatch& memory,
                                  const Below& below, const Sources& sources, Journal* journal,
                                  Executor* executor, Version floor) {
  const config::v1::Config& proto = *config.proto;
  Engine::Options options;
  options.tier = below.tier.get();
  options.bus = below.bus.get();
  options.fleet_leases = below.fleet_leases.get();
  options.origins = sources.links;
  options.journal = journal;
  options.serve_suspect = below.bus_options.serve_suspect;
  options.executor = executor;
  options.types = config.types;
  options.node_id = proto.node().id();
  options.version_floor = floor;
  options.memory_bytes = memory.Status().budget_bytes;
  options.memory_bytes_max = memory.budget_bytes_max();
  options.value_bytes_max = proto.limits().value_bytes();
  options.namespaces_max = proto.limits().namespaces();
  options.leases_max = proto.limits().leases();
  options.waiters_max = proto.limits().waiters();
  options.waiters_per_key_max = proto.limits().waiters_per_key();
  options.rules.rules_max = proto.invalidation().max_rules();
  options.rules.globs_max = proto.invalidation().max_globs();
  options.sweep_rate = proto.invalidation().sweep();
  options.watch.watchers_max = proto.limits().watchers();
  options.watch.fleet = below.fleet.empty() ? StrCat("node ", proto.node().name()) : below.fleet;
  options.lease_ttl = FromProto(proto.leases().ttl());
  options.lease_ttl_max = FromProto(proto.leases().max());
  return options;
}

Warmer::Options WarmerOptionsFrom(const config::v1::Config& proto, DataDir* data_dir,
                                  Engine* engine, Executor* executor, Executor* disk) {
  const WarmOptions warm = WarmOptionsOf(proto);
  Warmer::Options options;
  options.engine = engine;
  options.data_dir = data_dir;
  options.executor = executor;
  options.disk = disk;
  options.limit = warm.limit;
  options.before_ready = warm.before_ready;
  options.rate = warm.rate;
  options.save_interval = warm.save;
  return options;
}

// Every connection takes a descriptor, and the usual soft limit of 1,024 is for shells.
void RaiseDescriptorLimit() {
  rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

// Null when no type writes behind.
absl::StatusOr<std::unique_ptr<Journal>> OpenJournal(const Config& config, Executor* executor) {
  std::optional<Journal::Options> options = JournalOptionsOf(config);
  if (!options.has_value()) {
    // Whoever took write-behind out of the configuration should know that writes may wait there.
    const std::string path = JournalPathOf(*config.proto);
    std::error_code none;
    if (!path.empty() && std::filesystem::exists(path, none))
      LogWarning("journal_not_opened", {{"path", path}, {"why", "no type writes behind"}});
    return nullptr;
  }
  options->executor = executor;
  const MonoNanos began = Clock::System()->Mono();
  ASSIGN_OR_RETURN(std::unique_ptr<Journal> journal, Journal::Open(*options));
  const JournalStats stats = journal->Stats();
  LogInfo("journal_open", {{"path", options->store.path},
                           {"waiting", stats.depth},
                           {"dead_letters", stats.dead_letters},
                           {"took", absl::Nanoseconds(Clock::System()->Mono() - began)}});
  return journal;
}

// Keeps the version that a successor has to start above.
class VersionKeeper {
 public:
  explicit VersionKeeper(DataDir* dir) : dir_(dir) {}

  absl::StatusOr<Version> Load() const {
    if (dir_ == nullptr) return kNoVersion;
    const absl::StatusOr<std::string> text = dir_->ReadFile(kVersionFile);
    if (absl::IsNotFound(text.status())) return kNoVersion;
    if (!text.ok()) return text.status();
    Version version;
    if (!absl::SimpleAtoi(*text, &version)) {
      return absl::DataLossError(
          StrCat(dir_->path(), "/", kVersionFile,
                 " is damaged: it holds no number. Remove it to start without it"));
    }
    return version;
  }

  // Writes down a version that is not reached before the next Save.
  absl::Status Save(const VersionClock& versions) {
    if (dir_ == nullptr) return absl::OkStatus();
    const Version ahead = std::max(VersionAt(VersionTime(versions.Last()) + kVersionsHeadroom),
                                   VersionAt(absl::Now() + kVersionsAhead));
    return dir_->WriteFile(kVersionFile, StrCat(ahead));
  }

  void SaveRegularly(const VersionClock* versions, Executor* executor) {
    if (dir_ == nullptr) return;
    executor->After(kVersionSaveInterval, [this, versions, executor] {
      const absl::Status saved = Save(*versions);
      if (!saved.ok()) LogError("version_not_saved", {{"error", saved}});
      SaveRegularly(versions, executor);
    });
  }

 private:
  DataDir* const dir_;
};

// The other replicas need not find out by themselves that this one is gone.
void SayGoodbye(Bus* bus) {
  const auto said = std::make_shared<absl::Notification>();
  Spawn(bus->Stop(MonoAfter(Clock::System()->Mono(), kGoodbyeMost)),
        [said](const absl::Status& status) {
          if (!status.ok()) LogWarning("bus_not_drained", {{"error", status}});
          said->Notify();
        });
  said->WaitForNotificationWithTimeout(2 * kGoodbyeMost);
}

// Those that are waited for: two that end the server, and one that has its configuration read
// again.
sigset_t AwaitedSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGHUP);
  return signals;
}

// `why`: who asked, for the log.
absl::StatusOr<v1::ReloadConfigResponse> AnswerReload(Reloader* reloader, bool dry_run,
                                                      std::string_view why) {
  ASSIGN_OR_RETURN(const std::vector<ConfigChange> changes, reloader->Reload(dry_run, why));
  v1::ReloadConfigResponse response;
  for (const ConfigChange& change : changes) {
    v1::ConfigChange* const to = response.add_changes();
    to->set_path(change.path);
    to->set_before(change.before);
    to->set_after(change.after);
    to->set_needs_restart(change.needs_restart);
  }
  return response;
}

}  // namespace

absl::Status Serve(const Config& config, const ConfigOrigin& source, const std::string& version) {
  // Blocked before the first thread starts, so that all inherit it and sigwait below is the only
  // taker.
  const sigset_t signals = AwaitedSignals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);
  RaiseDescriptorLimit();
  // Debian builds abseil, and so gRPC, with a detector of lock cycles that costs a sixth of all
  // calls.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);

  const MonoNanos begun = Clock::System()->Mono();
  const config::v1::Config& proto = *config.proto;
  ConfigureLog(LogOptionsFrom(proto.log()));
  LogInfo("larderd_starting",
          {{"version", version}, {"node", proto.node().name()}, {"node_id", proto.node().id()}});

  std::unique_ptr<DataDir> data_dir;
  if (!proto.data().path().empty()) {
    ASSIGN_OR_RETURN(data_dir, DataDir::Open(proto.data().path()));
  }
  VersionKeeper version_keeper(data_dir.get());
  ASSIGN_OR_RETURN(const Version floor, version_keeper.Load());

  // Lanes that come to their turn late cannot even refuse in time what workers have no time for.
  const std::unique_ptr<ThreadPool> pool =
      ThreadPool::New({.threads = static_cast<int>(proto.workers().threads()),
                       .queue_max = proto.limits().queue(),
                       .gives_way = true,
                       .name = "worker"});
  // For what waits for the disk.
  const std::unique_ptr<ThreadPool> disk_pool = ThreadPool::New(
      {.threads = 1, .queue_max = proto.limits().queue(), .gives_way = true, .name = "disk"});
  ASSIGN_OR_RETURN(const Below below, NewBelow(config, pool.get()));
  ASSIGN_OR_RETURN(const Sources sources, NewSources(config, pool.get()));
  MemoryWatch memory({.governor = MemoryOptionsOf(proto), .executor = pool.get()});
  ASSIGN_OR_RETURN(const std::unique_ptr<Journal> journal, OpenJournal(config, pool.get()));
  Engine engine(
      EngineOptionsFrom(config, memory, below, sources, journal.get(), pool.get(), floor));
  // Each hands on to, or waits for, the other one.
  Warmer* from_list = nullptr;
  OriginWarmer origin_warmer(
      {.engine = &engine, .wanted_all = [&from_list] { return from_list->ready(); }});
  Warmer::Options warmer_options =
      WarmerOptionsFrom(proto, data_dir.get(), &engine, pool.get(), disk_pool.get());
  warmer_options.on_missing = [&origin_warmer](std::vector<std::string> full_keys) {
    origin_warmer.Want(std::move(full_keys));
  };
  Warmer warmer(warmer_options);
  from_list = &warmer;
  RequestIds request_ids({.ids_max = proto.limits().request_ids(),
                          .bytes_max = proto.limits().request_ids() * kRequestIdBytes,
                          .remember = FromProto(proto.limits().request_id_ttl())});
  MethodTable methods;
  const RequestLimits limits{proto.limits().value_bytes(),
                             static_cast<int>(proto.limits().batch_keys()),
                             proto.limits().message_bytes()};
  CacheHandlers cache({.limits = limits,
                       .node_name = proto.node().name(),
                       .fleet_wait = below.bus_options.fleet_wait,
                       .warm_stats = [&warmer] { return warmer.Stats(); },
                       .origin_warm_stats = [&origin_warmer] { return origin_warmer.Stats(); }},
                      &engine, &request_ids, &methods);
  WatchHandler watch(limits, &engine, &methods);
  // One time for all who tell it: by it tools see which admin port belongs to which lane.
  const absl::Time started = absl::Now();
  AdminHandlers admin({version, proto.node().name(), limits, started}, &engine, &origin_warmer,
                      &methods);
  Access access(config.types.get());
  access.Replace(AccessTableOf(proto));
  Admission admission(AdmissionLimitsOf(config), Clock::System());
  std::atomic<bool> memory_tight = false;
  // Below the container's limit, and below how much of it writes are refused; 0 = there is none.
  std::atomic<uint64_t> memory_left = 0, memory_tight_below = 0;
  Quotas quotas(QuotasOf(config));
  Dispatcher dispatcher(Clock::System(), pool.get(), &access, &admission, &quotas,
                        config.types.get());
  dispatcher.SetSlowCall(SlowCallOf(config));
  HashKeysInLog(proto.log().hash_keys());
  Reloader reloader({.load = source.load,
                     .apply =
                         [&](const Config& next) {
                           RETURN_IF_ERROR(engine.ReplaceTypes(*next.types));
                           access.Replace(AccessTableOf(*next.proto));
                           admission.Replace(AdmissionLimitsOf(next));
                           quotas.Replace(QuotasOf(next));
                           dispatcher.SetSlowCall(SlowCallOf(next));
                           HashKeysInLog(next.proto->log().hash_keys());
                           ConfigureLog(LogOptionsFrom(next.proto->log()));
                           return absl::OkStatus();
                         },
                     .file = source.file,
                     .seen = source.seen},
                    config);
  // How long running calls may take at the end, in nanoseconds, when a caller said so.
  std::atomic<int64_t> drain_most = -1;
  const ControlHandlers control(
      {.reload = [&reloader](bool dry_run) { return AnswerReload(&reloader, dry_run, "rpc"); },
       .disk = disk_pool.get(),
       .drain =
           [&drain_most](std::optional<absl::Duration> most) {
             if (most.has_value()) drain_most = absl::ToInt64Nanoseconds(*most);
             kill(getpid(), SIGTERM);
           },
       .running = [&admission] { return admission.under_way(); }},
      &methods);

  // Work that is still running uses what was made above, so the workers stop first, whichever way
  // this function ends.
  struct StopWorkers {
    ThreadPool* pool;
    ThreadPool* disk_pool;
    Engine* engine;
    Journal* journal;
    ~StopWorkers() {
      if (journal != nullptr) journal->Stop(Clock::System()->Mono());
      engine->Stop(kStopMost);
      disk_pool->Shutdown();
      pool->Shutdown();
    }
  } stop_workers{pool.get(), disk_pool.get(), &engine, journal.get()};

  RETURN_IF_ERROR(version_keeper.Save(engine.versions()));
  ASSIGN_OR_RETURN(Lanes lanes, Lanes::Start(config, &methods, &dispatcher));
  ASSIGN_OR_RETURN(
      std::unique_ptr<AdminServer> admin_port,
      NewAdminPort(
          config, version, started,
          {&cache, &methods, &lanes, &engine, journal.get(), &access, &reloader, &admission,
           &quotas, &memory_tight,
           [&]() -> std::optional<MemoryRoom> {
             const uint64_t tight = memory_tight_below;
             if (tight == 0) return std::nullopt;
             return MemoryRoom{memory_left, tight, !memory.Status().automatic};
           },
           [&reloader](bool dry_run) { return AnswerReload(&reloader, dry_run, "http"); }}));
  engine.Start();
  memory.Start({.held_bytes = [&engine] { return engine.memory().Usage().bytes; },
                .set_budget = [&engine](uint64_t bytes) { engine.SetMemoryBudget(bytes); },
                .set_tight =
                    [&admission, &memory_tight](bool tight) {
                      admission.SetMemoryTight(tight);
                      memory_tight = tight;
                    },
                .set_left =
                    [&memory_left, &memory_tight_below](const MemoryLeft& left) {
                      memory_left = left.bytes;
                      memory_tight_below = left.tight_bytes;
                    }});
  version_keeper.SaveRegularly(&engine.versions(), pool.get());
  reloader.LookRegularly(disk_pool.get());
  warmer.Start();
  origin_warmer.Start();
  lanes.Log();
  // Whoever wants it to end need not wait until it is ready.
  int received = 0;
  bool warm = false, told = false;
  while (received <= 0) {
    bool just_warm = false;
    if (!warm && warmer.ready() && origin_warmer.ready()) {
      warm = just_warm = true;
    }
    // Writes that the disk does not take are better sent to another replica.
    const absl::Status health = journal == nullptr ? absl::OkStatus() : journal->Health();
    const bool ready = warm && health.ok();
    if (ready != std::exchange(told, ready)) lanes.SetReady(ready);
    if (admin_port != nullptr)
      admin_port->SetReady(ready, ready ? "ready" : !warm ? "warming" : health.ToString());
    // Whoever reads this line finds it ready.
    if (just_warm) {
      LogInfo("ready", {{"memory_bytes", memory.Status().budget_bytes},
                        {"types", static_cast<uint64_t>(config.types->size())},
                        {"after", absl::Nanoseconds(Clock::System()->Mono() - begun)}});
    }
    const absl::Duration pause = !warm                ? absl::Milliseconds(10)
                                 : journal != nullptr ? kJournalLook
                                                      : absl::Hours(1);
    const timespec look_again = absl::ToTimespec(pause);
    received = sigtimedwait(&signals, nullptr, &look_again);
    if (received == SIGHUP) {
      // What it says is in the log.
      static_cast<void>(reloader.Reload(/*dry_run=*/false, "SIGHUP"));
      received = 0;
    }
  }
  // From here on a second signal has its usual effect.
  pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
  LogInfo("draining", {{"signal", received == SIGTERM ? "SIGTERM" : "SIGINT"}});
  lanes.SetReady(false);
  if (admin_port != nullptr) admin_port->SetReady(false, "draining");
  absl::SleepFor(FromProto(proto.shutdown().delay()));
  origin_warmer.Stop();
  engine.Drain();
  const absl::Duration drain =
      drain_most < 0 ? FromProto(proto.shutdown().drain()) : absl::Nanoseconds(drain_most.load());
  const MonoNanos drained_by = MonoAfter(Clock::System()->Mono(), drain);
  lanes.Drain(drain);
  warmer.Stop();
  if (journal != nullptr) {
    const MonoNanos least = MonoAfter(Clock::System()->Mono(), kDeliverLeast);
    const bool empty = journal->Stop(std::max(drained_by, least));
    stop_workers.journal = nullptr;
    LogInfo("journal_closed", {{"empty", empty}});
  }
  // So that the journal could be watched until here.
  admin_port.reset();
  if (!engine.Stop(kStopMost)) LogWarning("stopped_with_work_under_way", {});
  if (below.bus != nullptr) SayGoodbye(below.bus.get());
  disk_pool->Shutdown();
  pool->Shutdown();
  RETURN_IF_ERROR(version_keeper.Save(engine.versions()));
  LogInfo("stopped", {{"uptime", absl::Nanoseconds(Clock::System()->Mono() - begun)}});
  return absl::OkStatus();
}

}  // namespace larder
