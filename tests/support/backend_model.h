// A model loaded into a backend, and ways to feed it a prompt.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "model/backends.h"
#include "model/files/model_files.h"
#include "tests/support/message_of.h"
#include "tests/support/step_driver.h"

namespace troupe::test {

using Logprobs = std::vector<std::vector<float>>;  ///< [position][id]

inline std::string golden_path(const std::string& name) {
  return std::string(TROUPE_SOURCE_DIR) + "/tests/golden/" + name;
}

class BackendModel {
 public:
  BackendModel(const std::string& path, const std::string& backend, const Budget& given = budget())
      : BackendModel(open(path), backend, given) {}
  BackendModel(OpenedModel opened, const std::string& backend, const Budget& given = budget())
      : opened_(std::move(opened)), partition_(make(backend)) {
    const auto loaded = partition_->load(*opened_.weights, spec(), whole_model(spec()), 0, given);
    REQUIRE_MESSAGE(loaded.has_value(), message_of(loaded));
    capabilities = *loaded;
  }

  static OpenedModel open(const std::string& path) {
    auto opened = open_model(path);
    REQUIRE_MESSAGE(opened.has_value(), message_of(opened));
    return std::move(*opened);
  }
  static std::unique_ptr<Partition> make(const std::string& backend) {
    auto made = make_partition(backend, {.plugin_folder = TROUPE_BINARY_DIR});
    REQUIRE_MESSAGE(made.has_value(), message_of(made));
    return std::move(*made);
  }
  static Budget budget() {
    return {.threads = 2, .kv_blocks = 512, .max_rows = 256, .max_slots = 40, .context = 1024};
  }

  const ModelSpec& spec() const { return opened_.bundle.spec; }
  Partition& partition() { return *partition_; }

  /// Feeds `ids` in chunks of `chunk` rows and returns the log-probabilities of all ids after each
  /// position.
  Logprobs read(const std::vector<int32_t>& ids, size_t chunk) {
    const int32_t slot = 0;
    driver.open({.slot = slot, .temperature = 0, .n_logprobs = spec().vocab});
    Logprobs all;
    for (size_t at = 0; at < ids.size(); at += chunk) {
      const size_t end = std::min(ids.size(), at + chunk);
      driver.add(
          {slot,
           static_cast<int32_t>(at),
           {ids.begin() + static_cast<ptrdiff_t>(at), ids.begin() + static_cast<ptrdiff_t>(end)},
           scattered_table(0, ids.size()),
           Out::sample,
           0});
      const StepOutput output = run();
      append(output, 0, all);
    }
    driver.close(slot);
    return all;
  }
  StepOutput run() {
    auto output = driver.run();
    REQUIRE_MESSAGE(output.has_value(), message_of(output));
    for (const SliceOut& slice : output->slices) REQUIRE(slice.flags == 0);
    return std::move(*output);
  }
  /// Adds what slice `index` gave, by id, to `all`.
  void append(const StepOutput& output, size_t index, Logprobs& all) const {
    const SliceOut& slice = output.slices[index];
    REQUIRE(slice.n_top == spec().vocab);
    for (int32_t i = 0; i < slice.n_tokens; ++i) {
      std::vector<float> by_id(static_cast<size_t>(spec().vocab));
      const auto* top = output.top.data() + slice.top_off + static_cast<ptrdiff_t>(i) * slice.n_top;
      for (int32_t j = 0; j < slice.n_top; ++j)
        by_id[static_cast<size_t>(top[j].token)] = top[j].logprob;
      all.push_back(std::move(by_id));
    }
  }
  /// Blocks that are neither in order nor next to each other; tables of different `sequence` don't
  /// meet.
  static std::vector<int32_t> scattered_table(int32_t sequence, size_t positions) {
    auto table = table_from(sequence * 10, positions);
    REQUIRE(table.size() <= 10);
    for (int32_t& block : table) block = block * 101 % 509;  // 509 is prime: a permutation
    return table;
  }

 private:
  OpenedModel opened_;
  std::unique_ptr<Partition> partition_;

 public:
  Capabilities capabilities;
  StepDriver driver{*partition_};
};

class TorchModel : public BackendModel {
 public:
  explicit TorchModel(const std::string& path) : BackendModel(path, "torch") {}
  explicit TorchModel(OpenedModel opened) : BackendModel(std::move(opened), "torch") {}
  static std::unique_ptr<Partition> make() { return BackendModel::make("torch"); }
};

inline double largest_gap(const Logprobs& a, const Logprobs& b) {
  REQUIRE(a.size() == b.size());
  double worst = 0;
  for (size_t i = 0; i < a.size(); ++i)
    for (size_t id = 0; id < a[i].size(); ++id)
      worst = std::max(worst, std::abs(double{a[i][id]} - b[i].at(id)));
  return worst;
}

}  // namespace troupe::test
