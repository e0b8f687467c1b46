// The optional parts follow the header in the order of their flags, so that the place of one is the
// sum of those before it. They are read and written by memcpy: nothing in a record is aligned to
// more than four bytes.
//
// Hits are a 16-bit floating number: up to 1,024 the count itself, above that nine bits of fraction
// below an exponent. A hit above 1,024 is written with the probability that makes the expected
// count right.

#include "memory/record.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <new>

#include "core/key.h"

namespace larder {
namespace {

constexpr int64_t kTimesAfterMs = 20LL * 24 * 3600 * 1000;

struct Lists {
  uint32_t bytes;
  uint16_t tags;
  uint16_t depends_on : 15;
  uint16_t validators : 1;  // one, which may be empty, if it was loaded from an origin
};

uint32_t ListBytes(const std::vector<std::string>& list) {
  size_t bytes = 0;
  for (const std::string& item : list) bytes += sizeof(uint16_t) + item.size();
  return static_cast<uint32_t>(bytes);
}

uint32_t ListBytes(const EntryFields& fields) {
  const size_t validator = fields.FromOrigin() ? sizeof(uint16_t) + fields.validator.size() : 0;
  return static_cast<uint32_t>(fields.tags.size() * sizeof(TagPrint)) + ListBytes(fields.tags) +
         ListBytes(fields.depends_on) + static_cast<uint32_t>(validator);
}

char* Append(char* to, const void* from, size_t size) {
  if (size > 0) std::memcpy(to, from, size);
  return to + size;
}

char* AppendItem(char* to, const std::string& item) {
  const auto size = static_cast<uint16_t>(item.size());
  return Append(Append(to, &size, sizeof(size)), item.data(), size);
}

char* AppendList(char* to, const std::vector<std::string>& list) {
  for (const std::string& item : list) to = AppendItem(to, item);
  return to;
}

const char* ReadItem(const char* from, std::string* item) {
  uint16_t size;
  std::memcpy(&size, from, sizeof(size));
  item->assign(from + sizeof(size), size);
  return from + sizeof(size) + size;
}

const char* ReadList(const char* from, uint16_t count, std::vector<std::string>* list) {
  list->resize(count);
  for (std::string& item : *list) from = ReadItem(from, &item);
  return from;
}

}  // namespace

uint8_t Record::FlagsFor(const EntryFields& fields, bool large, MonoNanos now) {
  uint8_t flags = 0;
  if (fields.negative) flags |= kNegative;
  // A hit lets a sliding entry live that long from then on, however short its first time is.
  const int64_t lives_ms =
      std::max(MsBetween(now, fields.usable_until), MsBetween(0, fields.sliding));
  const bool long_lived = lives_ms > kTimesAfterMs || fields.sliding / 1'000'000 > kTimesAfterMs;
  if (long_lived || fields.written != 0 || fields.usable_until != fields.fresh_until)
    flags |= kTimes;
  if (fields.sliding != 0) flags |= kSliding;
  if (fields.encoding != kPlain) flags |= kEncoded;
  if (large) flags |= kLarge;
  if (!fields.tags.empty() || !fields.depends_on.empty() || fields.FromOrigin()) flags |= kListed;
  return flags;
}

uint32_t Record::BytesFor(const EntryFields& fields, bool large, MonoNanos now) {
  return RoundUp(static_cast<uint32_t>(sizeof(Record) +
                                       OptionalBytes(FlagsFor(fields, large, now)) +
                                       FullKey::KeyOf(fields.full_key).size() +
                                       (large ? 0 : fields.value.size()) + ListBytes(fields)));
}

Record* Record::Write(char* to, const EntryFields& fields, const Context& context) {
  const std::string_view key = FullKey::KeyOf(fields.full_key);
  Record* const record = new (to) Record;
  record->version_low_ = static_cast<uint32_t>(fields.version);
  record->version_high_ = static_cast<uint32_t>(fields.version >> 32);
  record->fresh_ms_ = static_cast<uint32_t>(MsBetween(context.began, fields.fresh_until));
  const size_t value_size = context.large ? 0 : fields.value.size();
  record->sizes_ = static_cast<uint32_t>(value_size << 11 | key.size());
  record->type_ = fields.type_id;
  record->namespace_ = fields.namespace_id;
  record->hits_ = EncodeHits(context.hits);
  record->hits_epoch_ = context.hits_epoch;
  record->flags_ = FlagsFor(fields, context.large, context.now);

  char* at = record->tail();
  if (record->flags_ & kTimes) {
    const Times times{fields.written, fields.fresh_until, fields.usable_until};
    at = Append(at, &times, sizeof(times));
  }
  if (record->flags_ & kSliding) at = Append(at, &fields.sliding, sizeof(fields.sliding));
  if (record->flags_ & kEncoded) {
    const uint32_t encoding[2] = {fields.encoding, fields.plain_bytes};
    at = Append(at, encoding, sizeof(encoding));
  }
  if (record->flags_ & kLarge) {
    const uint64_t block[3] = {context.block, context.block_bytes, fields.value.size()};
    at = Append(at, block, sizeof(block));
  }
  if (record->flags_ & kListed) {
    const Lists lists{ListBytes(fields), static_cast<uint16_t>(fields.tags.size()),
                      static_cast<uint16_t>(fields.depends_on.size() & 0x7fff),
                      static_cast<uint16_t>(fields.FromOrigin() ? 1 : 0)};
    at = Append(at, &lists, sizeof(lists));
  }
  at = Append(at, key.data(), key.size());
  at = Append(at, fields.value.data(), value_size);
  const size_t print_bytes = fields.tags.size() * sizeof(TagPrint);
  if (context.tag_prints != nullptr) {
    at = Append(at, context.tag_prints, print_bytes);
  } else if (print_bytes > 0) {
    std::memset(at, 0, print_bytes);
    at += print_bytes;
  }
  at = AppendList(at, fields.tags);
  at = AppendList(at, fields.depends_on);
  if (fields.FromOrigin()) AppendItem(at, fields.validator);
  return record;
}

Record* Record::CopyTo(char* to) const {
  // Readers go on counting hits meanwhile, so the header is copied field by field.
  Record* const copy = new (to) Record;
  copy->version_low_ = version_low_;
  copy->version_high_ = version_high_;
  copy->fresh_ms_ = fresh_ms_;
  copy->sizes_ = sizes_;
  copy->type_ = type_;
  copy->namespace_ = namespace_;
  copy->hits_ = Atomic(hits_).load(std::memory_order_relaxed);
  copy->hits_epoch_ = Atomic(hits_epoch_).load(std::memory_order_relaxed);
  copy->flags_ = flags();
  std::memcpy(copy->tail(), tail(), bytes() - sizeof(Record));
  return copy;
}

template <typename T>
T Record::Optional(Flag flag, uint32_t skip) const {
  T value;
  const uint32_t before = OptionalBytes(flags() & (flag - 1));
  std::memcpy(&value, tail() + before + skip, sizeof(value));
  return value;
}

uint32_t Record::list_bytes() const { return Has(kListed) ? Optional<Lists>(kListed).bytes : 0; }
uint64_t Record::large_size() const { return Optional<uint64_t>(kLarge, 16); }

Record::Times Record::times() const { return Optional<Times>(kTimes); }

MonoNanos Record::sliding() const { return Has(kSliding) ? Optional<MonoNanos>(kSliding) : 0; }

void Record::Extend(MonoNanos until, MonoNanos began) {
  if (!Has(kTimes)) {
    Atomic(fresh_ms_).store(static_cast<uint32_t>(MsBetween(began, until)),
                            std::memory_order_relaxed);
    return;
  }
  Times extended = times();
  extended.fresh_until = until;
  extended.usable_until = std::max(extended.usable_until, until);
  std::memcpy(tail(), &extended, sizeof(extended));
}

Encoding Record::encoding() const {
  return Has(kEncoded) ? static_cast<Encoding>(Optional<uint32_t>(kEncoded)) : kPlain;
}

uint64_t Record::block() const { return Optional<uint64_t>(kLarge); }
uint64_t Record::block_bytes() const { return Optional<uint64_t>(kLarge, 8); }
uint64_t Record::plain_bytes() const {
  return Has(kEncoded) ? Optional<uint32_t>(kEncoded, 4) : stored_bytes();
}

void Record::Resize(std::string* bytes, size_t size) { bytes->resize(size); }

void Record::ReadOptional(uint8_t flags, Entry* entry) const {
  ReadHeader(entry);
  if (flags & kLarge) {
    entry->shared = SharedBytes::Borrow(block());
    entry->bytes.clear();
  } else {
    entry->shared = SharedBytes();
    entry->bytes.assign(inline_value());
  }
  entry->encoding = encoding();
  entry->plain_bytes = (flags & kEncoded) ? Optional<uint32_t>(kEncoded, 4) : 0;
  entry->sliding = sliding();
  if (flags & kListed) {
    const auto counts = Optional<Lists>(kListed);
    const char* from = ReadList(items(counts.tags), counts.tags, &entry->tags);
    from = ReadList(from, counts.depends_on, &entry->depends_on);
    entry->validator.clear();
    entry->loaded = counts.validators > 0;
    if (entry->loaded) ReadItem(from, &entry->validator);
  } else {
    entry->tags.clear();
    entry->depends_on.clear();
    entry->validator.clear();
    entry->loaded = false;
  }
}

void Record::ReadLists(std::vector<std::string>* tags, std::vector<std::string>* depends_on) const {
  tags->clear();
  depends_on->clear();
  if (!Has(kListed)) return;
  const auto counts = Optional<Lists>(kListed);
  ReadList(ReadList(items(counts.tags), counts.tags, tags), counts.depends_on, depends_on);
}

TagPrints Record::tag_prints() const {
  if (!Has(kListed)) return {};
  return {lists(), Optional<Lists>(kListed).tags};
}

bool Record::has_dependencies() const {
  return Has(kListed) && Optional<Lists>(kListed).depends_on > 0;
}

uint16_t Record::EncodeHits(uint32_t hits) {
  if (hits < 2 * kFraction) return static_cast<uint16_t>(hits);
  const auto exponent = static_cast<uint32_t>(std::bit_width(hits)) - kFractionBits - 1;
  const uint32_t fraction = (hits >> exponent) & (kFraction - 1);
  return static_cast<uint16_t>((exponent + 1) << kFractionBits | fraction);
}

void Record::FadeHits(uint8_t epoch) {
  Atomic(hits_).store(EncodeHits(Hits(epoch)), std::memory_order_relaxed);
  Atomic(hits_epoch_).store(epoch, std::memory_order_relaxed);
}

}  // namespace larder
