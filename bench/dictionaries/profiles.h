// Makes up the JSON bodies that a user service of a shop would answer: believable people, some with
// much in their profile and some with little, and all the random parts that such bodies really have
// (UUIDs, timestamps with milliseconds, payment tokens, image names). The same seed gives the same
// profiles. Thread safety: one object is one thread's.

#ifndef LARDER_BENCH_DICTIONARIES_PROFILES_H_
#define LARDER_BENCH_DICTIONARIES_PROFILES_H_

#include <cstdint>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace larder::bench {

// Bytes of a profile. What comes out smaller or larger is made anew.
inline constexpr size_t kProfileBytesMin = 300;
inline constexpr size_t kProfileBytesMax = 2000;

class Profiles {
 public:
  explicit Profiles(uint64_t seed) : random_(seed) {}

  std::string Next();

 private:
  struct Person;

  // Draws.
  uint64_t Below(uint64_t n) { return random_() % n; }
  int Between(int low, int high) { return low + static_cast<int>(Below(high - low + 1)); }
  bool Chance(int percent) { return static_cast<int>(Below(100)) < percent; }
  // Early elements come more often than late ones, as with names and cities.
  template <size_t n>
  std::string_view Skewed(const std::string_view (&list)[n]);
  template <size_t n>
  std::string_view Any(const std::string_view (&list)[n]) {
    return list[Below(n)];
  }

  std::string Uuid();
  std::string Hex(int digits);
  std::string Token(int letters);
  std::string Digits(int n);
  // Between the two days since 1970, to the millisecond.
  std::string Timestamp(int first_day, int last_day);
  std::string Date(int day);
  std::string Invented(int syllables);
  std::string Sentence(const Person& person);

  Person NewPerson();
  void AddContact(const Person& person, std::string* out);
  void AddAddresses(const Person& person, std::string* out);
  void AddPreferences(const Person& person, std::string* out);
  void AddPayment(std::string* out);
  void AddHistory(const Person& person, std::string* out);
  void AddOptional(const Person& person, std::string* out);
  std::string Candidate();

  std::mt19937_64 random_;
};

}  // namespace larder::bench

#endif  // LARDER_BENCH_DICTIONARIES_PROFILES_H_
