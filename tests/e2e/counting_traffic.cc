#include "tests/e2e/counting_traffic.h"

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <sstream>
#include <vector>

namespace larder {
namespace {

// More are counted, not told.
constexpr int kFailuresTold = 10;
// What was acknowledged so long ago is not asked for any more.
constexpr size_t kHistoryMax = 100'000;
// Lives are rounded on their way through the second tier, and processes have clocks of their own.
constexpr std::chrono::milliseconds kRoomForBrief{100};

}  // namespace

CountingTraffic::CountingTraffic(Replica* writer, Replica* reader)
    : writer_(writer), reader_(reader) {
  write_thread_ = std::thread([this] { WriteAndRead(); });
  read_thread_ = std::thread([this] { ReadElsewhere(); });
}

CountingTraffic::~CountingTraffic() { Stop(); }

void CountingTraffic::Stop() {
  stop_ = true;
  if (write_thread_.joinable()) write_thread_.join();
  if (read_thread_.joinable()) read_thread_.join();
}

void CountingTraffic::AwaitRounds(int rounds) {
  const int written = written_rounds_ + rounds;
  const int read = read_rounds_ + rounds;
  EXPECT_TRUE(Eventually([&] { return written_rounds_ >= written && read_rounds_ >= read; }));
}

void CountingTraffic::Fail(const std::string& what) {
  std::lock_guard<std::mutex> lock(mu_);
  if (++failures_ > kFailuresTold) return;
  ADD_FAILURE() << what;
}

void CountingTraffic::Must(const char* what, const grpc::Status& status) {
  if (status.ok()) return;
  std::ostringstream told;
  told << what << ": " << status.error_code() << " " << status.error_message();
  Fail(told.str());
}

void CountingTraffic::CheckAtLeast(const char* where, const std::string& value, int64_t least) {
  if (value.empty() || std::atoll(value.c_str()) >= least) return;
  std::ostringstream told;
  told << where << " gave " << value << " when " << least << " was acknowledged";
  Fail(told.str());
}

void CountingTraffic::WriteAndRead() {
  for (int64_t n = 1; !stop_; ++n) {
    Round(n);
    ++written_rounds_;
  }
}

void CountingTraffic::Round(int64_t n) {
  const std::string text = std::to_string(n);
  Must("Set", writer_->Set("brief:count", text));
  Must("Set", writer_->Set("count", text));
  acknowledged_ = n;
  {
    std::lock_guard<std::mutex> lock(mu_);
    history_.emplace_back(Clock::now(), n);
    if (history_.size() > kHistoryMax) history_.pop_front();
  }
  v1::GetResponse got;
  Must("Get", writer_->Get("count", &got));
  CheckAtLeast("the writer's replica", got.hit().value(), n);
  Must("Touch", writer_->Touch("count"));
  BatchesAndLoads(n);
  Conditions(n);
  Removals(n);
}

void CountingTraffic::BatchesAndLoads(int64_t n) {
  const std::string text = std::to_string(n);
  v1::BatchSetRequest sets;
  v1::BatchGetRequest gets;
  for (int i = 0; i < 3; ++i) {
    const std::string key = "batch:" + std::to_string(i);
    v1::BatchSetItem* const item = sets.add_items();
    item->set_key(key);
    item->set_value(text);
    gets.add_keys(key);
  }
  v1::BatchSetResponse set;
  v1::BatchGetResponse values;
  Must("BatchSet", writer_->stub().BatchSet(Replica::Within().get(), sets, &set));
  if (set.results_size() != sets.items_size()) Fail("BatchSet does not answer for each item");
  for (const v1::SetResult& result : set.results()) {
    if (!result.has_stored()) Fail("an item of BatchSet: " + result.ShortDebugString());
  }
  Must("BatchGet", writer_->stub().BatchGet(Replica::Within().get(), gets, &values));
  for (const v1::GetResult& result : values.results()) {
    CheckAtLeast("BatchGet at the writer's replica", result.hit().value(), n);
  }

  v1::GetOrLoadResponse load;
  const std::string loaded = "load:" + text;
  Must("GetOrLoad", writer_->GetOrLoad(loaded, &load));
  if (!load.has_lease()) return;
  bool stored = false;
  Must("Set with a lease", writer_->Fulfil(loaded, text, load.lease().token(), &stored));
}

void CountingTraffic::Conditions(int64_t n) {
  const std::string text = std::to_string(n);
  bool stored = false;
  Must("Set if absent", writer_->SetIfAbsent("absent:" + text, text, &stored));
  if (!stored) Fail("Set if absent did not store what nobody had set: " + text);

  v1::SetRequest set;
  set.set_key("versioned");
  set.set_value(text);
  if (version_ != 0) set.set_if_version(version_);
  v1::SetResponse response;
  Must("Set if version", writer_->Set(set, &response));
  // The entry may have been lost, and then there is nothing of that version.
  version_ = response.stored().version();
  v1::GetResponse got;
  Must("Get", writer_->Get("versioned", &got));
  if (version_ != 0) CheckAtLeast("a key set by its version", got.hit().value(), n);

  int64_t value = 0;
  Must("Increment", writer_->Increment("counter", &value));
  // It may have been lost, and begins anew then; never does it go on from an earlier count.
  if (value != counter_ + 1 && value != 1) {
    Fail("Increment gave " + std::to_string(value) + " after " + std::to_string(counter_));
  }
  counter_ = value;
}

void CountingTraffic::MustBeGone(const char* how, const std::string& key, int64_t n) {
  v1::GetResponse none;
  Must("Get", writer_->Get(key, &none));
  CheckAtLeast(how, none.hit().value(), n + 1);
}

void CountingTraffic::Removals(int64_t n) {
  const std::string text = std::to_string(n);
  const std::string place = std::to_string(n % 5);
  const std::string deleted = "deleted:" + place;
  Must("Set", writer_->Set(deleted, text));
  Must("Delete", writer_->Delete(deleted));
  MustBeGone("a deleted key", deleted, n);

  const std::string invalidated = "invalidated:" + place;
  Must("Set", writer_->Set(invalidated, text));
  v1::InvalidateResponse ignored;
  Must("Invalidate", writer_->Invalidate({invalidated}, /*fleet=*/false, &ignored));
  MustBeGone("an invalidated key", invalidated, n);

  const std::vector<std::string> several = {"several:" + place, "others:" + place};
  for (const std::string& key : several) Must("Set", writer_->Set(key, text));
  v1::BatchDeleteResponse removed;
  Must("BatchDelete", writer_->BatchDelete(several, &removed));
  if (removed.results_size() != 2) Fail("BatchDelete does not answer for each key");
  for (const std::string& key : several) MustBeGone("a key of BatchDelete", key, n);
}

int64_t CountingTraffic::AcknowledgedBy(Clock::time_point time) {
  std::lock_guard<std::mutex> lock(mu_);
  const auto after = std::upper_bound(
      history_.begin(), history_.end(), time,
      [](Clock::time_point when, const auto& entry) { return when < entry.first; });
  return after == history_.begin() ? 0 : std::prev(after)->second;
}

void CountingTraffic::ReadElsewhere() {
  for (; !stop_; ++read_rounds_) {
    const int64_t bound = bound_ms_;
    const int64_t floor = floor_;
    const Clock::time_point begun = Clock::now();
    const int64_t acknowledged =
        bound < 0 ? 0 : AcknowledgedBy(begun - std::chrono::milliseconds(bound));
    v1::GetResponse got;
    Must("Get at the other replica", reader_->Get("count", &got));
    CheckAtLeast("the other replica", got.hit().value(), std::max(floor, acknowledged));
    v1::GetResponse brief;
    Must("Get at the other replica", reader_->Get("brief:count", &brief));
    CheckAtLeast("of a short TTL, the other replica", brief.hit().value(),
                 AcknowledgedBy(begun - kBriefTtl - kRoomForBrief));
  }
}

}  // namespace larder
