// How much a dictionary gains depends on the data alone, so the data must not flatter it. A profile
// is a quarter to a third chance: identifiers are full random UUIDs, times go to the millisecond,
// tokens and image names are random letters, 3 names in 10 come from no list, e-mail addresses and
// user names follow from the name only for most people, and coordinates have six digits. What
// repeats is what repeats in real bodies: the names of the fields, the order in which a serialiser
// writes them, enumerations, common names, the cities and streets of a land. Half of the sections
// are optional, so that profiles differ in shape as well as in content.

#include "bench/dictionaries/profiles.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "absl/time/civil_time.h"
#include "base/strings.h"
#include "bench/dictionaries/words.h"

namespace larder::bench {
namespace {

constexpr int kToday = 20'000;   // days since 1970: October 2024
constexpr int kOpened = 16'800;  // when the shop began

const char* Bool(bool value) { return value ? "true" : "false"; }

// Names as they stand in addresses and handles: lower case, ASCII only.
std::string Plain(std::string_view name) {
  std::string plain = absl::StrReplaceAll(
      ToAbsl(name), {{"ä", "ae"}, {"ö", "oe"}, {"ü", "ue"}, {"ß", "ss"}, {"é", "e"}, {"è", "e"},
                     {"í", "i"},  {"á", "a"},  {"ó", "o"},  {"ñ", "n"},  {"ë", "e"}, {"ł", "l"},
                     {"ś", "s"},  {"ń", "n"},  {"ã", "a"},  {"ê", "e"},  {"ş", "s"}, {"ı", "i"},
                     {"ą", "a"},  {" ", ""},   {"'", ""},   {"-", ""}});
  return absl::AsciiStrToLower(plain);
}

}  // namespace

struct Profiles::Person {
  const Land* land;
  std::string first, last, handle;
  int joined;  // days since 1970
};

template <size_t n>
std::string_view Profiles::Skewed(const std::string_view (&list)[n]) {
  const double draw = static_cast<double>(Below(1'000'000)) / 1e6;
  return list[static_cast<size_t>(std::pow(draw, 1.7) * n)];
}

std::string Profiles::Hex(int digits) {
  std::string out;
  for (int i = 0; i < digits; ++i) out += "0123456789abcdef"[Below(16)];
  return out;
}

std::string Profiles::Token(int letters) {
  std::string out;
  for (int i = 0; i < letters; ++i) {
    out += "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"[Below(62)];
  }
  return out;
}

std::string Profiles::Digits(int n) {
  std::string out;
  for (int i = 0; i < n; ++i) out += static_cast<char>('0' + Below(10));
  return out;
}

std::string Profiles::Uuid() {
  return absl::StrCat(Hex(8), "-", Hex(4), "-4", Hex(3), "-", std::string(1, "89ab"[Below(4)]),
                      Hex(3), "-", Hex(12));
}

std::string Profiles::Date(int day) {
  return absl::FormatCivilTime(absl::CivilDay(1970, 1, 1) + day);
}

std::string Profiles::Timestamp(int first_day, int last_day) {
  return absl::StrFormat("%sT%02d:%02d:%02d.%03dZ",
                         Date(Between(first_day, std::max(first_day, last_day))), Between(0, 23),
                         Between(0, 59), Between(0, 59), Between(0, 999));
}

std::string Profiles::Invented(int syllables) {
  std::string name;
  for (int i = 0; i < syllables; ++i) StrAppend(&name, Any(kSyllables));
  name[0] = absl::ascii_toupper(static_cast<unsigned char>(name[0]));
  return name;
}

std::string Profiles::Sentence(const Person& person) {
  const Land& land = *person.land;
  switch (Below(6)) {
    case 0:
      return StrCat(Any(kJobs), " from ", Any(land.cities), ", into ", Any(kHobbies), " and ",
                    Any(kHobbies), ".");
    case 1:
      return StrCat("I like ", Any(kHobbies), ", ", Any(kHobbies), " and ", Any(kHobbies), ".");
    case 2:
      return StrCat("Former ", Any(kJobs), ", now ", Any(kJobs), ". ", Any(kRemarks));
    case 3:
      return StrCat("Born in ", Any(land.cities), ", living near ", Invented(3), ".");
    case 4:
      return StrCat(Any(kRemarks), " ", Any(kHobbies), " since ", Between(1985, 2023), ".");
    default:
      return std::string(Any(kRemarks));
  }
}

Profiles::Person Profiles::NewPerson() {
  Person person;
  const double draw = static_cast<double>(Below(1000)) / 1000;
  person.land = &kLands[static_cast<size_t>(draw * draw * std::size(kLands))];
  person.first = Chance(85) ? std::string(Skewed(kFirstNames)) : Invented(2);
  person.last = Chance(60) ? std::string(Skewed(kLastNames)) : Invented(Between(2, 3));
  switch (Below(5)) {
    case 0:
      person.handle = StrCat(Plain(person.first), ".", Plain(person.last));
      break;
    case 1:
      person.handle = StrCat(Plain(person.first).substr(0, 1), Plain(person.last), Between(1, 99));
      break;
    case 2:
      person.handle = StrCat(Plain(person.first), Between(1960, 2008));
      break;
    case 3:
      person.handle =
          StrCat(absl::AsciiStrToLower(Invented(2)), "_", absl::AsciiStrToLower(Invented(2)));
      break;
    default:
      person.handle = StrCat(Plain(person.first), "_", Plain(person.last), Between(1, 999));
  }
  person.joined = Between(kOpened, kToday - 1);
  return person;
}

void Profiles::AddContact(const Person& person, std::string* out) {
  const std::string mail =
      Chance(75) ? person.handle : StrCat(Plain(person.last), ".", Plain(person.first));
  const std::string host =
      Chance(85) ? std::string(Skewed(kMailHosts)) : StrCat(Plain(Invented(3)), ".com");
  StrAppend(out, ",\"email\":\"", mail, "@", host, "\",\"emailVerified\":", Bool(Chance(88)),
            ",\"firstName\":\"", person.first, "\",\"lastName\":\"", person.last, "\"");
  if (Chance(60)) {
    StrAppend(out, ",\"phone\":\"", person.land->dial, Digits(Between(9, 10)),
              "\",\"phoneVerified\":", Bool(Chance(50)));
  } else {
    StrAppend(out, ",\"phone\":null,\"phoneVerified\":false");
  }
  if (Chance(55)) StrAppend(out, ",\"birthDate\":\"", Date(Between(-7'000, 13'500)), "\"");
  if (Chance(45)) {
    StrAppend(out, ",\"avatarUrl\":\"https://cdn.example.com/avatars/", Hex(32), ".webp\"");
  } else {
    StrAppend(out, ",\"avatarUrl\":null");
  }
}

void Profiles::AddAddresses(const Person& person, std::string* out) {
  const Land& land = *person.land;
  StrAppend(out, ",\"addresses\":[");
  const int count = Chance(12) ? 0 : Chance(75) ? 1 : 2;
  for (int i = 0; i < count; ++i) {
    const std::string street = Chance(65) ? std::string(Any(land.streets))
                                          : StrCat(Invented(Between(2, 3)), " ", Any(kStreetWords));
    const int number = Between(1, 180);
    StrAppend(out, i == 0 ? "" : ",", "{\"id\":\"", Uuid(), "\",\"type\":\"",
              i == 0 ? "shipping" : "billing", "\",\"street\":\"",
              land.number_first ? StrCat(number, " ", street) : StrCat(street, " ", number),
              "\",\"city\":\"", Chance(70) ? std::string(Any(land.cities)) : Invented(3),
              "\",\"postalCode\":\"", Digits(land.postcode_digits), "\",\"country\":\"",
              land.country, "\"");
    if (Chance(30)) {
      StrAppend(out, absl::StrFormat(",\"location\":{\"lat\":%.6f,\"lon\":%.6f}",
                                     land.latitude + Between(-2'000'000, 2'000'000) / 1e6,
                                     land.longitude + Between(-2'000'000, 2'000'000) / 1e6));
    }
    StrAppend(out, ",\"default\":", Bool(i == 0), "}");
  }
  StrAppend(out, "]");
}

void Profiles::AddPreferences(const Person& person, std::string* out) {
  StrAppend(
      out, ",\"preferences\":{\"language\":\"", person.land->language, "\",\"theme\":\"",
      Chance(40)   ? "dark"
      : Chance(50) ? "light"
                   : "system",
      "\",\"newsletter\":", Bool(Chance(35)), ",\"notifications\":{\"email\":", Bool(Chance(80)),
      ",\"push\":", Bool(Chance(55)), ",\"sms\":", Bool(Chance(15)), ",\"digest\":\"",
      Chance(50)   ? "weekly"
      : Chance(50) ? "daily"
                   : "never",
      "\"},\"privacy\":{\"profile\":\"",
      Chance(60)   ? "friends"
      : Chance(50) ? "public"
                   : "private",
      "\",\"showActivity\":", Bool(Chance(50)), ",\"personalisedAds\":", Bool(Chance(30)), "}");
  if (Chance(50)) {
    StrAppend(out, ",\"favoriteCategories\":[");
    const int first = static_cast<int>(Below(std::size(kCategories)));
    const int count = Between(1, 5);
    for (int i = 0; i < count; ++i) {
      // A step that shares no factor with the number of categories names none twice.
      StrAppend(out, i == 0 ? "\"" : ",\"", kCategories[(first + i * 7) % std::size(kCategories)],
                "\"");
    }
    StrAppend(out, "]");
  }
  StrAppend(out, "}");
}

void Profiles::AddPayment(std::string* out) {
  StrAppend(out, ",\"paymentMethods\":[");
  const int count = Chance(75) ? 1 : 2;
  for (int i = 0; i < count; ++i) {
    StrAppend(out, i == 0 ? "" : ",", "{\"id\":\"pm_", Token(24),
              "\",\"type\":\"card\",\"brand\":\"", Any(kBrands), "\",\"last4\":\"", Digits(4),
              "\",\"expMonth\":", Between(1, 12), ",\"expYear\":", Between(2024, 2029),
              ",\"default\":", Bool(i == 0), "}");
  }
  StrAppend(out, "]");
}

void Profiles::AddHistory(const Person& person, std::string* out) {
  const int orders = static_cast<int>(Below(Chance(80) ? 30 : 400));
  StrAppend(out, ",\"stats\":{\"orders\":", orders, ",\"returns\":", Below(orders / 8 + 1),
            absl::StrFormat(",\"totalSpent\":%.2f", orders * Between(1'000, 9'000) / 100.0),
            ",\"currency\":\"", person.land->currency, "\",\"reviews\":", Below(orders / 3 + 1));
  if (orders > 0) StrAppend(out, ",\"lastOrderAt\":\"", Timestamp(person.joined, kToday), "\"");
  StrAppend(out, "}");
  if (Chance(40)) {
    StrAppend(out, ",\"loyalty\":{\"tier\":\"", Skewed(kTiers), "\",\"points\":", Below(25'000),
              ",\"cardNumber\":\"", Digits(16), "\",\"memberSince\":\"",
              Date(Between(person.joined, kToday)), "\"}");
  }
}

void Profiles::AddOptional(const Person& person, std::string* out) {
  if (Chance(30)) {
    StrAppend(out, ",\"devices\":[");
    const int count = Between(1, 3);
    for (int i = 0; i < count; ++i) {
      StrAppend(out, i == 0 ? "" : ",", "{\"id\":\"", Uuid(), "\",\"platform\":\"", Any(kPlatforms),
                "\",\"appVersion\":\"", Between(4, 6), ".", Between(0, 24), ".", Between(0, 5),
                "\",\"lastSeenAt\":\"", Timestamp(std::max(person.joined, kToday - 200), kToday),
                "\"}");
    }
    StrAppend(out, "]");
  }
  if (Chance(35)) {
    StrAppend(out, ",\"bio\":\"", Sentence(person));
    if (Chance(50)) StrAppend(out, " ", Sentence(person));
    StrAppend(out, "\"");
  }
  StrAppend(out, ",\"consents\":[{\"type\":\"terms\",\"version\":\"", Between(2019, 2024), "-0",
            Between(1, 9), "\",\"acceptedAt\":\"", Timestamp(person.joined, person.joined), "\"}");
  if (Chance(40)) {
    StrAppend(out, ",{\"type\":\"marketing\",\"version\":\"", Between(2019, 2024), "-0",
              Between(1, 9), "\",\"acceptedAt\":\"", Timestamp(person.joined, kToday), "\"}");
  }
  StrAppend(out, "],\"metadata\":{\"source\":\"", Skewed(kSources), "\"");
  if (Chance(25)) StrAppend(out, ",\"referredBy\":\"", Uuid(), "\"");
  if (Chance(20))
    StrAppend(out, ",\"campaign\":\"", Any(kCategories), "-", Between(2019, 2024), "q",
              Between(1, 4), "\"");
  StrAppend(out, "}");
}

std::string Profiles::Candidate() {
  const Person person = NewPerson();
  std::string out = StrCat("{\"id\":\"", Uuid(), "\",\"username\":\"", person.handle, "\"");
  AddContact(person, &out);
  StrAppend(&out, ",\"locale\":\"", person.land->locale, "\",\"timezone\":\"",
            person.land->timezone, "\",\"status\":\"", Any(kStatuses),
            "\",\"roles\":[\"customer\"");
  if (Chance(15)) StrAppend(&out, ",\"", Any(kRoles), "\"");
  StrAppend(&out, "],\"createdAt\":\"", Timestamp(person.joined, person.joined),
            "\",\"updatedAt\":\"", Timestamp(person.joined, kToday), "\"");
  if (Chance(80))
    StrAppend(&out, ",\"lastLoginAt\":\"", Timestamp(std::max(person.joined, kToday - 400), kToday),
              "\"");
  if (Chance(75)) AddAddresses(person, &out);
  if (Chance(80)) AddPreferences(person, &out);
  if (Chance(40)) AddPayment(&out);
  if (Chance(60)) AddHistory(person, &out);
  if (Chance(70)) AddOptional(person, &out);
  StrAppend(&out, ",\"version\":", Between(1, 90), "}");
  return out;
}

std::string Profiles::Next() {
  std::string profile;
  do {
    profile = Candidate();
  } while (profile.size() < kProfileBytesMin || profile.size() > kProfileBytesMax);
  return profile;
}

}  // namespace larder::bench
