// TypedCache reads and writes values of a type of the program's own through a Client. A codec turns
// them into bytes and back: ProtoCodec for protobuf messages, JsonCodec for JSON, TextCodec for
// functions to and from text, BytesCodec for strings as they are, or one of your own:
//
//   struct MyCodec {
//     absl::Status Encode(const T& value, std::string* bytes) const;
//     absl::StatusOr<T> Decode(std::string_view bytes) const;
//   };
//
//   larder::TypedCache<User, larder::ProtoCodec<User>> users(client, "user");
//   absl::StatusOr<larder::Typed<User>> user =
//       users.GetOrLoad("user:42", [&](const larder::LoadCall& call) {
//         return database.ReadUser(call.key);  // absl::StatusOr<std::optional<User>>
//       });
//
// Thread safety: any method, any thread, if the codec bears it. Blocks as Client does.
// Errors: those of Client and of the codec; DATA_LOSS for cached bytes that the codec cannot read.
// GetOrLoad takes such bytes, left by another release of the program for example, for a miss: it
// invalidates them and loads anew, once.

#ifndef LARDER_TYPED_CACHE_H_
#define LARDER_TYPED_CACHE_H_

#include <exception>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "larder/client.h"

namespace larder {

// Strings as they are.
struct BytesCodec {
  absl::Status Encode(const std::string& value, std::string* bytes) const {
    *bytes = value;
    return absl::OkStatus();
  }
  absl::StatusOr<std::string> Decode(std::string_view bytes) const { return std::string(bytes); }
};

// Messages of protobuf, also of its lite runtime.
template <typename Message>
struct ProtoCodec {
  absl::Status Encode(const Message& value, std::string* bytes) const {
    if (value.SerializeToString(bytes)) return absl::OkStatus();
    return absl::InvalidArgumentError("the message cannot be serialized; required fields missing?");
  }
  absl::StatusOr<Message> Decode(std::string_view bytes) const {
    Message value;
    if (value.ParseFromString(std::string(bytes))) return value;
    return absl::DataLossError("the value is no message of this type");
  }
};

// JSON by a library whose values of class `Json` are made from a T and turned into one by the
// functions that it finds for T (to_json and from_json), as nlohmann::json does:
//   larder::TypedCache<User, larder::JsonCodec<User, nlohmann::json>> users(client, "user");
template <typename T, typename Json>
struct JsonCodec {
  absl::Status Encode(const T& value, std::string* bytes) const {
    try {
      *bytes = Json(value).dump();
      return absl::OkStatus();
    } catch (const std::exception& error) {
      return absl::InvalidArgumentError(error.what());  // such as a string that is no UTF-8
    }
  }
  absl::StatusOr<T> Decode(std::string_view bytes) const {
    try {
      return Json::parse(bytes).template get<T>();
    } catch (const std::exception& error) {
      return absl::DataLossError(error.what());
    }
  }
};

// Text by functions of the program's own.
template <typename T>
struct TextCodec {
  std::function<std::string(const T& value)> to_text;
  // Unset: the text cannot be read.
  std::function<std::optional<T>(std::string_view text)> from_text;

  absl::Status Encode(const T& value, std::string* bytes) const {
    *bytes = to_text(value);
    return absl::OkStatus();
  }
  absl::StatusOr<T> Decode(std::string_view bytes) const {
    if (std::optional<T> value = from_text(bytes); value.has_value()) return *std::move(value);
    return absl::DataLossError("the value cannot be read");
  }
};

// What a TypedCache found.
template <typename T>
struct Typed {
  // Unset: there is none, for the reason of `miss`.
  std::optional<T> value = {};
  // The entry it came from, without its bytes. Says something with a value only.
  Entry entry = {};
  Miss miss = {};
  // Of GetOrLoad, as in LoadResult.
  bool loaded = false;
  bool stored = false;
  absl::Status cache_status = {};
};

template <typename T, typename Codec>
class TypedCache {
 public:
  // `client` outlives it. `type` is the data type of every call; empty = by pattern.
  explicit TypedCache(Client* client, std::string type = "", Codec codec = {})
      : client_(client), type_(std::move(type)), codec_(std::move(codec)) {}

