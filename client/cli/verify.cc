// `verify` asks every replica by itself about the same keys and compares what they say: memory with
// memory, with the second tier, and with the origin. It changes nothing on the servers and counts
// as no read there.
//
// A key's replicas are asked one right after the other, because what is compared has to be from
// nearly the same time; Comparison leaves out what may have changed in between.

#include <fmt/format.h>
#include <poll.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/cli/commands.h"
#include "client/cli/comparison.h"
#include "client/cli/exit_code.h"
#include "client/cli/interrupt.h"
#include "client/cli/verify_report.h"

namespace larder::cli {
namespace {

constexpr size_t kReplicasMax = 16;
constexpr size_t kKeysMax = 10'000;
// The most that HotKeys tells of one replica.
constexpr size_t kHotKeysMax = 1'000;

struct Flags {
  std::vector<std::string> keys;
  std::string keys_from;
  size_t limit = 100;
  std::optional<absl::Duration> every;
  std::optional<absl::Duration> last;
  std::optional<absl::Duration> bound;
  std::optional<absl::Duration> origin_bound;
  bool origin = false;
};

// One run of the command.
class Verifying {
 public:
  Verifying(Session* session, const Flags& flags)
      : session_(session),
        flags_(flags),
        asks_origin_(flags.origin || flags.origin_bound.has_value()),
        comparison_({flags.bound.value_or(Comparison::Options().bound), flags.origin_bound}),
        began_(std::chrono::steady_clock::now()) {}

  ExitCode Run() {
    if (const absl::Status status = CheckFlags(); !status.ok()) return session_->Fail(status);
    if (const absl::Status status = ConnectAll(); !status.ok()) return session_->Fail(status);
    if (const absl::Status status = GivenKeys(); !status.ok()) return session_->Fail(status);
    const CatchInterrupt ctrl_c;
    while (true) {
      const absl::Duration round = Elapsed();
      if (!given_) AddHotKeys();
      for (const KeyName& name : keys_) {
        if (Interrupted()) break;
        Ask(name);
      }
      ++rounds_;
      if (!flags_.every.has_value() || Interrupted()) break;
      const absl::Duration next = round + *flags_.every;
      if (flags_.last.has_value() && next >= *flags_.last) break;
      Wait(next);
      if (Interrupted()) break;
    }
    comparison_.Finish();
    if (keys_.empty()) {
      session_->Fail(absl::NotFoundError(
          "there are no keys to compare: nothing is hot; name some, or give --keys FILE"));
      return kError;
    }
    Print();
    if (comparison_.report().violations_total > 0) return kMiss;
    return IsComplete() ? kOk : kError;
  }

 private:
  absl::Status CheckFlags() const {
    const auto wrong = [](const std::string& what) { return absl::InvalidArgumentError(what); };
    if (!flags_.keys.empty() && !flags_.keys_from.empty())
      return wrong("give KEYS, or a file of them by --keys");
    if (flags_.last.has_value() && !flags_.every.has_value())
      return wrong("--for needs --every, how often to look");
    for (const auto& [flag, duration] :
         {std::pair("--every", flags_.every), std::pair("--for", flags_.last)}) {
      if (duration.has_value() &&
          (*duration < absl::Milliseconds(1) || *duration > absl::Hours(24 * 30)))
        return wrong(absl::StrCat(flag, " is 1ms to 720h"));
    }
    for (const auto& [flag, duration] :
         {std::pair("--bound", flags_.bound), std::pair("--origin-bound", flags_.origin_bound)}) {
      if (duration.has_value() && *duration < absl::ZeroDuration())
        return wrong(absl::StrCat(flag, " cannot be negative"));
    }
    return absl::OkStatus();
  }

  // A client for each replica, because one of several addresses would ask one of them at a time.
  absl::Status ConnectAll() {
    std::vector<std::string> addresses = absl::StrSplit(session_->server, ',');
    for (std::string& address : addresses) absl::StripAsciiWhitespace(&address);
    if (std::set<std::string>(addresses.begin(), addresses.end()).size() < addresses.size())
      return absl::InvalidArgumentError("--server names an address twice");
    if (addresses.size() > kReplicasMax)
      return absl::InvalidArgumentError(absl::StrCat("at most ", kReplicasMax, " replicas"));
    for (const std::string& address : addresses) {
      absl::StatusOr<std::unique_ptr<Client>> client =
          Connect(session_->OptionsFor(address, session_->deadline));
      if (!client.ok()) return client.status();
      clients_.push_back(*std::move(client));
      VerifiedReplica replica;
      replica.address = address;
      replicas_.push_back(std::move(replica));
    }
    return absl::OkStatus();
  }

  absl::Status GivenKeys() {
    std::vector<std::string> keys = flags_.keys;
    if (!flags_.keys_from.empty()) {
      absl::StatusOr<std::vector<std::string>> read = ReadKeys(flags_.keys_from);
      if (!read.ok()) return read.status();
      keys = *std::move(read);
    }
    given_ = !keys.empty();
    for (std::string& key : keys) keys_.insert({session_->ns, std::move(key)});
    if (keys_.size() <= kKeysMax) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat(keys_.size(), " keys; at most ", kKeysMax, " can be compared"));
  }

