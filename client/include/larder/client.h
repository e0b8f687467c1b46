// Client talks to larder. Connect() gives one to a server; NewFakeClient() in larder/fake.h gives
// one for tests that needs no server.
//
//   larder::ClientOptions options("cache:50051", absl::Milliseconds(200));
//   auto client = larder::Connect(options);
//   absl::StatusOr<larder::LoadResult> user =
//       (*client)->GetOrLoad("user:42", [&](const larder::LoadCall& call) {
//         return ReadFromDatabase(call.key);  // absl::StatusOr<larder::Loaded>
//       });
//
// Every call has two forms. `Foo` blocks until the answer is there, at most to the deadline.
// `FooAsync` returns at once and calls `done` exactly once. It copies what it needs: arguments may
// go away when it has returned.
//
// Thread safety: every method, any thread, any time; make one client and share it. The exception is
// destruction: no thread may be inside a blocking method then. Calls begun with FooAsync may be in
// flight: the destructor cancels them (`done` gets CANCELLED) and waits until the last `done` has
// returned. Nothing is called after that. Callbacks run on a thread of the client, or on the
// calling thread before FooAsync returns. They must not block or throw, must not destroy the client
// (that crashes), and may begin further FooAsync calls; a blocking method called from one answers
// FAILED_PRECONDITION.
//
// Errors: the server's status, with details for larder/error.h. UNAVAILABLE after the repeats that
// RetryPolicy allows; DEADLINE_EXCEEDED when the time was over. A miss or a refused Set is never an
// error.

#ifndef LARDER_CLIENT_H_
#define LARDER_CLIENT_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "larder/error.h"
#include "larder/journal.h"
#include "larder/load.h"
#include "larder/options.h"
#include "larder/result.h"
#include "larder/stats.h"
#include "larder/watch.h"

namespace larder {

namespace internal {
class LoadRegistry;
}  // namespace internal

template <typename T>
using Callback = absl::AnyInvocable<void(absl::StatusOr<T>)>;

// One result per key, in the order of the keys. A key that could not be loaded has an error of its
// own, with a reason (larder/error.h) such as ORIGIN_UNAVAILABLE.
using BatchLeaseResult = std::vector<absl::StatusOr<LeaseResult>>;
using BatchLoadResult = std::vector<absl::StatusOr<LoadResult>>;

// Hears how a Warm goes, some five times a second at most. False ends it.
using WarmCallback = absl::AnyInvocable<bool(const WarmProgress&)>;

// Takes one dead letter after the other. False ends it.
using ExportCallback = absl::AnyInvocable<bool(ExportedLetter)>;

class Client {
 public:
  virtual ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // Reads one key. Never loads.
  virtual absl::StatusOr<GetResult> Get(std::string_view key, const GetOptions& options = {});
  virtual void GetAsync(std::string_view key, const GetOptions& options,
                        Callback<GetResult> done) = 0;

  // Reads up to 1,000 keys. The answers come in the order of the keys.
  absl::StatusOr<std::vector<GetResult>> BatchGet(const std::vector<std::string>& keys,
                                                  const GetOptions& options = {});
  virtual void BatchGetAsync(const std::vector<std::string>& keys, const GetOptions& options,
                             Callback<std::vector<GetResult>> done) = 0;

  // Stores one value, or answers why not.
  absl::StatusOr<SetResult> Set(std::string_view key, std::string_view value,
                                const SetOptions& options = {});
  virtual void SetAsync(std::string_view key, std::string_view value, const SetOptions& options,
                        Callback<SetResult> done) = 0;

  // Remembers that the key does not exist at the origin: reads answer a miss with reason kNegative.
  absl::StatusOr<SetResult> SetAbsent(std::string_view key, const SetOptions& options = {});
  virtual void SetAbsentAsync(std::string_view key, const SetOptions& options,
                              Callback<SetResult> done) = 0;

