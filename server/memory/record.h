// Record is an entry as segments hold it: a packed header of 24 bytes, what the flags ask for, the
// key, the value, the tags. Written once, then only read, but for hits, the sliding expiry and the
// mark that it is dead. Thread safety: readers and the one writer that holds the shard's lock.
//
//   | header 24 | times 24 | sliding 8 | encoding 8 | block 24 | lists 8 | key | value | lists |
//               '--- each only where its flag is set -----------'
//
// The lists begin with four bytes for each tag that say what rules could concern it.
//
// Times are milliseconds since L1 began, modulo 2^32 and compared by their difference, which is
// right within 24 days; entries that live longer have their times in full.

#ifndef LARDER_MEMORY_RECORD_H_
#define LARDER_MEMORY_RECORD_H_

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/optimization.h"
#include "base/words.h"
#include "core/entry.h"
#include "policy/tag_sketch.h"

namespace larder {

// The whole milliseconds between two times, rounded down.
inline int64_t MsBetween(MonoNanos from, MonoNanos to) { return (to - from) / 1'000'000; }

// A time as records count it, beside the time itself.
struct Moment {
  // REQUIRES: now >= began.
  Moment(MonoNanos now, MonoNanos began)
      : now(now),
        began(began),
        ms(static_cast<int64_t>(static_cast<uint64_t>(now - began) / 1'000'000)) {}
  MonoNanos now;
  MonoNanos began;  // of L1
  int64_t ms;
};

class Record {
 public:
  enum Flag : uint8_t {
    kDead = 1,      // replaced, removed or expired: the index does not know it any more
    kNegative = 2,  // the origin has no such key
    kTimes = 4,     // has its times in full
    kSliding = 8,   // hits extend it
    kEncoded = 16,  // the value is compressed
    kLarge = 32,    // the value is a block of its own
    kListed = 64,   // has tags, dependencies or a validator
  };
  // Records begin at multiples of this.
  static constexpr uint32_t kAlign = 4;
  static constexpr uint32_t kKeyBytesMax = (1u << 11) - 1;
  static constexpr uint32_t kInlineBytesMax = (1u << 21) - 1;

  // What does not come from the fields.
  struct Context {
    MonoNanos began;  // of L1
    MonoNanos now;
    bool large;            // the value goes to a block
    uint64_t block;        // SharedBytes::Detach()
    uint64_t block_bytes;  // that the block takes
    uint32_t hits;
    uint8_t hits_epoch;
    const TagPrint* tag_prints = nullptr;  // one for each tag; zeros where there are none
  };

  // Bytes that a record takes, a multiple of kAlign. Without the block of a large value.
  static uint32_t BytesFor(const EntryFields& fields, bool large, MonoNanos now);
  // Writes a record to `to`, which has room for BytesFor.
  static Record* Write(char* to, const EntryFields& fields, const Context& context);
  // Copies the record to `to`, as it is now.
  Record* CopyTo(char* to) const;

  uint32_t bytes() const {
    const uint32_t fixed = static_cast<uint32_t>(sizeof(Record)) + key_size() + value_size();
    return RoundUp(ABSL_PREDICT_TRUE(IsPlain()) ? fixed : fixed + optional_bytes() + list_bytes());
  }
  // The key without its namespace.
  std::string_view key() const { return {tail() + optional_bytes(), key_size()}; }
  // The value as it lies here; empty for a large one.
  std::string_view inline_value() const {
    return {tail() + optional_bytes() + key_size(), value_size()};
  }
  uint32_t key_size() const { return sizes_ & kKeyBytesMax; }
  // Bytes of the value as stored, wherever it is.
  uint64_t stored_bytes() const {
    return ABSL_PREDICT_TRUE(!Has(kLarge)) ? value_size() : large_size();
  }
  uint64_t plain_bytes() const;
  Version version() const { return static_cast<Version>(version_high_) << 32 | version_low_; }
  uint16_t type_id() const { return type_; }
  uint16_t namespace_id() const { return namespace_; }
  uint8_t flags() const { return Atomic(flags_).load(std::memory_order_relaxed); }
  bool Has(Flag flag) const { return (flags() & flag) != 0; }

