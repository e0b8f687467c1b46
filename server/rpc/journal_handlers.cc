// The calls about the journal. All of them fail where no type writes behind: there is nothing that
// they could be about, and an empty answer would look as if all were well.

#include <algorithm>
#include <atomic>
#include <optional>
#include <utility>
#include <vector>

#include "base/status.h"
#include "base/strings.h"
#include "core/error.h"
#include "journal/journal.h"
#include "rpc/admin_handlers.h"
#include "rpc/journal_convert.h"

namespace larder {
namespace {

constexpr uint32_t kPageDefault = 100;
constexpr uint32_t kPageMax = 1'000;
// The values of one page of an export are in memory together.
constexpr uint64_t kExportBytes = uint64_t{16} << 20;
constexpr uint64_t kExportPage = 100;
// Of a caller who set no deadline.
constexpr absl::Duration kFlushMost = absl::Hours(24);
// Of one with admin of a part, of whom there may be many.
constexpr absl::Duration kPartialFlushMost = absl::Minutes(10);

// One of so many places, until it goes.
class Place {
 public:
  Place(std::atomic<int>* taken, int most) : taken_(taken), got_(taken->fetch_add(1) < most) {}
  ~Place() { taken_->fetch_sub(1); }
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;

  bool got() const { return got_; }

