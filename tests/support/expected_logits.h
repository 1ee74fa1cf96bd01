// Reads the files of expected logits of tests/golden (format: tests/golden/README.md). A file that
// cannot be read ends the test program with a sentence: it is part of the tree.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <span>
#include <string>
#include <vector>

namespace troupe::test {

/// What the oracle says about one position.
struct ExpectedPosition {
  float log_sum_exp = 0;         ///< of all logits: log-probability = logit - this
  std::vector<float> fixed;      ///< raw logits of ExpectedLogits::fixed_ids
  std::vector<int32_t> top_ids;  ///< largest first, ties to the lowest id
  std::vector<float> top;        ///< their raw logits

  /// Largest absolute difference of `logits` (the whole vocabulary) from what is known here; NaN
  /// gives infinity.
  float difference(std::span<const int32_t> fixed_ids, std::span<const float> logits) const {
    float worst = 0;
    auto compare = [&](int32_t id, float expected) {
      const float apart = std::fabs(logits[static_cast<size_t>(id)] - expected);
      if (!(apart <= worst)) worst = std::isnan(apart) ? INFINITY : apart;
    };
    for (size_t i = 0; i < fixed.size(); ++i) compare(fixed_ids[i], fixed[i]);
    for (size_t i = 0; i < top.size(); ++i) compare(top_ids[i], top[i]);
    return worst;
  }
};

struct ExpectedPrompt {
  std::vector<int32_t> ids;
  std::vector<ExpectedPosition> positions;  ///< one an id: the logits after reading it
};

struct ExpectedLogits {
  int32_t vocab = 0;
  std::vector<int32_t> fixed_ids;
  std::vector<ExpectedPrompt> prompts;
};

class ExpectedLogitsReader {
 public:
  explicit ExpectedLogitsReader(const std::string& path) : path_(path) {
    std::ifstream in(path, std::ios::binary);
    bytes_.assign(std::istreambuf_iterator<char>(in), {});
  }

  ExpectedLogits read() {
    if (bytes_.size() < 4 || std::memcmp(bytes_.data(), "TLG1", 4) != 0)
      give_up("has no TLG1 header");
    at_ = 4;
    ExpectedLogits out;
    out.vocab = take<int32_t>(1)[0];
    const auto sizes = take<uint32_t>(3);
    out.fixed_ids = take<int32_t>(sizes[0]);
    for (uint32_t i = 0; i < sizes[2]; ++i) out.prompts.push_back(prompt(sizes[0], sizes[1]));
    if (at_ != bytes_.size()) give_up("goes on after its last prompt");
    return out;
  }

 private:
  ExpectedPrompt prompt(uint32_t n_fixed, uint32_t n_top) {
    ExpectedPrompt out;
    out.ids = take<int32_t>(take<uint32_t>(1)[0]);
    for (size_t i = 0; i < out.ids.size(); ++i) {
      ExpectedPosition position;
      position.log_sum_exp = take<float>(1)[0];
      position.fixed = take<float>(n_fixed);
      position.top_ids = take<int32_t>(n_top);
      position.top = take<float>(n_top);
      out.positions.push_back(std::move(position));
    }
    return out;
  }

  template <class T>
  std::vector<T> take(size_t count) {
    if (count > (bytes_.size() - at_) / sizeof(T)) give_up("is cut off");
    std::vector<T> out(count);
    std::memcpy(out.data(), bytes_.data() + at_, count * sizeof(T));
    at_ += count * sizeof(T);
    return out;
  }

  [[noreturn]] void give_up(const char* what) const {
    std::fprintf(stderr, "%s %s: restore it from the repository.\n", path_.c_str(), what);
    std::abort();
  }

  std::string path_;
  std::vector<char> bytes_;
  size_t at_ = 0;
};

/// `name`: a path below tests/golden.
inline ExpectedLogits read_expected_logits(const std::string& name) {
  return ExpectedLogitsReader(TROUPE_SOURCE_DIR "/tests/golden/" + name).read();
}

}  // namespace troupe::test
