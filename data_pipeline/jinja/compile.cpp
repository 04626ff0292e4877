// Syntax tree to program, in the order in which jinja2 generates code, because names mean what they mean at
// that point.
#include <charconv>
#include <cstdlib>

#include "data_pipeline/jinja/nodes.h"
#include "data_pipeline/jinja/scope.h"

namespace decant::jinja {

namespace {

struct Scope {
  Symbols symbols;
  FunctionScope* function;
  bool in_loop = false;  // of this function
  bool soft = false;     // in a condition, where unknown filters only matter when they run
  bool block = false;
};

class Compiler {
 public:
  explicit Compiler(Program& program) : program_(program) {}

  void run(const Node& root) {
    FunctionScope top;
    Scope scope{Symbols(nullptr, &top), &top};
    scope.symbols.analyze(root);
    root_ = &scope;
    program_.body = statements(root.list, scope);
    program_.inits = inits(scope);
    program_.slots = top.slots;
    root_ = nullptr;
  }

 private:
  template <class... Parts>
  [[noreturn]] static void wrong(const Node& node, const Parts&... parts) {
    fail("line ", node.line, ": ", parts...);
  }

  // --- names
  // Renderings share it: what a text works out lazily about itself is there before.
  const Str* literal(std::string_view bytes) {
    const Str* s = copy_text(program_.constants, bytes);
    hash_of(*s);
    length(*s);
    return s;
  }
  std::string_view kept(std::string_view bytes) { return literal(bytes)->only.view(); }

  static Ref ref(const Variable& variable, const Scope& scope) {
    Ref r{0, variable.slot};
    for (const FunctionScope* f = scope.function; f != variable.function; f = f->parent) {
      if (f == nullptr) throw std::logic_error("jinja: a variable of no enclosing function");
      ++r.up;
    }
    return r;
  }
  static Ref ref(const std::string& name, const Scope& scope) {
    const Variable* variable = scope.symbols.find(name);
    if (variable == nullptr) throw std::logic_error("jinja: an unknown name");
    return ref(*variable, scope);
  }
  uint32_t variable_number(const std::string& name) {
    for (uint32_t i = 0; i < program_.variables.size(); ++i)
      if (program_.variables[i] == name) return i;
    program_.variables.push_back(name);
    program_.globals.push_back(find_global(name));
    return static_cast<uint32_t>(program_.variables.size() - 1);
  }
  Inits inits(const Scope& scope) {
    Inits list;
    for (const auto& [variable, load] : scope.symbols.loads()) {
      Init init{Init::Kind::kUndefined, ref(*variable, scope), {}};
      switch (load.kind) {
        case LoadKind::kParameter:
          continue;
        case LoadKind::kAlias:
          init.kind = Init::Kind::kAlias;
          init.from = ref(*load.other, scope);
          break;
        case LoadKind::kResolve:
          init.kind = Init::Kind::kResolve;
          init.variable = variable_number(load.name);
          if (scope.block && root_->symbols.stores().contains(load.name))
            init.exported = root_->symbols.find(load.name)->slot;
          break;
        case LoadKind::kUndefined:
          break;
      }
      list.push_back(init);
    }
    return list;
  }
  Scope inner(const Scope& outer) {
    return {Symbols(&outer.symbols, outer.function), outer.function, outer.in_loop};
  }

  Target target(const Node& node, const Scope& scope) {
    Target t;
    if (node.kind == Kind::kTuple) {
      t.kind = Target::Kind::kTuple;
      for (const NodePtr& child : node.list) t.items.push_back(target(*child, scope));
    } else {
      t.ref = ref(node.text, scope);
      if (node.kind == Kind::kNamesRef) {
        t.kind = Target::Kind::kNames;
        t.attribute = literal(node.attribute);
      }
    }
    return t;
  }
  void names_refs(const Node& node, const Scope& scope, std::vector<Ref>& refs) {
    if (node.kind == Kind::kNamesRef) refs.push_back(ref(node.text, scope));
    for (const NodePtr& child : node.list) names_refs(*child, scope, refs);
  }