  // Reads one key. Never loads.
  absl::StatusOr<Typed<T>> Get(std::string_view key, const CallOptions& call = {}) const {
    absl::StatusOr<GetResult> found = client_->Get(key, OptionsFor<GetOptions>(call));
    if (!found.ok()) return found.status();
    return Read(std::move(found->entry), found->miss);
  }

  // Reads up to 1,000 keys. A value that cannot be read is its key's error.
  absl::StatusOr<std::vector<absl::StatusOr<Typed<T>>>> BatchGet(
      const std::vector<std::string>& keys, const CallOptions& call = {}) const {
    auto found = client_->BatchGet(keys, OptionsFor<GetOptions>(call));
    if (!found.ok()) return found.status();
    std::vector<absl::StatusOr<Typed<T>>> results;
    for (GetResult& result : *found) results.push_back(Read(std::move(result.entry), result.miss));
    return results;
  }

  // Stores a value. `options.type` is the cache's own.
  absl::StatusOr<SetResult> Set(std::string_view key, const T& value,
                                SetOptions options = {}) const {
    std::string bytes;
    if (absl::Status status = codec_.Encode(value, &bytes); !status.ok()) return status;
    options.type = type_;
    return client_->Set(key, bytes, options);
  }

  absl::StatusOr<DeleteResult> Delete(std::string_view key, const CallOptions& call = {}) const {
    return client_->Delete(key, OptionsFor<DeleteOptions>(call));
  }

  // Reads one key and, when it is missing, stores what `load` brings: a callable that takes a
  // const LoadCall& and answers absl::StatusOr<std::optional<T>>, where nothing means that the key
  // does not exist. `options.type` is the cache's own. See Client::GetOrLoad.
  template <typename Load>
  absl::StatusOr<Typed<T>> GetOrLoad(std::string_view key, Load load,
                                     LoadOptions options = {}) const {
    options.type = type_;
    absl::StatusOr<Typed<T>> result = LoadOnce(key, load, options);
    if (result.ok() || !absl::IsDataLoss(result.status())) return result;
    // Bytes that nobody here can read: away with them.
    InvalidateOptions drop;
    drop.call = options.call;
    if (absl::Status status = client_->Invalidate({std::string(key)}, drop).status(); !status.ok())
      return status;
    return LoadOnce(key, load, options);
  }

  Client* client() const { return client_; }

 private:
  template <typename Options>
  Options OptionsFor(const CallOptions& call) const {
    Options options;
    options.type = type_;
    options.call = call;
    return options;
  }

  absl::StatusOr<Typed<T>> Read(std::optional<Entry> entry, const Miss& miss) const {
    Typed<T> result;
    result.miss = miss;
    if (!entry.has_value()) return result;
    absl::StatusOr<T> value = codec_.Decode(entry->value);
    if (!value.ok()) return absl::DataLossError(value.status().message());
    result.value = *std::move(value);
    result.entry = *std::move(entry);
    result.entry.value.clear();
    return result;
  }

  template <typename Load>
  absl::StatusOr<Typed<T>> LoadOnce(std::string_view key, Load& load,
                                    const LoadOptions& options) const {
    // What the loader brings is handed on as it is, and not read back from its bytes.
    std::optional<T> brought;
    const auto loader = [&](const LoadCall& call) -> absl::StatusOr<Loaded> {
      absl::StatusOr<std::optional<T>> found = load(call);
      if (!found.ok()) return found.status();
      if (!found->has_value()) return Loaded::Absent();
      Loaded loaded;
      if (absl::Status status = codec_.Encode(**found, &loaded.value); !status.ok()) return status;
      brought = **std::move(found);
      return loaded;
    };
    absl::StatusOr<LoadResult> result = client_->GetOrLoad(key, loader, options);
    if (!result.ok()) return result.status();
    Typed<T> typed;
    if (result->loaded && brought.has_value() && result->hit()) {
      typed.value = *std::move(brought);
      typed.entry = *std::move(result->entry);
      typed.entry.value.clear();
    } else {
      absl::StatusOr<Typed<T>> read = Read(std::move(result->entry), result->miss);
      if (!read.ok()) return read.status();
      typed = *std::move(read);
    }
    typed.loaded = result->loaded;
    typed.stored = result->stored;
    typed.cache_status = result->cache_status;
    return typed;
  }

  Client* const client_;
  const std::string type_;
  const Codec codec_;
};

}  // namespace larder

#endif  // LARDER_TYPED_CACHE_H_
