#include "model/gguf.h"

#include <doctest/doctest.h>

#include <functional>

#include "tests/unit/gguf_builder.h"

using namespace troupe;
using troupe::test::GgufBuilder;

namespace gguf_test {
namespace {

// Type numbers of the specification.
constexpr uint32_t kU8 = 0, kI8 = 1, kU32 = 4, kI32 = 5, kF32 = 6, kBool = 7, kString = 8,
                   kArray = 9, kU64 = 10;
constexpr uint32_t kTensorF32 = 0, kTensorQ4_0 = 2;

}  // namespace

TEST_CASE("gguf: values of every kind are read, integers widened") {
  for (uint32_t version : {2u, 3u}) {
    GgufBuilder b(1, 8, version);
    b.key("a.u8", kU8).raw<uint8_t>(200);
    b.key("a.i8", kI8).raw<int8_t>(-3);
    b.key("a.u64", kU64).raw<uint64_t>(UINT64_MAX);
    b.key("a.f32", kF32).raw(0.5f);
    b.key("a.bool", kBool).raw<uint8_t>(1);
    b.key("a.text", kString).text("hi");
    b.array("a.ints", kI32, 2).raw<int32_t>(-1).raw<int32_t>(7);
    b.array("a.texts", kString, 2).text("x").text("");
    b.tensor("t", {32, 3}, kTensorQ4_0, 0).data(3 * 18);
    const auto file = parse_gguf(b.bytes(), "x.gguf");
    REQUIRE_MESSAGE(file.has_value(), (file ? "" : file.error().message));
    CHECK(file->version == version);
    CHECK(file->integer("a.u8") == 200);
    CHECK(file->integer("a.i8") == -3);
    CHECK_FALSE(file->integer("a.u64").has_value());
    CHECK(file->number("a.f32") == 0.5);
    CHECK(file->number("a.i8") == -3.0);
    CHECK(file->boolean("a.bool") == true);
    CHECK_FALSE(file->boolean("a.u8").has_value());
    REQUIRE(file->text("a.text"));
    CHECK(*file->text("a.text") == "hi");
    REQUIRE(file->integers("a.ints"));
    CHECK(*file->integers("a.ints") == std::vector<int64_t>{-1, 7});
    REQUIRE(file->texts("a.texts"));
    CHECK(*file->texts("a.texts") == std::vector<std::string>{"x", ""});
    CHECK(file->text("absent") == nullptr);
    const GgufTensor& tensor = file->tensors.at("t");
    CHECK(tensor.dtype == DType::q4_0);
    CHECK(tensor.rows == 3);
    CHECK(tensor.cols == 32);
    CHECK(tensor.bytes == 54);
    CHECK(tensor.offset + tensor.bytes == b.bytes().size());
  }
}

TEST_CASE("gguf: each lie gets one sentence with the file's name") {
  struct Case {
    const char* expected;
    GgufBuilder file;
  };
  const auto with = [](GgufBuilder b, const std::function<void(GgufBuilder&)>& more) {
    more(b);
    return b;
  };
  const Case cases[] = {
      {"version 1 is not supported", GgufBuilder(0, 0, 1)},
      {"version 4 is not supported", GgufBuilder(0, 0, 4)},
      {"big-endian", GgufBuilder(0, 0, 0x03000000)},
      {"tensors, the limit is", GgufBuilder(UINT64_MAX, 0)},
      {"metadata entries, the limit is", GgufBuilder(0, UINT64_MAX)},
      {"the file ends inside", GgufBuilder(0, 1)},
      {"over the limit", with(GgufBuilder(0, 1), [](auto& b) { b.raw(UINT64_MAX); })},
      {"type number 99", with(GgufBuilder(0, 1), [](auto& b) { b.key("k", 99); })},
      {"type number 99", with(GgufBuilder(0, 1), [](auto& b) { b.array("k", 99, 1); })},
      {"neither 0 nor 1",
       with(GgufBuilder(0, 1), [](auto& b) { b.key("k", kBool).template raw<uint8_t>(2); })},
      {"elements, the limit is",
       with(GgufBuilder(0, 1), [](auto& b) { b.array("k", kU8, UINT64_MAX); })},
      {"ends inside it", with(GgufBuilder(0, 1), [](auto& b) { b.array("k", kU64, 4'000'000); })},
      {"ends inside it",
       with(GgufBuilder(0, 1), [](auto& b) { b.array("k", kString, 4'000'000); })},
      {"ends inside it", with(GgufBuilder(0, 1), [](auto& b) { b.array("k", kBool, 9); })},
      {"above 2^63",
       with(GgufBuilder(0, 1), [](auto& b) { b.array("k", kU64, 1).raw(UINT64_MAX); })},
      {"array of arrays", with(GgufBuilder(0, 1), [](auto& b) { b.array("k", kArray, 1); })},
      {"'k' stands there twice", with(GgufBuilder(0, 2),
                                      [](auto& b) {
                                        b.key("k", kU8).template raw<uint8_t>(1);
                                        b.key("k", kU8).template raw<uint8_t>(1);
                                      })},
      {"0 dimensions", with(GgufBuilder(1, 0), [](auto& b) { b.tensor("t", {}, kTensorF32, 0); })},
      {"5 dimensions", with(GgufBuilder(1, 0),
                            [](auto& b) {
                              b.tensor("t", {1, 1, 1, 1, 1}, kTensorF32, 0);
                            })},
      {"impossible shape",
       with(GgufBuilder(1, 0), [](auto& b) { b.tensor("t", {0}, kTensorF32, 0); })},
      {"impossible shape",
       with(GgufBuilder(1, 0), [](auto& b) { b.tensor("t", {UINT64_MAX}, kTensorF32, 0); })},
      {"impossible shape", with(GgufBuilder(1, 0),
                                [](auto& b) {
                                  b.tensor("t", {4, 1ull << 40, 1ull << 23, 4}, kTensorF32, 0);
                                })},
      {"impossible shape", with(GgufBuilder(1, 0),
                                [](auto& b) {
                                  b.tensor("t", {1ull << 40, 1ull << 22}, kTensorF32, 0);
                                })},
      {"GGML type 10", with(GgufBuilder(1, 0), [](auto& b) { b.tensor("t", {256}, 10, 0); })},
      {"a multiple of 32",
       with(GgufBuilder(1, 0), [](auto& b) { b.tensor("t", {33}, kTensorQ4_0, 0); })},
      {"not aligned",
       with(GgufBuilder(1, 0), [](auto& b) { b.tensor("t", {8}, kTensorF32, 4).data(64); })},
      {"beyond the end",
       with(GgufBuilder(1, 0), [](auto& b) { b.tensor("t", {8}, kTensorF32, 0).data(31); })},
      {"beyond the end",
       with(GgufBuilder(1, 0),
            [](auto& b) { b.tensor("t", {8}, kTensorF32, UINT64_MAX - 31).data(64); })},
      {"overlap",
       with(GgufBuilder(2, 0),
            [](auto& b) {
              b.tensor("t", {16}, kTensorF32, 0).tensor("u", {8}, kTensorF32, 32).data(128);
            })},
      {"'t' stands there twice",
       with(GgufBuilder(2, 0),
            [](auto& b) { b.tensor("t", {8}, kTensorF32, 0).tensor("t", {8}, kTensorF32, 32); })},
      {"general.alignment",
       with(GgufBuilder(0, 1),
            [](auto& b) { b.key("general.alignment", kU32).template raw<uint32_t>(0); })},
      {"general.alignment",
       with(GgufBuilder(0, 1), [](auto& b) { b.key("general.alignment", kString).text("32"); })},
      {"'??[2J",
       with(GgufBuilder(1, 0), [](auto& b) { b.tensor("\n\x1b[2J", {33}, kTensorQ4_0, 0); })},
  };
  for (const Case& c : cases) {
    CAPTURE(c.expected);
    const auto file = parse_gguf(c.file.bytes(), "bad.gguf");
    REQUIRE_FALSE(file.has_value());
    CHECK_MESSAGE(file.error().message.starts_with("bad.gguf: "), file.error().message);
    CHECK_MESSAGE(file.error().message.find(c.expected) != std::string::npos, file.error().message);
  }
}

TEST_CASE("gguf: something else is said to be no GGUF file") {
  for (const std::string_view text : {"", "GGU", "PK\x03\x04 a zip file of some length"}) {
    const auto file = parse_gguf(std::as_bytes(std::span(text)), "a.zip");
    REQUIRE_FALSE(file.has_value());
    CHECK(file.error().code == ErrorCode::unsupported);
    CHECK(file.error().message == "a.zip: this is not a GGUF file (it does not start with GGUF).");
  }
}

}  // namespace gguf_test