  // Stores up to 1,000 values, each on its own; a key may occur once. The answers come in the order
  // of the items. One invalid item refuses them all.
  absl::StatusOr<std::vector<SetResult>> BatchSet(const std::vector<SetItem>& items,
                                                  const BatchSetOptions& options = {});
  virtual void BatchSetAsync(const std::vector<SetItem>& items, const BatchSetOptions& options,
                             Callback<std::vector<SetResult>> done) = 0;

  // Removes one key from every tier and, by the type's write mode, from the origin.
  absl::StatusOr<DeleteResult> Delete(std::string_view key, const DeleteOptions& options = {});
  virtual void DeleteAsync(std::string_view key, const DeleteOptions& options,
                           Callback<DeleteResult> done) = 0;

  // Removes up to 1,000 keys. The answers come in the order of the keys; where deletions go to an
  // origin, some may have failed: DeleteResult::not_deleted.
  absl::StatusOr<std::vector<DeleteResult>> BatchDelete(const std::vector<std::string>& keys,
                                                        const DeleteOptions& options = {});
  virtual void BatchDeleteAsync(const std::vector<std::string>& keys, const DeleteOptions& options,
                                Callback<std::vector<DeleteResult>> done) = 0;

  // Makes cached copies of 1 to 1,000 keys disappear without touching the origin.
  absl::StatusOr<InvalidateResult> Invalidate(const std::vector<std::string>& keys,
                                              const InvalidateOptions& options = {});
  virtual void InvalidateAsync(const std::vector<std::string>& keys,
                               const InvalidateOptions& options,
                               Callback<InvalidateResult> done) = 0;
  // The same for all that carries a tag, begins or matches alike, is of a type, or is in the
  // namespace; as quick for one entry as for millions. Errors: SELECTOR_INVALID, RULES_FULL.
  absl::StatusOr<InvalidateResult> InvalidateBy(const Selector& selector,
                                                const InvalidateOptions& options = {});
  virtual void InvalidateByAsync(const Selector& selector, const InvalidateOptions& options,
                                 Callback<InvalidateResult> done) = 0;

  // Reads one key and, when it is missing, runs `loader` in one of all the callers that ask for it,
  // wherever they are, and stores what it brings; the others wait for that. See Loader and
  // LoadResult. A type with an origin is loaded by the server, and the loader does not run. The
  // deadline limits each of the calls to larder (lookup, then store or release), not the loader.
  // When the cache does not work, the loader runs without it (LoadOptions::fail_open): callers are
  // then not held together, and nothing is stored. An origin that does not work is no such case:
  // the loader would go round the server's care for it. Errors: the loader's; the origin's;
  // INVALID_ARGUMENT, FAILED_PRECONDITION, PERMISSION_DENIED and UNAUTHENTICATED from the lookup.
  virtual absl::StatusOr<LoadResult> GetOrLoad(std::string_view key, Loader loader,
                                               const LoadOptions& options = {});
  void GetOrLoadAsync(std::string_view key, AsyncLoader loader, const LoadOptions& options,
                      Callback<LoadResult> done);

  // The rpc GetOrLoad as it is, for callers that load by themselves: a hit, a miss (kNegative or
  // kLoading), or the lease. Who gets the lease owes a Set with its token, or ReleaseLease; the
  // others wait for that.
  absl::StatusOr<LeaseResult> GetOrLease(std::string_view key, const LoadOptions& options = {});
  virtual void GetOrLeaseAsync(std::string_view key, const LoadOptions& options,
                               Callback<LeaseResult> done) = 0;

  // GetOrLoad for up to 1,000 keys: one lookup, one run of `loader` for the keys that this caller
  // is to load, one call that stores them. What other callers are loading it waits for afterwards,
  // so that nobody waits for somebody who waits for him; what they fail to load, it loads then, in
  // a further run. A key that occurs twice is loaded once. The error of the whole is that of the
  // lookup, where GetOrLoad would return it; errors of the loader and of origins are their keys'.
  // Has no async form: a loader of many keys is BatchGetOrLeaseAsync, then BatchSetAsync.
  absl::StatusOr<BatchLoadResult> BatchGetOrLoad(const std::vector<std::string>& keys,
                                                 BatchLoader loader,
                                                 const LoadOptions& options = {});

