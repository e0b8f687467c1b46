// With callers known, a Get pays for this on its lane's thread, so each thread remembers the table
// in effect and the last headers that named a caller: then a hit costs a comparison in place of a
// SHA-256 sum, and nothing that threads share. All of it goes by a stamp that no two tables of this
// process have, and is forgotten as soon as the stamp is another one.
//
// The place of a header in that memory goes by its end. Whoever measures whether a token of theirs
// met another one's place learns nothing of what stands there: only a whole header of the right
// length is found, and the comparison takes as long wherever it differs.
//
// Acts are written down when they begin: one that ends the process is on record, too.

#include "rpc/access.h"

#include <algorithm>
#include <array>
#include <optional>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/strip.h"
#include "base/log.h"
#include "base/strings.h"
#include "base/words.h"
#include "core/error.h"
#include "rpc/log_key.h"
#include "rpc/methods.h"

namespace larder {
namespace {

constexpr char kAuthorization[] = "authorization";
// Longer tokens are known, too, at the price of a sum each time.
constexpr size_t kRememberedBytesMax = 512;

// Takes as long wherever they differ. A word at a time: CRYPTO_memcmp goes byte by byte, which for
// the usual token would be half of the whole check.
bool EqualInConstantTime(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  uint64_t differs = 0;
  size_t i = 0;
  for (; i + sizeof(uint64_t) <= a.size(); i += sizeof(uint64_t))
    differs |= LoadWord(a.data() + i) ^ LoadWord(b.data() + i);
  differs |= LoadPart(a.data() + i, a.size() - i) ^ LoadPart(b.data() + i, b.size() - i);
  return differs == 0;
}

// What follows the name of a scheme, in any case; nullopt: it is another one.
std::optional<std::string_view> After(std::string_view scheme, std::string_view header) {
  if (header.size() <= scheme.size() || header[scheme.size()] != ' ' ||
      !absl::EqualsIgnoreCase(ToAbsl(header.substr(0, scheme.size())), ToAbsl(scheme)))
    return std::nullopt;
  return ToStd(absl::StripAsciiWhitespace(ToAbsl(header.substr(scheme.size()))));
}

uint64_t NewStamp() {
  static std::atomic<uint64_t> last{0};
  return last.fetch_add(1, std::memory_order_relaxed) + 1;
}

absl::Status Unknown(std::string_view why) { return Error(Reason::kNOT_AUTHENTICATED, why); }

// `name` is what it was about: a key, or what selects them.
void WriteDenied(const CallContext& call, std::string_view rpc, std::string_view caller,
                 Reason reason, const AccessNeed& need, const std::string& peer) {
  LogAudit(LogLevel::kWarning, "access_denied",
           {{"caller", caller},
            {"certificate", call.PeerName()},
            {"rpc", rpc},
            {"reason", ReasonName(reason)},
            {"permission", PermissionName(need.permission)},
            {"namespace", need.name_space},
            KeyForLog(need.name),
            {"peer", peer},
            {"traceparent", call.Metadata("traceparent")}});
}

void WriteAct(const CallContext& call, std::string_view rpc, std::string_view caller,
              std::string_view name_space, const std::string& peer) {
  LogAudit(LogLevel::kInfo, "admin_act",
           {{"caller", caller},
            {"rpc", rpc},
            {"namespace", name_space},
            {"peer", peer},
            {"traceparent", call.Metadata("traceparent")}});
}

absl::Status DenyHttp(const Access::HttpAsk& ask, std::string_view caller, Reason reason,
                      std::string_view why) {
  LogAudit(LogLevel::kWarning, "access_denied",
           {{"caller", caller},
            {"rpc", ask.what},
            {"reason", ReasonName(reason)},
            {"why", why},
            {"permission", PermissionName(Permission::kAdmin)},
            {"peer", ask.peer},
            {"traceparent", ask.traceparent}});
  return Error(reason, why);
}

// The token of an Authorization header; empty: there is none.
std::string TokenOf(const Access::HttpAsk& ask) {
  if (const auto bearer = After("bearer", ask.authorization); bearer.has_value())
    return std::string(*bearer);
  const auto basic = After("basic", ask.authorization);
  std::string pair;
  if (ask.changes || !basic.has_value() || !absl::Base64Unescape(ToAbsl(*basic), &pair)) return "";
  return pair.substr(pair.find(':') + 1);
}

}  // namespace

struct Access::ThreadMemory {
  // The whole of a header that named a caller.
  struct Header {
    std::string text;
    const KnownCaller* caller = nullptr;  // the table's
  };
  static constexpr int kPlaceBits = 6;

