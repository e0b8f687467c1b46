#include "tests/origin/origin_service.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/strings.h"

namespace larder {
namespace {

void SetDuration(absl::Duration from, google::protobuf::Duration* to) {
  to->set_seconds(absl::IDivDuration(from, absl::Seconds(1), &from));
  to->set_nanos(static_cast<int>(absl::ToInt64Nanoseconds(from)));
}

void SetFound(const OriginHeld& held, v1::Found* found) {
  found->set_value(held.value);
  if (held.ttl) SetDuration(*held.ttl, found->mutable_ttl());
  for (const std::string& tag : held.tags) found->add_tags(tag);
  for (const std::string& key : held.depends_on) found->add_depends_on(key);
  found->set_validator(held.validator);
}

grpc::ServerUnaryReactor* End(grpc::CallbackServerContext* context, const grpc::Status& status) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  reactor->Finish(status);
  return reactor;
}

}  // namespace

// Ends when the client gives up.
class OriginService::Hanging : public grpc::ServerUnaryReactor {
 public:
  explicit Hanging(OriginService* service) : service_(service) { ++service_->hanging_; }
  void OnCancel() override {
    ++service_->cancelled_;
    Finish(grpc::Status::CANCELLED);
  }
  void OnDone() override {
    --service_->hanging_;
    delete this;
  }

 private:
  OriginService* const service_;
};

OriginService::OriginService(std::shared_ptr<grpc::ServerCredentials> credentials)
    : credentials_(std::move(credentials)) {
  Start();
}

std::string OriginService::target() const { return StrCat("127.0.0.1:", port_); }

void OriginService::Start() {
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort(StrCat("127.0.0.1:", port_), credentials_, &port);
  builder.SetMaxReceiveMessageSize(128 << 20);
  builder.RegisterService(this);
  server_ = builder.BuildAndStart();
  ASSERT_NE(server_, nullptr);
  port_ = port;
}

void OriginService::Stop() {
  if (server_ == nullptr) return;
  server_->Shutdown(std::chrono::system_clock::now());
  server_->Wait();
  server_.reset();
}

void OriginService::Put(const std::string& key, const OriginHeld& held) {
  MutexLock lock(&mu_);
  rows_[key] = Row{held, false};
}

std::optional<OriginHeld> OriginService::Held(const std::string& key) const {
  MutexLock lock(&mu_);
  const auto row = rows_.find(key);
  if (row == rows_.end() || row->second.removed) return std::nullopt;
  return row->second.held;
}

void OriginService::SetFault(const std::string& key, OriginFault fault) {
  MutexLock lock(&mu_);
  faults_[key] = fault;
}

void OriginService::Fail(grpc::Status status) {
  MutexLock lock(&mu_);
  fail_ = std::move(status);
}

void OriginService::Hang(bool hang) {
  MutexLock lock(&mu_);
  hang_ = hang;
}

OriginService::Seen OriginService::last() const {
  MutexLock lock(&mu_);
  return last_;
}

OriginFault OriginService::FaultOf(const std::string& key) const {
  const auto fault = faults_.find(key);
  return fault == faults_.end() ? OriginFault::kNone : fault->second;
}

grpc::Status OriginService::Enter(const grpc::CallbackServerContext& context, bool* hangs) {
  ++calls_;
  MutexLock lock(&mu_);
  last_.metadata.clear();
  for (const auto& [key, value] : context.client_metadata()) {
    last_.metadata.emplace(std::string(key.data(), key.size()),
                           std::string(value.data(), value.size()));
  }
  last_.time_left = absl::FromChrono(context.deadline() - std::chrono::system_clock::now());
  *hangs = hang_;
  return fail_;
}

grpc::ServerUnaryReactor* OriginService::Hold() { return new Hanging(this); }

