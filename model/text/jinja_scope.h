// Variables of one rendering: nested scopes, innermost first. A macro keeps the scope it was
// defined in.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "model/text/jinja_ast.h"

namespace troupe::jinja {

struct Scope {
  Scope* parent = nullptr;
  std::vector<std::pair<Symbol, Value>> variables;
  bool captured = false;  ///< a macro looks into it: it stays until the rendering ends

  const Value* find(Symbol symbol) const {
    for (const auto& [known, value] : variables) {
      if (known == symbol) return &value;
    }
    return nullptr;
  }
  void set(Symbol symbol, Value value) {
    for (auto& [known, slot] : variables) {
      if (known == symbol) {
        slot = std::move(value);
        return;
      }
    }
    variables.emplace_back(symbol, std::move(value));
  }
};

/// Hands out scopes and takes them back. Owned by the interpreter.
class ScopePool {
 public:
  Scope* open(Scope* parent) {
    if (free_.empty()) free_.push_back(all_.emplace_back(std::make_unique<Scope>()).get());
    Scope* scope = free_.back();
    free_.pop_back();
    scope->parent = parent;
    return scope;
  }
  void close(Scope* scope) {
    if (scope->captured) return;
    scope->variables.clear();
    free_.push_back(scope);
  }

 private:
  std::vector<std::unique_ptr<Scope>> all_;
  std::vector<Scope*> free_;
};

/// A macro with the scope its body sees. `statement` is a macro or call_block statement.
struct Macro {
  const Statement* statement = nullptr;
  Scope* scope = nullptr;
};

}  // namespace troupe::jinja
