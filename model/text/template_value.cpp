#include <algorithm>
#include <cstdint>

#include "config/limits.h"
#include "model/chat_template.h"
#include "model/text/jinja_failure.h"
#include "model/text/jinja_meter.h"
#include "model/text/json_value.h"

namespace troupe {

TemplateValue TemplateValue::of(std::string text) {
  TemplateValue value;
  value.kind = Kind::string;
  value.string = std::move(text);
  return value;
}

TemplateValue TemplateValue::of(const char* text) { return of(std::string(text)); }

TemplateValue TemplateValue::of(bool truth) {
  TemplateValue value;
  value.kind = Kind::boolean;
  value.boolean = truth;
  return value;
}

TemplateValue TemplateValue::of(int64_t number) {
  TemplateValue value;
  value.kind = Kind::integer;
  value.integer = number;
  return value;
}

TemplateValue TemplateValue::none() {
  TemplateValue value;
  value.kind = Kind::none;
  return value;
}

TemplateValue TemplateValue::list(std::vector<TemplateValue> items) {
  TemplateValue value;
  value.kind = Kind::array;
  value.array = std::move(items);
  return value;
}

TemplateValue TemplateValue::dict(std::vector<TemplateMember> members) {
  TemplateValue value;
  value.kind = Kind::object;
  value.object = std::move(members);
  return value;
}

namespace jinja {

namespace {

Value convert(Meter& meter, const TemplateValue& value, int depth) {
  if (depth > kTemplateDepthMax) {
    give_up_too_large("gets a value nested more than " + std::to_string(kTemplateDepthMax) +
                      " deep");
  }
  switch (value.kind) {
    case TemplateValue::Kind::undefined:
      return {};
    case TemplateValue::Kind::none:
      return Value::none();
    case TemplateValue::Kind::boolean:
      return Value::boolean(value.boolean);
    case TemplateValue::Kind::integer:
      return value.string.empty() ? Value::integer(value.integer)
                                  : Value::big_integer(value.string);
    case TemplateValue::Kind::real:
      return Value::real(value.real);
    case TemplateValue::Kind::string:
      return meter.text(value.string);
    case TemplateValue::Kind::array: {
      std::vector<Value> items;
      items.reserve(value.array.size());
      for (const TemplateValue& item : value.array)
        items.push_back(convert(meter, item, depth + 1));
      return meter.list(std::move(items));
    }
    case TemplateValue::Kind::object: {
      Dict dict;
      dict.entries.reserve(value.object.size());
      for (const TemplateMember& member : value.object) {
        dict.set(Value::string(member.name), convert(meter, member.value, depth + 1));
      }
      return meter.dict(std::move(dict));
    }
  }
  return {};
}

}  // namespace

Value from_template_value(Meter& meter, const TemplateValue& value) {
  return convert(meter, value, 1);
}

}  // namespace jinja

}  // namespace troupe
