#include "origin/grpc_answers.h"

#include <limits>
#include <optional>
#include <string_view>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"
#include "base/strings.h"
#include "base/utf8.h"
#include "core/key.h"
#include "core/trace_parent.h"
#include "larder/v1/origin.pb.h"

namespace larder {
namespace {

constexpr size_t kMessageBytesMax = 1'024;
constexpr size_t kCursorBytesMax = 4'096;
constexpr int kLastCode = 16;  // of gRPC

absl::Status Nonsense(std::string_view what) {
  return absl::DataLossError(StrCat("the origin answered ", what));
}

// Where in the request each key stands. REQUIRES: `items` lives as long.
template <typename Items>
absl::flat_hash_map<absl::string_view, int> PlacesOf(const Items& items) {
  absl::flat_hash_map<absl::string_view, int> places;
  places.reserve(items.size());
  for (int i = 0; i < items.size(); ++i) places.emplace(items[i].key(), i);
  return places;
}

absl::Status ReadTtl(bool has, const google::protobuf::Duration& ttl,
                     std::optional<absl::Duration>* out) {
  if (!has) return absl::OkStatus();
  constexpr int64_t kSecondsMax = 315'576'000'000;  // of google.protobuf.Duration
  constexpr int32_t kNanosMax = 999'999'999;
  if (ttl.seconds() < 0 || ttl.seconds() > kSecondsMax || ttl.nanos() < 0 ||
      ttl.nanos() > kNanosMax || (ttl.seconds() == 0 && ttl.nanos() == 0)) {
    return Nonsense(StrCat("a ttl of ", ttl.seconds(), " s and ", ttl.nanos(), " ns"));
  }
  *out = absl::Seconds(ttl.seconds()) + absl::Nanoseconds(ttl.nanos());
  return absl::OkStatus();
}

absl::Status ReadFound(v1::Found* found, size_t value_bytes_max, OriginLoaded* out) {
  if (found->value().size() > value_bytes_max) {
    return Nonsense(
        StrCat("a value of ", found->value().size(), " bytes; at most ", value_bytes_max));
  }
  if (found->tags_size() > static_cast<int>(kTagsMax)) {
    return Nonsense(StrCat(found->tags_size(), " tags; at most ", kTagsMax));
  }
  if (found->depends_on_size() > static_cast<int>(kTagsMax)) {
    return Nonsense(StrCat(found->depends_on_size(), " dependencies; at most ", kTagsMax));
  }
  if (found->validator().size() > kValidatorBytesMax) {
    return Nonsense(StrCat("a validator of ", found->validator().size(), " bytes; at most ",
                           kValidatorBytesMax));
  }
  for (const std::string& tag : found->tags()) {
    if (const absl::Status status = CheckTag(tag); !status.ok()) {
      return Nonsense(StrCat("a bad tag: ", status.message()));
    }
  }
  for (const std::string& key : found->depends_on()) {
    if (const absl::Status status = CheckKey(key); !status.ok()) {
      return Nonsense(StrCat("a bad dependency: ", status.message()));
    }
  }
  if (absl::Status status = ReadTtl(found->has_ttl(), found->ttl(), &out->ttl); !status.ok()) {
    return status;
  }
  out->kind = OriginLoaded::Kind::kFound;
  out->value = std::move(*found->mutable_value());
  out->tags.assign(std::make_move_iterator(found->mutable_tags()->begin()),
                   std::make_move_iterator(found->mutable_tags()->end()));
  out->depends_on.assign(std::make_move_iterator(found->mutable_depends_on()->begin()),
                         std::make_move_iterator(found->mutable_depends_on()->end()));
  out->validator = std::move(*found->mutable_validator());
  return absl::OkStatus();
}

// OK unless the result makes no sense.
absl::Status ReadResult(v1::LoadResult* result, bool had_validator, size_t value_bytes_max,
                        OriginLoaded* out) {
  switch (result->outcome_case()) {
    case v1::LoadResult::kFound:
      return ReadFound(result->mutable_found(), value_bytes_max, out);
    case v1::LoadResult::kAbsent:
      out->kind = OriginLoaded::Kind::kAbsent;
      return ReadTtl(result->absent().has_ttl(), result->absent().ttl(), &out->ttl);
    case v1::LoadResult::kUnchanged:
      if (!had_validator) return Nonsense("`unchanged` to a load without a validator");
      out->kind = OriginLoaded::Kind::kUnchanged;
      return ReadTtl(result->unchanged().has_ttl(), result->unchanged().ttl(), &out->ttl);
    case v1::LoadResult::kError: {
      const int code = result->error().code();
      if (code < 1 || code > kLastCode) return Nonsense(StrCat("an error with code ", code));
      out->error =
          absl::Status(static_cast<absl::StatusCode>(code), TheirWords(result->error().message()));
      return absl::OkStatus();
    }
    case v1::LoadResult::OUTCOME_NOT_SET:
      break;
  }
  return Nonsense("a key without an outcome");
}

OriginLoaded FailedLoad(absl::Status error) {
  OriginLoaded failed;
  failed.error = std::move(error);
  return failed;
}

}  // namespace

std::string TheirWords(const std::string& message) { return CleanUtf8(message, kMessageBytesMax); }

void FillLoad(OriginLoad load, v1::LoadRequest* request) {
  request->set_namespace_(std::move(load.call.name_space));
  request->set_type(std::move(load.call.type));
  request->mutable_items()->Reserve(static_cast<int>(load.items.size()));
  for (OriginLoad::Item& item : load.items) {
    v1::LoadItem* to = request->add_items();
    to->set_key(std::move(item.key));
    to->set_validator(std::move(item.validator));
  }
}

void FillStore(OriginStore store, v1::StoreRequest* request) {
  request->set_namespace_(std::move(store.call.name_space));
  request->set_type(std::move(store.call.type));
  request->mutable_items()->Reserve(static_cast<int>(store.writes.size()));
  for (OriginStore::Write& write : store.writes) {
    v1::StoreItem* to = request->add_items();
    to->set_key(std::move(write.key));
    if (write.remove) {
      to->set_delete_(true);
    } else {
      to->set_value(std::move(write.value));
    }
    to->set_version(write.version);
    to->set_idempotency_id(std::move(write.idempotency_id));
    // Again: journals may hold what an earlier larder took over unseen, and a string that is no
    // UTF-8 makes the whole request one that no origin can read.
    if (IsTraceParent(write.trace_parent)) to->set_trace_parent(std::move(write.trace_parent));
  }
}

void FillScan(const OriginScan& scan, v1::ScanRequest* request) {
  request->set_namespace_(scan.call.name_space);
  request->set_type(scan.call.type);
  request->set_limit(scan.limit);
  request->set_cursor(scan.cursor);
  request->set_keys_only(scan.keys_only);
  request->set_count_to(scan.count_to);
}

std::vector<OriginLoaded> ReadLoad(const v1::LoadRequest& request, v1::LoadResponse* response,
                                   size_t value_bytes_max, AnswerCounts* counts) {
  const auto places = PlacesOf(request.items());
  std::vector<OriginLoaded> loaded(request.items_size());
  std::vector<bool> answered(request.items_size(), false);
  for (v1::LoadResult& result : *response->mutable_results()) {
    const auto place = places.find(result.key());
    if (place == places.end() || answered[place->second]) {
      ++counts->bad_answers;  // not asked for, or twice: the first one counts
      continue;
    }
    answered[place->second] = true;
    OriginLoaded& out = loaded[place->second];
    const bool had_validator = !request.items(place->second).validator().empty();
    absl::Status sense = ReadResult(&result, had_validator, value_bytes_max, &out);
    if (!sense.ok()) {
      ++counts->bad_answers;
      out = FailedLoad(std::move(sense));
    }
  }
  for (size_t i = 0; i < loaded.size(); ++i) {
    if (!answered[i]) {
      ++counts->bad_answers;
      loaded[i] = FailedLoad(absl::DataLossError("the origin left this key out of its answer"));
    }
    counts->item_errors += loaded[i].kind == OriginLoaded::Kind::kFailed;
  }
  return loaded;
}

std::vector<OriginStored> ReadStore(const v1::StoreRequest& request, v1::StoreResponse* response,
                                    AnswerCounts* counts) {
  const auto places = PlacesOf(request.items());
  std::vector<OriginStored> stored(request.items_size());
  std::vector<bool> answered(request.items_size(), false);
  for (const v1::StoreResult& result : response->results()) {
    const auto place = places.find(result.key());
    if (place == places.end() || answered[place->second]) {
      ++counts->bad_answers;
      continue;
    }
    answered[place->second] = true;
    OriginStored& out = stored[place->second];
    switch (result.outcome()) {
      case v1::STORE_OUTCOME_OK:
        out.kind = OriginStored::Kind::kDone;
        break;
      case v1::STORE_OUTCOME_RETRY:
        out.error = absl::UnavailableError(TheirWords(result.message()));
        break;
      case v1::STORE_OUTCOME_REJECT:
        out.kind = OriginStored::Kind::kReject;
        out.error = absl::FailedPreconditionError(TheirWords(result.message()));
        break;
      default:
        ++counts->bad_answers;
        out.error = Nonsense(StrCat("store outcome ", static_cast<int>(result.outcome())));
    }
  }
  for (size_t i = 0; i < stored.size(); ++i) {
    if (!answered[i]) {
      ++counts->bad_answers;
      stored[i].error = absl::DataLossError("the origin left this write out of its answer");
    }
    counts->item_errors += stored[i].kind != OriginStored::Kind::kDone;
  }
  return stored;
}

absl::StatusOr<OriginPage> ReadScan(const v1::ScanRequest& request, v1::ScanResponse* response,
                                    size_t value_bytes_max, AnswerCounts* counts) {
  absl::Status useless;
  if (response->items_size() > static_cast<int>(request.limit())) {
    // What is beyond the limit cannot be cut off: the cursor leads past it.
    useless = Nonsense(StrCat("a page of ", response->items_size(), " items; at most ",
                              request.limit(), " were asked for"));
  } else if (response->cursor().size() > kCursorBytesMax) {
    useless = Nonsense(
        StrCat("a cursor of ", response->cursor().size(), " bytes; at most ", kCursorBytesMax));
  } else if (!response->cursor().empty() && response->cursor() == request.cursor()) {
    useless = Nonsense("the cursor that it was given, which never ends");
  }
  if (!useless.ok()) {
    ++counts->bad_answers;
    return useless;
  }
  OriginPage page;
  page.cursor = std::move(*response->mutable_cursor());
  if (response->has_total()) page.total = response->total();
  page.items.reserve(response->items_size());
  for (v1::ScanItem& item : *response->mutable_items()) {
    OriginPage::Item out;
    absl::Status sense = CheckKey(item.key());
    if (request.keys_only()) {
      out.loaded.kind = OriginLoaded::Kind::kFound;
    } else if (sense.ok()) {
      sense = item.has_found() ? ReadFound(item.mutable_found(), value_bytes_max, &out.loaded)
                               : Nonsense("a key without a value");
    }
    if (!sense.ok()) {
      ++counts->bad_answers;
      ++counts->item_errors;
      continue;
    }
    out.key = std::move(*item.mutable_key());
    page.items.push_back(std::move(out));
  }
  return page;
}

}  // namespace larder