 private:
  std::atomic<int>* const taken_;
  const bool got_;
};

absl::Status TooMany(int most, std::string_view what) {
  return RetryableError(Reason::kOVERLOADED, absl::Seconds(1),
                        StrCat(most, " ", what, " of callers with admin of a part are under way"));
}

bool WritesBehind(const TypePolicy& type) { return type.write.mode == WriteMode::kBehind; }

// Empty: all.
absl::Status CheckOrigin(const TypeTable& types, const std::string& origin) {
  const auto writes_there = [&origin](const TypePolicy& type) {
    return WritesBehind(type) && type.origin == origin;
  };
  if (origin.empty() || std::any_of(types.types().begin(), types.types().end(), writes_there)) {
    return absl::OkStatus();
  }
  return FieldError(Reason::kREQUEST_INVALID, "origin",
                    StrCat("no type that writes behind has the origin \"", origin, "\""));
}

}  // namespace

absl::StatusOr<Journal*> AdminHandlers::TheJournal() const {
  if (Journal* const journal = engine_->options().journal; journal != nullptr) return journal;
  return Error(Reason::kWRITE_MODE_UNSUPPORTED, "no type writes behind, so there is no journal");
}

void AdminHandlers::EnterJournal(MethodTable* methods) {
  methods->On("/larder.v1.Admin/FlushJournal", this, &AdminHandlers::FlushJournal);
  methods->On("/larder.v1.Admin/PauseDelivery", this, &AdminHandlers::PauseDelivery);
  methods->On("/larder.v1.Admin/ResumeDelivery", this, &AdminHandlers::ResumeDelivery);
  methods->On("/larder.v1.Admin/ListDeadLetters", this, &AdminHandlers::ListDeadLetters);
  methods->On("/larder.v1.Admin/RetryDeadLetters", this, &AdminHandlers::RetryDeadLetters);
  methods->On("/larder.v1.Admin/DropDeadLetters", this, &AdminHandlers::DropDeadLetters);
  methods->On("/larder.v1.Admin/ExportDeadLetters", this, &AdminHandlers::ExportDeadLetters);
}

Task<absl::Status> AdminHandlers::FlushJournal(CallContext* context,
                                               const v1::FlushJournalRequest* request,
                                               v1::FlushJournalResponse* response) {
  CO_ASSIGN_OR_RETURN(Journal* const journal, TheJournal());
  if (!request->type().empty()) {
    CO_ASSIGN_OR_RETURN(const TypeMatch match,
                        engine_->options().types->Resolve("", request->type()));
    if (!WritesBehind(*match.type)) {
      co_return Error(Reason::kWRITE_MODE_UNSUPPORTED,
                      StrCat("type ", request->type(), " does not write behind: its write.mode is ",
                             WriteModeName(match.type->write.mode)));
    }
  }
  std::optional<Place> place;
  if (context->view() != nullptr) {
    place.emplace(&partial_flushes_, kPartialFlushesMax);
    if (!place->got()) co_return TooMany(kPartialFlushesMax, "flushes");
  }
  const MonoNanos most = MonoAfter(engine_->options().clock->Mono(),
                                   place.has_value() ? kPartialFlushMost : kFlushMost);
  CO_ASSIGN_OR_RETURN(const JournalFlushed flushed,
                      co_await journal->Flush(request->type(), std::min(context->deadline(), most),
                                              &context->cancellation()));
  response->set_delivered(flushed.left);
  response->set_dead(flushed.dead);
  co_return absl::OkStatus();
}

Task<absl::Status> AdminHandlers::PauseDelivery(CallContext*,
                                                const v1::PauseDeliveryRequest* request,
                                                v1::PauseDeliveryResponse* response) {
  CO_ASSIGN_OR_RETURN(Journal* const journal, TheJournal());
  CO_RETURN_IF_ERROR(CheckOrigin(*engine_->options().types, request->origin()));
  CO_ASSIGN_OR_RETURN(const uint64_t depth, journal->Pause(request->origin()));
  response->set_depth(depth);
  co_return absl::OkStatus();
}

Task<absl::Status> AdminHandlers::ResumeDelivery(CallContext*,
                                                 const v1::ResumeDeliveryRequest* request,
                                                 v1::ResumeDeliveryResponse* response) {
  CO_ASSIGN_OR_RETURN(Journal* const journal, TheJournal());
  CO_RETURN_IF_ERROR(CheckOrigin(*engine_->options().types, request->origin()));
  CO_ASSIGN_OR_RETURN(const uint64_t depth, journal->Resume(request->origin()));
  response->set_depth(depth);
  co_return absl::OkStatus();
}

Task<absl::Status> AdminHandlers::ListDeadLetters(CallContext*,
                                                  const v1::ListDeadLettersRequest* request,
                                                  v1::ListDeadLettersResponse* response) {
  CO_ASSIGN_OR_RETURN(Journal* const journal, TheJournal());
  if (request->page_size() > kPageMax) {
    co_return FieldError(Reason::kREQUEST_INVALID, "page_size",
                         StrCat("page_size is ", request->page_size(), "; at most ", kPageMax));
  }
  CO_ASSIGN_OR_RETURN(LetterFilter filter, FilterFrom(request->filter()));
  CO_ASSIGN_OR_RETURN(const uint64_t after, PageTokenFrom(request->page_token()));
  const size_t limit = request->page_size() == 0 ? kPageDefault : request->page_size();
  CO_ASSIGN_OR_RETURN(
      const LetterPage page,
      co_await journal->Letters(std::move(filter), after, limit, /*with_values=*/false));
  for (const LetterPage::Item& item : page.letters) FillLetter(item, response->add_letters());
  if (page.next != 0) response->set_next_page_token(StrCat(page.next));
  response->set_total(page.total);
  co_return absl::OkStatus();
}

Task<absl::Status> AdminHandlers::RetryDeadLetters(CallContext*,
                                                   const v1::RetryDeadLettersRequest* request,
                                                   v1::RetryDeadLettersResponse* response) {
  CO_ASSIGN_OR_RETURN(Journal* const journal, TheJournal());
  CO_ASSIGN_OR_RETURN(LetterFilter filter, FilterFrom(request->filter()));
  CO_ASSIGN_OR_RETURN(const uint64_t retried, co_await journal->RetryLetters(std::move(filter)));
  response->set_retried(retried);
  co_return absl::OkStatus();
}

Task<absl::Status> AdminHandlers::DropDeadLetters(CallContext*,
                                                  const v1::DropDeadLettersRequest* request,
                                                  v1::DropDeadLettersResponse* response) {
  CO_ASSIGN_OR_RETURN(Journal* const journal, TheJournal());
  CO_ASSIGN_OR_RETURN(LetterFilter filter, FilterFrom(request->filter()));
  CO_ASSIGN_OR_RETURN(const uint64_t dropped, co_await journal->DropLetters(std::move(filter)));
  response->set_dropped(dropped);
  co_return absl::OkStatus();
}

Task<absl::Status> AdminHandlers::ExportDeadLetters(CallContext* context,
                                                    const v1::ExportDeadLettersRequest* request,
                                                    v1::ExportDeadLettersResponse* response) {
  CO_ASSIGN_OR_RETURN(Journal* const journal, TheJournal());
  CO_ASSIGN_OR_RETURN(const LetterFilter filter, FilterFrom(request->filter()));
  // Each holds up to 16 MiB for as long as its caller takes to read them.
  std::optional<Place> place;
  if (context->view() != nullptr) {
    place.emplace(&partial_exports_, kPartialExportsMax);
    if (!place->got()) co_return TooMany(kPartialExportsMax, "exports");
  }
  const size_t limit =
      std::clamp<uint64_t>(kExportBytes / options_.limits.value_bytes_max, 1, kExportPage);
  for (uint64_t after = 0;;) {
    CO_RETURN_IF_ERROR(context->StillAllowed());
    LetterFilter again = filter;
    CO_ASSIGN_OR_RETURN(LetterPage page, co_await journal->Letters(std::move(again), after, limit,
                                                                   /*with_values=*/true));
    for (LetterPage::Item& item : page.letters) {
      response->Clear();
      FillLetter(item, response->mutable_letter());
      response->set_value(std::move(item.letter.record.value));
      const bool sent = co_await context->Send(*response);
      if (!sent) co_return absl::OkStatus();  // nobody is there to be told more
    }
    if (page.next == 0) co_return absl::OkStatus();
    after = page.next;
  }
}

}  // namespace larder
