// Which variable a name means: jinja2's rules (its idtracking.py), with slots in place of Python locals.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "data_pipeline/jinja/ast.h"

namespace decant::jinja {

// What becomes one call frame: the template, a macro, a recursive loop.
struct FunctionScope {
  FunctionScope* parent = nullptr;
  uint32_t slots = 0;
};

struct Variable {
  FunctionScope* function;
  uint32_t slot;
};

enum class LoadKind : uint8_t { kParameter, kResolve, kAlias, kUndefined };
struct Load {
  LoadKind kind;
  const Variable* other = nullptr;  // kAlias
  std::string name;                 // kResolve
};

class Symbols {
 public:
  Symbols(const Symbols* parent, FunctionScope* function)
      : parent_(parent), function_(function), pool_(std::make_shared<Pool>()) {}

  // The names in the body of `node`, which opens this scope.
  void analyze(const Node& node);
  enum class ForPart : uint8_t { kBody, kElse, kTest };
  void analyze_for(const Node& node, ForPart part);

  const Variable* declare_parameter(const std::string& name);
  const Variable* find(const std::string& name) const;  // null: unknown
  const std::map<const Variable*, Load>& loads() const { return loads_; }
  const std::set<std::string>& stores() const { return stores_; }

 private:
  using Pool = std::map<std::string, std::unique_ptr<Variable>>;

  const Variable* define(const std::string& name, Load load);
  void visit(const Node& node);
  void visit_if(const Node& node);
  void store(const std::string& name);
  void load(const std::string& name);
  void targets(const Node& node);

  const Symbols* parent_;
  FunctionScope* function_;
  std::shared_ptr<Pool> pool_;  // shared by the branches of an if
  std::map<std::string, const Variable*> refs_;
  std::map<const Variable*, Load> loads_;
  std::set<std::string> stores_;
};

// Those of `names` that the nodes read before they assign them.
std::set<std::string> find_undeclared(const Nodes& nodes, std::set<std::string> names);

}  // namespace decant::jinja
