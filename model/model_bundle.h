// What a router needs to serve a model without its file: tokenizer, chat template, spec and who
// they belong to.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "config/ids.h"
#include "config/result.h"
#include "model/model_spec.h"
#include "model/tokenizer_spec.h"

namespace troupe {

struct ModelManifest {
  Digest weights_id{}, tokenizer_id{}, template_id{}, spec_id{};
  bool operator==(const ModelManifest&) const = default;
};

struct ModelBundle {
  ModelManifest manifest;
  ModelSpec spec;
  TokenizerSpec tokenizer;
  std::string chat_template;  ///< Jinja source; empty if the model has none
  bool operator==(const ModelBundle&) const = default;
};

/// Fills tokenizer_id, template_id and spec_id from the contents.
void identify(ModelBundle& bundle);

/// Own little-endian format with a version; decode checks every length (data_loss on bad bytes).
std::vector<std::byte> encode_bundle(const ModelBundle& bundle);
Result<ModelBundle> decode_bundle(std::span<const std::byte> bytes);

}  // namespace troupe
