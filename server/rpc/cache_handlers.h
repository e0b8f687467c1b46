// CacheHandlers answers the calls of larder.v1.Cache: checks the request, asks the engine, fills in
// the response. Knows no lane. Thread safety: any method, any thread; none of them blocks.

#ifndef LARDER_RPC_CACHE_HANDLERS_H_
#define LARDER_RPC_CACHE_HANDLERS_H_

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "base/task.h"
#include "engine/engine.h"
#include "engine/origin_warmer.h"
#include "engine/request_ids.h"
#include "engine/warm.h"
#include "larder/v1/cache.pb.h"
#include "rpc/call.h"
#include "rpc/convert.h"
#include "rpc/methods.h"

namespace larder {

class CacheHandlers {
 public:
  struct Options {
    RequestLimits limits;
    std::string node_name;
    // How long an Invalidate for the fleet waits when it does not say.
    absl::Duration fleet_wait = absl::Seconds(2);
    // How the warming goes; null: there is none. Any thread.
    std::function<WarmStats()> warm_stats = nullptr;
    std::function<std::vector<OriginWarmer::TypeStats>()> origin_warm_stats = nullptr;
  };

  // All outlive the handlers. `methods` is where Stats finds the latencies, and gets the handlers
  // entered.
  CacheHandlers(const Options& options, Engine* engine, RequestIds* request_ids,
                MethodTable* methods);

  bool TryGet(CallContext* context, const v1::GetRequest& request, v1::GetResponse* response,
              absl::Status* status);
  bool TryBatchGet(CallContext* context, const v1::BatchGetRequest& request,
                   v1::BatchGetResponse* response, absl::Status* status);

  Task<absl::Status> Get(CallContext* context, const v1::GetRequest* request,
                         v1::GetResponse* response);
  Task<absl::Status> BatchGet(CallContext* context, const v1::BatchGetRequest* request,
                              v1::BatchGetResponse* response);
  Task<absl::Status> Set(CallContext* context, const v1::SetRequest* request,
                         v1::SetResponse* response);
  Task<absl::Status> BatchSet(CallContext* context, const v1::BatchSetRequest* request,
                              v1::BatchSetResponse* response);
  Task<absl::Status> Delete(CallContext* context, const v1::DeleteRequest* request,
                            v1::DeleteResponse* response);
  Task<absl::Status> BatchDelete(CallContext* context, const v1::BatchDeleteRequest* request,
                                 v1::BatchDeleteResponse* response);
  Task<absl::Status> Invalidate(CallContext* context, const v1::InvalidateRequest* request,
                                v1::InvalidateResponse* response);
  bool TryGetOrLoad(CallContext* context, const v1::GetOrLoadRequest& request,
                    v1::GetOrLoadResponse* response, absl::Status* status);
  Task<absl::Status> GetOrLoad(CallContext* context, const v1::GetOrLoadRequest* request,
                               v1::GetOrLoadResponse* response);
  Task<absl::Status> BatchGetOrLoad(CallContext* context, const v1::BatchGetOrLoadRequest* request,
                                    v1::BatchGetOrLoadResponse* response);
  Task<absl::Status> ReleaseLease(CallContext* context, const v1::ReleaseLeaseRequest* request,
                                  v1::ReleaseLeaseResponse* response);
  Task<absl::Status> Touch(CallContext* context, const v1::TouchRequest* request,
                           v1::TouchResponse* response);
  Task<absl::Status> Increment(CallContext* context, const v1::IncrementRequest* request,
                               v1::IncrementResponse* response);
  Task<absl::Status> Stats(CallContext* context, const v1::StatsRequest* request,
                           v1::StatsResponse* response);

  // What Stats answers to a request that names nothing. Never waits.
  v1::StatsResponse AllStats() const;

 private:
  // Runs `body` unless the request's id was seen before, in which case `response` becomes what was
  // answered then.
  template <typename Request, typename Response>
  Task<absl::Status> Once(const Request* request, Response* response, Task<absl::Status> body);

  Task<absl::Status> DoSet(CallContext* context, const v1::SetRequest* request,
                           v1::SetResponse* response);
  Task<absl::Status> DoBatchSet(CallContext* context, const v1::BatchSetRequest* request,
                                v1::BatchSetResponse* response);
  Task<absl::Status> DoDelete(CallContext* context, const v1::DeleteRequest* request,
                              v1::DeleteResponse* response);
  Task<absl::Status> DoBatchDelete(CallContext* context, const v1::BatchDeleteRequest* request,
                                   v1::BatchDeleteResponse* response);
  Task<absl::Status> DoIncrement(CallContext* context, const v1::IncrementRequest* request,
                                 v1::IncrementResponse* response);

  // With `view` only what it shows.
  void FillStats(const v1::StatsRequest& request, const AccessView* view,
                 v1::StatsResponse* response) const;
  // What is the whole process's and nobody's in particular.
  void FillProcess(const EngineStats& stats, v1::StatsResponse* response) const;

  template <typename Request>
  absl::Status CheckLoad(const Request& request) const;
  // What GetOrLoad and its batch say of how to load. REQUIRES: CheckLoad.
  template <typename To, typename Request>
  void FillLoad(CallContext* context, const Request& request, To* to) const;
  // TYPE_UNKNOWN for a name that no type has; empty is fine.
  absl::Status CheckType(std::string_view type) const;
  MonoNanos Now() const { return engine_->options().clock->Mono(); }
  // Whether the change may be made on a lane's thread. Not so a Set by a lease's holder, who wakes
  // all that wait for his value, nor that of a large value, which has to be compressed.
  template <typename Request>
  bool ChangesAtOnce(const Request& request) const {
    return engine_->ChangesAtOnce({request.namespace_(), request.key(), request.type()});
  }
  bool SetsAtOnce(const v1::SetRequest& request) const {
    return request.value().size() <= kSetAtOnceBytesMax && request.lease_token().empty() &&
           (ChangesAtOnce(request) ||
            (request.condition_case() == v1::SetRequest::CONDITION_NOT_SET &&
             engine_->HandsOverAtOnce({request.namespace_(), request.key(), request.type()})));
  }
  // Whether it would only join those who wait for a load.
  bool LoadsAtOnce(const v1::GetOrLoadRequest& request) const {
    return engine_->JoinsAtOnce({request.namespace_(), request.key(), request.type()});
  }
  // Answers from memory; false when there is nothing to answer with.
  template <typename Response>
  bool TryHit(const FullKey& key, bool metadata_only, CallContext* context, Response* response) {
    // Where the lane's thread copies small values to, one after the other.
    static thread_local Entry entry;
    if (entry.bytes.capacity() > kKeptBytesMax) entry.bytes = std::string();
    const MonoNanos now = Now();
    if (!engine_->FindHit(key, now, !metadata_only, &entry)) return false;
    FillHitInPlace(&entry, v1::TIER_L1, now, metadata_only, context, response->mutable_hit());
    return true;
  }

  static constexpr size_t kKeptBytesMax = 64 << 10;
  static constexpr size_t kSetAtOnceBytesMax = 4 << 10;

  const Options options_;
  Engine* const engine_;
  RequestIds* const request_ids_;
  const MethodTable* const methods_;
};

}  // namespace larder

#endif  // LARDER_RPC_CACHE_HANDLERS_H_
