// The words that made-up profiles are made of. Names stand in the order of how common they are.

#ifndef LARDER_BENCH_DICTIONARIES_WORDS_H_
#define LARDER_BENCH_DICTIONARIES_WORDS_H_

#include <string_view>

namespace larder::bench {

// clang-format off
inline constexpr std::string_view kFirstNames[] = {
    "James", "Mary", "Maria", "Anna", "Michael", "Sarah", "David", "Laura", "Thomas", "Julia", "Daniel", "Emma",
    "Lukas", "Sophie", "Peter", "Elena", "Martin", "Lena", "Jan", "Marta", "Paul", "Nina", "Andreas", "Katarzyna",
    "Robert", "Jennifer", "John", "Linda", "William", "Elizabeth", "Richard", "Susan", "Joseph", "Jessica", "Carlos",
    "Ana", "José", "Carmen", "Antonio", "Isabel", "Javier", "Lucía", "Pablo", "Sofía", "Luca", "Giulia", "Marco",
    "Francesca", "Alessandro", "Chiara", "Pierre", "Camille", "Nicolas", "Léa", "Julien", "Chloé", "Antoine", "Manon",
    "Piotr", "Agnieszka", "Krzysztof", "Małgorzata", "Tomasz", "Magdalena", "Jakub", "Zuzanna", "Erik", "Ingrid",
    "Lars", "Astrid", "Johan", "Freja", "Mikkel", "Sanne", "Daan", "Femke", "Bram", "Lotte", "Priya", "Rahul",
    "Ananya", "Arjun", "Wei", "Mei", "Hiroshi", "Yuki", "Min-jun", "Ji-woo", "Mohammed", "Fatima", "Ahmed", "Aisha",
    "Olena", "Andriy", "Oksana", "Ivan", "Dimitris", "Eleni", "Mehmet", "Ayşe", "João", "Beatriz", "Tiago", "Inês",
    "Ciarán", "Niamh", "Sean", "Aoife", "Olivia", "Noah", "Liam", "Ava", "Mia", "Ethan", "Amelia", "Oscar", "Grace",
    "Henry", "Florence", "Theo", "Zoë", "Margaux", "Baptiste", "Viktor", "Petra", "Zoltán", "Katalin", "Radu", "Ioana",
};
inline constexpr std::string_view kLastNames[] = {
    "Smith", "Müller", "Garcia", "Jones", "Schmidt", "Martin", "Rossi", "Nowak", "Williams", "Brown", "Schneider",
    "Taylor", "Fischer", "Davies", "Weber", "Wilson", "Meyer", "Evans", "Wagner", "Thomas", "Becker", "Johnson",
    "Schulz", "Roberts", "Hoffmann", "Walker", "Bernard", "Wright", "Dubois", "Robinson", "Durand", "Thompson", "Leroy",
    "White", "Moreau", "Hughes", "Fernández", "Edwards", "González", "Green", "Rodríguez", "Lewis", "López", "Wood",
    "Martínez", "Harris", "Sánchez", "Martinez", "Pérez", "Jackson", "Gómez", "Clarke", "Russo", "Clark", "Ferrari",
    "Turner", "Esposito", "Hill", "Bianchi", "Cooper", "Romano", "Morris", "Kowalski", "Ward", "Wiśniewski", "Moore",
    "Wójcik", "King", "Kamiński", "Watson", "Lewandowski", "Baker", "de Jong", "Harrison", "Jansen", "Morgan",
    "de Vries", "Patel", "van den Berg", "Young", "Bakker", "Allen", "Hansen", "Mitchell", "Johansson", "Phillips",
    "Andersen", "Campbell", "Larsson", "Kelly", "Nielsen", "Byrne", "Sharma", "Murphy", "Singh", "O'Brien", "Kumar",
    "Nguyen", "Chen", "Tanaka", "Kim", "Yılmaz", "Papadopoulos", "Silva", "Santos", "Ferreira", "Kovács", "Popescu",
    "Horvat", "Novák", "Svoboda", "Shevchenko", "Kovalenko", "Haddad", "Rahman", "Okafor", "Mensah", "Lindqvist",
};
inline constexpr std::string_view kSyllables[] = {
    "ba", "bel", "ber", "bo", "bran", "ca", "chi", "cor", "da", "del", "der", "do", "el", "en", "fa", "fel", "fi", "gar",
    "ge", "gor", "ha", "hel", "hol", "in", "ja", "jo", "ka", "kel", "ko", "kra", "la", "len", "li", "lo", "ma", "man",
    "mar", "mi", "mo", "na", "nel", "ni", "no", "or", "pa", "pe", "po", "qui", "ra", "rei", "ri", "ro", "sa", "sen",
    "shi", "so", "ste", "ta", "ten", "ti", "tor", "tra", "ul", "va", "ven", "vi", "wal", "wen", "ya", "zan", "ze", "zo",
};
inline constexpr std::string_view kMailHosts[] = {
    "gmail.com", "gmail.com", "outlook.com", "yahoo.com", "icloud.com", "hotmail.com", "gmx.de", "web.de", "proton.me",
    "orange.fr", "libero.it", "wp.pl", "t-online.de", "live.co.uk", "btinternet.com", "telenet.be", "ziggo.nl",
};
// What differs from land to land.
struct Land {
  std::string_view country, locale, language, timezone, currency, dial;
  double latitude, longitude;
  std::string_view cities[8];
  std::string_view streets[8];
  int postcode_digits;
  bool number_first;
};
inline constexpr Land kLands[] = {
    {"DE", "de-DE", "de", "Europe/Berlin", "EUR", "+49", 51.1, 10.4,
     {"Berlin", "Hamburg", "München", "Köln", "Frankfurt am Main", "Leipzig", "Stuttgart", "Bremen"},
     {"Hauptstraße", "Bahnhofstraße", "Gartenstraße", "Lindenstraße", "Goethestraße", "Schulstraße", "Am Markt", "Bergstraße"}, 5, false},
    {"GB", "en-GB", "en", "Europe/London", "GBP", "+44", 52.4, -1.6,
     {"London", "Manchester", "Birmingham", "Leeds", "Bristol", "Glasgow", "Sheffield", "Brighton"},
     {"High Street", "Station Road", "Church Lane", "Victoria Road", "Park Avenue", "Queens Road", "Mill Lane", "The Green"}, 4, true},
    {"US", "en-US", "en", "America/New_York", "USD", "+1", 39.8, -86.1,
     {"New York", "Chicago", "Houston", "Philadelphia", "Austin", "Columbus", "Boston", "Charlotte"},
     {"Main Street", "Oak Avenue", "Maple Drive", "Washington Street", "2nd Street", "Cedar Lane", "Park Place", "Lake Road"}, 5, true},
    {"FR", "fr-FR", "fr", "Europe/Paris", "EUR", "+33", 46.6, 2.4,
     {"Paris", "Lyon", "Marseille", "Toulouse", "Nantes", "Bordeaux", "Lille", "Rennes"},
     {"rue de la République", "avenue Victor Hugo", "rue des Lilas", "rue Pasteur", "place de l'Église", "rue Jean Jaurès", "boulevard Voltaire", "chemin du Moulin"}, 5, true},
    {"ES", "es-ES", "es", "Europe/Madrid", "EUR", "+34", 40.2, -3.6,
     {"Madrid", "Barcelona", "Valencia", "Sevilla", "Zaragoza", "Málaga", "Bilbao", "Granada"},
     {"Calle Mayor", "Calle Real", "Avenida de la Constitución", "Calle del Carmen", "Plaza de España", "Calle San Juan", "Paseo del Prado", "Calle Nueva"}, 5, false},
    {"PL", "pl-PL", "pl", "Europe/Warsaw", "PLN", "+48", 52.0, 19.3,
     {"Warszawa", "Kraków", "Wrocław", "Poznań", "Gdańsk", "Łódź", "Katowice", "Lublin"},
     {"ul. Polna", "ul. Leśna", "ul. Słoneczna", "ul. Krótka", "ul. Szkolna", "ul. Ogrodowa", "al. Jana Pawła II", "ul. Lipowa"}, 5, false},
    {"IT", "it-IT", "it", "Europe/Rome", "EUR", "+39", 42.8, 12.1,
     {"Roma", "Milano", "Napoli", "Torino", "Bologna", "Firenze", "Genova", "Verona"},
     {"Via Roma", "Via Garibaldi", "Corso Italia", "Via Dante", "Piazza Cavour", "Via Mazzini", "Via Verdi", "Viale Europa"}, 5, false},
    {"NL", "nl-NL", "nl", "Europe/Amsterdam", "EUR", "+31", 52.2, 5.4,
     {"Amsterdam", "Rotterdam", "Utrecht", "Den Haag", "Eindhoven", "Groningen", "Tilburg", "Haarlem"},
     {"Kerkstraat", "Dorpsstraat", "Molenweg", "Schoolstraat", "Julianastraat", "Stationsweg", "Prinsengracht", "Beatrixlaan"}, 4, false},
};
inline constexpr std::string_view kStreetWords[] = {
    "Street", "Road", "Lane", "Court", "Weg", "Allee", "Platz", "Park", "Hill", "Garden", "Plaza", "Dwars", "Villas",
};
inline constexpr std::string_view kCategories[] = {
    "electronics", "books", "home-garden", "fashion", "sports", "toys", "beauty", "groceries", "music", "outdoor",
    "photography", "gaming", "pets", "baby", "diy", "automotive", "office", "jewellery", "art", "travel",
};
inline constexpr std::string_view kRoles[] = {"seller", "reviewer", "moderator", "beta_tester", "affiliate", "admin"};
inline constexpr std::string_view kJobs[] = {
    "teacher", "nurse", "software engineer", "photographer", "student", "architect", "carpenter", "translator", "chef",
    "graphic designer", "accountant", "biologist", "journalist", "retired postman", "musician", "paramedic", "gardener",
};
inline constexpr std::string_view kHobbies[] = {
    "hiking", "old cameras", "baking bread", "vinyl records", "trail running", "board games", "climbing", "sewing",
    "mountain bikes", "science fiction", "indoor plants", "chess", "sailing", "home brewing", "street food", "pottery",
    "bird watching", "model trains", "yoga", "crosswords", "restoring furniture", "open-water swimming", "jazz", "lego",
};
inline constexpr std::string_view kRemarks[] = {
    "Always looking for a bargain.", "Mother of two and coffee addict.", "I review everything I buy, for better or worse.",
    "Please leave parcels with the neighbours.", "Here mostly for the books.", "Trying to buy less and better.",
    "Ask me about lenses.", "Slow to answer messages, sorry!", "Opinions are my own.", "Dogs over cats.",
    "Collecting since 1998.", "Just moved and need everything.", "No spam please.", "Weekend seller, ships on Mondays.",
};
inline constexpr std::string_view kBrands[] = {"visa", "mastercard", "visa", "amex", "maestro", "discover"};
inline constexpr std::string_view kPlatforms[] = {"ios", "android", "web", "android", "web"};
inline constexpr std::string_view kSources[] = {"organic", "google_ads", "newsletter", "referral", "facebook", "app_store"};
inline constexpr std::string_view kTiers[] = {"bronze", "silver", "gold", "platinum"};
inline constexpr std::string_view kStatuses[] = {"active", "active", "active", "active", "active", "active", "active",
                                                 "suspended", "pending_verification", "deactivated"};
// clang-format on

}  // namespace larder::bench

#endif  // LARDER_BENCH_DICTIONARIES_WORDS_H_