  // GetOrLease for up to 1,000 keys: the rpc BatchGetOrLoad. Who is given a lease does not wait for
  // the other keys: what others are loading is then a miss with reason kLoading. A key that occurs
  // twice has the same lease twice.
  absl::StatusOr<BatchLeaseResult> BatchGetOrLease(const std::vector<std::string>& keys,
                                                   const LoadOptions& options = {});
  virtual void BatchGetOrLeaseAsync(const std::vector<std::string>& keys,
                                    const LoadOptions& options,
                                    Callback<BatchLeaseResult> done) = 0;

  // Gives a lease back, so that the next waiter gets it.
  absl::StatusOr<ReleaseLeaseResult> ReleaseLease(std::string_view key,
                                                  std::string_view lease_token,
                                                  const CallOptions& options = {});
  virtual void ReleaseLeaseAsync(std::string_view key, std::string_view lease_token,
                                 const CallOptions& options, Callback<ReleaseLeaseResult> done) = 0;

  // Changes how long an entry lives.
  absl::StatusOr<TouchResult> Touch(std::string_view key, const TouchOptions& options = {});
  virtual void TouchAsync(std::string_view key, const TouchOptions& options,
                          Callback<TouchResult> done) = 0;

  // Adds to a counter, atomically; creates it when it is absent. `delta` may be negative or 0.
  absl::StatusOr<IncrementResult> Increment(std::string_view key, int64_t delta,
                                            const IncrementOptions& options = {});
  virtual void IncrementAsync(std::string_view key, int64_t delta, const IncrementOptions& options,
                              Callback<IncrementResult> done) = 0;

  // Follows changes of keys (larder/watch.h): `each` hears them as they come, on a thread of the
  // client, until it says false, the call is cancelled or the stream breaks. It is a callback like
  // `done`, may be called until `done` is, and must be quick: a hearer that does not keep up is cut
  // off. Nothing is repeated: whoever follows for long begins again with the last resume token.
  // Errors: UNAVAILABLE and the like when the stream broke; WATCH_TOO_SLOW, WATCHERS_FULL,
  // RESUME_TOKEN_OLD, RESUME_TOKEN_INVALID.
  absl::StatusOr<WatchEnd> Watch(const WatchOptions& options, WatchCallback each);
  virtual std::shared_ptr<WatchCall> WatchAsync(const WatchOptions& options, WatchCallback each,
                                                Callback<WatchEnd> done) = 0;

  // What the replica that answers did and holds.
  absl::StatusOr<StatsResult> Stats(const StatsOptions& options = {});
  virtual void StatsAsync(const StatsOptions& options, Callback<StatsResult> done) = 0;

  // Has the server load keys before anybody asks for them: what a type's origin lists, or a list of
  // keys. Goes on until it is done, memory is full, `progress` (may be null) says false, or the
  // deadline is over; what was loaded by then stays. `progress` is a callback like `done` and may
  // be called until `done` is. An attempt is repeated only as long as nothing was heard of it.
  // Errors: TYPE_WITHOUT_ORIGIN; the origin's when it cannot be listed, or when nothing could be
  // loaded several times in a row.
  absl::StatusOr<WarmProgress> Warm(const WarmOptions& options, WarmCallback progress = nullptr);
  virtual void WarmAsync(const WarmOptions& options, WarmCallback progress,
                         Callback<WarmProgress> done) = 0;

  // The keys that are hit most, missed most, or have the largest values.
  absl::StatusOr<HotKeysResult> HotKeys(const HotKeysOptions& options = {});
  virtual void HotKeysAsync(const HotKeysOptions& options, Callback<HotKeysResult> done) = 0;

  // Which type matches the key, why its TTL is what it is, and where its copies are.
  absl::StatusOr<ExplainResult> Explain(std::string_view key, const ExplainOptions& options = {});
  virtual void ExplainAsync(std::string_view key, const ExplainOptions& options,
                            Callback<ExplainResult> done) = 0;

