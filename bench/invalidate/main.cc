// larder_invalidate_bench measures what invalidations cost, in process, with memory alone. Run by
// bench/invalidate/run, which judges.
//
//   larder_invalidate_bench tag | namespace | gets
//
// tag: two million entries of 100 bytes, every other one with one and the same tag. From the call
// of Invalidate to the first read of another thread that misses, and to its answer, the medians of
// that call and thirty more; then how long until the sweep has given back what they took, and how
// many Gets of the others a second one thread makes meanwhile, against before.
// namespace: the same for five million entries of a namespace, all of them.
// gets: what a hit costs among ten thousand entries, while a rule is in force that is newer than
// all of them and covers none: against an engine that knows no rule, and against entries with four
// tags. The engines take turns of a few milliseconds.
//
// Exits 0 when it has measured, 1 when it cannot, 2 on a usage error.

#include <chrono>
#include <cstdio>
#include <future>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "base/executor.h"
#include "base/task.h"
#include "bench/report.h"
#include "engine/engine.h"

namespace larder::bench {
namespace {

using std::chrono::duration;
using std::chrono::steady_clock;

constexpr char kTag[] = "everything";
constexpr size_t kValueBytes = 100;
constexpr double kRateSeconds = 2;
constexpr double kSweepMost = 60;
constexpr int kInvalidations = 31;

double SecondsSince(steady_clock::time_point began) {
  return duration<double>(steady_clock::now() - began).count();
}

template <typename T>
T Await(Task<T> task) {
  auto result = std::make_shared<std::promise<T>>();
  std::future<T> future = result->get_future();
  Spawn(std::move(task), [result](T value) { result->set_value(std::move(value)); });
  return future.get();
}

class Cache {
 public:
  explicit Cache(uint64_t memory_bytes) : executor_(ThreadPool::New({.threads = 1})) {
    Engine::Options options;
    options.executor = executor_.get();
    options.types = *TypeTable::Make({});
    options.memory_bytes = memory_bytes;
    engine_ = std::make_unique<Engine>(options);
    engine_->Start();
  }
  ~Cache() {
    engine_->Drain();
    engine_->Stop(absl::Seconds(10));
    executor_->Shutdown();
  }

  Engine& engine() { return *engine_; }

  void Set(std::string_view name_space, std::string_view key, std::vector<std::string> tags) {
    WriteRequest write;
    write.key = {name_space, key, ""};
    write.value = value_;
    write.ttl = absl::Hours(1);
    write.tags = std::move(tags);
    if (!Await(engine_->Set(std::move(write))).ok()) Broken("a Set failed");
  }
  bool Hits(const FullKey& key) {
    return engine_->FindHit(key, Clock::System()->Mono(), true, &entry_);
  }
  Version Invalidate(Rule rule) {
    InvalidateRequest request;
    request.rules.push_back(std::move(rule));
    const auto done = Await(engine_->Invalidate(std::move(request)));
    if (!done.ok()) Broken("an Invalidate failed");
    return done->version;
  }
  uint64_t entries() const { return engine_->Stats().memory.total.entries; }

