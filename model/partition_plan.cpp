#include "model/partition_plan.h"

#include <string>

namespace troupe {

PartitionPlan whole_model(const ModelSpec& spec) {
  RankPlan rank;
  rank.last_layer = spec.n_layers;
  rank.q_heads = {0, spec.n_heads};
  rank.kv_heads = {0, spec.n_kv_heads};
  rank.ffn = {0, spec.ffn};
  rank.vocab = {0, spec.vocab};
  rank.embeds = true;
  rank.has_head = true;
  return PartitionPlan{.ranks = {rank}};
}

Result<PartitionPlan> plan_partitions(const ModelSpec& spec, int32_t tensor_parallel,
                                      int32_t pipeline_parallel) {
  const auto check = [](const char* field, int32_t value, int32_t parts,
                        const char* of) -> Result<void> {
    if (value < 1)
      return fail(ErrorCode::invalid_argument, std::string(field) + " must be at least 1.", field);
    if (value > parts)
      return fail(ErrorCode::invalid_argument,
                  std::string(field) + " is " + std::to_string(value) +
                      ", but the model has only " + std::to_string(parts) + " " + of +
                      ": lower it so that every rank has work.",
                  field);
    if (value != 1)
      return fail(
          ErrorCode::unsupported,
          std::string(field) + " is " + std::to_string(value) +
              ", but one rank a group is served so far: set it to 1 and use groups instead.",
          field);
    return {};
  };
  if (auto ok = check("tensor_parallel", tensor_parallel, spec.n_heads, "heads"); !ok)
    return std::unexpected(ok.error());
  if (auto ok = check("pipeline_parallel", pipeline_parallel, spec.n_layers, "layers"); !ok)
    return std::unexpected(ok.error());
  return whole_model(spec);
}

}  // namespace troupe
