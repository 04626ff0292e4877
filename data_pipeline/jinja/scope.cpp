#include "data_pipeline/jinja/scope.h"

namespace decant::jinja {

const Variable* Symbols::define(const std::string& name, Load load) {
  std::unique_ptr<Variable>& variable = (*pool_)[name];
  if (!variable) variable = std::make_unique<Variable>(Variable{function_, function_->slots++});
  refs_[name] = variable.get();
  loads_[variable.get()] = std::move(load);
  return variable.get();
}

const Variable* Symbols::find(const std::string& name) const {
  const auto found = refs_.find(name);
  if (found != refs_.end()) return found->second;
  return parent_ != nullptr ? parent_->find(name) : nullptr;
}

const Variable* Symbols::declare_parameter(const std::string& name) {
  stores_.insert(name);
  return define(name, {LoadKind::kParameter, nullptr, {}});
}

void Symbols::store(const std::string& name) {
  stores_.insert(name);
  if (refs_.contains(name)) return;
  const Variable* outer = parent_ != nullptr ? parent_->find(name) : nullptr;
  define(name, {outer != nullptr ? LoadKind::kAlias : LoadKind::kUndefined, outer, {}});
}

void Symbols::load(const std::string& name) {
  if (find(name) == nullptr) define(name, {LoadKind::kResolve, nullptr, name});
}

void Symbols::visit_if(const Node& node) {
  visit(*node.a);
  std::vector<Symbols> branches;
  for (const Nodes* body : {&node.list, &node.second, &node.third}) {
    Symbols branch = *this;
    for (const NodePtr& child : *body) branch.visit(*child);
    branches.push_back(std::move(branch));
  }
  std::set<std::string> stored;
  for (const Symbols& branch : branches) stored.insert(branch.stores_.begin(), branch.stores_.end());
  for (const std::string& name : stores_) stored.erase(name);
  for (const Symbols& branch : branches) {
    for (const auto& [name, variable] : branch.refs_) refs_[name] = variable;
    for (const auto& [variable, load] : branch.loads_) loads_[variable] = load;
    stores_.insert(branch.stores_.begin(), branch.stores_.end());
  }
  for (const std::string& name : stored) {
    const Variable* target = find(name);
    const Variable* outer = parent_ != nullptr ? parent_->find(name) : nullptr;
    loads_[target] =
        outer != nullptr ? Load{LoadKind::kAlias, outer, {}} : Load{LoadKind::kResolve, nullptr, name};
  }
}

void Symbols::visit(const Node& node) {
  const auto all = [&](const Nodes& children) {
    for (const NodePtr& child : children) visit(*child);
  };
  switch (node.kind) {
    case Kind::kName:
      if (node.use == NameUse::kParameter)
        declare_parameter(node.text);
      else if (node.use == NameUse::kStore)
        store(node.text);
      else
        load(node.text);
      return;
    case Kind::kNamesRef:
      load(node.text);
      return;
    case Kind::kIf:
      visit_if(node);
      return;
    case Kind::kMacro:
      store(node.text);
      return;
    case Kind::kAssign:
      visit(*node.b);
      visit(*node.a);
      return;
    case Kind::kFor:
      visit(*node.b);
      return;
    case Kind::kCallBlock:
    case Kind::kFilterBlock:
    case Kind::kAssignBlock:
      visit(*node.a);
      return;
    case Kind::kWith:
      all(node.second);
      return;
    case Kind::kGeneration:
    case Kind::kBlock:
    case Kind::kAutoescape:
      return;
    default:
      each_child(node, [&](const Node& child) { visit(child); });
  }
}

void Symbols::analyze(const Node& node) {
  const auto all = [&](const Nodes& children) {
    for (const NodePtr& child : children) visit(*child);
  };
  switch (node.kind) {
    case Kind::kAssignBlock:
      all(node.list);
      if (node.b) visit(*node.b);  // the filter's arguments; jinja2 forgets them
      return;
    case Kind::kWith:
      all(node.list);
      all(node.third);
      return;
    case Kind::kCallBlock:
      all(node.list);
      all(node.second);
      all(node.third);
      return;
    default:
      each_child(node, [&](const Node& child) { visit(child); });
  }
}

void Symbols::targets(const Node& node) {
  if (node.kind == Kind::kName) declare_parameter(node.text);
  for (const NodePtr& child : node.list) targets(*child);
}

void Symbols::analyze_for(const Node& node, ForPart part) {
  if (part != ForPart::kElse) targets(*node.a);
  if (part == ForPart::kTest) {
    if (node.c) visit(*node.c);
    return;
  }
  for (const NodePtr& child : part == ForPart::kBody ? node.list : node.second) visit(*child);
}

namespace {

void look_for(const Node& node, std::set<std::string>& names, std::set<std::string>& found) {
  if (node.kind == Kind::kBlock) return;
  if (node.kind == Kind::kName) {
    if (node.use == NameUse::kLoad && names.contains(node.text))
      found.insert(node.text);
    else
      names.erase(node.text);
    return;
  }
  each_child(node, [&](const Node& child) { look_for(child, names, found); });
}

}  // namespace

std::set<std::string> find_undeclared(const Nodes& nodes, std::set<std::string> names) {
  std::set<std::string> found;
  for (const NodePtr& node : nodes) look_for(*node, names, found);
  return found;
}

}  // namespace decant::jinja
