// The goldens themselves: a generator that wrote nonsense must not make a lenient test.
#include <doctest/doctest.h>

#include <algorithm>
#include <set>
#include <string>

#include "tests/support/expected_logits.h"

using namespace troupe::test;

TEST_CASE("goldens: expected logits are whole, sorted and consistent") {
  struct File {
    const char* name;
    size_t prompts, positions;
  };
  const File files[] = {
      {"tiny/llama2/expected.bin", 1, 48},      {"tiny/llama3/expected.bin", 1, 48},
      {"tiny/llama3/expected-q4_0.bin", 1, 48}, {"tiny/smollm2/expected.bin", 1, 48},
      {"tiny/qwen2/expected.bin", 1, 48},       {"tiny/qwen25/expected.bin", 1, 48},
      {"tiny/qwen3/expected.bin", 1, 48},       {"tiny/qwen3/expected-q8_0.bin", 1, 48},
      {"tiny/mistral/expected.bin", 1, 48},     {"tiny/llama-bias/expected.bin", 1, 48},
      {"smollm2/reference.bin", 20, 563}};
  for (const auto& [name, prompts, positions] : files) {
    CAPTURE(name);
    const ExpectedLogits file = read_expected_logits(name);
    CHECK(file.fixed_ids.size() == 64);
    CHECK(file.fixed_ids.front() == 0);
    CHECK(file.fixed_ids.back() == file.vocab - 1);
    CHECK(file.prompts.size() == prompts);
    size_t seen = 0;
    for (const ExpectedPrompt& prompt : file.prompts) {
      seen += prompt.positions.size();
      for (int32_t id : prompt.ids) CHECK((id >= 0 && id < file.vocab));
      for (const ExpectedPosition& at : prompt.positions) {
        CHECK(at.log_sum_exp >= at.top.front());
        CHECK(std::is_sorted(at.top.rbegin(), at.top.rend()));
        CHECK(std::set(at.top_ids.begin(), at.top_ids.end()).size() == at.top_ids.size());
        // A logit that is kept twice is kept alike, and none that is kept beats the top.
        for (size_t i = 0; i < at.fixed.size(); ++i) {
          const auto found = std::find(at.top_ids.begin(), at.top_ids.end(), file.fixed_ids[i]);
          if (found == at.top_ids.end())
            CHECK(at.fixed[i] <= at.top.back());
          else
            CHECK(at.fixed[i] == at.top[static_cast<size_t>(found - at.top_ids.begin())]);
        }
      }
    }
    CHECK(seen == positions);
  }
}

TEST_CASE("goldens: a wrong logit shows in the difference") {
  const ExpectedLogits file = read_expected_logits("tiny/llama3/expected.bin");
  const ExpectedPosition& at = file.prompts.front().positions.back();
  std::vector<float> logits(static_cast<size_t>(file.vocab), -1e9f);
  for (size_t i = 0; i < at.fixed.size(); ++i)
    logits[static_cast<size_t>(file.fixed_ids[i])] = at.fixed[i];
  for (size_t i = 0; i < at.top.size(); ++i) logits[static_cast<size_t>(at.top_ids[i])] = at.top[i];
  CHECK(at.difference(file.fixed_ids, logits) == 0);
  logits[static_cast<size_t>(at.top_ids.back())] += 0.5f;
  CHECK(at.difference(file.fixed_ids, logits) == doctest::Approx(0.5));
  logits[static_cast<size_t>(file.vocab - 1)] = NAN;
  CHECK(std::isinf(at.difference(file.fixed_ids, logits)));
}