  // Those that some replica serves often, up to the limit in all. A later round adds those that
  // have become hot.
  void AddHotKeys() {
    for (size_t replica = 0; replica < clients_.size() && keys_.size() < flags_.limit; ++replica) {
      HotKeysOptions options;
      options.limit = static_cast<uint32_t>(std::min(flags_.limit, kHotKeysMax));
      const absl::StatusOr<HotKeysResult> hot = clients_[replica]->HotKeys(options);
      if (!hot.ok()) {
        Failed(replica, hot.status());
        continue;
      }
      for (const auto* list : {&hot->keys, &hot->previous}) {
        for (const HotKey& key : *list) {
          if (keys_.size() < flags_.limit) keys_.insert({key.ns, key.key});
        }
      }
    }
  }

  void Ask(const KeyName& name) {
    std::vector<Answer> answers;
    bool asked_origin = false;
    for (size_t replica = 0; replica < clients_.size(); ++replica) {
      ExplainOptions options;
      options.checksums = true;
      // Once a key is enough: it is the same origin for all.
      options.ask_origin = asks_origin_ && !asked_origin;
      options.call.ns = name.ns;
      Answer answer;
      answer.replica = replica;
      answer.asked = Elapsed();
      absl::StatusOr<ExplainResult> result = clients_[replica]->Explain(name.key, options);
      answer.answered = Elapsed();
      if (!result.ok()) {
        Failed(replica, result.status());
        continue;
      }
      ++replicas_[replica].answers;
      asked_origin = true;
      answer.result = *std::move(result);
      answers.push_back(std::move(answer));
    }
    comparison_.Add(name, answers);
  }

  void Failed(size_t replica, const absl::Status& status) {
    ++replicas_[replica].failures;
    replicas_[replica].error = Told(status);
  }

  absl::Duration Elapsed() const {
    return absl::FromChrono(std::chrono::steady_clock::now() - began_);
  }

  // Until then, or Ctrl-C.
  void Wait(absl::Duration until) const {
    while (!Interrupted()) {
      const absl::Duration left = until - Elapsed();
      if (left <= absl::ZeroDuration()) return;
      const int64_t most = std::min<int64_t>(absl::ToInt64Milliseconds(left) + 1, 60'000);
      poll(nullptr, 0, static_cast<int>(most));
    }
  }

  void Print() {
    const Verified verified{keys_.size(), rounds_, IsComplete(), replicas_, comparison_.report()};
    if (session_->json) {
      session_->out.Print(VerifyJson(verified));
    } else {
      PrintVerified(verified, asks_origin_, &session_->out);
    }
  }

  // Of a long run some answers may be missing, as long as every replica has told something.
  bool IsComplete() const {
    const bool once = !flags_.every.has_value();
    const bool all_told =
        std::all_of(replicas_.begin(), replicas_.end(), [&](const VerifiedReplica& replica) {
          return replica.answers > 0 && !(once && replica.failures > 0);
        });
    return all_told && !(once && comparison_.report().origin_errors > 0);
  }

  Session* const session_;
  const Flags& flags_;
  const bool asks_origin_;
  Comparison comparison_;
  const std::chrono::steady_clock::time_point began_;
  std::vector<std::unique_ptr<Client>> clients_;
  std::vector<VerifiedReplica> replicas_;
  std::set<KeyName> keys_;
  bool given_ = false;
  uint64_t rounds_ = 0;
};

}  // namespace

void AddVerify(CLI::App* app, Session* session) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command =
      AddCommand(app, session, "verify",
                 "Compare what the replicas of --server, the second tier and the origin have",
                 [session, flags] { return Verifying(session, *flags).Run(); });
  command->add_option("KEYS", flags->keys, "These keys; default: the hot keys of the replicas")
      ->type_name("");
  command->add_option("--keys", flags->keys_from, "The keys in this file, one a line; `-` is stdin")
      ->type_name("FILE");
  command->add_option("--limit", flags->limit, "At most so many hot keys")
      ->check(CLI::Range(size_t{1}, kKeysMax))
      ->capture_default_str()
      ->type_name("KEYS");
  command->add_flag("--origin", flags->origin, "Ask the types' origins, too");
  AddDuration(command, "--bound", &flags->bound,
              "How long a copy may be older than the newest; default 1s");
  AddDuration(command, "--origin-bound", &flags->origin_bound,
              "How long the newest copy may differ from the origin; default: it is only counted");
  AddDuration(command, "--every", &flags->every, "Look again and again, so often");
  AddDuration(command, "--for", &flags->last, "With --every: so long; default: until Ctrl-C");
  // It connects to each replica by itself.
  command->parse_complete_callback([session] { session->offline = true; });
}

}  // namespace larder::cli
