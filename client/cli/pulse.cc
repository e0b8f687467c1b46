#include "client/cli/pulse.h"

#include <algorithm>
#include <array>
#include <map>
#include <string_view>

namespace larder::cli {
namespace {

// Calls by which one only looks: they would show the looking.
constexpr std::array<std::string_view, 5> kLooking = {"Stats", "HotKeys", "Explain", "ServerInfo",
                                                      "Check"};
// Calls that never wait: not for an origin, nor for a lease, nor for as long as they are asked to.
constexpr std::array<std::string_view, 8> kPrompt = {"Get",    "BatchGet",    "Set",   "BatchSet",
                                                     "Delete", "BatchDelete", "Touch", "Increment"};

template <size_t kCount>
bool IsOneOf(std::string_view rpc, const std::array<std::string_view, kCount>& list) {
  return std::find(list.begin(), list.end(), rpc) != list.end();
}

double PerSecond(uint64_t before, uint64_t now, double seconds) {
  return now <= before ? 0 : static_cast<double>(now - before) / seconds;
}

Rates RatesOf(const UsageStats& before, const UsageStats& now, double seconds) {
  Rates rates;
  rates.hits = PerSecond(before.hits, now.hits, seconds);
  rates.reads = rates.hits + PerSecond(before.misses, now.misses, seconds);
  rates.stale_hits = PerSecond(before.stale_hits, now.stale_hits, seconds);
  rates.sets = PerSecond(before.sets, now.sets, seconds);
  rates.removals = PerSecond(before.removals, now.removals, seconds);
  rates.loads = PerSecond(before.loads, now.loads, seconds);
  rates.loads_failed = PerSecond(before.loads_failed, now.loads_failed, seconds);
  rates.evictions = PerSecond(before.evictions, now.evictions, seconds);
  rates.expirations = PerSecond(before.expirations, now.expirations, seconds);
  if (rates.reads > 0) rates.hit_ratio = rates.hits / rates.reads;
  return rates;
}

const Buckets& BucketsOf(const std::optional<LatencyBuckets>& all, const std::string& rpc) {
  static const auto* const none = new Buckets();
  if (!all.has_value()) return *none;
  const auto found = all->find(rpc);
  return found == all->end() ? *none : found->second;
}

void AddRates(const Rates& rates, Json* object) {
  object->Field("reads", rates.reads);
  object->Field("hits", rates.hits);
  if (rates.hit_ratio.has_value()) object->Field("hit_ratio", *rates.hit_ratio);
  object->Field("stale_hits", rates.stale_hits);
  object->Field("sets", rates.sets);
  object->Field("removals", rates.removals);
  object->Field("loads", rates.loads);
  object->Field("loads_failed", rates.loads_failed);
  object->Field("evictions", rates.evictions);
  object->Field("expirations", rates.expirations);
}

// Without buckets the quantiles are those since the start, and of all calls together the slowest
// kind's that came often enough to matter: better too high than too low.
void AddCalls(const Sample& before, const Sample& now, double seconds, Pulse* pulse) {
  std::map<std::string, LatencyStats> earlier;
  if (!pulse->restarted) {
    for (const LatencyStats& rpc : before.stats.latencies) earlier[rpc.rpc] = rpc;
  }
  pulse->windowed = before.latencies.has_value() && now.latencies.has_value();
  Buckets prompt;
  uint64_t prompt_calls = 0;
  for (const LatencyStats& rpc : now.stats.latencies) {
    if (IsOneOf(rpc.rpc, kPrompt)) prompt_calls += rpc.count;
  }
  for (const LatencyStats& rpc : now.stats.latencies) {
    const LatencyStats& then = earlier[rpc.rpc];
    CallPulse call;
    call.rpc = rpc.rpc;
    call.calls = PerSecond(then.count, rpc.count, seconds);
    call.errors = PerSecond(then.errors, rpc.errors, seconds);
    if (pulse->windowed) {
      const Buckets since =
          Since(pulse->restarted ? Buckets() : BucketsOf(before.latencies, rpc.rpc),
                BucketsOf(now.latencies, rpc.rpc));
      call.p50 = Quantile(since, 0.5);
      call.p99 = Quantile(since, 0.99);
      if (IsOneOf(rpc.rpc, kPrompt)) AddTo(since, &prompt);
    } else if (rpc.count > 0) {
      call.p50 = rpc.p50;
      call.p99 = rpc.p99;
      if (IsOneOf(rpc.rpc, kPrompt) && rpc.count * 100 >= prompt_calls)
        pulse->p99 = std::max(pulse->p99.value_or(absl::ZeroDuration()), rpc.p99);
    }
    if (IsOneOf(rpc.rpc, kLooking) || call.calls <= 0) continue;
    pulse->calls += call.calls;
    pulse->errors += call.errors;
    pulse->rpcs.push_back(std::move(call));
  }
  if (pulse->windowed) pulse->p99 = Quantile(prompt, 0.99);
  std::stable_sort(pulse->rpcs.begin(), pulse->rpcs.end(),
                   [](const CallPulse& a, const CallPulse& b) { return a.calls > b.calls; });
}

void AddTypes(const Sample& before, const Sample& now, double seconds, Pulse* pulse) {
  std::map<std::string, UsageStats> earlier;
  if (!pulse->restarted) {
    for (const TypeStats& type : before.stats.types) earlier[type.name] = type.usage;
  }
  for (const TypeStats& type : now.stats.types) {
    const UsageStats& usage = type.usage;
    if (usage.entries + usage.hits + usage.misses + usage.sets == 0) continue;
    pulse->types.push_back({type.name, RatesOf(earlier[type.name], usage, seconds), usage});
  }
  std::stable_sort(pulse->types.begin(), pulse->types.end(),
                   [](const TypePulse& a, const TypePulse& b) {
                     const double of_a = a.rates.reads + a.rates.sets;
                     const double of_b = b.rates.reads + b.rates.sets;
                     return of_a != of_b ? of_a > of_b : a.now.bytes > b.now.bytes;
                   });
}

}  // namespace

Pulse PulseOf(const Sample& before, const Sample& now) {
  Pulse pulse;
  pulse.restarted = before.stats.since != now.stats.since || before.stats.node != now.stats.node;
  pulse.span = now.at - before.at;
  const double seconds = std::max(absl::ToDoubleSeconds(pulse.span), 1e-6);
  pulse.total =
      RatesOf(pulse.restarted ? UsageStats() : before.stats.total, now.stats.total, seconds);
  AddCalls(before, now, seconds, &pulse);
  AddTypes(before, now, seconds, &pulse);
  return pulse;
}

void AddPulse(const Pulse& pulse, Json* object) {
  object->Field("span_seconds", pulse.span);
  object->Field("restarted", pulse.restarted);
  object->Field("calls", pulse.calls);
  object->Field("errors", pulse.errors);
  if (pulse.p99.has_value())
    object->Field(pulse.windowed ? "p99_seconds" : "p99_since_start_seconds", *pulse.p99);
  Json total;
  AddRates(pulse.total, &total);
  object->Object("total", total);
  object->Array("rpcs", pulse.rpcs, [](const CallPulse& call, Json* one) {
    one->Field("rpc", call.rpc);
    one->Field("calls", call.calls);
    one->Field("errors", call.errors);
    if (call.p50.has_value()) one->Field("p50_seconds", *call.p50);
    if (call.p99.has_value()) one->Field("p99_seconds", *call.p99);
  });
  object->Array("types", pulse.types, [](const TypePulse& type, Json* one) {
    one->Field("name", type.name);
    AddRates(type.rates, one);
    one->Field("entries", type.now.entries);
    one->Field("bytes", type.now.bytes);
  });
}

}  // namespace larder::cli
