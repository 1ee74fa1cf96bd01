#include "model/backends.h"

#include <doctest/doctest.h>

#include "model/plugin_loader.h"

using namespace troupe;

TEST_CASE("backends: an unknown name is refused with the names there are") {
  const auto made = make_partition("cuda12");
  REQUIRE(!made.has_value());
  CHECK(made.error().code == ErrorCode::invalid_argument);
  CHECK(made.error().param == "backend");
  CHECK(made.error().message == "There is no backend named 'cuda12': use native, torch or oracle.");
}

TEST_CASE("backends: a missing plugin names its file and what to do") {
  const auto made = make_partition("torch", {.plugin_folder = "/nonexistent"});
  REQUIRE(!made.has_value());
  CHECK(made.error().code == ErrorCode::not_found);
  CHECK(made.error().message.find("/nonexistent/libtroupe_torch.so") != std::string::npos);
  CHECK(made.error().message.find("run scripts/setup") != std::string::npos);
}

TEST_CASE("backends: a shared object that is no plugin is refused") {
  const auto loaded = load_backend_plugin("libm.so.6");
  REQUIRE(!loaded.has_value());
  CHECK(loaded.error().code == ErrorCode::unsupported);
  CHECK(loaded.error().message.find("has no symbol troupe_backend") != std::string::npos);
}

TEST_CASE("backends: the oracle needs no plugin") {
  CHECK(make_partition("oracle", {.plugin_folder = "/nonexistent"}).has_value());
}