void OriginService::Answer(const v1::LoadItem& item, v1::LoadResult* result) const {
  result->set_key(item.key());
  const OriginFault fault = FaultOf(item.key());
  const auto row = rows_.find(item.key());
  if (fault == OriginFault::kLoadFails) {
    result->mutable_error()->set_code(grpc::StatusCode::INTERNAL);
    result->mutable_error()->set_message("a bug");
  } else if (row == rows_.end() || row->second.removed) {
    result->mutable_absent();
  } else if (const OriginHeld& held = row->second.held;
             !item.validator().empty() && item.validator() == held.validator) {
    result->mutable_unchanged();
    if (held.ttl) SetDuration(*held.ttl, result->mutable_unchanged()->mutable_ttl());
  } else {
    SetFound(held, result->mutable_found());
    if (fault == OriginFault::kGarbage) {
      result->mutable_found()->mutable_ttl()->set_nanos(2'000'000'000);
    }
  }
}

void OriginService::Apply(const v1::StoreItem& item, v1::StoreResult* result) {
  result->set_key(item.key());
  const OriginFault fault = FaultOf(item.key());
  if (fault == OriginFault::kStoreRejects || fault == OriginFault::kStoreRetries) {
    result->set_outcome(fault == OriginFault::kStoreRejects ? v1::STORE_OUTCOME_REJECT
                                                            : v1::STORE_OUTCOME_RETRY);
    result->set_message("as the test says");
    return;
  }
  result->set_outcome(v1::STORE_OUTCOME_OK);
  Row& row = rows_[item.key()];
  if (row.held.version >= item.version() && (row.removed || !row.held.value.empty())) return;
  row.held = OriginHeld{.value = item.value(), .version = item.version()};
  row.removed = item.delete_();
}

grpc::ServerUnaryReactor* OriginService::Load(grpc::CallbackServerContext* context,
                                              const v1::LoadRequest* request,
                                              v1::LoadResponse* response) {
  bool hangs = false;
  const grpc::Status status = Enter(*context, &hangs);
  {
    MutexLock lock(&mu_);
    last_.load = *request;
    for (const v1::LoadItem& item : request->items()) {
      hangs = hangs || FaultOf(item.key()) == OriginFault::kHangs;
      Answer(item, response->add_results());
    }
  }
  if (hangs) return Hold();
  if (on_load) on_load(response);
  return End(context, status);
}

grpc::ServerUnaryReactor* OriginService::Store(grpc::CallbackServerContext* context,
                                               const v1::StoreRequest* request,
                                               v1::StoreResponse* response) {
  bool hangs = false;
  grpc::Status status = Enter(*context, &hangs);
  if (hangs) return Hold();
  if (request->type() == "sealed") status = {grpc::StatusCode::UNIMPLEMENTED, "it is sealed"};
  if (status.ok()) {
    MutexLock lock(&mu_);
    last_.store = *request;
    for (const v1::StoreItem& item : request->items()) Apply(item, response->add_results());
  }
  if (on_store) on_store(response);
  return End(context, status);
}

grpc::ServerUnaryReactor* OriginService::Scan(grpc::CallbackServerContext* context,
                                              const v1::ScanRequest* request,
                                              v1::ScanResponse* response) {
  bool hangs = false;
  grpc::Status status = Enter(*context, &hangs);
  if (hangs) return Hold();
  if (request->type() == "sealed") status = {grpc::StatusCode::UNIMPLEMENTED, "it is sealed"};
  if (status.ok()) {
    MutexLock lock(&mu_);
    auto row = rows_.upper_bound(request->cursor());
    for (; row != rows_.end() && response->items_size() < static_cast<int>(request->limit());
         ++row) {
      if (row->second.removed) continue;
      v1::ScanItem* item = response->add_items();
      item->set_key(row->first);
      if (!request->keys_only()) SetFound(row->second.held, item->mutable_found());
    }
    if (row != rows_.end()) response->set_cursor(std::prev(row)->first);
    if (request->count_to() > 0) {
      response->set_total(static_cast<uint64_t>(std::count_if(
          rows_.begin(), rows_.end(), [](const auto& each) { return !each.second.removed; })));
    }
  }
  if (on_scan) on_scan(response);
  return End(context, status);
}

}  // namespace larder
