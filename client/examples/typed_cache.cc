// Keeps values of a type of its own, as JSON text.
//   example_typed_cache [HOST:PORT]

#include "larder/typed_cache.h"

#include <cstdio>
#include <iostream>
#include <optional>
#include <string>

namespace {

struct Product {
  int cents = 0;
  int in_stock = 0;
};

// Stands for a JSON library.
larder::TextCodec<Product> JsonCodec() {
  larder::TextCodec<Product> codec;
  codec.to_text = [](const Product& product) {
    return "{\"cents\": " + std::to_string(product.cents) +
           ", \"in_stock\": " + std::to_string(product.in_stock) + "}";
  };
  codec.from_text = [](std::string_view text) -> std::optional<Product> {
    Product product;
    const std::string json(text);
    if (std::sscanf(json.c_str(), "{\"cents\": %d, \"in_stock\": %d}", &product.cents,
                    &product.in_stock) != 2) {
      return std::nullopt;
    }
    return product;
  };
  return codec;
}

}  // namespace

int main(int argc, char** argv) {
  const larder::ClientOptions options(argc > 1 ? argv[1] : "127.0.0.1:50051", absl::Seconds(1));
  absl::StatusOr<std::unique_ptr<larder::Client>> client = larder::Connect(options);
  if (!client.ok()) {
    std::cerr << client.status() << "\n";
    return 1;
  }
  const larder::TypedCache<Product, larder::TextCodec<Product>> products(client->get(), "",
                                                                         JsonCodec());
  // Stands for a database.
  const auto read = [](const larder::LoadCall& call) -> absl::StatusOr<std::optional<Product>> {
    if (call.key == "product:0") return std::nullopt;
    return Product{1999, 3};
  };
  absl::StatusOr<larder::Typed<Product>> product = products.GetOrLoad("product:42", read);
  if (!product.ok()) {
    std::cerr << product.status() << "\n";
    return 1;
  }
  if (!product->value.has_value()) {
    std::cout << "no such product\n";
    return 0;
  }
  std::cout << product->value->cents << " cents, " << product->value->in_stock << " left"
            << (product->loaded ? " (loaded)" : " (cached)") << "\n";
  return 0;
}
