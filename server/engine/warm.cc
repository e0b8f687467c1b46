// Problem. After a restart memory is empty, and until it has filled again the tier below, or the
// origin, gets all the traffic that memory kept from it. The tier has the entries; what it does not
// know is which of them memory had.
//
// Choice. Each process leaves the keys of its memory behind, and the next one fetches them. Values
// come from the tier alone, so that nothing can come back that was changed or removed meanwhile: a
// snapshot of values would have to be compared with the tier entry by entry, which is the fetching
// all over. The list is fetched hottest first, because a Zipf's head is most of the hits: how far
// it came when readiness cannot wait any longer matters less.
//
// Before readiness, the only work is the warming, and it goes as fast as the tier answers, in a few
// lanes with one question each. Afterwards it goes at a rate that leaves the tier to the calls.
//
// The list on disk is not written over before the warming is over: a process that is stopped in
// the middle of it, or two minutes into a failure of the tier, leaves the better list to its
// successor.
//
// Cost. A walk over memory and some ten megabytes of disk writes a minute for a million keys; and
// entries that were never wanted again are fetched for nothing.

#include "engine/warm.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "base/log.h"
#include "base/status.h"

namespace larder {
namespace {

// Between two steps of a walk, so that other work comes in between.
constexpr absl::Duration kWalkPause = absl::Milliseconds(1);
// Behind readiness, keys are asked for at least so often in a second, however few they are.
constexpr uint64_t kAsksPerSecond = 20;
// Memory is full when one in so many of what was fetched has cost another entry its place.
constexpr uint64_t kEvictedShare = 1000;

// A type that has reached its share says nothing about the others.
uint64_t EvictedForRoom(const L1Usage& usage) {
  return usage.total.evicted() -
         usage.total.evictions[static_cast<size_t>(EvictionCause::kTypeFull)];
}

}  // namespace

Warmer::Warmer(const Options& options) : options_(options) {}

bool Warmer::Enabled() const {
  if (options_.engine == nullptr || options_.data_dir == nullptr || options_.limit == 0)
    return false;
  const Engine& engine = *options_.engine;
  const std::vector<TypePolicy>& types = engine.options().types->types();
  return engine.options().tier != nullptr ||
         std::any_of(types.begin(), types.end(),
                     [&](const TypePolicy& type) { return engine.WarmsFromOrigin(type); });
}

void Warmer::OnDisk(Work work) {
  Executor* const disk = options_.disk != nullptr ? options_.disk : options_.executor;
  disk->Post(std::move(work));
}

void Warmer::Start() {
  if (!Enabled()) return;
  const uint64_t evicted = EvictedForRoom(options_.engine->memory().Usage());
  {
    MutexLock lock(&mu_);
    evicted_before_ = evicted;
    begun_ = options_.clock->Mono();
    over_ = false;
    stats_.state = "waiting";
    lanes_ = parked_ = options_.batches_max;
    reading_ = true;
    keys_left_ = options_.limit;
  }
  OnDisk([this] { ReadIndex(); });
}

bool Warmer::ready() const {
  MutexLock lock(&mu_);
  return over_ || !BeforeReady(options_.clock->Mono());
}

void Warmer::WaitUntilReady() {
  MutexLock lock(&mu_);
  for (;;) {
    const MonoNanos left = MonoAfter(begun_, options_.before_ready) - options_.clock->Mono();
    if (over_ || left <= 0) return;
    changed_.WaitFor(&mu_, absl::Nanoseconds(left));
  }
}

void Warmer::ReadIndex() {
  const absl::StatusOr<std::string> file = options_.data_dir->ReadFile(kHotListFile);
  if (absl::IsNotFound(file.status())) {
    WasRead(absl::OkStatus(), kHotListFile);
    return;
  }
  const absl::StatusOr<HotListIndex> index =
      file.ok() ? DecodeHotListIndex(*file) : absl::StatusOr<HotListIndex>(file.status());
  if (index.ok()) {
    std::vector<uint32_t> numbers(index->levels.size());
    std::iota(numbers.begin(), numbers.end(), 0);
    std::stable_sort(numbers.begin(), numbers.end(), [&index](uint32_t a, uint32_t b) {
      return index->levels[a] > index->levels[b];
    });
    const uint64_t total = std::min(index->keys, options_.limit);
    LogInfo("warming", {{"keys", total}});
    MutexLock lock(&mu_);
    parts_.assign(numbers.begin(), numbers.end());
    stats_.total = total;
  }
  WasRead(index.status(), kHotListFile);
}

void Warmer::ReadPart() {
  std::string name;
  {
    MutexLock lock(&mu_);
    name = HotListPartFile(parts_.front());
    parts_.pop_front();
  }
  const absl::StatusOr<std::string> file = options_.data_dir->ReadFile(name);
  absl::StatusOr<std::vector<HotKey>> keys =
      file.ok() ? DecodeHotListPart(*file) : absl::StatusOr<std::vector<HotKey>>(file.status());
  if (keys.ok()) {
    MutexLock lock(&mu_);
    keys_ = *std::move(keys);
    next_key_ = 0;
  }
  WasRead(keys.status(), name);
}

void Warmer::WasRead(const absl::Status& status, std::string_view file) {
  if (!status.ok()) LogWarning("hot_keys_not_read", {{"file", file}, {"error", status}});
  int parked;
  {
    MutexLock lock(&mu_);
    reading_ = false;
    parked = std::exchange(parked_, 0);
    if (!status.ok()) ++stats_.bad_files;
  }
  for (int lane = 0; lane < parked; ++lane) options_.executor->Post([this] { Step(); });
}

// One step of one lane.
void Warmer::Step() {
  const Turn turn = NextTurn(options_.engine->CanRefill(), MemoryIsFull());
  switch (turn.kind) {
    case Turn::Kind::kAsk:
      Spawn(options_.engine->Refill(turn.batch.get()),
            [this, batch = turn.batch](RefillResult result) {
              Finished(batch, std::move(result));
              // Not from here: what the tier has at hand is answered at once, and a whole list
              // would be one long step.
              options_.executor->Post([this] { Step(); });
            });
      break;
    case Turn::Kind::kWait:
      options_.executor->After(turn.wait, [this] { Step(); });
      break;
    case Turn::Kind::kRead:
      OnDisk([this] { ReadPart(); });
      break;
    case Turn::Kind::kPark:
      break;
    case Turn::Kind::kEnd:
      if (!turn.ended) break;
      const WarmStats stats = Stats();
      if (stats.total > 0) {
        LogInfo("warmed", {{"state", stats.state},
                           {"keys", stats.total},
                           {"loaded", stats.loaded},
                           {"missing", stats.missing},
                           {"took", stats.took}});
      }
      SaveLater();
      break;
  }
}

Warmer::Turn Warmer::NextTurn(bool can_refill, bool full) {
  const MonoNanos now = options_.clock->Mono();
  MutexLock lock(&mu_);
  Turn turn;
  const bool was_over = over_;
  if (!over_ && now >= MonoAfter(begun_, options_.give_up)) End("given up");
  if (!over_ && full && stats_.total > 0) End("full");
  const bool have_keys = !again_.empty() || (next_key_ < keys_.size() && keys_left_ > 0);
  if (!over_ && have_keys) {
    turn.wait = WaitToAsk(now, can_refill);
    turn.kind = Turn::Kind::kWait;
    if (turn.wait > absl::ZeroDuration()) return turn;
    stats_.state = "warming";
    turn.kind = Turn::Kind::kAsk;
    turn.batch = TakeBatch(now);
    return turn;
  }
  if (!over_ && (reading_ || (!parts_.empty() && keys_left_ > 0))) {
    ++parked_;
    turn.kind = std::exchange(reading_, true) ? Turn::Kind::kPark : Turn::Kind::kRead;
    return turn;
  }
  // A lane whose question failed asks it again itself, so what is left here is nothing.
  if (--lanes_ == 0 && !over_) End("done");
  turn.ended = over_ && !was_over;
  return turn;
}

size_t Warmer::BatchAt(MonoNanos now) const {
  if (BeforeReady(now)) return options_.batch;
  return std::min<uint64_t>(options_.batch, std::max<uint64_t>(options_.rate / kAsksPerSecond, 1));
}

absl::Duration Warmer::WaitToAsk(MonoNanos now, bool can_refill) {
  if (now < ask_after_) return absl::Nanoseconds(ask_after_ - now);
  if (!can_refill) return options_.retry_pause;
  if (BeforeReady(now)) return absl::ZeroDuration();
  if (now < ask_next_) return absl::Nanoseconds(ask_next_ - now);
  ask_next_ =
      MonoAfter(std::max(now, ask_next_), absl::Seconds(1) * static_cast<int64_t>(BatchAt(now)) /
                                              static_cast<int64_t>(options_.rate));
  return absl::ZeroDuration();
}

Warmer::Batch Warmer::TakeBatch(MonoNanos now) {
  if (!again_.empty()) {
    Batch batch = std::move(again_.front());
    again_.pop_front();
    return batch;
  }
  const size_t count =
      std::min({BatchAt(now), keys_.size() - next_key_, static_cast<size_t>(keys_left_)});
  const auto first = keys_.begin() + static_cast<ptrdiff_t>(next_key_);
  auto batch = std::make_shared<const std::vector<HotKey>>(
      std::make_move_iterator(first),
      std::make_move_iterator(first + static_cast<ptrdiff_t>(count)));
  next_key_ += count;
  keys_left_ -= count;
  return batch;
}

void Warmer::Finished(const Batch& batch, RefillResult result) {
  if (!result.again && !result.from_origin.empty() && options_.on_missing != nullptr)
    options_.on_missing(std::move(result.from_origin));
  MutexLock lock(&mu_);
  if (result.again) {
    stats_.again += batch->size();
    ask_after_ = MonoAfter(options_.clock->Mono(), options_.retry_pause);
    again_.push_back(batch);
    return;
  }
  stats_.loaded += result.loaded;
  stats_.present += result.present;
  stats_.missing += result.missing;
  stats_.outdated += result.outdated;
}

void Warmer::End(std::string_view state) {
  over_ = true;
  stats_.state = state;
  stats_.took = absl::Nanoseconds(options_.clock->Mono() - begun_);
  keys_ = {};
  again_.clear();
  parts_.clear();
  changed_.SignalAll();
}

// A small memory begins to evict long before its last byte is taken, and so do some of its shards
// before the others.
bool Warmer::MemoryIsFull() const {
  const L1Usage usage = options_.engine->memory().Usage();
  if (static_cast<double>(usage.bytes) >=
      options_.full_at * static_cast<double>(usage.budget_bytes)) {
    return true;
  }
  const uint64_t evicted = EvictedForRoom(usage);
  MutexLock lock(&mu_);
  return evicted > evicted_before_ + stats_.loaded / kEvictedShare;
}

HotListSaver::Options Warmer::SaverOptions() const {
  HotListSaver::Options saver;
  saver.memory = &options_.engine->memory();
  saver.types = options_.engine->options().types.get();
  saver.second_tier = options_.engine->options().tier != nullptr;
  saver.data_dir = options_.data_dir;
  saver.clock = options_.clock;
  saver.keys_max = options_.limit;
  saver.bytes_max = options_.list_bytes_max;
  saver.part_bytes = options_.part_bytes;
  return saver;
}

void Warmer::SaveLater() {
  options_.executor->After(options_.save_interval,
                           [this] { SaveStep(std::make_shared<HotListSaver>(SaverOptions())); });
}

void Warmer::SaveStep(std::shared_ptr<HotListSaver> saver) {
  {
    MutexLock lock(&mu_);
    if (stopped_) return;
    saving_ = true;
  }
  const bool more = RunSaveStep(saver.get());
  {
    MutexLock lock(&mu_);
    saving_ = false;
    changed_.SignalAll();
  }
  if (!more) {
    SaveLater();
  } else if (saver->next() == HotListSaver::Next::kWrite) {
    OnDisk([this, saver = std::move(saver)] { SaveStep(saver); });
  } else {
    options_.executor->After(kWalkPause, [this, saver = std::move(saver)] { SaveStep(saver); });
  }
}

bool Warmer::RunSaveStep(HotListSaver* saver) {
  absl::Status status;
  if (saver->next() == HotListSaver::Next::kWalk) {
    saver->Walk();
  } else {
    status = saver->Write();
  }
  if (status.ok() && saver->next() != HotListSaver::Next::kDone) return true;
  if (!status.ok()) LogError("hot_keys_not_saved", {{"error", status}});
  MutexLock lock(&mu_);
  ++(status.ok() ? stats_.saves : stats_.saves_failed);
  if (status.ok()) stats_.saved_keys = saver->keys();
  return false;
}

void Warmer::Stop() {
  if (!Enabled()) return;
  {
    MutexLock lock(&mu_);
    stopped_ = true;
    // A step that runs now ends by itself, and no other begins.
    while (saving_) changed_.Wait(&mu_);
    if (!over_) {
      End("stopped");
      return;
    }
    if (stats_.state == "off") return;
  }
  const MonoNanos begun = options_.clock->Mono();
  const MonoNanos end = MonoAfter(begun, options_.stop_max);
  HotListSaver saver(SaverOptions());
  while (RunSaveStep(&saver)) {
    if (options_.clock->Mono() < end) continue;
    LogWarning("hot_keys_not_saved", {{"error", "the server stops before all keys are written"}});
    MutexLock lock(&mu_);
    ++stats_.saves_failed;
    return;
  }
  if (saver.next() != HotListSaver::Next::kDone) return;
  LogInfo("hot_keys_saved",
          {{"keys", saver.keys()}, {"took", absl::Nanoseconds(options_.clock->Mono() - begun)}});
}

WarmStats Warmer::Stats() const {
  MutexLock lock(&mu_);
  WarmStats stats = stats_;
  if (!over_) stats.took = absl::Nanoseconds(options_.clock->Mono() - begun_);
  return stats;
}

}  // namespace larder
