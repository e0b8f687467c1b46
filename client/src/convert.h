// The API's messages <-> the client's plain structs.
// Thread safety: any function, any thread. From() takes a message that the caller no longer needs
// and moves its bytes out.
// Errors: INTERNAL for an answer that breaks the API, such as one with no result in it.

#ifndef LARDER_CLIENT_SRC_CONVERT_H_
#define LARDER_CLIENT_SRC_CONVERT_H_

#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "larder/client.h"
#include "larder/options.h"
#include "larder/result.h"
#include "larder/stats.h"
#include "larder/v1/admin.pb.h"
#include "larder/v1/cache.pb.h"

namespace larder::internal {

absl::StatusOr<GetResult> From(v1::GetResponse* response);
absl::StatusOr<std::vector<GetResult>> From(v1::BatchGetResponse* response);
absl::StatusOr<SetResult> From(v1::SetResponse* response);
absl::StatusOr<std::vector<SetResult>> From(v1::BatchSetResponse* response);
absl::StatusOr<DeleteResult> From(v1::DeleteResponse* response);
absl::StatusOr<std::vector<DeleteResult>> From(v1::BatchDeleteResponse* response);
absl::StatusOr<InvalidateResult> From(v1::InvalidateResponse* response);
absl::StatusOr<LeaseResult> From(v1::GetOrLoadResponse* response);
absl::StatusOr<BatchLeaseResult> From(v1::BatchGetOrLoadResponse* response);
WarmProgress From(const v1::WarmResponse& response);
absl::StatusOr<ReleaseLeaseResult> From(v1::ReleaseLeaseResponse* response);
absl::StatusOr<TouchResult> From(v1::TouchResponse* response);
absl::StatusOr<IncrementResult> From(v1::IncrementResponse* response);
absl::StatusOr<StatsResult> From(v1::StatsResponse* response);
absl::StatusOr<HotKeysResult> From(v1::HotKeysResponse* response);
absl::StatusOr<ExplainResult> From(v1::ExplainResponse* response);
absl::StatusOr<ServerInfoResult> From(v1::ServerInfoResponse* response);
absl::StatusOr<ReloadConfigResult> From(v1::ReloadConfigResponse* response);
absl::StatusOr<FlushResult> From(v1::FlushJournalResponse* response);
absl::StatusOr<DeliveryResult> From(v1::PauseDeliveryResponse* response);
absl::StatusOr<DeliveryResult> From(v1::ResumeDeliveryResponse* response);
absl::StatusOr<DeadLetterPage> From(v1::ListDeadLettersResponse* response);
absl::StatusOr<DeadLetterCount> From(v1::RetryDeadLettersResponse* response);
absl::StatusOr<DeadLetterCount> From(v1::DropDeadLettersResponse* response);
ExportedLetter From(v1::ExportDeadLettersResponse* response);
JournalStats From(const v1::JournalStats& proto);

// Everything but the namespace and the request id. INVALID_ARGUMENT when a text is not UTF-8.
absl::Status To(std::string_view key, std::string_view value, bool absent,
                const SetOptions& options, v1::SetRequest* request);
// `path` is the item's path in errors, such as `items[3]`.
absl::Status To(const SetItem& item, absl::string_view path, v1::BatchSetItem* proto);

// INVALID_ARGUMENT when a text is not UTF-8.
absl::Status To(const DeadLetterFilter& filter, v1::DeadLetterFilter* proto);

// INVALID_ARGUMENT when not exactly one field is set, or a text is not UTF-8.
absl::Status To(const Selector& selector, v1::InvalidateRequest* request);

v1::TouchMode To(TouchMode mode);
v1::HotKeyOrder To(HotKeyOrder order);

// Shared by the files that implement this.
Tier From(v1::Tier tier);
MissReason From(v1::MissReason reason);

}  // namespace larder::internal

#endif  // LARDER_CLIENT_SRC_CONVERT_H_
