// The one suite that every origin passes: PostgreSQL, SQLite, a gRPC service, and the guard round
// them. An origin's test file makes it with
//
//   INSTANTIATE_TEST_SUITE_P(Sqlite, OriginSuite,
//                            testing::Values(OriginMaker{"Sqlite", &NewSqliteRig}),
//                            OriginSuite::Name);
//
// The rules that origin.h leaves to this suite:
//   - A write of a version that is not above the stored one is kDone and changes nothing, so a
//   write
//     that comes twice is harmless.
//   - One item that fails leaves the answers of the others as they are, in loads and in stores.
//   - An answer that makes no sense fails its item with DATA_LOSS and counts as a bad answer.
//   - Nothing asked for is nothing answered; more than kOriginItemsMax is INVALID_ARGUMENT.
//   - A deadline in the past is DEADLINE_EXCEEDED, at once.

#ifndef LARDER_TESTS_CONFORMANCE_ORIGIN_SUITE_H_
#define LARDER_TESTS_CONFORMANCE_ORIGIN_SUITE_H_

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "origin/origin.h"
#include "tests/base/await_task.h"

namespace larder {

// What the real backend has for a key.
struct OriginHeld {
  std::string value;
  Version version = 1;
  std::optional<absl::Duration> ttl = std::nullopt;  // whole milliseconds
  std::vector<std::string> tags = {};
  std::vector<std::string> depends_on = {};
  std::string validator = {};
};

// What the real backend does with a key from now on.
enum class OriginFault {
  kNone,
  kLoadFails,     // it cannot be loaded; others can
  kGarbage,       // its loads are answered with a ttl that is none, or what else makes no sense
  kHangs,         // its loads are not answered before the fault is over or the call is given up
  kStoreRejects,  // its writes can never work: kReject
  kStoreRetries,  // its writes do not work now: kRetry
};

// A large value. The thread sanitizer does not see how libraries hand memory from thread to thread,
// and looks into each word that they do, for most of a minute where a value is a mebibyte.
#ifdef __SANITIZE_THREAD__
inline constexpr size_t kOriginLargeBytes = 1 << 10;
#else
inline constexpr size_t kOriginLargeBytes = 1 << 20;
#endif

// An origin, and the real backend that it asks, empty at the start. The origin serves two data
// types:
//   `doc`     keys `doc:{id}`, all calls, from one store that both Put and Store write to
//   `sealed`  the same store, keys `doc:{id}` too, Load alone: Store and Scan are not offered
class OriginRig {
 public:
  virtual ~OriginRig() = default;
  virtual Origin& origin() = 0;
  // Writes into the backend, past the origin. `key` matches `doc:{id}`.
  virtual void Put(const std::string& key, const OriginHeld& held) = 0;
  // Reads from the backend, past the origin: value and version at least.
  virtual std::optional<OriginHeld> Held(const std::string& key) = 0;
  virtual void SetFault(const std::string& key, OriginFault fault) = 0;
  // Many keys at once, where that is quicker than Put for each.
  virtual void PutAll(const std::vector<std::pair<std::string, OriginHeld>>& all) {
    for (const auto& [key, held] : all) Put(key, held);
  }
};

struct OriginMaker {
  std::string name;
  std::function<std::unique_ptr<OriginRig>()> make;
  // OriginStats::kind.
  std::string kind;
  // Faults that the backend cannot be made to have.
  std::vector<OriginFault> impossible = {};
// For the lists of tests.
inline void PrintTo(const OriginMaker& maker, std::ostream* out) { *out << maker.name; }
};

class OriginSuite : public testing::TestWithParam<OriginMaker> {
 public:
  static std::string Name(const testing::TestParamInfo<OriginMaker>& info) {
    return info.param.name;
  }

 protected:
  using Kind = OriginLoaded::Kind;
  using Stored = OriginStored::Kind;

  Origin& origin() { return rig_->origin(); }
  static MonoNanos In(absl::Duration time) { return MonoAfter(Clock::System()->Mono(), time); }
  static MonoNanos Soon() { return In(absl::Seconds(20)); }
  static bool Can(OriginFault fault);

  static OriginCall Call(std::string_view type = "doc");
  static OriginLoad LoadOf(const std::vector<std::string>& keys, std::string_view type = "doc");
  static OriginStore StoreOf(std::vector<OriginStore::Write> writes, std::string_view type = "doc");
  static OriginStore::Write Write(std::string key, std::string value, Version version);
  static OriginStore::Write Remove(std::string key, Version version);

  // Calls that must answer; the test fails when they answer an error.
  std::vector<OriginLoaded> Load(const std::vector<std::string>& keys);
  OriginLoaded LoadOne(const std::string& key, std::string validator = {});
  std::vector<OriginStored> Store(std::vector<OriginStore::Write> writes);
  OriginStored StoreOne(OriginStore::Write write);
  // All pages, of `limit` entries at most each.
  std::vector<OriginPage::Item> ScanAll(uint32_t limit, bool keys_only);

  const std::unique_ptr<OriginRig> rig_ = GetParam().make();
};

// The kind of an answer, for messages.
std::string_view KindName(OriginLoaded::Kind kind);
std::string_view KindName(OriginStored::Kind kind);

}  // namespace larder

#endif  // LARDER_TESTS_CONFORMANCE_ORIGIN_SUITE_H_
