// Short forms of calls of an SQL origin, for tests. Thread safety: any thread.

#ifndef LARDER_TESTS_ORIGIN_SQL_CALL_H_
#define LARDER_TESTS_ORIGIN_SQL_CALL_H_

#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/strings.h"
#include "origin/origin.h"
#include "tests/base/await_task.h"
#include "tests/conformance/origin_suite.h"

namespace larder {

inline absl::StatusOr<std::vector<OriginLoaded>> LoadAll(
    Origin& origin, std::string type, const std::vector<std::string>& keys,
    absl::Duration within = absl::Seconds(20)) {
  OriginLoad load{{"shop", std::move(type)}, {}};
  for (const std::string& key : keys) load.items.push_back({key});
  return AwaitTask(origin.Load(std::move(load), MonoAfter(Clock::System()->Mono(), within)));
}

// `value`, `(absent)`, or the error's code and message.
inline std::string Shown(const OriginLoaded& loaded) {
  if (loaded.kind == OriginLoaded::Kind::kFound) return loaded.value;
  if (loaded.kind == OriginLoaded::Kind::kFailed) return loaded.error.ToString();
  return StrCat("(", KindName(loaded.kind), ")");
}
inline std::vector<std::string> LoadShown(Origin& origin, std::string type,
                                          const std::vector<std::string>& keys,
                                          absl::Duration within = absl::Seconds(20)) {
  const auto loaded = LoadAll(origin, std::move(type), keys, within);
  if (!loaded.ok()) return {StrCat("call: ", loaded.status().ToString())};
  std::vector<std::string> shown;
  for (const OriginLoaded& each : *loaded) shown.push_back(Shown(each));
  return shown;
}
inline std::string LoadOne(Origin& origin, std::string type, std::string key,
                           absl::Duration within = absl::Seconds(20)) {
  return LoadShown(origin, std::move(type), {std::move(key)}, within).front();
}

inline absl::StatusOr<std::vector<OriginStored>> StoreAll(
    Origin& origin, std::string type,
    const std::vector<std::pair<std::string, std::string>>& values, Version version = 1) {
  OriginStore store{{"shop", std::move(type)}, {}};
  for (const auto& [key, value] : values) {
    OriginStore::Write write;
    write.key = key;
    write.value = value;
    write.version = version;
    store.writes.push_back(std::move(write));
  }
  return AwaitTask(
      origin.Store(std::move(store), MonoAfter(Clock::System()->Mono(), absl::Seconds(20))));
}

// `done`, or the kind and the error.
inline std::vector<std::string> StoreShown(
    Origin& origin, std::string type,
    const std::vector<std::pair<std::string, std::string>>& values, Version version = 1) {
  const auto stored = StoreAll(origin, std::move(type), values, version);
  if (!stored.ok()) return {StrCat("call: ", stored.status().ToString())};
  std::vector<std::string> shown;
  for (const OriginStored& each : *stored) {
    shown.push_back(each.error.ok() ? std::string(KindName(each.kind))
                                    : StrCat(KindName(each.kind), " ", each.error.ToString()));
  }
  return shown;
}

// A page of a scan that goes on for ever, with time for a count that has to be given up.
inline absl::StatusOr<OriginPage> ScanEndless(Origin* origin, const std::string& type) {
  OriginScan scan{.call = {.name_space = "shop", .type = type}, .limit = 10};
  scan.count_to = uint64_t{1} << 40;
  return AwaitTask(
      origin->Scan(std::move(scan), MonoAfter(Clock::System()->Mono(), absl::Seconds(1))));
}

}  // namespace larder

#endif  // LARDER_TESTS_ORIGIN_SQL_CALL_H_
