// Everything that the fake's lock guards: the time, the store, and the answers that request ids
// remember.
// Thread safety: none; FakeClient holds its lock around every call.

#ifndef LARDER_CLIENT_SRC_FAKE_STATE_H_
#define LARDER_CLIENT_SRC_FAKE_STATE_H_

#include <any>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "client/src/fake_checks.h"
#include "client/src/fake_store.h"
#include "client/src/status.h"

namespace larder::internal {

inline constexpr absl::Duration kRememberIds = absl::Minutes(10);

// What a request says, as one string: the same request gives the same string, and no other one
// does.
class Fingerprint {
 public:
  explicit Fingerprint(absl::string_view method) { Add(std::string(method)); }

  Fingerprint& Add(std::string_view text) {
    absl::StrAppend(&text_, text.size(), ":");
    text_.append(text);
    return *this;
  }
  Fingerprint& Add(int64_t number) {
    absl::StrAppend(&text_, number, ";");
    return *this;
  }
  Fingerprint& Add(const std::optional<absl::Duration>& duration) {
    absl::StrAppend(&text_, duration.has_value() ? absl::FormatDuration(*duration) : "-", ";");
    return *this;
  }
  Fingerprint& Add(const std::vector<std::string>& texts) {
    Add(static_cast<int64_t>(texts.size()));
    for (const std::string& text : texts) Add(std::string_view(text));
    return *this;
  }
  Fingerprint& Add(const SetItem& item) {
    Add(std::string_view(item.key))
        .Add(std::string_view(item.value))
        .Add(int64_t{item.absent})
        .Add(item.ttl);
    Add(std::string_view(item.type)).Add(item.tags).Add(item.depends_on);
    Add(static_cast<int64_t>(item.condition.kind))
        .Add(static_cast<int64_t>(item.condition.version));
    return Add(std::string_view(item.lease_token));
  }

  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

struct FakeState {
  struct Remembered {
    std::string request;
    std::any result;
    absl::Time until;
  };

  FakeState(const std::vector<FakeType>& types, absl::Time now) : own_now(now), store(types, now) {}

  absl::Status KnownType(const std::string& type) const { return store.TypeOf(type).status(); }

  // body(), unless a call with the same id has been answered within the last ten minutes: then that
  // answer.
  template <typename Result, typename Body>
  absl::StatusOr<Result> Once(const absl::Status& valid, const std::string& ns,
                              const std::string& id, const Fingerprint& request, absl::Time now,
                              Body body) {
    if (!valid.ok()) return valid;
    if (auto status = CheckRequestId(id); !status.ok()) return status;
    if (id.empty()) return body();
    const auto remembered = answers.find({ns, id});
    if (remembered != answers.end() && remembered->second.until > now) {
      if (remembered->second.request == request.text())
        return std::any_cast<Result>(remembered->second.result);
      return FieldError("REQUEST_ID_REUSED", "request_id",
                        "request_id was used with another request");
    }
    absl::StatusOr<Result> result = body();
    if (result.ok()) answers[{ns, id}] = {request.text(), *result, now + kRememberIds};
    return result;
  }

  absl::Time own_now;
  FakeStore store;
  std::map<std::pair<std::string, std::string>, Remembered> answers;
  absl::Status failure;
  size_t calls = 0;
};

}  // namespace larder::internal

#endif  // LARDER_CLIENT_SRC_FAKE_STATE_H_
