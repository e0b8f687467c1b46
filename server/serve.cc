// Shutdown, in order: readiness goes off, so that load balancers send new calls elsewhere; after
// shutdown.delay, callers that wait in line for somebody else's load are told to go elsewhere;
// connections are closed gracefully and running calls get up to shutdown.drain; then the workers
// finish what they have and everything goes down in reverse.
//
// With a data directory, the versions that this node has given out are kept ahead of the clock on
// disk: a node that restarts after its wall clock was set back still makes versions above all
// earlier ones.

#include "serve.h"

#include <signal.h>
#include <sys/resource.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "base/data_dir.h"
#include "base/executor.h"
#include "base/log.h"
#include "base/status.h"
#include "base/strings.h"
#include "below.h"
#include "config/auto.h"
#include "config/l2.h"
#include "core/version.h"
#include "engine/engine.h"
#include "engine/origin_warmer.h"
#include "engine/request_ids.h"
#include "engine/warm.h"
#include "larder/config/v1/config.pb.h"
#include "memory/memory_watch.h"
#include "rpc/admin_handlers.h"
#include "rpc/cache_handlers.h"
#include "rpc/dispatcher.h"
#include "rpc/methods.h"
#include "rpc/reference_lane.h"
#include "sources.h"

namespace larder {
namespace {

// A request id with what it answered: most answers are small, those of batches are not.
constexpr uint64_t kRequestIdBytes = 512;
// How long calls of the second tier that are under way may hold up the end, and the last messages
// to the other replicas.
constexpr absl::Duration kStopMost = absl::Seconds(5);
constexpr absl::Duration kGoodbyeMost = absl::Seconds(1);
constexpr char kVersionFile[] = "version";
constexpr absl::Duration kVersionsAhead = absl::Minutes(1);
// While versions are ahead of the wall clock they grow by counting, four million to the second.
constexpr absl::Duration kVersionsHeadroom = absl::Seconds(1);
constexpr absl::Duration kVersionSaveInterval = absl::Seconds(20);

absl::Duration FromProto(const google::protobuf::Duration& duration) {
  return absl::Seconds(duration.seconds()) + absl::Nanoseconds(duration.nanos());
}

absl::Duration OrNever(absl::Duration duration) {
  return duration == absl::ZeroDuration() ? absl::InfiniteDuration() : duration;
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
  if (log.format() == config::v1::LOG_FORMAT_TEXT) options.format = LogOptions::Format::kText;
  if (log.format() == config::v1::LOG_FORMAT_JSON) options.format = LogOptions::Format::kJson;
  return options;
}

Engine::Options EngineOptionsFrom(const Config& config, const MemoryWatch& memory,
                                  const Below& below, const Sources& sources, Executor* executor,
                                  Version floor) {
  const config::v1::Config& proto = *config.proto;
  Engine::Options options;
  options.tier = below.tier.get();
  options.bus = below.bus.get();
  options.fleet_leases = below.fleet_leases.get();
  options.origins = sources.links;
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

ReferenceLane::Options LaneOptionsFrom(const config::v1::Config& proto) {
  ReferenceLane::Options options;
  options.address = proto.listen().grpc();
  options.message_bytes_max = proto.limits().message_bytes();
  options.metadata_bytes_max = proto.limits().metadata_bytes();
  options.buffer_bytes_max = proto.limits().buffer_bytes();
  options.streams_max = static_cast<int>(proto.limits().streams());
  options.keepalive_time = FromProto(proto.connections().keepalive_time());
  options.keepalive_timeout = FromProto(proto.connections().keepalive_timeout());
  options.ping_interval_min = FromProto(proto.connections().ping_interval_min());
  options.connection_age_max = OrNever(FromProto(proto.connections().max_age()));
  options.connection_age_grace = FromProto(proto.connections().max_age_grace());
  options.connection_idle_max = OrNever(FromProto(proto.connections().max_idle()));
  return options;
}

// Every connection takes a descriptor, and the usual soft limit of 1,024 is for shells.
void RaiseDescriptorLimit() {
  rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
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

sigset_t ShutdownSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  return signals;
}

}  // namespace

absl::Status Serve(const Config& config, const std::string& version) {
  // Blocked before the first thread starts, so that all inherit it and sigwait below is the only
  // taker.
  const sigset_t signals = ShutdownSignals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);
  // A restart is how the configuration changes; a terminal that goes away is no reason to stop.
  signal(SIGHUP, SIG_IGN);
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

