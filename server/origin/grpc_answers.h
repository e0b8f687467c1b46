// What a user's gRPC origin answered, made into what origin.h promises: one outcome for each item,
// in the order of the request, whatever the answer says. Nothing that it says is trusted: what was
// left out, answered twice, not asked for or out of limits fails its item, or is ignored where no
// item asked for it, and counts.
// Thread safety: functions without state. Never blocks. The values are moved out of the messages.

#ifndef LARDER_ORIGIN_GRPC_ANSWERS_H_
#define LARDER_ORIGIN_GRPC_ANSWERS_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "origin/origin.h"

namespace larder {

namespace v1 {
class LoadRequest;
class LoadResponse;
class ScanRequest;
class ScanResponse;
class StoreRequest;
class StoreResponse;
}  // namespace v1

// Requests. A request takes the keys and values of what it is made of.
void FillLoad(OriginLoad load, v1::LoadRequest* request);
void FillStore(OriginStore store, v1::StoreRequest* request);
void FillScan(const OriginScan& scan, v1::ScanRequest* request);

// What an answer adds to the counts of OriginStats.
struct AnswerCounts {
  uint64_t item_errors = 0;
  uint64_t bad_answers = 0;
};

// `request` is what was asked, in the order of the answer.
std::vector<OriginLoaded> ReadLoad(const v1::LoadRequest& request, v1::LoadResponse* response,
                                   size_t value_bytes_max, AnswerCounts* counts);
std::vector<OriginStored> ReadStore(const v1::StoreRequest& request, v1::StoreResponse* response,
                                    AnswerCounts* counts);
// DATA_LOSS for a page that cannot be used: more items than asked for, or a cursor that leads
// nowhere. Items that make no sense are left out.
absl::StatusOr<OriginPage> ReadScan(const v1::ScanRequest& request, v1::ScanResponse* response,
                                    size_t value_bytes_max, AnswerCounts* counts);

// At most 1,024 bytes of what another program says, as valid UTF-8.
std::string TheirWords(const std::string& message);

}  // namespace larder

#endif  // LARDER_ORIGIN_GRPC_ANSWERS_H_