  bool LiveAt(const Moment& at) const {
    if (ABSL_PREDICT_FALSE(Has(kTimes))) return times().usable_until > at.now;
    return MsLeft(at) > 0;
  }
  MonoNanos FreshUntil(const Moment& at) const {
    if (ABSL_PREDICT_FALSE(Has(kTimes))) return times().fresh_until;
    return at.began + (at.ms + MsLeft(at)) * 1'000'000;
  }
  MonoNanos UsableUntil(const Moment& at) const {
    return Has(kTimes) ? times().usable_until : FreshUntil(at);
  }
  // 0 when it was written when its version was made.
  MonoNanos WrittenExplicitly() const { return Has(kTimes) ? times().written : 0; }
  // 0 for an entry that does not slide.
  MonoNanos sliding() const;
  // Makes the entry fresh and usable until then. A record with full times must be out of the
  // readers' reach.
  void Extend(MonoNanos until, MonoNanos began);

  Encoding encoding() const;
  // REQUIRES: kLarge.
  uint64_t block() const;
  uint64_t block_bytes() const;

  // What RuleTable::PrintTags made of the tags.
  TagPrints tag_prints() const;
  bool has_dependencies() const;
  // Copies the tags and dependencies alone.
  void ReadLists(std::vector<std::string>* tags, std::vector<std::string>* depends_on) const;

  // Copies everything but hits and times to `entry`, a large value by sharing it.
  void Read(Entry* entry) const {
    if (IsPlain()) {
      ReadPlain(entry);
    } else {
      ReadOptional(flags(), entry);
    }
  }

  // The same for records without optional parts, which most are: what takes long elsewhere is known
  // here. REQUIRES: IsPlain().
  bool IsPlain() const { return (flags() & ~(kNegative | kDead)) == 0; }
  std::string_view plain_key() const { return {tail(), key_size()}; }
  int32_t PlainMsLeft(const Moment& at) const { return MsLeft(at); }
  void ReadPlain(Entry* entry) const {
    ReadHeader(entry);
    if (ABSL_PREDICT_FALSE(entry->HasRare())) entry->DropRare();
    entry->encoding = kPlain;
    entry->plain_bytes = 0;
    entry->sliding = 0;
    const char* const value = tail() + key_size();
    const uint32_t size = value_size();
    if (ABSL_PREDICT_FALSE(entry->bytes.size() != size)) Resize(&entry->bytes, size);
    std::memcpy(entry->bytes.data(), value, size);
  }
  void MarkDead() {
    Atomic(flags_).store(static_cast<uint8_t>(flags() | kDead), std::memory_order_relaxed);
  }

  // Hits of late: what was counted, halved for each epoch that passed since.
  uint32_t Hits(uint8_t epoch) const {
    const auto passed =
        static_cast<uint8_t>(epoch - Atomic(hits_epoch_).load(std::memory_order_relaxed));
    const uint32_t hits = DecodeHits(Atomic(hits_).load(std::memory_order_relaxed));
    return passed < 32 ? hits >> passed : 0;
  }
  // Counts one more and returns what Hits says then. Exact up to 1,024, beyond that within a few in
  // a hundred: the larger the count, the more seldom it is written, so that threads that read one
  // entry do not keep taking its memory from each other.
  uint32_t CountHit(uint8_t epoch) {
    if (ABSL_PREDICT_FALSE(Atomic(hits_epoch_).load(std::memory_order_relaxed) != epoch))
      FadeHits(epoch);
    const uint32_t code = Atomic(hits_).load(std::memory_order_relaxed);
    if (ABSL_PREDICT_FALSE(code == kHitsCodeMax)) return DecodeHits(code);
    // No branch depends on the count: it could not be foreseen, and the processor would have to
    // take back all that it did ahead. What is not to be counted is written elsewhere. The compiler
    // is kept from seeing that `counts` is one of two numbers, or it makes branches of it again.
    static constinit thread_local uint32_t random = 0x9e3779b9;
    random = random * 0x915f77f5 + 1;
    const uint32_t exponent = HitsExponent(code);
    uint64_t counts = random <= UINT32_MAX >> exponent ? 1 : 0;
    asm("" : "+r"(counts));
    uint16_t elsewhere;
    const auto here = reinterpret_cast<uintptr_t>(&hits_);
    const auto there = reinterpret_cast<uintptr_t>(&elsewhere);
    auto* const to = reinterpret_cast<uint16_t*>(there ^ ((here ^ there) & -counts));
    const auto next = code + static_cast<uint32_t>(counts);
    Atomic(*to).store(static_cast<uint16_t>(next), std::memory_order_relaxed);
    // With the exponent of before: where the next one begins, both are right.
    return (next - (exponent << kFractionBits)) << exponent;
  }