  uint64_t stamp = kOpen;
  std::shared_ptr<const AccessTable> table;
  std::array<Header, 1 << kPlaceBits> headers;

  // Tokens are made by chance, and so is their end.
  Header& PlaceOf(std::string_view text) {
    constexpr uint64_t kSpread = 0x9E3779B97F4A7C15;
    const size_t tail = std::min(text.size(), sizeof(uint64_t) - 1);
    return headers[(LoadPart(text.data() + text.size() - tail, tail) * kSpread) >>
                   (64 - kPlaceBits)];
  }
  const KnownCaller* Find(std::string_view text) {
    const Header& header = PlaceOf(text);
    return header.caller != nullptr && EqualInConstantTime(header.text, text) ? header.caller
                                                                              : nullptr;
  }
  void Remember(std::string_view text, const KnownCaller* caller) {
    if (text.size() <= kRememberedBytesMax) PlaceOf(text) = {std::string(text), caller};
  }
};

Access::Access(const TypeTable* types) : types_(types), counters_(kCounters) {}

void Access::Replace(std::shared_ptr<const AccessTable> table) {
  MutexLock lock(&mu_);
  table_ = std::move(table);
  stamp_.store(table_ == nullptr ? kOpen : NewStamp(), std::memory_order_release);
}

Access::ThreadMemory& Access::Remembered(uint64_t stamp) {
  thread_local ThreadMemory memory;
  if (memory.stamp == stamp) return memory;
  memory.headers.fill({});
  MutexLock lock(&mu_);
  memory.table = table_;
  memory.stamp = stamp_.load(std::memory_order_relaxed);
  return memory;
}

const KnownCaller* Access::WhoIs(const CallContext& call, ThreadMemory* memory,
                                 absl::Status* unknown) {
  const std::string_view header = call.Metadata(kAuthorization);
  if (!header.empty()) {
    if (const KnownCaller* const caller = memory->Find(header); caller != nullptr) return caller;
    const std::optional<std::string_view> token = After("bearer", header);
    const KnownCaller* const caller =
        token.has_value() && !token->empty() ? memory->table->ByToken(*token) : nullptr;
    if (caller != nullptr) {
      memory->Remember(header, caller);
    } else {
      *unknown = Unknown(token.has_value() ? "the token is none that the server knows"
                                           : "`authorization` holds no `Bearer TOKEN`");
    }
    return caller;
  }
  if (const std::string_view name = call.PeerName(); !name.empty()) {
    const KnownCaller* const caller = memory->table->ByCertificate(name);
    if (caller == nullptr) {
      *unknown =
          Unknown("the certificate's name is none that the server knows, and there is no token");
    }
    return caller;
  }
  if (memory->table->anonymous() == nullptr)
    *unknown = Unknown("the call shows neither a token nor a certificate");
  return memory->table->anonymous();
}

absl::Status Access::Check(Call* call) {
  const RpcAccess* const rpc = call->method().access;
  if (rpc != nullptr && rpc->is_open) return absl::OkStatus();
  const uint64_t stamp = stamp_.load(std::memory_order_acquire);
  if (call->method().streams) LookAgainAfterReplace(call, stamp);
  if (stamp != kOpen) return Judge(call, stamp, nullptr);
  if (rpc != nullptr && rpc->is_act) WriteAct(*call, rpc->path, "", "", call->PeerAddress());
  return absl::OkStatus();
}

void Access::LookAgainAfterReplace(Call* call, uint64_t stamp) {
  call->set_still_allowed([this, call, stamp, peer = call->PeerAddress()]() mutable {
    const uint64_t now = stamp_.load(std::memory_order_acquire);
    if (now == std::exchange(stamp, now) || now == kOpen) return absl::OkStatus();
    return Judge(call, now, &peer);
  });
}

// `again` is the peer of a stream that was let in once and is judged again.
absl::Status Access::Judge(Call* call, uint64_t stamp, const std::string* again) {
  ThreadMemory& memory = Remembered(stamp);
  // A Replace by null may have come between.
  if (memory.table == nullptr) return absl::OkStatus();
  const Method& method = call->method();
  const auto peer = [&] { return again == nullptr ? call->PeerAddress() : *again; };
  absl::Status unknown;
  const KnownCaller* const caller = WhoIs(*call, &memory, &unknown);
  if (caller == nullptr) {
    counters_.Add(kUnknown);
    WriteDenied(*call, method.path, "", Reason::kNOT_AUTHENTICATED, {}, peer());
    return unknown;
  }
  AccessAsker asker(*caller, *types_);
  const RpcAccess* const rpc = method.access;
  if (rpc == nullptr || !rpc->ask(*call->request(), &asker)) {
    const AccessNeed& need = asker.last();
    counters_.Add(kDenied + static_cast<size_t>(need.permission));
    WriteDenied(*call, method.path, caller->name, Reason::kNOT_ALLOWED, need, peer());
    return Error(Reason::kNOT_ALLOWED,
                 StrCat("caller \"", caller->name, "\" may not ",
                        rpc == nullptr ? StrCat("call ", method.path) : InWords(need)));
  }
  if (again != nullptr) return absl::OkStatus();
  if (rpc->is_act) WriteAct(*call, rpc->path, caller->name, asker.last().name_space, peer());
  // Of what is not filtered it tells that the caller's admin is of a part.
  if (rpc->is_filtered || (rpc->is_act && !caller->IsAdmin()))
    call->set_view(std::make_shared<AccessView>(memory.table, caller, types_));
  return absl::OkStatus();
}

absl::Status Access::CheckOperator(const HttpAsk& ask) {
  const uint64_t stamp = stamp_.load(std::memory_order_acquire);
  const std::shared_ptr<const AccessTable> table =
      stamp == kOpen ? nullptr : Remembered(stamp).table;
  if (table == nullptr) {
    if (!ask.changes) return absl::OkStatus();
    return DenyHttp(ask, "", Reason::kNOT_ALLOWED,
                    "changes over HTTP need to know who asks: set auth.callers, and send the token "
                    "of a caller with admin");
  }
  const std::string token = TokenOf(ask);
  const KnownCaller* const caller = token.empty() ? nullptr : table->ByToken(token);
  if (caller == nullptr) {
    counters_.Add(kUnknown);
    return DenyHttp(ask, "", Reason::kNOT_AUTHENTICATED,
                    ask.changes ? "a caller's token is needed, as `Authorization: Bearer TOKEN`"
                                : "a caller's token is needed");
  }
  if (!caller->IsAdmin()) {
    counters_.Add(kDenied + static_cast<size_t>(Permission::kAdmin));
    return DenyHttp(
        ask, caller->name, Reason::kNOT_ALLOWED,
        StrCat("caller \"", caller->name, "\" has no role that allows admin of everything"));
  }
  if (ask.changes) {
    LogAudit(LogLevel::kInfo, "admin_act",
             {{"caller", caller->name},
              {"rpc", ask.what},
              {"namespace", ""},
              {"peer", ask.peer},
              {"traceparent", ask.traceparent}});
  }
  return absl::OkStatus();
}

void Access::WriteRefused(const HttpAsk& ask, std::string_view why) {
  LogAudit(LogLevel::kWarning, "access_denied",
           {{"caller", ""},
            {"rpc", ask.what},
            {"reason", ReasonName(Reason::kNOT_ALLOWED)},
            {"why", why},
            {"peer", ask.peer},
            {"traceparent", ask.traceparent}});
}

Access::Stats Access::GetStats() const {
  Stats stats;
  for (size_t i = 0; i < kPermissions; ++i)
    stats.denied.emplace_back(PermissionName(static_cast<Permission>(i)),
                              counters_.Sum(kDenied + i));
  stats.unknown = counters_.Sum(kUnknown);
  return stats;
}

}  // namespace larder
