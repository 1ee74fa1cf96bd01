// Checks the `messages` and `tools` of a request and turns them into what chat templates expect.
#pragma once

#include "net/json_fields.h"
#include "net/openai_request.h"

namespace troupe {

/// Reads messages, tools, tool_choice, chat_template_kwargs and add_generation_prompt; problems
/// stay in `fields`.
ChatInput read_chat_input(JsonFields& fields);
/// A conversation of one user message.
ChatInput single_user_message(std::string text);
TemplateValue template_value(simdjson::dom::element element);

}  // namespace troupe