  // --- expressions
  template <class T>
  static std::unique_ptr<T> make(const Node& node) {
    auto made = std::make_unique<T>();
    made->line = node.line;
    return made;
  }
  ExpressionPtr constant(const Node& node, const Value& value) {
    auto made = make<Constant>(node);
    made->value = value;
    return made;
  }
  static const Str* text_constant(const Expression& e) {
    const auto* c = dynamic_cast<const Constant*>(&e);
    return c != nullptr && c->value.is_text() ? c->value.text : nullptr;
  }

  ExpressionPtr maybe(const NodePtr& node, const Scope& scope) {
    return node ? expression(*node, scope) : nullptr;
  }
  Expressions expressions(const Nodes& nodes, const Scope& scope) {
    Expressions list;
    for (const NodePtr& node : nodes) list.push_back(expression(*node, scope));
    return list;
  }
  ArgumentList arguments(const Node& node, const Scope& scope) {
    ArgumentList list;
    list.values = expressions(node.list, scope);
    for (const std::string& name : node.names) list.keyword_names.push_back(literal(name));
    list.keyword_values = expressions(node.second, scope);
    list.more_values = maybe(node.b, scope);
    list.more_keywords = maybe(node.c, scope);
    return list;
  }

  ExpressionPtr number(const Node& node) {
    if (node.kind == Kind::kFloat) return constant(node, real(std::strtod(node.text.c_str(), nullptr)));
    std::string_view digits = node.text;
    int base = 10;
    if (digits.size() > 2 && digits[0] == '0' && (digits[1] < '0' || digits[1] > '9')) {
      const char letter = static_cast<char>(digits[1] | 32);
      base = letter == 'x' ? 16 : letter == 'o' ? 8 : 2;
      digits.remove_prefix(2);
    }
    int64_t value = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
    if (error == std::errc()) return constant(node, integer(value));
    if (base != 10) wrong(node, "an integer beyond 64 bits");
    if (digits.size() > 4300) wrong(node, "an integer of more than 4300 digits");
    Value big = tagged(Tag::kBigInt);
    big.text = literal(digits.substr(std::min(digits.find_first_not_of('0'), digits.size() - 1)));
    return constant(node, big);
  }

  ExpressionPtr attribute_node(const Node& node, const Scope& scope) {
    auto made = make<Attribute>(node);
    made->object = expression(*node.a, scope);
    made->variable = dynamic_cast<const Name*>(made->object.get());
    made->name = literal(node.text);
    made->undefined.name = made->name->only.view();
    made->text_method = find_text_method(node.text);
    made->dict_method = find_dict_method(node.text);
    made->list_method = find_list_method(node.text, false);
    static const Dict kEmpty{nullptr, 0, kTemplate, -1, 0, nullptr};
    made->plain_key = made->dict_method == nullptr && !is_unsafe(dict_value(&kEmpty), node.text) &&
                      !node.text.starts_with("__");
    made->loop_field = node.text == "index0"  ? 1
                       : node.text == "index" ? 2
                       : node.text == "first" ? 3
                       : node.text == "last"  ? 4
                                              : 0;
    return made;
  }

  ExpressionPtr sum(const Node& node, const Scope& scope) {
    // a + b + c is ((a + b) + c): its operands from left to right.
    std::vector<const Node*> operands;
    const Node* left = &node;
    for (; left->kind == Kind::kBinary && left->text == "+"; left = left->a.get())
      operands.push_back(left->b.get());
    auto made = make<Sum>(node);
    const auto add = [&](const Node& operand) {
      ExpressionPtr e = expression(operand, scope);
      const Str* text = text_constant(*e);
      if (text != nullptr && made->items.size() > 1 && made->constants.back() != nullptr) {
        // Two literals after the first operand: text or an error, whatever stands before them.
        const Str* joined =
            literal(std::string(made->constants.back()->only.view()) + std::string(text->only.view()));
        made->items.back() = constant(operand, jinja::text(joined));
        made->constants.back() = joined;
        return;
      }
      made->items.push_back(std::move(e));
      made->constants.push_back(text);
    };
    add(*left);
    for (auto it = operands.rbegin(); it != operands.rend(); ++it) add(**it);
    return made;
  }