 private:
  struct Times {
    MonoNanos written;
    MonoNanos fresh_until;
    MonoNanos usable_until;
  };

  template <typename T>
  static std::atomic_ref<T> Atomic(const T& field) {
    return std::atomic_ref<T>(const_cast<T&>(field));
  }

  // Counts are floating numbers of 16 bits: 9 bits of fraction below an exponent, the first two
  // exponents being the count itself.
  static constexpr int kFractionBits = 9;
  static constexpr uint32_t kFraction = 1u << kFractionBits;
  static constexpr uint32_t kHitsCodeMax = (24u << kFractionBits) - 1;
  static uint32_t HitsExponent(uint32_t code) {
    const uint32_t high = code >> kFractionBits;
    return high - ((high + 31) >> 5);  // high - 1, but 0 for 0, without a branch
  }
  // Below the exponent the fraction has one bit more, which the first exponent lacks.
  static uint32_t DecodeHits(uint32_t code) {
    const uint32_t exponent = HitsExponent(code);
    return (code - (exponent << kFractionBits)) << exponent;
  }
  static uint16_t EncodeHits(uint32_t hits);
  void FadeHits(uint8_t epoch);
  int32_t MsLeft(const Moment& at) const {
    return static_cast<int32_t>(Atomic(fresh_ms_).load(std::memory_order_relaxed) -
                                static_cast<uint32_t>(at.ms));
  }
  void ReadHeader(Entry* entry) const {
    entry->version = version();
    entry->type_id = type_;
    entry->namespace_id = namespace_;
    entry->negative = (flags() & kNegative) != 0;
  }
  void ReadOptional(uint8_t flags, Entry* entry) const;
  // Where the lists begin. REQUIRES: kListed.
  const char* lists() const { return tail() + optional_bytes() + key_size() + value_size(); }
  // The same, behind the prints of so many tags.
  const char* items(size_t tags) const { return lists() + tags * sizeof(TagPrint); }
  // Not inlined where it would crowd what is nearly always done.
  static void Resize(std::string* bytes, size_t size);
  static uint8_t FlagsFor(const EntryFields& fields, bool large, MonoNanos now);
  static uint32_t OptionalBytes(uint8_t flags) {
    return ((flags & kTimes) ? sizeof(Times) : 0) + ((flags & kSliding) ? 8 : 0) +
           ((flags & kEncoded) ? 8 : 0) + ((flags & kLarge) ? 24 : 0) + ((flags & kListed) ? 8 : 0);
  }
  uint32_t optional_bytes() const { return OptionalBytes(flags()); }
  uint32_t value_size() const { return sizes_ >> 11; }
  const char* tail() const { return reinterpret_cast<const char*>(this + 1); }
  char* tail() { return reinterpret_cast<char*>(this + 1); }
  Times times() const;
  static constexpr uint32_t RoundUp(uint32_t bytes) { return (bytes + kAlign - 1) & ~(kAlign - 1); }
  uint32_t list_bytes() const;
  uint64_t large_size() const;
  // The optional part of `flag`, from `skip` bytes on.
  template <typename T>
  T Optional(Flag flag, uint32_t skip = 0) const;

  uint32_t version_low_;
  uint32_t version_high_;
  uint32_t fresh_ms_;
  uint32_t sizes_;  // | value, 21 bits | key, 11 bits |
  uint16_t type_;
  uint16_t namespace_;
  uint16_t hits_;  // see CountHit
  uint8_t hits_epoch_;
  uint8_t flags_;
};

static_assert(sizeof(Record) == 24 && alignof(Record) == Record::kAlign);

}  // namespace larder

#endif  // LARDER_MEMORY_RECORD_H_
