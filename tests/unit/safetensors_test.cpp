#include "model/files/safetensors.h"

#include <doctest/doctest.h>

#include <cstring>

using namespace troupe;

namespace safetensors_test {
namespace {

std::string with_header(const std::string& json, size_t data, int64_t lie = 0) {
  const uint64_t size = json.size() + static_cast<uint64_t>(lie);
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &size, 8);
  return bytes + json + std::string(data, '\x3c');
}

}  // namespace

TEST_CASE("safetensors: shapes become rows and columns, a vector is one row") {
  const std::string file = with_header(
      R"({"__metadata__":{"format":"pt"},"v":{"dtype":"F32","shape":[3],"data_offsets":[0,12]},)"
      R"("m":{"dtype":"BF16","shape":[2,5],"data_offsets":[12,32]}})",
      32);
  const auto tensors = parse_safetensors(std::as_bytes(std::span(file)), "m.safetensors");
  REQUIRE_MESSAGE(tensors.has_value(), (tensors ? "" : tensors.error().message));
  REQUIRE(tensors->size() == 2);
  CHECK(tensors->at("v").rows == 1);
  CHECK(tensors->at("v").cols == 3);
  CHECK(tensors->at("m").dtype == DType::bf16);
  CHECK(tensors->at("m").rows == 2);
  CHECK(tensors->at("m").cols == 5);
  CHECK(tensors->at("m").bytes.size() == 20);
}

TEST_CASE("safetensors: each lie gets one sentence with the file's name") {
  const std::string begin = R"({"t":{"dtype":"F32","shape":)";
  struct Case {
    const char* expected;
    std::string file;
  };
  const Case cases[] = {
      {"header reaches beyond", std::string("\x01\x00\x00", 3)},
      {"header reaches beyond", with_header("{}", 0, 1)},
      {"header reaches beyond", with_header("{}", 0, -3)},
      {"not valid JSON", with_header("{\"t\":", 0)},
      {"not valid JSON", with_header(std::string(1000, '['), 0)},
      {"not a JSON object", with_header("[]", 0)},
      {"dtype 'I64'", with_header(R"({"t":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}})", 8)},
      {"dtype ''", with_header(R"({"t":3})", 0)},
      {"no shape", with_header(R"({"t":{"dtype":"F32","data_offsets":[0,4]}})", 4)},
      {"impossible shape", with_header(begin + R"([-1],"data_offsets":[0,4]}})", 4)},
      {"impossible shape", with_header(begin + R"([0],"data_offsets":[0,0]}})", 0)},
      {"impossible shape", with_header(begin + R"(["4"],"data_offsets":[0,4]}})", 4)},
      {"impossible shape",
       with_header(begin + R"([1099511627776,1099511627776,2],"data_offsets":[0,4]}})", 4)},
      {"another number of bytes",
       with_header(begin + R"([1099511627776,8388608],"data_offsets":[0,0]}})", 0)},
      {"another number of bytes", with_header(begin + R"([2],"data_offsets":[0,4]}})", 4)},
      {"no valid data_offsets", with_header(begin + R"([1]}})", 4)},
      {"no valid data_offsets", with_header(begin + R"([1],"data_offsets":[4,0]}})", 4)},
      {"no valid data_offsets", with_header(begin + R"([1],"data_offsets":[-4,0]}})", 4)},
      {"no valid data_offsets", with_header(begin + R"([1],"data_offsets":[0,4,8]}})", 4)},
      {"beyond the end", with_header(begin + R"([1],"data_offsets":[0,4]}})", 3)},
      {"beyond the end",
       with_header(begin + R"([1],"data_offsets":[9223372036854775800,9223372036854775804]}})", 4)},
      {"after a gap", with_header(begin + R"([1],"data_offsets":[4,8]}})", 8)},
      {"belong to no tensor", with_header(begin + R"([1],"data_offsets":[0,4]}})", 5)},
      {"overlaps",
       with_header(
           begin +
               R"([2],"data_offsets":[0,8]},"u":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
           8)},
      {"twice",
       with_header(
           begin +
               R"([1],"data_offsets":[0,4]},"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})",
           4)},
  };
  for (const Case& c : cases) {
    CAPTURE(c.expected);
    const auto tensors = parse_safetensors(std::as_bytes(std::span(c.file)), "m.safetensors");
    REQUIRE_FALSE(tensors.has_value());
    CHECK_MESSAGE(tensors.error().message.starts_with("m.safetensors: "), tensors.error().message);
    CHECK_MESSAGE(tensors.error().message.find(c.expected) != std::string::npos,
                  tensors.error().message);
  }
}

}  // namespace safetensors_test
