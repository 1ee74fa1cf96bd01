// What the command line reads from and writes to servers, as plain values.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "config/result.h"
#include "net/status_json.h"

namespace troupe {

/// endpoint.json of a state directory.
struct Endpoint {
  int64_t pid = 0;
  std::string cluster, node, admin, token_path;
  std::vector<std::string> http;
};
Result<Endpoint> parse_endpoint(std::string_view json);

struct ClusterTree {
  std::string cluster, leader;
  int64_t term = 0;
  std::vector<NodeTree> nodes;
};
Result<ClusterTree> parse_status(std::string_view json);

/// Ids of GET /v1/models.
Result<std::vector<std::string>> parse_models(std::string_view json);

struct ChatTurn {
  std::string role, content;
};
/// Body of a streaming chat completion.
std::string chat_request(std::string_view model, const std::vector<ChatTurn>& turns,
                         int32_t max_tokens, double temperature);

/// One event of a chat stream.
struct ChatDelta {
  std::string content, finish_reason, error;
};
Result<ChatDelta> parse_chat_delta(std::string_view data);

/// The sentence of an error body, or the body itself.
std::string error_sentence(std::string_view body);

}  // namespace troupe
