#include "tests/support/golden_logits.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>

namespace troupe::test {

namespace {

class Reader {
 public:
  explicit Reader(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    REQUIRE_MESSAGE(file.good(), path);
    bytes_.assign(std::istreambuf_iterator<char>(file), {});
  }
  template <class T>
  T one() {
    T value;
    REQUIRE(at_ + sizeof(T) <= bytes_.size());
    std::memcpy(&value, bytes_.data() + at_, sizeof(T));
    at_ += sizeof(T);
    return value;
  }
  template <class T>
  std::vector<T> many(size_t count) {
    std::vector<T> values(count);
    for (T& value : values) value = one<T>();
    return values;
  }
  bool done() const { return at_ == bytes_.size(); }

 private:
  std::vector<char> bytes_;
  size_t at_ = 0;
};

}  // namespace

GoldenLogits read_golden_logits(const std::string& path) {
  Reader in(path);
  REQUIRE(in.many<char>(4) == std::vector<char>{'T', 'L', 'G', '1'});
  GoldenLogits golden;
  golden.vocab = in.one<uint32_t>();
  const auto fixed = in.one<uint32_t>(), top = in.one<uint32_t>(), prompts = in.one<uint32_t>();
  golden.fixed_ids = in.many<int32_t>(fixed);
  for (uint32_t p = 0; p < prompts; ++p) {
    GoldenPrompt prompt;
    prompt.ids = in.many<int32_t>(in.one<uint32_t>());
    for (size_t i = 0; i < prompt.ids.size(); ++i) {
      GoldenPosition position;
      position.log_sum_exp = in.one<float>();
      position.fixed = in.many<float>(fixed);
      position.top = in.many<int32_t>(top);
      position.top_logits = in.many<float>(top);
      prompt.positions.push_back(std::move(position));
    }
    golden.prompts.push_back(std::move(prompt));
  }
  REQUIRE(in.done());
  return golden;
}

double worst_difference(const GoldenLogits& golden, const GoldenPosition& expected,
                        const std::vector<float>& logprobs) {
  double worst = 0;
  const auto compare = [&](int32_t id, float logit) {
    const double difference = std::abs(double{logprobs.at(static_cast<size_t>(id))} -
                                       (double{logit} - expected.log_sum_exp));
    worst = std::isnan(difference) ? INFINITY : std::max(worst, difference);
  };
  for (size_t i = 0; i < golden.fixed_ids.size(); ++i)
    compare(golden.fixed_ids[i], expected.fixed[i]);
  for (size_t i = 0; i < expected.top.size(); ++i) compare(expected.top[i], expected.top_logits[i]);
  return worst;
}

}  // namespace troupe::test
