#include "config/journal.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace larder {
namespace {

namespace v1 = config::v1;

absl::Duration D(const google::protobuf::Duration& d) {
  return absl::Seconds(d.seconds()) + absl::Nanoseconds(d.nanos());
}

WriteMode ModeOf(v1::WriteMode mode) {
  switch (mode) {
    case v1::WRITE_MODE_THROUGH:
      return WriteMode::kThrough;
    case v1::WRITE_MODE_INVALIDATE:
      return WriteMode::kInvalidate;
    case v1::WRITE_MODE_AROUND:
      return WriteMode::kAround;
    case v1::WRITE_MODE_BEHIND:
      return WriteMode::kBehind;
    default:
      return WriteMode::kCacheOnly;
  }
}

JournalSync SyncOf(v1::JournalSync sync) {
  switch (sync) {
    case v1::JOURNAL_SYNC_OS:
      return JournalSync::kOs;
    case v1::JOURNAL_SYNC_NONE:
      return JournalSync::kNone;
    default:
      return JournalSync::kFsync;
  }
}

OnFull OnFullOf(v1::OnFull on_full) {
  switch (on_full) {
    case v1::ON_FULL_BLOCK:
      return OnFull::kBlock;
    case v1::ON_FULL_WRITE_THROUGH:
      return OnFull::kWriteThrough;
    default:
      return OnFull::kReject;
  }
}

}  // namespace

WritePolicy WritePolicyOf(const v1::Write& write) {
  WritePolicy policy;
  policy.mode = ModeOf(write.mode());
  policy.timeout = D(write.timeout());
  policy.sync = SyncOf(write.sync());
  policy.delay = D(write.delay());
  policy.batch = write.batch();
  policy.coalesce = write.coalesce();
  policy.attempts = static_cast<int>(write.attempts());
  policy.backoff = {D(write.backoff().first()), D(write.backoff().max())};
  policy.on_full = OnFullOf(write.on_full());
  policy.bytes_max = write.max_bytes();
  policy.entries_max = write.max_entries();
  const absl::Duration max_age = D(write.max_age());
  if (max_age > absl::ZeroDuration()) policy.age_max = max_age;
  return policy;
}

std::string JournalPathOf(const v1::Config& config) {
  if (!config.journal().path().empty()) return config.journal().path();
  return config.data().path().empty() ? "" : absl::StrCat(config.data().path(), "/journal");
}

std::optional<Journal::Options> JournalOptionsOf(const Config& config) {
  Journal::Options options;
  for (const TypePolicy& type : config.types->types()) {
    if (type.write.mode == WriteMode::kBehind)
      options.types.push_back({.name = type.name, .origin = type.origin, .policy = type.write});
  }
  if (options.types.empty()) return std::nullopt;
  const v1::Journal& journal = config.proto->journal();
  options.store.path = JournalPathOf(*config.proto);
  options.bytes_max = journal.max_bytes();
  options.entries_max = journal.max_entries();
  const absl::Duration max_age = D(journal.max_age());
  if (max_age > absl::ZeroDuration()) options.age_max = max_age;
  options.deliveries_max = journal.deliveries();
  return options;
}

}  // namespace larder