  ExpressionPtr binary_node(const Node& node, const Scope& scope) {
    if (node.text == "and" || node.text == "or") {
      auto made = make<Logic>(node);
      made->is_and = node.text == "and";
      made->left = expression(*node.a, scope);
      made->right = expression(*node.b, scope);
      return made;
    }
    if (node.text == "+") return sum(node, scope);
    auto made = make<Arithmetic>(node);
    made->op = node.text == "-"    ? Op::kSubtract
               : node.text == "*"  ? Op::kMultiply
               : node.text == "/"  ? Op::kDivide
               : node.text == "//" ? Op::kFloorDivide
               : node.text == "%"  ? Op::kModulo
                                   : Op::kPower;
    made->left = expression(*node.a, scope);
    made->right = expression(*node.b, scope);
    return made;
  }

  std::unique_ptr<Filter> filter_node(const Node& node, const Scope& scope) {
    auto made = make<Filter>(node);
    if (node.a)
      made->value = node.a->kind == Kind::kFilter ? filter_node(*node.a, scope) : expression(*node.a, scope);
    made->name = node.text;
    made->builtin = find_filter(node.text);
    if (made->builtin == nullptr && !scope.soft) wrong(node, "No filter named '", node.text, "'.");
    made->arguments = arguments(node, scope);
    return made;
  }

  ExpressionPtr test_node(const Node& node, const Scope& scope) {
    auto made = make<Test>(node);
    made->value = expression(*node.a, scope);
    made->name = node.text;
    made->builtin = find_test(node.text);
    if (made->builtin == nullptr && !scope.soft) wrong(node, "No test named '", node.text, "'.");
    made->arguments = arguments(node, scope);
    const bool plain = node.list.empty() && node.names.empty() && !node.b && !node.c;
    if (plain)
      made->quick = node.text == "defined"     ? 1
                    : node.text == "none"      ? 2
                    : node.text == "string"    ? 3
                    : node.text == "undefined" ? 4
                                               : 0;
    return made;
  }

  std::unique_ptr<CallExpression> call_node(const Node& node, const Scope& scope) {
    auto made = make<CallExpression>(node);
    made->callee = expression(*node.a, scope);
    made->method = dynamic_cast<const Attribute*>(made->callee.get());
    made->arguments = arguments(node, scope);
    return made;
  }

