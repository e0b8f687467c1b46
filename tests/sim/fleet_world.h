// FleetWorld is a fleet of three replicas, the real engine, bus and guard on a clock and executors
// that a seed drives, over a tier, a log and leases in memory; callers that do everything that
// callers do; and everything that goes wrong. FleetHistory judges what the callers see. One seed,
// one run. Thread safety: none.

#ifndef LARDER_TESTS_SIM_FLEET_WORLD_H_
#define LARDER_TESTS_SIM_FLEET_WORLD_H_

#include <deque>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "tests/engine/replica.h"
#include "tests/sim/fleet_history.h"
#include "tests/sim/sim_origin.h"

namespace larder {

// What happened in a run, so that a simulation in which nothing happens is noticed.
struct FleetTally {
  uint64_t changes = 0;
  uint64_t reads = 0;
  uint64_t hits = 0;
  uint64_t leases = 0;
  uint64_t fills = 0;
  uint64_t fleet_waits = 0;  // answered by all
  uint64_t increments = 0;
  uint64_t restarts = 0;
  uint64_t suspects = 0;  // reads by a replica that was told nothing
  uint64_t settled = 0;
  uint64_t told = 0;      // changes that took effect everywhere
  uint64_t flights = 0;   // loads by replicas from their origin
  uint64_t stale = 0;     // stale values served
  uint64_t filtered = 0;  // keys that a filter knew not to be there
  uint64_t absent = 0;    // reads that were told so, or by a negative entry
  uint64_t warmed = 0;    // keys that were loaded ahead
};

inline constexpr const char* kKeyNames[] = {"a",       "b",       "c",       "strict:0",
                                            "local:0", "slide:0", "owned:0", "owned:1"};
inline constexpr size_t kKeys = std::size(kKeyNames);

class FleetWorld {
 public:
  explicit FleetWorld(uint64_t seed);
  ~FleetWorld();

  void Run();

  // What was seen that must not be; empty if nothing.
  // Of the type that has an origin: how long past its time a value may be served, and how long a
  // load may take.
  static constexpr absl::Duration kStaleMost = absl::Seconds(2);
  static constexpr absl::Duration kLoadMost = absl::Seconds(1);

  const std::string& failure() const { return failure_; }
  const FleetTally& tally() const { return tally_; }
  // Of everything that happened: equal for equal runs.
  uint64_t digest() const { return digest_; }
  // The last things that happened before the failure.
  std::string Story() const;

 private:
  static constexpr int kReplicas = 3;
  // A replica that followed for less than this when it died may not have been known to all.
  static constexpr absl::Duration kKnown = absl::Milliseconds(3200);
  enum class Kind { kPlain, kStrict, kLocal, kSliding, kOwned };
  static Kind KindOf(size_t key) {
    constexpr Kind kKinds[] = {Kind::kPlain, Kind::kPlain,   Kind::kPlain, Kind::kStrict,
                               Kind::kLocal, Kind::kSliding, Kind::kOwned, Kind::kOwned};
    static_assert(std::size(kKinds) == kKeys);
    return kKinds[key];
  }
  // How a run goes wrong; drawn once.
  struct Weather {
    bool calm = false;  // nothing fails
    absl::Duration clocks_off = absl::ZeroDuration();
    bool guarded = true;
    bool serve_suspect = true;
    uint64_t tier_faults = 0, bus_faults = 0, lease_faults = 0, deaths = 0;  // weights
    uint64_t origin_faults = 0, pauses = 0;
    absl::Duration pace;       // between two steps, at most
    bool short_lives = false;  // values expire during the run
    bool fleet_leases = true;
    bool filter = false;  // of the type that has an origin
    // How long memory keeps its entries.
    absl::Duration l1_ttl_max = absl::InfiniteDuration();
  };
  struct Node {
    Instance id;
    bool dead = false;
    std::unique_ptr<ManualExecutor> executor;
    std::unique_ptr<SeededRandom> random;
    std::unique_ptr<SimOrigin> origin;
    std::unique_ptr<Replica> replica;
    MonoNanos gone_at = 0;      // of a dead one: nothing of it is in the log any more
    int running = 0;            // calls
    bool cut_off = false;       // from the log
    MonoNanos still_until = 0;  // does nothing until then, as if its process were stopped
    FakeTierFaults faults;
    MonoNanos faults_until = 0;
    MonoNanos tier_unwell_until = 0;
    uint64_t owed = 0;             // writes that the tier did not take
    MonoNanos reliable_since = 0;  // the bus says so since then; 0: it does not
  };
  using NodePtr = std::shared_ptr<Node>;
  struct Held {
    NodePtr node;
    size_t key;
    std::string token;
    int64_t loaded;
    MonoNanos until;
    bool valid;     // nothing is known that could have taken it away
    uint64_t gaps;  // of its replica's bus, when it was granted
  };
  // A load of one replica from the origin.
  struct Flight {
    Instance by;
    size_t key;
    MonoNanos until;  // its replica gives it up then
  };
  struct Event {
    MonoNanos at;
    int replica;
    int key;  // -1: none
    const char* what;
    int64_t number;
  };