  const std::unique_ptr<ThreadPool> pool =
      ThreadPool::New({static_cast<int>(proto.workers().threads()), proto.limits().queue()});
  // For what waits for the disk.
  const std::unique_ptr<ThreadPool> disk_pool = ThreadPool::New({1, proto.limits().queue()});
  ASSIGN_OR_RETURN(const Below below, NewBelow(config, pool.get()));
  ASSIGN_OR_RETURN(const Sources sources, NewSources(config, pool.get()));
  MemoryWatch memory({.governor = MemoryOptionsOf(proto), .executor = pool.get()});
  Engine engine(EngineOptionsFrom(config, memory, below, sources, pool.get(), floor));
  Warmer warmer(WarmerOptionsFrom(proto, data_dir.get(), &engine, pool.get(), disk_pool.get()));
  OriginWarmer origin_warmer({.engine = &engine});
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
  AdminHandlers admin({version, proto.node().name(), limits, absl::Now()}, &engine, &origin_warmer,
                      &methods);
  Dispatcher dispatcher(Clock::System(), pool.get());

  // Work that is still running uses what was made above, so the workers stop first, whichever way
  // this function ends.
  struct StopWorkers {
    ThreadPool* pool;
    ThreadPool* disk_pool;
    Engine* engine;
    ~StopWorkers() {
      engine->Stop(kStopMost);
      disk_pool->Shutdown();
      pool->Shutdown();
    }
  } stop_workers{pool.get(), disk_pool.get(), &engine};

  RETURN_IF_ERROR(version_keeper.Save(engine.versions()));
  ASSIGN_OR_RETURN(const std::unique_ptr<ReferenceLane> lane,
                   ReferenceLane::Start(LaneOptionsFrom(proto), &methods, &dispatcher));
  engine.Start();
  memory.Start({.held_bytes = [&engine] { return engine.memory().Usage().bytes; },
                .set_budget = [&engine](uint64_t bytes) { engine.SetMemoryBudget(bytes); }});
  version_keeper.SaveRegularly(&engine.versions(), pool.get());
  warmer.Start();
  origin_warmer.Start();
  LogInfo("lane_listening", {{"lane", "reference"}, {"address", lane->address()}});
  // Whoever wants it to end need not wait until it is ready.
  int received = 0;
  for (bool ready = false; received <= 0;) {
    if (!ready && warmer.ready() && origin_warmer.ready()) {
      ready = true;
      lane->SetReady(true);
      LogInfo("ready", {{"memory_bytes", memory.Status().budget_bytes},
                        {"types", static_cast<uint64_t>(config.types->size())},
                        {"after", absl::Nanoseconds(Clock::System()->Mono() - begun)}});
    }
    const timespec look_again{.tv_sec = ready ? 3600 : 0, .tv_nsec = ready ? 0 : 10'000'000};
    received = sigtimedwait(&signals, nullptr, &look_again);
  }
  // From here on a second signal has its usual effect.
  pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
  LogInfo("draining", {{"signal", received == SIGTERM ? "SIGTERM" : "SIGINT"}});
  lane->SetReady(false);
  absl::SleepFor(FromProto(proto.shutdown().delay()));
  origin_warmer.Stop();
  engine.Drain();
  lane->Drain(FromProto(proto.shutdown().drain()));
  warmer.Stop();
  if (!engine.Stop(kStopMost)) LogWarning("stopped_with_work_under_way", {});
  if (below.bus != nullptr) SayGoodbye(below.bus.get());
  disk_pool->Shutdown();
  pool->Shutdown();
  RETURN_IF_ERROR(version_keeper.Save(engine.versions()));
  LogInfo("stopped", {{"uptime", absl::Nanoseconds(Clock::System()->Mono() - begun)}});
  return absl::OkStatus();
}

}  // namespace larder