  // Version, limits, types and features of the server.
  absl::StatusOr<ServerInfoResult> ServerInfo(const CallOptions& options = {});
  virtual void ServerInfoAsync(const CallOptions& options, Callback<ServerInfoResult> done) = 0;

  // Has the replica that answers read its configuration again: all of it takes effect, or nothing.
  // Errors: INVALID_ARGUMENT with what is wrong in it; UNIMPLEMENTED by an older server.
  absl::StatusOr<ReloadConfigResult> ReloadConfig(const ReloadConfigOptions& options = {});
  virtual void ReloadConfigAsync(const ReloadConfigOptions& options,
                                 Callback<ReloadConfigResult> done) = 0;

  // The write-behind journal of the replica that answers (larder/journal.h). All of these fail with
  // WRITE_MODE_UNSUPPORTED where no type writes behind.
  //
  // Waits until every write that the journal holds now has left it: delivered, refused for good, or
  // replaced by a newer one. DEADLINE_EXCEEDED says how many are left; DELIVERY_PAUSED.
  absl::StatusOr<FlushResult> FlushJournal(const FlushOptions& options = {});
  virtual void FlushJournalAsync(const FlushOptions& options, Callback<FlushResult> done) = 0;

  // Stops deliveries, until ResumeDelivery or a restart; writes are taken as ever.
  absl::StatusOr<DeliveryResult> PauseDelivery(const DeliveryOptions& options = {});
  virtual void PauseDeliveryAsync(const DeliveryOptions& options,
                                  Callback<DeliveryResult> done) = 0;
  absl::StatusOr<DeliveryResult> ResumeDelivery(const DeliveryOptions& options = {});
  virtual void ResumeDeliveryAsync(const DeliveryOptions& options,
                                   Callback<DeliveryResult> done) = 0;

  // Writes that an origin refused for good.
  absl::StatusOr<DeadLetterPage> ListDeadLetters(const ListDeadLettersOptions& options = {});
  virtual void ListDeadLettersAsync(const ListDeadLettersOptions& options,
                                    Callback<DeadLetterPage> done) = 0;
  // Puts those that match back into the journal, with the versions that they have; forgets them.
  // Neither is repeated by the client, so that the counts are right.
  absl::StatusOr<DeadLetterCount> RetryDeadLetters(const DeadLetterOptions& options);
  virtual void RetryDeadLettersAsync(const DeadLetterOptions& options,
                                     Callback<DeadLetterCount> done) = 0;
  absl::StatusOr<DeadLetterCount> DropDeadLetters(const DeadLetterOptions& options);
  virtual void DropDeadLettersAsync(const DeadLetterOptions& options,
                                    Callback<DeadLetterCount> done) = 0;
  // Those that match, with their values, oldest first. `each` is a callback like `done` and may be
  // called until `done` is. Answers how many there were. The deadline is 1 ms to 24 h.
  absl::StatusOr<DeadLetterCount> ExportDeadLetters(const DeadLetterOptions& options,
                                                    ExportCallback each);
  virtual void ExportDeadLettersAsync(const DeadLetterOptions& options, ExportCallback each,
                                      Callback<DeadLetterCount> done) = 0;

  // Asks the server's health service. NOT_FOUND when it does not know PingOptions::service.
  absl::StatusOr<PingResult> Ping(const PingOptions& options = {});
  virtual void PingAsync(const PingOptions& options, Callback<PingResult> done) = 0;

 protected:
  Client();

  // Ends every GetOrLoadAsync whose loader is still running with CANCELLED and lets no new one
  // begin. The first thing that the destructor of an implementation does.
  void CancelLoads();

 private:
  const std::shared_ptr<internal::LoadRegistry> loads_;
};

// Makes a client of the server at options.target. Does not connect yet: that happens with the first
// call, and again whenever the connection was lost.
// Errors: INVALID_ARGUMENT for options outside their limits.
absl::StatusOr<std::unique_ptr<Client>> Connect(const ClientOptions& options);

}  // namespace larder

#endif  // LARDER_CLIENT_H_