  // fleet_world.cc: time and faults.
  uint64_t Below(uint64_t end) { return random_.Next() % end; }
  bool OneIn(uint64_t chances) { return Below(chances) == 0; }
  NodePtr AnyNode() { return nodes_[Below(kReplicas)]; }
  MonoNanos now() const { return clock_.Mono(); }
  void Fail(std::string why, int key);
  // What may take leases of the key away, now or when the others hear of it.
  void Stir(size_t key);
  bool IsQuiet(size_t key) const;
  void Note(int replica, int key, const char* what, int64_t number = 0);
  NodePtr Start(int replica);
  void Die(NodePtr node);
  void Bury();
  void RunFor(absl::Duration span, absl::Duration step);
  void RunSome(int pieces);
  void Watch();
  bool AnyTierIsUnwell() const;
  void WatchChanges(size_t key);
  void TierFault(const NodePtr& node);
  void BusFault(const NodePtr& node);
  void LeaseFault(const NodePtr& node);
  // No lease of the fleet ends before its time.
  bool LeasesHold() const {
    return weather_.fleet_leases && weather_.lease_faults == 0 && weather_.deaths == 0 &&
           weather_.pauses == 0;
  }
  bool IsStill(const Node& node) const { return now() < node.still_until; }
  void Pause(const NodePtr& node);
  void Heal();
  void CheckAtTheEnd();

  // fleet_calls.cc: what callers do.
  void Step();
  void Misfortune(const NodePtr& node);
  template <typename T, typename Done>
  void Call(const NodePtr& node, Task<T> task, Done done);
  Reading ReadingBy(const NodePtr& node);
  // Whether it says that what is in its memory is true.
  bool Vouches(const NodePtr& node) const;
  void Saw(const NodePtr& node, size_t key, Reading reading, std::string_view value,
           const char* how, bool stale = false);
  void SawAbsent(const NodePtr& node, size_t key, Reading reading);
  void SawResult(const NodePtr& node, size_t key, const Reading& reading, const ReadResult& read,
                 const char* how);
  int64_t BeginChange(const NodePtr& node, size_t key, const char* what, absl::Duration ttl);
  void Answered(const NodePtr& node, size_t key, int64_t number, bool acknowledged);
  absl::Duration AnyTtl();
  std::vector<size_t> SomeKeys();
  void Get(const NodePtr& node, size_t key);
  void BatchGet(const NodePtr& node);
  void Set(const NodePtr& node, size_t key, bool condition);
  void BatchSet(const NodePtr& node);
  void BatchDelete(const NodePtr& node);
  void Delete(const NodePtr& node, size_t key);
  void Invalidate(const NodePtr& node, size_t key);
  void Touch(const NodePtr& node, size_t key);
  void Load(const NodePtr& node, size_t key);
  void BatchLoad(const NodePtr& node);
  void Warm(const NodePtr& node);
  SimOrigin::Hooks OriginOf(Instance id);
  void OriginFault(const NodePtr& node);
  void Granted(const NodePtr& node, size_t key, const GrantedLease& lease, MonoNanos since);
  void EndLoad();
  void Fulfil(const Held& of);
  void Increment(const NodePtr& node);
  void Evict(const NodePtr& node);

  const uint64_t seed_;
  SeededRandom random_;
  ManualClock clock_;
  ManualExecutor log_executor_;
  Fleet fleet_;
  std::vector<std::unique_ptr<ManualExecutor>> buried_;
  Weather weather_;
  FleetHistory history_;
  std::vector<NodePtr> nodes_;
  std::vector<NodePtr> dead_;
  int instances_ = 0;
  std::vector<Held> held_;
  std::vector<Flight> flights_;
  MonoNanos stirred_[kKeys] = {};
  // Touches under way, and how long what they find may live.
  int touching_[kKeys] = {};
  MonoNanos touched_until_[kKeys] = {};
  MonoNanos bus_well_since_ = 0;
  MonoNanos log_loss_at_ = std::numeric_limits<MonoNanos>::min();
  bool log_faults_ = false;
  bool log_frozen_ = false;
  int64_t counted_ = 0;     // acknowledged
  int64_t last_count_ = 0;  // as the counter said
  int junk_ = 0;
  std::deque<Event> events_;
  uint64_t digest_ = 0;
  std::string failure_;
  int failed_key_ = -1;
  FleetTally tally_;
};

}  // namespace larder

#endif  // LARDER_TESTS_SIM_FLEET_WORLD_H_
