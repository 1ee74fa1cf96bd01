#include "actors/served_model.h"

#include <fmt/format.h>

#include <memory>
#include <utility>

namespace troupe {

Result<ServedModel> serve_bundle(const GroupEndpoint& endpoint, const Digest& bundle_id,
                                 std::span<const std::byte> bundle) {
  auto decoded = decode_bundle(bundle);
  if (!decoded) return std::unexpected(decoded.error());
  auto tokenizer = Tokenizer::make(std::move(decoded->tokenizer));
  if (!tokenizer) return std::unexpected(tokenizer.error());
  ServedModel model;
  model.tokenizer = std::move(*tokenizer);
  if (!decoded->chat_template.empty()) {
    auto parsed = ChatTemplate::parse(decoded->chat_template);
    if (!parsed)
      return fail(ErrorCode::invalid_argument, "its chat template: " + parsed.error().message);
    model.chat_template = std::make_shared<const ChatTemplate>(std::move(*parsed));
  }
  model.name = endpoint.model;
  model.spec = std::move(decoded->spec);
  model.context = endpoint.context;
  model.weights_id = endpoint.weights_id;
  model.bundle_id = bundle_id;
  model.numerics_id = endpoint.numerics_id;
  return model;
}

Result<void> check_servable(const ModelBundle& bundle, const std::string& source) {
  const auto refused = [&](Error error) {
    return fail(error.code, fmt::format("{}: {}", source, error.message));
  };
  if (auto made = Tokenizer::make(bundle.tokenizer); !made) return refused(made.error());
  if (bundle.chat_template.empty()) return {};  // completions only
  if (auto parsed = ChatTemplate::parse(bundle.chat_template); !parsed)
    return refused(parsed.error());
  return {};
}

}  // namespace troupe
