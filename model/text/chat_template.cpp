#include "model/chat_template.h"

#include "config/limits.h"
#include "model/text/jinja_failure.h"
#include "model/text/jinja_interpreter.h"
#include "model/text/jinja_parser.h"
#include "model/text/json_value.h"

namespace troupe {

struct ChatTemplate::Program {
  jinja::Program program;
};

namespace {

std::string at_line(int line) { return line > 0 ? "line " + std::to_string(line) + ": " : ""; }

}  // namespace

Result<ChatTemplate> ChatTemplate::parse(std::string_view source) {
  if (source.size() > kTemplateBytesMax) {
    return fail(ErrorCode::too_large, "the chat template has more than " +
                                          std::to_string(kTemplateBytesMax) +
                                          " bytes; check that the model file is not damaged");
  }
  try {
    return ChatTemplate(std::make_shared<const Program>(Program{jinja::parse_template(source)}));
  } catch (const jinja::Failure& failure) {
    const std::string where = "the chat template, " + at_line(failure.line);
    if (failure.code == ErrorCode::unsupported) {
      return fail(failure.code, where + failure.message +
                                    " is not supported; give the model a template without it");
    }
    return fail(failure.code, where + failure.message + "; correct the template");
  }
}

Result<std::string> ChatTemplate::render(const std::vector<TemplateMember>& globals,
                                         std::chrono::sys_seconds now) const {
  jinja::Interpreter interpreter(program_->program, now.time_since_epoch().count());
  try {
    for (const TemplateMember& global : globals) {
      const auto found = program_->program.symbols.find(global.name);
      if (found == program_->program.symbols.end()) continue;
      if (global.value.kind == TemplateValue::Kind::undefined) continue;
      interpreter.set_global(found->second,
                             jinja::from_template_value(interpreter.meter(), global.value));
    }
    return interpreter.run();
  } catch (const jinja::Failure& failure) {
    const int line = failure.line > 0 ? failure.line : interpreter.line();
    return fail(failure.code, "the chat template, " + at_line(line) + failure.message, "messages");
  }
}

Result<std::string> ChatTemplate::render(const std::vector<TemplateMember>& globals) const {
  return render(globals,
                std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now()));
}

bool ChatTemplate::uses(std::string_view global) const {
  return program_->program.symbols.contains(std::string(global));
}

}  // namespace troupe
