// Values of a program's own types through a client.

#include "larder/typed_cache.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "larder/fake.h"
#include "larder/v1/cache.pb.h"

namespace larder::testing {
namespace {

using ProtoCache = TypedCache<v1::KeyList, ProtoCodec<v1::KeyList>>;

v1::KeyList Keys(const std::string& key) {
  v1::KeyList keys;
  keys.add_keys(key);
  return keys;
}

struct Point {
  int x = 0;
  int y = 0;
};

TextCodec<Point> PointCodec() {
  TextCodec<Point> codec;
  codec.to_text = [](const Point& point) {
    return "{\"x\": " + std::to_string(point.x) + ", \"y\": " + std::to_string(point.y) + "}";
  };
  codec.from_text = [](std::string_view text) -> std::optional<Point> {
    Point point;
    if (sscanf(std::string(text).c_str(), "{\"x\": %d, \"y\": %d}", &point.x, &point.y) != 2)
      return std::nullopt;
    return point;
  };
  return codec;
}

void to_json(nlohmann::json& json, const Point& point) { json = {{"x", point.x}, {"y", point.y}}; }
void from_json(const nlohmann::json& json, Point& point) {
  json.at("x").get_to(point.x);
  json.at("y").get_to(point.y);
}

class TypedCacheTest : public ::testing::Test {
 protected:
  TypedCacheTest() {
    FakeType user;
    user.name = "user";
    user.ttl = absl::Minutes(7);
    FakeOptions options;
    options.types = {user};
    client_ = NewFakeClient(options);
  }
  std::unique_ptr<FakeClient> client_;
};

TEST_F(TypedCacheTest, MessagesGoInAndComeOut) {
  const ProtoCache cache(client_.get(), "user");
  EXPECT_FALSE(cache.Get("k")->value.has_value());
  EXPECT_EQ(cache.Get("k")->miss.reason, MissReason::kAbsent);
  const absl::StatusOr<SetResult> set = cache.Set("k", Keys("a"));
  ASSERT_TRUE(set.ok() && set->stored) << set.status();
  EXPECT_EQ(set->ttl, absl::Minutes(7));  // of its type
  const absl::StatusOr<Typed<v1::KeyList>> found = cache.Get("k");
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_EQ(found->value->keys(0), "a");
  EXPECT_EQ(found->entry.version, set->version);
  EXPECT_EQ(found->entry.value_bytes, Keys("a").ByteSizeLong());
  const auto both = cache.BatchGet({"none", "k"});
  ASSERT_TRUE(both.ok());
  EXPECT_FALSE((*both)[0]->value.has_value());
  EXPECT_EQ((*both)[1]->value->keys(0), "a");
  EXPECT_TRUE(cache.Delete("k")->existed);
  EXPECT_FALSE(cache.Get("k")->value.has_value());
}

TEST_F(TypedCacheTest, JsonGoesInAndComesOut) {
  const TypedCache<Point, JsonCodec<Point, nlohmann::json>> points(client_.get());
  ASSERT_TRUE(points.Set("p", {3, -4}).ok());
  EXPECT_EQ(client_->Get("p")->entry->value, R"({"x":3,"y":-4})");
  EXPECT_EQ(points.Get("p")->value->y, -4);
  for (const char* wrong : {"", "{", "[]", R"({"x":3})", R"({"x":"three","y":0})"}) {
    ASSERT_TRUE(client_->Set("p", wrong).ok());
    EXPECT_EQ(points.Get("p").status().code(), absl::StatusCode::kDataLoss) << wrong;
  }
  const TypedCache<std::string, JsonCodec<std::string, nlohmann::json>> texts(client_.get());
  EXPECT_EQ(texts.Set("t", "\xff").status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(TypedCacheTest, TextAndBytesGoInAndComeOut) {
  const TypedCache<Point, TextCodec<Point>> points(client_.get(), "", PointCodec());
  ASSERT_TRUE(points.Set("p", {3, -4}).ok());
  EXPECT_EQ(client_->Get("p")->entry->value, "{\"x\": 3, \"y\": -4}");
  EXPECT_EQ(points.Get("p")->value->y, -4);
  const TypedCache<std::string, BytesCodec> bytes(client_.get());
  const std::string all("\0\xFF x", 4);
  ASSERT_TRUE(bytes.Set("b", all).ok());
  EXPECT_EQ(bytes.Get("b")->value, all);
}

TEST_F(TypedCacheTest, LoadsOnceAndServesFromTheCacheThen) {
  const ProtoCache cache(client_.get(), "user");
  int loads = 0;
  const auto load = [&](const LoadCall& call) -> absl::StatusOr<std::optional<v1::KeyList>> {
    ++loads;
    EXPECT_EQ(call.key, "k");
    return Keys("loaded");
  };
  const auto first = cache.GetOrLoad("k", load);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_TRUE(first->loaded && first->stored);
  EXPECT_EQ(first->value->keys(0), "loaded");
  const auto second = cache.GetOrLoad("k", load);
  EXPECT_FALSE(second->loaded);
  EXPECT_EQ(second->value->keys(0), "loaded");
  EXPECT_EQ(loads, 1);
}

TEST_F(TypedCacheTest, AbsenceIsRememberedAndErrorsAreTheLoaders) {
  const ProtoCache cache(client_.get());
  const auto absent = [](const LoadCall&) -> absl::StatusOr<std::optional<v1::KeyList>> {
    return std::nullopt;
  };
  const auto nothing = cache.GetOrLoad("none", absent);
  ASSERT_TRUE(nothing.ok()) << nothing.status();
  EXPECT_FALSE(nothing->value.has_value());
  EXPECT_EQ(nothing->miss.reason, MissReason::kNegative);
  EXPECT_EQ(cache.Get("none")->miss.reason, MissReason::kNegative);
  const auto fails = [](const LoadCall&) -> absl::StatusOr<std::optional<v1::KeyList>> {
    return absl::AbortedError("database");
  };
  EXPECT_EQ(cache.GetOrLoad("k", fails).status(), absl::AbortedError("database"));
}

TEST_F(TypedCacheTest, LoaderRunsWithoutTheCacheWhenThatIsDown) {
  const ProtoCache cache(client_.get());
  client_->FailCalls(absl::UnavailableError("down"));
  const auto load = [](const LoadCall&) -> absl::StatusOr<std::optional<v1::KeyList>> {
    return Keys("a");
  };
  const auto result = cache.GetOrLoad("k", load);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->value->keys(0), "a");
  EXPECT_TRUE(result->loaded);
  EXPECT_FALSE(result->stored);
  EXPECT_EQ(result->cache_status, absl::UnavailableError("down"));
}

TEST_F(TypedCacheTest, BytesThatCannotBeReadAreAnErrorOfReadsAndLoadedAnew) {
  const TypedCache<Point, TextCodec<Point>> points(client_.get(), "", PointCodec());
  ASSERT_TRUE(client_->Set("p", "version 1 of points").ok());
  EXPECT_EQ(points.Get("p").status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ((*points.BatchGet({"p"}))[0].status().code(), absl::StatusCode::kDataLoss);
  const auto load = [](const LoadCall&) -> absl::StatusOr<std::optional<Point>> {
    return Point{1, 2};
  };
  const auto loaded = points.GetOrLoad("p", load);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->value->y, 2);
  EXPECT_EQ(points.Get("p")->value->x, 1);
}

}  // namespace
}  // namespace larder::testing
