// Guards of jinja_statements.cpp and jinja_expressions.cpp: what a walk into a node opens, its end
// closes.
#pragma once

#include "config/limits.h"
#include "model/text/jinja_failure.h"
#include "model/text/jinja_interpreter.h"

namespace troupe::jinja {

class Interpreter::OpenScope {
 public:
  OpenScope(Interpreter& owner, Scope* parent) : owner_(owner), outer_(owner.scope_) {
    owner_.scope_ = owner_.pool_.open(parent);
  }
  ~OpenScope() {
    owner_.pool_.close(owner_.scope_);
    owner_.scope_ = outer_;
  }
  OpenScope(const OpenScope&) = delete;
  OpenScope& operator=(const OpenScope&) = delete;

 private:
  Interpreter& owner_;
  Scope* outer_;
};

class Interpreter::Nested {
 public:
  explicit Nested(Interpreter& owner) : owner_(owner) {
    if (owner_.nesting_ >= kTemplateNestingMax) {
      give_up_too_large("nests more than " + std::to_string(kTemplateNestingMax) +
                        " evaluations for this conversation");
    }
    ++owner_.nesting_;
  }
  ~Nested() { --owner_.nesting_; }
  Nested(const Nested&) = delete;
  Nested& operator=(const Nested&) = delete;

 private:
  Interpreter& owner_;
};

}  // namespace troupe::jinja
