#include "admin/answers.h"

#include <utility>

#include "base/strings.h"
#include "google/protobuf/struct.pb.h"
#include "google/protobuf/util/json_util.h"

namespace larder {
namespace {

using google::protobuf::Struct;

HttpReply Json(const google::protobuf::Message& message, int status = 200) {
  google::protobuf::util::JsonPrintOptions options;
  options.always_print_primitive_fields = true;
  options.preserve_proto_field_names = true;
  HttpReply reply{.status = status, .content_type = "application/json; charset=utf-8"};
  const auto written = google::protobuf::util::MessageToJsonString(message, &reply.body, options);
  // Fails for text that is no UTF-8 and for times out of range: a mistake of ours.
  if (!written.ok()) return {.status = 500, .body = written.ToString() + "\n"};
  return reply;
}

HttpReply Failed(int status, std::string_view error) {
  Struct all;
  (*all.mutable_fields())["error"].set_string_value(std::string(error));
  return Json(all, status);
}

void Put(std::string_view name, std::string_view text, Struct* into) {
  (*into->mutable_fields())[std::string(name)].set_string_value(std::string(text));
}

void Put(std::string_view name, bool yes, Struct* into) {
  (*into->mutable_fields())[std::string(name)].set_bool_value(yes);
}

void Put(std::string_view name, uint64_t count, Struct* into) {
  (*into->mutable_fields())[std::string(name)].set_number_value(static_cast<double>(count));
}

// In milliseconds since the epoch.
void Put(std::string_view name, absl::Time time, Struct* into) {
  (*into->mutable_fields())[std::string(name)].set_number_value(
      static_cast<double>(absl::ToUnixMillis(time)));
}

Struct* Inside(std::string_view name, Struct* outer) {
  return (*outer->mutable_fields())[std::string(name)].mutable_struct_value();
}

google::protobuf::ListValue* ListIn(std::string_view name, Struct* outer) {
  return (*outer->mutable_fields())[std::string(name)].mutable_list_value();
}

// `read` is another one whenever the settings may be: whoever shows them asks for them again then.
void PutReloads(const ReloadTally& reloads, Struct* into) {
  Put("read", reloads.applied + reloads.unchanged, into);
  Put("refused", reloads.refused, into);
  Put("last_ok", reloads.last_ok, into);
  Put("last_good_ms", reloads.last_good, into);
  Put("trouble", reloads.trouble, into);
}

// Rows and not objects: there are hundreds of them.
void PutSamples(const std::vector<HistorySample>& samples, google::protobuf::ListValue* into) {
  for (const HistorySample& sample : samples) {
    google::protobuf::ListValue* const row = into->add_values()->mutable_list_value();
    row->add_values()->set_number_value(static_cast<double>(absl::ToUnixMillis(sample.at)));
    for (const uint64_t figure : {sample.calls, sample.hits, sample.reads, sample.evictions})
      row->add_values()->set_number_value(static_cast<double>(figure));
  }
}

void PutCalls(const CallsTally& calls, Struct* into) {
  Put("under_way", calls.under_way, into);
  Put("limit", calls.limit, into);
  Put("waiting", calls.waiting, into);
  Put("waiting_limit", calls.waiting_limit, into);
}

}  // namespace

HttpReply StatsReply(const AdminView& view) { return Json(view.stats()); }

HttpReply ConfigReply(const AdminView& view) {
  Struct all;
  Put("version", view.version, &all);
  Put("node", view.node, &all);
  Put("started_ms", view.started, &all);
  google::protobuf::ListValue* const settings = ListIn("settings", &all);
  for (const ShownSetting& setting : view.settings()) {
    Struct* const one = settings->add_values()->mutable_struct_value();
    Put("path", setting.path, one);
    Put("value", setting.value, one);
    Put("source", setting.source, one);
  }
  return Json(all);
}

HttpReply StatusReply(const AdminView& view, bool ready, const std::string& why) {
  Struct all;
  Put("node", view.node, &all);
  Put("started_ms", view.started, &all);
  Put("ready", ready, &all);
  Put("why", why, &all);
  PutReloads(view.reloads(), Inside("config", &all));
  Struct* const shed = Inside("shed", &all);
  for (const auto& [reason, count] : view.shed()) Put(reason, count, shed);
  PutCalls(view.calls(), Inside("calls", &all));
  Put("memory_tight", view.memory_tight != nullptr && view.memory_tight(), &all);
  google::protobuf::ListValue* const replicas = ListIn("replicas", &all);
  for (const ReplicaTally& replica :
       view.replicas == nullptr ? std::vector<ReplicaTally>() : view.replicas()) {
    Struct* const one = replicas->add_values()->mutable_struct_value();
    Put("node_id", uint64_t{replica.node_id}, one);
    Put("state", replica.state, one);
    Put("heard_ago_ms", static_cast<uint64_t>(absl::ToInt64Milliseconds(replica.heard_ago)), one);
    Put("frames", replica.frames, one);
  }
  google::protobuf::ListValue* const certificates = ListIn("certificates", &all);
  for (const auto& [lane, end] :
       view.certificates == nullptr ? CertificateEnds() : view.certificates()) {
    Struct* const one = certificates->add_values()->mutable_struct_value();
    Put("lane", lane, one);
    Put("ends_ms", end, one);
  }
  return Json(all);
}

HttpReply HistoryReply(const History& history, absl::Time now) {
  Struct all;
  Put("now_ms", now, &all);
  google::protobuf::ListValue* const names = ListIn("columns", &all);
  for (const char* name : {"at_ms", "calls", "hits", "reads", "evictions"})
    names->add_values()->set_string_value(name);
  PutSamples(history.Fine(), ListIn("ten_minutes", &all));
  PutSamples(history.Coarse(), ListIn("day", &all));
  return Json(all);
}

HttpReply ReloadReply(const AdminView& view, const std::string& body) {
  v1::ReloadConfigRequest request;
  if (!body.empty()) {
    const auto read = google::protobuf::util::JsonStringToMessage(body, &request);
    if (!read.ok())
      return Failed(400, StrCat("the body is no ReloadConfigRequest: ", read.ToString()));
  }
  const absl::StatusOr<v1::ReloadConfigResponse> done = view.reload(request.dry_run());
  if (!done.ok()) return Failed(409, ToStd(done.status().message()));
  return Json(*done);
}

}  // namespace larder
