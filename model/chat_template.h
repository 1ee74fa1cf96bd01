// Renders conversations with a model's own Jinja chat template: a subset of Jinja2 with bounded
// loops, depth and output. Immutable after parse(); any thread may render. Oracle in the tests:
// PyPI jinja2, sandboxed, with trim_blocks and lstrip_blocks.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "config/result.h"

namespace troupe {

struct TemplateMember;

/// JSON-like value: what a template sees. Objects keep the order of insertion, as Python dicts do.
struct TemplateValue {
  enum class Kind : uint8_t { undefined, none, boolean, integer, real, string, array, object };
  Kind kind = Kind::undefined;
  bool boolean = false;
  int64_t integer = 0;
  double real = 0;
  std::string string;  ///< of a string; of an integer beyond 64 bits: its digits (else empty)
  std::vector<TemplateValue> array;
  std::vector<TemplateMember> object;

  static TemplateValue of(std::string text);
  static TemplateValue of(const char* text);
  static TemplateValue of(bool value);
  static TemplateValue of(int64_t value);
  static TemplateValue none();
  static TemplateValue list(std::vector<TemplateValue> items);
  static TemplateValue dict(std::vector<TemplateMember> members);
};

struct TemplateMember {
  std::string name;
  TemplateValue value;
};

class ChatTemplate {
 public:
  /// invalid_argument for what Jinja2 cannot read either; `unsupported` names the construct (tag,
  /// filter, test, method) and its line; too_large beyond kTemplateBytesMax or kTemplateDepthMax.
  static Result<ChatTemplate> parse(std::string_view source);

  /// `globals`: messages, tools, bos_token, eos_token, add_generation_prompt, ... A template's own
  /// raise_exception() and type errors give invalid_argument with its message; bounds give
  /// too_large. strftime_now() formats `now`, in UTC.
  Result<std::string> render(const std::vector<TemplateMember>& globals,
                             std::chrono::sys_seconds now) const;
  /// At the present time.
  Result<std::string> render(const std::vector<TemplateMember>& globals) const;

  /// Whether the template mentions the global (e.g. "tools").
  bool uses(std::string_view global) const;

  struct Program;  ///< opaque

 private:
  explicit ChatTemplate(std::shared_ptr<const Program> program) : program_(std::move(program)) {}
  std::shared_ptr<const Program> program_;
};

}  // namespace troupe
