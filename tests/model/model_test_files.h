// What the tests of model files share: where the goldens are, a scratch folder, whole files,
// weights as floats.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "model/weight_source.h"

namespace troupe::test {

inline std::string tiny(const std::string& name) {
  return std::string(TROUPE_SOURCE_DIR "/tests/golden/tiny/") + name;
}

inline std::string read_all(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

inline void write_all(const std::string& path, std::string_view bytes) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

/// A new empty folder of this process, gone with the object.
class Scratch {
 public:
  Scratch() {
    std::string name = (std::filesystem::temp_directory_path() / "troupe-test-XXXXXX").string();
    path_ = ::mkdtemp(name.data());
  }
  ~Scratch() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

/// A whole tensor in float32, row-major; empty if there is none.
inline std::vector<float> floats_of(const WeightSource& weights, TensorId id) {
  const auto info = weights.info(id);
  if (!info) return {};
  const auto bytes = weights.rows(id, {0, info->rows});
  std::vector<float> values(static_cast<size_t>(info->rows * info->cols));
  dequantise(info->dtype, *bytes, values);
  return values;
}

}  // namespace troupe::test