  ExpressionPtr expression(const Node& node, const Scope& scope) {
    switch (node.kind) {
      case Kind::kData:
      case Kind::kText:
        return constant(node, text(literal(node.text)));
      case Kind::kInteger:
      case Kind::kFloat:
        return number(node);
      case Kind::kBool:
        return constant(node, boolean(node.flag));
      case Kind::kNone:
        return constant(node, none());
      case Kind::kName: {
        auto made = make<Name>(node);
        made->ref = ref(node.text, scope);
        made->name = node.text;
        made->undefined.name = kept(node.text);
        return made;
      }
      case Kind::kTuple:
      case Kind::kList: {
        auto made = make<Sequence>(node);
        made->tag = node.kind == Kind::kTuple ? Tag::kTuple : Tag::kList;
        made->items = expressions(node.list, scope);
        return made;
      }
      case Kind::kDict: {
        auto made = make<Mapping>(node);
        made->keys = expressions(node.list, scope);
        made->values = expressions(node.second, scope);
        return made;
      }
      case Kind::kCondition:
        return condition(node, scope);
      case Kind::kFilter:
        return filter_node(node, scope);
      case Kind::kTest:
        return test_node(node, scope);
      case Kind::kCall:
        return call_node(node, scope);
      case Kind::kItem: {
        if (node.b->kind == Kind::kSlice) {
          auto made = make<Slice>(node);
          made->object = expression(*node.a, scope);
          made->start = maybe(node.b->a, scope);
          made->stop = maybe(node.b->b, scope);
          made->step = maybe(node.b->c, scope);
          return made;
        }
        auto made = make<Item>(node);
        made->object = expression(*node.a, scope);
        made->key = expression(*node.b, scope);
        made->constant = text_constant(*made->key);
        return made;
      }
      case Kind::kSlice:
        wrong(node, "a slice cannot stand among several subscripts");
      case Kind::kAttribute:
        return attribute_node(node, scope);
      case Kind::kConcat: {
        auto made = make<Concat>(node);
        made->items = expressions(node.list, scope);
        return made;
      }
      case Kind::kCompare: {
        auto made = make<Compare>(node);
        made->first = expression(*node.a, scope);
        made->others = expressions(node.list, scope);
        for (const std::string& op : node.names)
          made->ops.push_back(op == "=="   ? Comparison::kEqual
                              : op == "!=" ? Comparison::kNotEqual
                              : op == "<"  ? Comparison::kLess
                              : op == "<=" ? Comparison::kLessEqual
                              : op == ">"  ? Comparison::kGreater
                              : op == ">=" ? Comparison::kGreaterEqual
                              : op == "in" ? Comparison::kIn
                                           : Comparison::kNotIn);
        if (made->ops.size() == 1 && made->ops[0] <= Comparison::kNotEqual)
          made->constant = text_constant(*made->others[0]);
        return made;
      }
      case Kind::kBinary:
        return binary_node(node, scope);
      case Kind::kUnary: {
        auto made = make<Unary>(node);
        made->op = node.text == "not" ? '!' : node.text[0];
        made->operand = expression(*node.a, scope);
        return made;
      }
      default:
        throw std::logic_error("jinja: a statement where an expression belongs");
    }
  }

  ExpressionPtr condition(const Node& node, const Scope& scope) {
    auto made = make<Condition>(node);
    // Soft: what is not reached need not exist.
    auto& soft = const_cast<Scope&>(scope).soft;
    const bool before = soft;
    soft = true;
    made->test_of = expression(*node.a, scope);
    made->yes = expression(*node.b, scope);
    made->no = maybe(node.c, scope);
    soft = before;
    made->hint = concat("the inline if-expression on line ", node.line,
                        " evaluated to false and no else section was defined.");
    made->undefined.hint = kept(made->hint);
    return made;
  }

  // --- statements
  Statements statements(const Nodes& nodes, Scope& scope) {
    Statements list;
    for (const NodePtr& node : nodes) list.push_back(statement(*node, scope));
    return list;
  }