 private:
  const std::unique_ptr<ThreadPool> executor_;
  std::unique_ptr<Engine> engine_;
  const std::string value_ = std::string(kValueBytes, 'v');
  Entry entry_;
};

std::string Key(uint64_t n) { return "key:" + std::to_string(n); }

Rule TagRule(const std::string& tag) {
  Rule rule;
  rule.kind = Rule::Kind::kTag;
  rule.name_space = "default";
  rule.match = tag;
  return rule;
}

// Hits a second of every `step`th key from `first`, for so long.
double Rate(Cache* cache, uint64_t first, uint64_t step, uint64_t keys, double seconds) {
  const auto began = steady_clock::now();
  uint64_t hits = 0, n = 0;
  while (SecondsSince(began) < seconds) {
    for (int i = 0; i < 1000; ++i) {
      n = n * 6364136223846793005ull + 1442695040888963407ull;
      const uint64_t at = first + step * ((n >> 33) % ((keys - first) / step));
      hits += cache->Hits(FullKey("", Key(at))) ? 1 : 0;
    }
  }
  return static_cast<double>(hits) / SecondsSince(began);
}

// Invalidates while another thread reads a key that is covered, and again when it has been set
// again: what one call shows on a busy machine is mostly when the scheduler gave a thread its turn.
// Answers when the first call began, the one that covers everything.
steady_clock::time_point UntilReadersMiss(Cache* cache, std::string_view name_space,
                                          std::string_view key, std::vector<std::string> tags,
                                          const Rule& rule, const std::string& name) {
  const FullKey full_key(name_space, key);
  std::vector<double> until, calls;
  steady_clock::time_point first_began;
  for (int i = 0; i < kInvalidations; ++i) {
    if (i > 0) cache->Set(name_space, key, tags);
    std::promise<void> reads;
    std::promise<steady_clock::time_point> missed;
    std::thread reader([&] {
      Entry entry;
      reads.set_value();
      while (cache->engine().FindHit(full_key, Clock::System()->Mono(), true, &entry)) {
      }
      missed.set_value(steady_clock::now());
    });
    reads.get_future().wait();
    const auto began = steady_clock::now();
    if (i == 0) first_began = began;
    cache->Invalidate(rule);
    calls.push_back(SecondsSince(began) * 1e3);
    const bool gone = !cache->Hits(full_key);
    const auto first_miss = missed.get_future().get();
    reader.join();
    if (!gone || first_miss < began) Broken("a read after the call hits, or one before it misses");
    until.push_back(duration<double>(first_miss - began).count() * 1e3);
  }
  Report((name + "_until_readers_miss").c_str(), Median(until), "ms");
  Report((name + "_call").c_str(), Median(calls), "ms");
  return first_began;
}

void MeasureTag() {
  constexpr uint64_t kKeys = 2'000'000;
  Cache cache(uint64_t{2} << 30);
  for (uint64_t n = 0; n < kKeys; ++n) {
    std::vector<std::string> tags;
    if (n % 2 == 1) tags.emplace_back(kTag);
    cache.Set("", Key(n), std::move(tags));
  }
  if (cache.entries() < kKeys) Broken("memory does not hold the entries");
  const double before = Rate(&cache, 0, 2, kKeys, kRateSeconds);
  const FullKey tagged("", Key(1));
  if (!cache.Hits(tagged)) Broken("the tagged entry is not there");
  const auto began = UntilReadersMiss(&cache, "", Key(1), {kTag}, TagRule(kTag), "tag");
  double swept = 0, hits = 0;
  int windows = 0;
  while (swept < kSweepMost) {
    hits += Rate(&cache, 0, 2, kKeys, 0.05);
    ++windows;
    swept = SecondsSince(began);
    if (cache.entries() <= kKeys / 2 + 10) break;
  }
  Report("tag_sweep", swept, "s");
  Report("tag_get_rate_while_sweeping", hits / windows / before, "of before");
  for (uint64_t n = 1; n < kKeys; n += 2) {
    if (cache.Hits(FullKey("", Key(n)))) Broken("a covered entry is read");
  }
  Report("tag_left", static_cast<double>(cache.entries()), "entries");
}

void MeasureNamespace() {
  constexpr uint64_t kKeys = 5'000'000;
  Cache cache(uint64_t{4} << 30);
  for (uint64_t n = 0; n < kKeys; ++n) cache.Set("tenant", Key(n), {});
  if (cache.entries() < kKeys) Broken("memory does not hold the entries");
  const FullKey one("tenant", Key(1));
  if (!cache.Hits(one)) Broken("the entry is not there");
  Rule rule;
  rule.name_space = "tenant";
  const auto began = UntilReadersMiss(&cache, "tenant", Key(1), {}, rule, "namespace");
  double swept = 0;
  while (swept < kSweepMost && cache.entries() > 0) swept = SecondsSince(began);
  Report("namespace_sweep", swept, "s");
}

void MeasureGets() {
  constexpr uint64_t kKeys = 10'000;
  constexpr int kTurns = 400;
  Cache free(uint64_t{64} << 20), plain(uint64_t{64} << 20), tagged(uint64_t{64} << 20);
  std::vector<FullKey> keys;
  for (uint64_t n = 0; n < kKeys; ++n) {
    keys.emplace_back("", Key(n));
    free.Set("", Key(n), {});
    plain.Set("", Key(n), {});
    tagged.Set("", Key(n), {"one", "two", "three", "four"});
  }
  plain.Invalidate(TagRule("nobody"));
  tagged.Invalidate(TagRule("nobody"));
  const auto turn = [&](Cache* cache) {
    const auto began = steady_clock::now();
    for (const FullKey& key : keys) {
      if (!cache->Hits(key)) Broken("an entry is not there");
    }
    return SecondsSince(began) / static_cast<double>(kKeys) * 1e9;
  };
  std::vector<double> of_free, of_plain, of_tagged, more;
  for (int i = 0; i < kTurns; ++i) {
    of_free.push_back(turn(&free));
    of_plain.push_back(turn(&plain));
    of_tagged.push_back(turn(&tagged));
    more.push_back(of_tagged.back() - of_plain.back());
  }
  Report("get_untagged", Median(of_plain), "ns");
  Report("get_untagged_ratio", MedianRatio(of_plain, of_free), "of an engine without rules");
  Report("get_four_tags_more", Median(more), "ns");
}

}  // namespace
}  // namespace larder::bench

int main(int argc, char** argv) {
  using namespace larder::bench;  // NOLINT: a program of one function
  const std::string_view mode = argc == 2 ? argv[1] : "";
  if (mode == "tag") {
    MeasureTag();
  } else if (mode == "namespace") {
    MeasureNamespace();
  } else if (mode == "gets") {
    MeasureGets();
  } else {
    std::fprintf(stderr, "usage: %s tag | namespace | gets\n", argv[0]);
    return 2;
  }
  return 0;
}
