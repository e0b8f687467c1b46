#include "client/cli/info_json.h"

namespace larder::cli {

void AddTypeInfo(const TypeInfo& type, Json* object) {
  object->Field("name", type.name);
  object->Field("match", type.match);
  object->Field("base_ttl_seconds", type.base_ttl);
  object->Field("origin", type.origin);
  object->Field("write_mode", type.write_mode);
}

Json InfoJson(const ServerInfoResult& info) {
  Json answer;
  answer.Field("version", info.version);
  answer.Field("node", info.node);
  answer.Field("node_id", info.node_id);
  answer.Field("started", info.started);
  if (info.now != absl::InfinitePast()) answer.Field("now", info.now);
  Json limits;
  limits.Field("key_bytes", info.limits.key_bytes);
  limits.Field("value_bytes", info.limits.value_bytes);
  limits.Field("batch_keys", info.limits.batch_keys);
  limits.Field("message_bytes", info.limits.message_bytes);
  limits.Field("namespaces", info.limits.namespaces);
  limits.Field("tags", info.limits.tags);
  answer.Object("limits", limits);
  answer.Array("types", info.types, AddTypeInfo);
  answer.Field("features", info.features);
  return answer;
}

}  // namespace larder::cli
