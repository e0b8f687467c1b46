#include "tests/fuzz/envelope_fuzz.h"

#include <limits>

#include "base/clock.h"
#include "base/crc32c.h"
#include "core/key.h"
#include "policy/codec.h"
#include "tests/fuzz/fuzz_target.h"
#include "tier/envelope.h"

namespace larder {
namespace {

constexpr std::string_view kKey = "\7defaultuser:42";
constexpr size_t kCrcBytes = 4;
constexpr MonoNanos kNever = std::numeric_limits<MonoNanos>::max();

std::string Mended(std::string_view input) {
  std::string envelope(input.substr(0, input.size() - kCrcBytes));
  const uint32_t crc = Crc32c(Crc32c(0, kKey), envelope);
  for (int shift = 24; shift >= 0; shift -= 8) envelope += static_cast<char>(crc >> shift);
  return envelope;
}

EntryFields FieldsOf(const Entry& entry) {
  EntryFields fields;
  fields.full_key = kKey;
  fields.value = entry.stored();
  fields.encoding = entry.encoding;
  fields.plain_bytes = entry.plain_bytes;
  fields.negative = entry.negative;
  fields.version = entry.version;
  fields.written = entry.written;
  fields.fresh_until = entry.fresh_until;
  fields.usable_until = entry.usable_until;
  fields.sliding = entry.sliding;
  fields.tags = entry.tags;
  fields.depends_on = entry.depends_on;
  return fields;
}

bool Decode(std::string_view envelope) {
  const ManualClock clock;
  const auto head = DecodeEnvelopeHead(envelope);
  const auto read = DecodeEnvelope(kKey, envelope, clock);
  if (!read.ok()) {
    FuzzRequire(read.status().code() == absl::StatusCode::kDataLoss,
                "an error other than DataLoss");
    return false;
  }
  FuzzRequire(head.ok(), "whole without a head");
  FuzzRequire(CheckEnvelope(kKey, envelope).ok(), "whole and not checked");
  if (read->kind != TierRead::Kind::kEntry) return true;
  FuzzRequire(read->entry.stored().size() <= envelope.size(), "more bytes than there are");
  FuzzRequire(read->entry.version == head->version, "two versions");
  const auto again =
      DecodeEnvelope(kKey, EncodeEnvelope(FieldsOf(read->entry), read->type, clock), clock);
  FuzzRequire(again.ok(), "not to be read again");
  FuzzRequire(again->entry.stored() == read->entry.stored(), "another value");
  FuzzRequire(again->entry.version == read->entry.version, "another version");
  FuzzRequire(again->entry.usable_until == read->entry.usable_until, "another end");
  FuzzRequire(again->entry.tags == read->entry.tags, "other tags");
  FuzzRequire(again->entry.depends_on == read->entry.depends_on, "other dependencies");
  FuzzRequire(again->type == read->type, "another type");
  return true;
}

}  // namespace

bool FuzzEnvelope(std::string_view input) {
  const bool whole = Decode(input);
  return (input.size() >= kCrcBytes && Decode(Mended(input))) || whole;
}

std::vector<std::string> EnvelopeSeeds() {
  const ManualClock clock;
  std::vector<std::string> seeds = {EncodeTombstone(kKey, 9, absl::InfiniteFuture()),
                                    EncodeTombstone(kKey, 9, clock.Now() + absl::Minutes(1))};
  EntryFields fields;
  fields.full_key = kKey;
  fields.version = 77;
  fields.fresh_until = clock.Mono() + 1'000'000'000;
  fields.usable_until = kNever;
  seeds.push_back(EncodeEnvelope(fields, "", clock));
  fields.negative = true;
  seeds.push_back(EncodeEnvelope(fields, "user", clock));
  fields.negative = false;
  fields.value = "a value of some length";
  seeds.push_back(EncodeEnvelope(fields, "user", clock));
  fields.encoding = kLz4;
  fields.plain_bytes = 4000;
  fields.written = clock.Mono() - 1000;
  fields.sliding = 5'000'000'000;
  fields.tags = {"red", "green"};
  fields.depends_on = {"user:7", "user:8", "user:9"};
  seeds.push_back(EncodeEnvelope(fields, "user", clock));
  const std::string large(20'000, 'v');
  fields.value = large;
  seeds.push_back(EncodeEnvelope(fields, "user", clock));
  return seeds;
}

#if defined(LARDER_LIBFUZZER)
extern const FuzzTarget kFuzzTarget;
const FuzzTarget kFuzzTarget = {FuzzEnvelope, EnvelopeSeeds};
#endif

}  // namespace larder
