// ForwardingClient passes every call on to another client, which it owns. What puts something of
// its own before a client overrides the calls that it is about. Thread safety and errors: as Client
// says.

#ifndef LARDER_CLIENT_SRC_FORWARDING_CLIENT_H_
#define LARDER_CLIENT_SRC_FORWARDING_CLIENT_H_

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "larder/client.h"

namespace larder::internal {

// `Base` is Client or an interface made of it.
template <typename Base>
class ForwardingClient : public Base {
 public:
  void GetAsync(std::string_view key, const GetOptions& options,
                Callback<GetResult> done) override {
    to_->GetAsync(key, options, std::move(done));
  }
  void BatchGetAsync(const std::vector<std::string>& keys, const GetOptions& options,
                     Callback<std::vector<GetResult>> done) override {
    to_->BatchGetAsync(keys, options, std::move(done));
  }
  void SetAsync(std::string_view key, std::string_view value, const SetOptions& options,
                Callback<SetResult> done) override {
    to_->SetAsync(key, value, options, std::move(done));
  }
  void SetAbsentAsync(std::string_view key, const SetOptions& options,
                      Callback<SetResult> done) override {
    to_->SetAbsentAsync(key, options, std::move(done));
  }
  void BatchSetAsync(const std::vector<SetItem>& items, const BatchSetOptions& options,
                     Callback<std::vector<SetResult>> done) override {
    to_->BatchSetAsync(items, options, std::move(done));
  }
  void DeleteAsync(std::string_view key, const DeleteOptions& options,
                   Callback<DeleteResult> done) override {
    to_->DeleteAsync(key, options, std::move(done));
  }
  void BatchDeleteAsync(const std::vector<std::string>& keys, const DeleteOptions& options,
                        Callback<std::vector<DeleteResult>> done) override {
    to_->BatchDeleteAsync(keys, options, std::move(done));
  }
  void InvalidateAsync(const std::vector<std::string>& keys, const InvalidateOptions& options,
                       Callback<InvalidateResult> done) override {
    to_->InvalidateAsync(keys, options, std::move(done));
  }
  void InvalidateByAsync(const Selector& selector, const InvalidateOptions& options,
                         Callback<InvalidateResult> done) override {
    to_->InvalidateByAsync(selector, options, std::move(done));
  }
  void GetOrLeaseAsync(std::string_view key, const LoadOptions& options,
                       Callback<LeaseResult> done) override {
    to_->GetOrLeaseAsync(key, options, std::move(done));
  }
  void BatchGetOrLeaseAsync(const std::vector<std::string>& keys, const LoadOptions& options,
                            Callback<BatchLeaseResult> done) override {
    to_->BatchGetOrLeaseAsync(keys, options, std::move(done));
  }
  void ReleaseLeaseAsync(std::string_view key, std::string_view lease_token,
                         const CallOptions& options, Callback<ReleaseLeaseResult> done) override {
    to_->ReleaseLeaseAsync(key, lease_token, options, std::move(done));
  }
  void TouchAsync(std::string_view key, const TouchOptions& options,
                  Callback<TouchResult> done) override {
    to_->TouchAsync(key, options, std::move(done));
  }
  void IncrementAsync(std::string_view key, int64_t delta, const IncrementOptions& options,
                      Callback<IncrementResult> done) override {
    to_->IncrementAsync(key, delta, options, std::move(done));
  }
  std::shared_ptr<WatchCall> WatchAsync(const WatchOptions& options, WatchCallback each,
                                        Callback<WatchEnd> done) override {
    return to_->WatchAsync(options, std::move(each), std::move(done));
  }
  void StatsAsync(const StatsOptions& options, Callback<StatsResult> done) override {
    to_->StatsAsync(options, std::move(done));
  }
  void WarmAsync(const WarmOptions& options, WarmCallback progress,
                 Callback<WarmProgress> done) override {
    to_->WarmAsync(options, std::move(progress), std::move(done));
  }
  void HotKeysAsync(const HotKeysOptions& options, Callback<HotKeysResult> done) override {
    to_->HotKeysAsync(options, std::move(done));
  }
  void ExplainAsync(std::string_view key, const ExplainOptions& options,
                    Callback<ExplainResult> done) override {
    to_->ExplainAsync(key, options, std::move(done));
  }
  void ServerInfoAsync(const CallOptions& options, Callback<ServerInfoResult> done) override {
    to_->ServerInfoAsync(options, std::move(done));
  }
  void ReloadConfigAsync(const ReloadConfigOptions& options,
                         Callback<ReloadConfigResult> done) override {
    to_->ReloadConfigAsync(options, std::move(done));
  }
  void FlushJournalAsync(const FlushOptions& options, Callback<FlushResult> done) override {
    to_->FlushJournalAsync(options, std::move(done));
  }
  void PauseDeliveryAsync(const DeliveryOptions& options, Callback<DeliveryResult> done) override {
    to_->PauseDeliveryAsync(options, std::move(done));
  }
  void ResumeDeliveryAsync(const DeliveryOptions& options, Callback<DeliveryResult> done) override {
    to_->ResumeDeliveryAsync(options, std::move(done));
  }
  void ListDeadLettersAsync(const ListDeadLettersOptions& options,
                            Callback<DeadLetterPage> done) override {
    to_->ListDeadLettersAsync(options, std::move(done));
  }
  void RetryDeadLettersAsync(const DeadLetterOptions& options,
                             Callback<DeadLetterCount> done) override {
    to_->RetryDeadLettersAsync(options, std::move(done));
  }
  void DropDeadLettersAsync(const DeadLetterOptions& options,
                            Callback<DeadLetterCount> done) override {
    to_->DropDeadLettersAsync(options, std::move(done));
  }
  void ExportDeadLettersAsync(const DeadLetterOptions& options, ExportCallback each,
                              Callback<DeadLetterCount> done) override {
    to_->ExportDeadLettersAsync(options, std::move(each), std::move(done));
  }
  void PingAsync(const PingOptions& options, Callback<PingResult> done) override {
    to_->PingAsync(options, std::move(done));
  }

 protected:
  explicit ForwardingClient(std::unique_ptr<Client> to)
      : owned_(std::move(to)), to_(owned_.get()) {}

  Client* to() const { return to_; }
  // Ends the client that calls are passed on to; every call of it is answered when this returns.
  // What its callbacks use must still be there, so a destructor calls this first. Callbacks may
  // begin further calls meanwhile, which that client answers.
  void End() {
    this->CancelLoads();
    owned_ = nullptr;
  }

 private:
  std::unique_ptr<Client> owned_;
  Client* const to_;
};

}  // namespace larder::internal

#endif  // LARDER_CLIENT_SRC_FORWARDING_CLIENT_H_