  std::unique_ptr<Statement> statement(const Node& node, Scope& scope) {
    switch (node.kind) {
      case Kind::kOutput:
        return output(node, scope);
      case Kind::kFor:
        return for_node(node, scope);
      case Kind::kIf:
        return if_node(node, scope);
      case Kind::kMacro: {
        auto made = make<MacroDefinition>(node);
        made->macro = macro_body(node, scope);
        made->macro->name = node.text;
        made->to = ref(node.text, scope);
        return made;
      }
      case Kind::kCallBlock: {
        auto made = make<CallBlock>(node);
        made->macro = macro_body(node, scope);
        made->call = call_node(*node.a, scope);
        return made;
      }
      case Kind::kGeneration: {
        auto made = make<GenerationBlock>(node);
        made->macro = macro_body(node, scope);
        program_.has_generation = true;
        return made;
      }
      case Kind::kFilterBlock: {
        auto made = make<FilterBlock>(node);
        Scope own = inner(scope);
        own.symbols.analyze(node);
        made->body = statements(node.list, own);
        made->filter = filter_node(*node.a, own);
        made->inits = inits(own);
        return made;
      }
      case Kind::kWith: {
        auto made = make<With>(node);
        Scope own = inner(scope);
        own.symbols.analyze(node);
        for (size_t i = 0; i < node.list.size(); ++i) {
          made->targets.push_back(target(*node.list[i], own));
          made->values.push_back(expression(*node.second[i], scope));
        }
        made->body = statements(node.third, own);
        made->inits = inits(own);
        return made;
      }
      case Kind::kBlock: {
        if (!blocks_.insert(node.text).second) wrong(node, "block '", node.text, "' defined twice");
        auto made = make<ScopedBlock>(node);
        made->own_frame = true;
        auto* function = new_function(nullptr);
        Scope own{Symbols(node.flag ? &scope.symbols : nullptr, node.flag ? scope.function : function),
                  node.flag ? scope.function : function};
        made->own_frame = !node.flag;  // a scoped block sees what stands around it
        own.block = !node.flag;
        own.symbols.analyze(node);
        made->body = statements(node.list, own);
        made->inits = inits(own);
        made->slots = function->slots;
        return made;
      }
      case Kind::kAutoescape: {
        auto made = make<ScopedBlock>(node);
        Scope own = inner(scope);
        own.symbols.analyze(node);
        made->autoescape = expression(*node.a, own);
        ++autoescape_;
        made->body = statements(node.list, own);
        --autoescape_;
        made->inits = inits(own);
        return made;
      }
      case Kind::kAssign: {
        auto made = make<Assign>(node);
        names_refs(*node.a, scope, made->must_be_names);
        made->target = target(*node.a, scope);
        made->value = expression(*node.b, scope);
        return made;
      }
      case Kind::kAssignBlock: {
        auto made = make<AssignBlock>(node);
        Scope own = inner(scope);
        own.symbols.analyze(node);
        made->body = statements(node.list, own);
        made->target = target(*node.a, scope);
        if (node.b) made->filter = filter_node(*node.b, own);
        made->inits = inits(own);
        return made;
      }
      case Kind::kBreak:
      case Kind::kContinue: {
        if (!scope.in_loop)
          wrong(node, node.kind == Kind::kBreak ? "'break'" : "'continue'", " outside a loop");
        auto made = make<Jump>(node);
        made->flow = node.kind == Kind::kBreak ? Flow::kBreak : Flow::kContinue;
        return made;
      }
      default:
        throw std::logic_error("jinja: an expression where a statement belongs");
    }
  }

  std::unique_ptr<Statement> output(const Node& node, Scope& scope) {
    auto made = make<Output>(node);
    for (const NodePtr& child : node.list) {
      ExpressionPtr e = expression(*child, scope);
      const Str* text = text_constant(*e);
      // Literals under autoescape are escaped when they run.
      if (text != nullptr && (autoescape_ == 0 || child->kind == Kind::kData)) {
        if (made->items.empty() || made->items.back().expression) made->items.emplace_back();
        made->items.back().literal += text->only.view();
      } else {
        made->items.push_back({"", std::move(e)});
      }
    }
    return made;
  }

  std::unique_ptr<Statement> if_node(const Node& node, Scope& scope) {
    auto made = make<If>(node);
    const bool before = scope.soft;
    scope.soft = true;
    const auto add = [&](const Node& branch) {
      If::Branch& added = made->branches.emplace_back();
      added.test = expression(*branch.a, scope);
      added.body = statements(branch.list, scope);
    };
    add(node);
    for (const NodePtr& elif : node.second) add(*elif);
    made->otherwise = statements(node.third, scope);
    scope.soft = before;
    return made;
  }

  static bool assigns_loop(const Node& node) {
    if (node.kind == Kind::kName && node.use == NameUse::kStore && node.text == "loop") return true;
    bool found = false;
    each_child(node, [&](const Node& child) { found = found || assigns_loop(child); });
    return found;
  }
  static bool has_scoped_block(const Node& node) {
    if (node.kind == Kind::kBlock && node.flag) return true;
    bool found = false;
    each_child(node, [&](const Node& child) { found = found || has_scoped_block(child); });
    return found;
  }

