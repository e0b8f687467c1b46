// "Extended as long as its handle can" is not played with timers: a lease of a handle that is well
// has no end, and gets one, a time to live from now, when the handle is cut or the lease is dropped
// without a release.

#include "tests/engine/fake_fleet_lease.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/status/status.h"
#include "base/strings.h"

namespace larder {

class FakeFleetLease::Table {
 public:
  struct Row {
    uint64_t token = 0;
    const void* handle = nullptr;
    MonoNanos until = std::numeric_limits<MonoNanos>::max();
  };

  explicit Table(const Options& its_options) : options(its_options) {}

  MonoNanos now() const { return options.clock->Mono(); }
  // Null: nobody holds it.
  Row* Holder(const std::string& full_key) {
    const auto it = rows.find(full_key);
    if (it == rows.end()) return nullptr;
    if (it->second.until > now()) return &it->second;
    rows.erase(it);
    return nullptr;
  }
  bool Owns(const std::string& full_key, uint64_t token) {
    const Row* const row = Holder(full_key);
    return row != nullptr && row->token == token;
  }

  const Options options;
  std::map<std::string, Row> rows;
  uint64_t last_token = 0;
};

namespace {

using Table = FakeFleetLease::Table;

class Held : public HeldFleetLease {
 public:
  Held(std::shared_ptr<Table> table, std::string full_key, uint64_t token)
      : table_(std::move(table)), full_key_(std::move(full_key)), token_(token) {}
  ~Held() override {
    if (!table_->Owns(full_key_, token_)) return;
    Table::Row& row = table_->rows[full_key_];
    row.until = std::min(row.until, MonoAfter(table_->now(), table_->options.ttl));
  }

  bool lost() const override { return !table_->Owns(full_key_, token_); }
  const std::string& full_key() const override { return full_key_; }
  uint64_t token() const { return token_; }

 private:
  const std::shared_ptr<Table> table_;
  const std::string full_key_;
  const uint64_t token_;
};

// What a handle and its calls share.
struct Line {
  std::shared_ptr<Table> table;
  Executor* executor;
  Random* random;
  FakeFleetLease::Faults faults;
  bool cut = false;
  FleetLeaseStats stats;

  double Draw() { return (random->NextSigned() + 1) / 2; }
  absl::Status Unanswered(std::string_view why) const {
    const absl::StatusCode code =
        faults.late ? absl::StatusCode::kDeadlineExceeded : absl::StatusCode::kUnavailable;
    return absl::Status(code, ToAbsl(why));
  }
};

Task<bool> Travel(std::shared_ptr<Line> line) {
  const absl::Duration delay = line->faults.delay_max * line->Draw();
  const auto there = std::make_shared<Signal<bool>>(line->executor);
  if (delay > absl::ZeroDuration()) {
    line->executor->After(delay, [there] { there->TrySet(true); });
  } else {
    there->TrySet(true);
  }
  co_return co_await *there;
}

FleetLeaseTurn LoadAnyway(std::shared_ptr<HeldFleetLease> lease, absl::Status why) {
  FleetLeaseTurn turn;
  turn.lease = std::move(lease);
  turn.why = std::move(why);
  return turn;
}

Task<FleetLeaseTurn> AcquireOn(std::shared_ptr<Line> line, std::string full_key, MonoNanos began) {
  const bool fails = line->Draw() < line->faults.fails;
  const bool loses = line->Draw() < line->faults.loses;
  co_await Travel(line);
  if (line->cut || fails) {
    ++line->stats.errors;
    co_return LoadAnyway(std::make_shared<Held>(line->table, full_key, /*token=*/0),
                         line->Unanswered("the lease could not be asked for"));
  }
  Table& table = *line->table;
  const absl::Duration waited = absl::Nanoseconds(table.now() - began);
  if (table.Holder(full_key) != nullptr) {
    if (waited >= table.options.wait_max) {
      ++line->stats.waited_out;
      co_return LoadAnyway(nullptr, absl::DeadlineExceededError("waited for too long"));
    }
    ++line->stats.refused;
    FleetLeaseTurn turn;
    turn.kind = FleetLeaseTurn::Kind::kHeld;
    turn.ask_again_after = std::min(table.options.ttl, table.options.wait_max - waited);
    co_return turn;
  }
  Table::Row row;
  row.token = ++table.last_token;
  row.handle = line.get();
  if (loses) row.until = MonoAfter(table.now(), table.options.ttl);
  table.rows[full_key] = row;
  auto held = std::make_shared<Held>(line->table, full_key, row.token);
  if (loses) {
    ++line->stats.errors;
    co_return LoadAnyway(std::move(held), line->Unanswered("the answer was lost"));
  }
  ++line->stats.granted;
  FleetLeaseTurn turn;
  turn.kind = FleetLeaseTurn::Kind::kGranted;
  turn.lease = std::move(held);
  co_return turn;
}

Task<absl::StatusOr<bool>> ReleaseOn(std::shared_ptr<Line> line,
                                     std::shared_ptr<HeldFleetLease> lease) {
  const bool fails = line->Draw() < line->faults.fails;
  co_await Travel(line);
  if (line->cut || fails) co_return absl::UnavailableError("the lease could not be given back");
  const auto* const held = static_cast<const Held*>(lease.get());
  const bool ours = line->table->Owns(held->full_key(), held->token());
  if (ours) line->table->rows.erase(held->full_key());
  ours ? ++line->stats.released : ++line->stats.lost;
  co_return ours;
}

class HandleImpl : public FakeFleetLease::Handle {
 public:
  explicit HandleImpl(std::shared_ptr<Line> line) : line_(std::move(line)) {}
  ~HandleImpl() override { Cut(); }

  Task<FleetLeaseTurn> Acquire(std::string full_key, MonoNanos began, MonoNanos) override {
    return AcquireOn(line_, std::move(full_key), began);
  }
  Task<absl::StatusOr<bool>> Release(std::shared_ptr<HeldFleetLease> lease, MonoNanos) override {
    return ReleaseOn(line_, std::move(lease));
  }
  FleetLeaseStats Stats() const override { return line_->stats; }

  void SetFaults(const FakeFleetLease::Faults& faults) override { line_->faults = faults; }
  void Cut() override {
    if (std::exchange(line_->cut, true)) return;
    Table& table = *line_->table;
    for (auto& [full_key, row] : table.rows) {
      if (row.handle == line_.get())
        row.until = std::min(row.until, MonoAfter(table.now(), table.options.ttl));
    }
  }
  void Mend() override {
    if (!std::exchange(line_->cut, false)) return;
    Table& table = *line_->table;
    for (auto& [full_key, row] : table.rows) {
      if (row.handle == line_.get() && row.until > table.now())
        row.until = std::numeric_limits<MonoNanos>::max();
    }
  }

 private:
  const std::shared_ptr<Line> line_;
};

}  // namespace

FakeFleetLease::FakeFleetLease(const Options& options) : table_(std::make_shared<Table>(options)) {}

std::unique_ptr<FakeFleetLease::Handle> FakeFleetLease::NewHandle(Executor* executor,
                                                                  Random* random) {
  auto line = std::make_shared<Line>();
  line->table = table_;
  line->executor = executor;
  line->random = random;
  return std::make_unique<HandleImpl>(std::move(line));
}

void FakeFleetLease::Lose(const std::string& full_key) { table_->rows.erase(full_key); }

bool FakeFleetLease::IsHeld(const std::string& full_key) const {
  return table_->Holder(full_key) != nullptr;
}

}  // namespace larder
