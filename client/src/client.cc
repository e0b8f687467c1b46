#include "larder/client.h"

#include <utility>

#include "client/src/batch_load.h"
#include "client/src/callback.h"
#include "client/src/load.h"

namespace larder {

using internal::Block;

Client::Client() : loads_(std::make_shared<internal::LoadRegistry>()) {}

Client::~Client() = default;

void Client::CancelLoads() {
  internal::CheckNotDestroyedByCallback(this);
  loads_->Close();
}

absl::StatusOr<GetResult> Client::Get(std::string_view key, const GetOptions& options) {
  return Block<GetResult>([&](auto done) { GetAsync(key, options, std::move(done)); });
}

absl::StatusOr<std::vector<GetResult>> Client::BatchGet(const std::vector<std::string>& keys,
                                                        const GetOptions& options) {
  return Block<std::vector<GetResult>>(
      [&](auto done) { BatchGetAsync(keys, options, std::move(done)); });
}

absl::StatusOr<SetResult> Client::Set(std::string_view key, std::string_view value,
                                      const SetOptions& options) {
  return Block<SetResult>([&](auto done) { SetAsync(key, value, options, std::move(done)); });
}

absl::StatusOr<SetResult> Client::SetAbsent(std::string_view key, const SetOptions& options) {
  return Block<SetResult>([&](auto done) { SetAbsentAsync(key, options, std::move(done)); });
}

absl::StatusOr<std::vector<SetResult>> Client::BatchSet(const std::vector<SetItem>& items,
                                                        const BatchSetOptions& options) {
  return Block<std::vector<SetResult>>(
      [&](auto done) { BatchSetAsync(items, options, std::move(done)); });
}

absl::StatusOr<DeleteResult> Client::Delete(std::string_view key, const DeleteOptions& options) {
  return Block<DeleteResult>([&](auto done) { DeleteAsync(key, options, std::move(done)); });
}

absl::StatusOr<std::vector<DeleteResult>> Client::BatchDelete(const std::vector<std::string>& keys,
                                                              const DeleteOptions& options) {
  return Block<std::vector<DeleteResult>>(
      [&](auto done) { BatchDeleteAsync(keys, options, std::move(done)); });
}

absl::StatusOr<InvalidateResult> Client::Invalidate(const std::vector<std::string>& keys,
                                                    const InvalidateOptions& options) {
  return Block<InvalidateResult>(
      [&](auto done) { InvalidateAsync(keys, options, std::move(done)); });
}

absl::StatusOr<InvalidateResult> Client::InvalidateBy(const Selector& selector,
                                                      const InvalidateOptions& options) {
  return Block<InvalidateResult>(
      [&](auto done) { InvalidateByAsync(selector, options, std::move(done)); });
}

absl::StatusOr<LoadResult> Client::GetOrLoad(std::string_view key, Loader loader,
                                             const LoadOptions& options) {
  return internal::LoadBlocking(this, key, loader, options);
}

void Client::GetOrLoadAsync(std::string_view key, AsyncLoader loader, const LoadOptions& options,
                            Callback<LoadResult> done) {
  internal::LoadAsync(this, loads_, key, std::move(loader), options, std::move(done));
}

absl::StatusOr<LeaseResult> Client::GetOrLease(std::string_view key, const LoadOptions& options) {
  return Block<LeaseResult>([&](auto done) { GetOrLeaseAsync(key, options, std::move(done)); });
}

absl::StatusOr<BatchLoadResult> Client::BatchGetOrLoad(const std::vector<std::string>& keys,
                                                       BatchLoader loader,
                                                       const LoadOptions& options) {
  return internal::BatchLoadBlocking(this, keys, loader, options);
}

absl::StatusOr<BatchLeaseResult> Client::BatchGetOrLease(const std::vector<std::string>& keys,
                                                         const LoadOptions& options) {
  return Block<BatchLeaseResult>(
      [&](auto done) { BatchGetOrLeaseAsync(keys, options, std::move(done)); });
}

absl::StatusOr<ReleaseLeaseResult> Client::ReleaseLease(std::string_view key,
                                                        std::string_view lease_token,
                                                        const CallOptions& options) {
  return Block<ReleaseLeaseResult>(
      [&](auto done) { ReleaseLeaseAsync(key, lease_token, options, std::move(done)); });
}

absl::StatusOr<TouchResult> Client::Touch(std::string_view key, const TouchOptions& options) {
  return Block<TouchResult>([&](auto done) { TouchAsync(key, options, std::move(done)); });
}

absl::StatusOr<IncrementResult> Client::Increment(std::string_view key, int64_t delta,
                                                  const IncrementOptions& options) {
  return Block<IncrementResult>(
      [&](auto done) { IncrementAsync(key, delta, options, std::move(done)); });
}

absl::StatusOr<WatchEnd> Client::Watch(const WatchOptions& options, WatchCallback each) {
  return Block<WatchEnd>([&](auto done) { WatchAsync(options, std::move(each), std::move(done)); });
}

absl::StatusOr<StatsResult> Client::Stats(const StatsOptions& options) {
  return Block<StatsResult>([&](auto done) { StatsAsync(options, std::move(done)); });
}

absl::StatusOr<WarmProgress> Client::Warm(const WarmOptions& options, WarmCallback progress) {
  return Block<WarmProgress>(
      [&](auto done) { WarmAsync(options, std::move(progress), std::move(done)); });
}

absl::StatusOr<HotKeysResult> Client::HotKeys(const HotKeysOptions& options) {
  return Block<HotKeysResult>([&](auto done) { HotKeysAsync(options, std::move(done)); });
}

absl::StatusOr<ExplainResult> Client::Explain(std::string_view key, const ExplainOptions& options) {
  return Block<ExplainResult>([&](auto done) { ExplainAsync(key, options, std::move(done)); });
}

absl::StatusOr<ServerInfoResult> Client::ServerInfo(const CallOptions& options) {
  return Block<ServerInfoResult>([&](auto done) { ServerInfoAsync(options, std::move(done)); });
}

absl::StatusOr<ReloadConfigResult> Client::ReloadConfig(const ReloadConfigOptions& options) {
  return Block<ReloadConfigResult>([&](auto done) { ReloadConfigAsync(options, std::move(done)); });
}

absl::StatusOr<FlushResult> Client::FlushJournal(const FlushOptions& options) {
  return Block<FlushResult>([&](auto done) { FlushJournalAsync(options, std::move(done)); });
}

absl::StatusOr<DeliveryResult> Client::PauseDelivery(const DeliveryOptions& options) {
  return Block<DeliveryResult>([&](auto done) { PauseDeliveryAsync(options, std::move(done)); });
}

absl::StatusOr<DeliveryResult> Client::ResumeDelivery(const DeliveryOptions& options) {
  return Block<DeliveryResult>([&](auto done) { ResumeDeliveryAsync(options, std::move(done)); });
}

absl::StatusOr<DeadLetterPage> Client::ListDeadLetters(const ListDeadLettersOptions& options) {
  return Block<DeadLetterPage>([&](auto done) { ListDeadLettersAsync(options, std::move(done)); });
}

absl::StatusOr<DeadLetterCount> Client::RetryDeadLetters(const DeadLetterOptions& options) {
  return Block<DeadLetterCount>(
      [&](auto done) { RetryDeadLettersAsync(options, std::move(done)); });
}

absl::StatusOr<DeadLetterCount> Client::DropDeadLetters(const DeadLetterOptions& options) {
  return Block<DeadLetterCount>([&](auto done) { DropDeadLettersAsync(options, std::move(done)); });
}

absl::StatusOr<DeadLetterCount> Client::ExportDeadLetters(const DeadLetterOptions& options,
                                                          ExportCallback each) {
  return Block<DeadLetterCount>(
      [&](auto done) { ExportDeadLettersAsync(options, std::move(each), std::move(done)); });
}

absl::StatusOr<PingResult> Client::Ping(const PingOptions& options) {
  return Block<PingResult>([&](auto done) { PingAsync(options, std::move(done)); });
}

}  // namespace larder