  std::unique_ptr<Statement> for_node(const Node& node, Scope& scope) {
    auto made = make<For>(node);
    if (assigns_loop(node)) wrong(node, "Can't assign to special loop variable in for-loop target");
    made->recursive = node.flag;
    made->extended = node.flag || !find_undeclared(node.list, {"loop"}).empty() || has_scoped_block(node);
    FunctionScope* function = node.flag ? new_function(scope.function) : scope.function;
    Scope body{Symbols(&scope.symbols, function), function, true};
    Scope test{Symbols(&scope.symbols, function), function, false};
    Scope otherwise{Symbols(&scope.symbols, function), function, !node.flag && scope.in_loop};
    if (made->extended) made->loop = ref(*body.symbols.declare_parameter("loop"), body);
    body.symbols.analyze_for(node, Symbols::ForPart::kBody);
    otherwise.symbols.analyze_for(node, Symbols::ForPart::kElse);
    if (node.c) {
      test.symbols.analyze_for(node, Symbols::ForPart::kTest);
      made->test_target = target(*node.a, test);
      made->test = expression(*node.c, test);
    }
    made->target = target(*node.a, body);
    made->over = expression(*node.b, scope);
    made->body = statements(node.list, body);
    made->otherwise = statements(node.second, otherwise);
    made->inits = inits(body);
    made->test_inits = inits(test);
    made->else_inits = inits(otherwise);
    made->slots = function->slots;
    return made;
  }

  FunctionScope* new_function(FunctionScope* parent) {
    functions_.push_back(std::make_unique<FunctionScope>(FunctionScope{parent, 0}));
    return functions_.back().get();
  }

  std::unique_ptr<MacroBody> macro_body(const Node& node, const Scope& outer) {
    auto made = std::make_unique<MacroBody>();
    FunctionScope* function = new_function(outer.function);
    Scope scope{Symbols(&outer.symbols, function), function};
    scope.symbols.analyze(node);
    std::set<std::string> parameters;
    size_t caller_at = node.list.size();
    for (size_t i = 0; i < node.list.size(); ++i) {
      if (!parameters.insert(node.list[i]->text).second)
        wrong(node, "duplicate argument '", node.list[i]->text, "'");
      if (node.list[i]->text == "caller") caller_at = i, made->explicit_caller = true;
    }
    const auto undeclared = find_undeclared(node.third, {"caller", "kwargs", "varargs"});
    const auto special = [&](const char* name) -> int64_t {
      return scope.symbols.declare_parameter(name)->slot;
    };
    if (undeclared.contains("caller")) {
      if (!made->explicit_caller)
        made->caller = special("caller");
      else if (caller_at + node.second.size() < node.list.size())
        wrong(node, "the special \"caller\" argument must be omitted or be given a default");
    }
    if (undeclared.contains("kwargs") && !parameters.contains("kwargs")) made->keywords = special("kwargs");
    if (undeclared.contains("varargs") && !parameters.contains("varargs")) made->rest = special("varargs");
    scope.symbols.analyze(node);
    for (const NodePtr& parameter : node.list) {
      made->parameters.push_back(literal(parameter->text));
      made->parameter_slots.push_back(scope.symbols.find(parameter->text)->slot);
      made->undefined.push_back({made->parameters.back()->only.view(),
                                 kept(concat("parameter '", parameter->text, "' was not provided"))});
    }
    made->defaults = expressions(node.second, scope);
    made->body = statements(node.third, scope);
    made->inits = inits(scope);
    made->slots = function->slots;
    return made;
  }

  Program& program_;
  const Scope* root_ = nullptr;
  std::vector<std::unique_ptr<FunctionScope>> functions_;
  std::set<std::string> blocks_;
  int autoescape_ = 0;
};

}  // namespace

std::unique_ptr<Program> compile(std::string_view source) {
  auto program = std::make_unique<Program>();
  program->constants.reset(UINT64_MAX / 2);
  Compiler(*program).run(*parse_template(source));
  return program;
}

}  // namespace decant::jinja
