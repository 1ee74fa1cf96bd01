#include "model/text/jinja_meter.h"

#include <algorithm>

#include "config/limits.h"
#include "model/text/jinja_failure.h"

namespace troupe::jinja {

namespace {

// One step stands for so much copying; keeps time and memory of a rendering within the same bound
// as its nodes.
constexpr size_t kBytesPerStep = 64, kItemsPerStep = 2;
constexpr int64_t kNamespaceSteps = 8;

int depth_of(const std::vector<Value>& items) {
  int deepest = 0;
  for (const Value& item : items) deepest = std::max(deepest, item.depth());
  return deepest + 1;
}

void check_depth(int depth) {
  if (depth > kTemplateDepthMax) {
    give_up_too_large("nests lists or dicts more than " + std::to_string(kTemplateDepthMax) +
                      " deep");
  }
}

}  // namespace

void Meter::step(int64_t count) {
  steps_ += count;
  if (steps_ > kTemplateStepsMax) {
    give_up_too_large("needs more than " + std::to_string(kTemplateStepsMax) +
                      " steps for this conversation");
  }
}

void Meter::bytes(size_t count) {
  if (count > kTemplateOutputBytesMax) {
    give_up_too_large("makes a text of more than " + std::to_string(kTemplateOutputBytesMax) +
                      " bytes for this conversation");
  }
  step(static_cast<int64_t>(count / kBytesPerStep));
}

void Meter::items(size_t count) { step(static_cast<int64_t>(count / kItemsPerStep)); }

Value Meter::text(std::string text, bool safe) {
  bytes(text.size());
  return Value::string(std::move(text), safe);
}

Value Meter::sequence(Kind kind, std::vector<Value> values, std::string label) {
  items(values.size());
  const int depth = depth_of(values);
  check_depth(depth);
  return Value::sequence(
      kind, std::make_shared<Sequence>(Sequence{std::move(values), depth, std::move(label)}));
}

Value Meter::generator(std::vector<Value> values) {
  items(values.size());
  const int depth = depth_of(values);
  check_depth(depth);
  return Value::generator(std::make_shared<Generator>(Generator{std::move(values), 0, depth}));
}

Value Meter::dict(Dict dict) {
  items(dict.entries.size());
  check_depth(dict.depth);
  return Value::dict(std::make_shared<Dict>(std::move(dict)));
}

Namespace* Meter::name_space() {
  step(kNamespaceSteps);
  return spaces_.emplace_back(std::make_unique<Namespace>()).get();
}

}  // namespace troupe::jinja
