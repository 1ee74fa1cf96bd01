// Counts what one rendering uses against the bounds of config/limits.h, and makes the values whose
// size a template decides, so that none is made uncounted. One Meter a rendering; owned by the
// interpreter; one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "model/text/jinja_value.h"

namespace troupe::jinja {

class Meter {
 public:
  /// Gives up with too_large beyond kTemplateStepsMax.
  void step(int64_t count = 1);
  /// Before making `count` bytes: refuses more than kTemplateOutputBytesMax, and charges for the
  /// copying.
  void bytes(size_t count);
  /// Before making or walking `count` items.
  void items(size_t count);

  Value text(std::string text, bool safe);
  Value text(std::string text) { return this->text(std::move(text), false); }
  Value sequence(Kind kind, std::vector<Value> items, std::string label = {});
  Value list(std::vector<Value> items) { return sequence(Kind::list, std::move(items)); }
  Value generator(std::vector<Value> items);
  Value dict(Dict dict);
  /// Owned by the meter, that is, by the rendering.
  Namespace* name_space();

 private:
  int64_t steps_ = 0;
  std::vector<std::unique_ptr<Namespace>> spaces_;
};

}  // namespace troupe::jinja
