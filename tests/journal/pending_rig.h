// A PendingIndex with a type `t` of the origin `db`, and short ways to ask it, for tests.
// Thread safety: none.

#ifndef LARDER_TESTS_JOURNAL_PENDING_RIG_H_
#define LARDER_TESTS_JOURNAL_PENDING_RIG_H_

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/random.h"
#include "core/error.h"
#include "core/key.h"
#include "journal/pending_index.h"

namespace larder {

inline constexpr MonoNanos kMs = 1'000'000;

class PendingIndexTest : public testing::Test {
 protected:
  PendingIndexTest() : random_(7) {
    AddType("t", "db");
    options_.random = &random_;
  }
  void TearDown() override {
    if (index_ != nullptr) index_->CheckInvariants();
  }

  WritePolicy& AddType(std::string_view name, std::string_view origin) {
    PendingIndex::Type type;
    type.name = name;
    type.origin = origin;
    options_.types.push_back(type);
    return options_.types.back().policy;
  }
  WritePolicy& policy(size_t type = 0) { return options_.types[type].policy; }

  PendingIndex& index() {
    if (index_ == nullptr) index_ = std::make_unique<PendingIndex>(options_);
    return *index_;
  }

  // A write of a key that is on disk now. True: one of the two has been superseded.
  bool Insert(std::string_view key, Version version, MonoNanos since, std::string_view type = "t",
              std::string_view name_space = "", uint64_t bytes = 10) {
    const FullKey full(name_space, key);
    return index().Insert({.full_key = full.view(),
                           .type = index().TypeOfStored(type),
                           .seq = ++seq_,
                           .version = version,
                           .bytes = bytes,
                           .remove = false,
                           .since = since},
                          &erase_);
  }
  std::string Keys(const std::optional<PendingIndex::Call>& call) {
    std::string keys;
    if (!call.has_value()) return "-";
    for (const auto& taken : call->writes) {
      if (!keys.empty()) keys += ' ';
      keys += FullKey::KeyOf(taken.key->full_key());
    }
    return keys;
  }
  absl::Status Reserve(std::string_view key, Version version, uint64_t bytes, MonoNanos now = 0,
                       std::string_view type = "t") {
    const FullKey full("", key);
    bool never = false;
    return index().Reserve({{full.view(), index().TypeOf(type), version, bytes}}, now,
                           &reservation_, &never);
  }

  SeededRandom random_;
  PendingIndex::Options options_;
  std::unique_ptr<PendingIndex> index_;
  uint64_t seq_ = 0;
  std::vector<uint64_t> erase_;
  PendingIndex::Reservation reservation_;
};

}  // namespace larder

#endif  // LARDER_TESTS_JOURNAL_PENDING_RIG_H_
