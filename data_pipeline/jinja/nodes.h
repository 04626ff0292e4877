// The compiled template: a tree that evaluates itself. Names are slots, constants are made once.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "data_pipeline/jinja/call.h"
#include "data_pipeline/jinja/operators.h"
#include "data_pipeline/jinja/show.h"
#include "data_pipeline/jinja/state.h"

namespace decant::jinja {

struct Expression {
  int line = 0;
  virtual ~Expression() = default;
  virtual Value eval(State& state, Frame& frame) const = 0;
  virtual bool test(State& state, Frame& frame) const { return truth(state, eval(state, frame)); }
  virtual void write(State& state, Frame& frame) const { write_value(state, eval(state, frame)); }
};
using ExpressionPtr = std::unique_ptr<Expression>;
using Expressions = std::vector<ExpressionPtr>;

enum class Flow : uint8_t { kOn, kBreak, kContinue };
struct Statement {
  int line = 0;
  virtual ~Statement() = default;
  virtual Flow run(State& state, Frame& frame) const = 0;
};
using Statements = std::vector<std::unique_ptr<Statement>>;

inline Flow run_all(const Statements& body, State& state, Frame& frame) {
  for (const auto& statement : body) {
    const Flow flow = statement->run(state, frame);
    if (flow != Flow::kOn) return flow;
  }
  return Flow::kOn;
}

struct Ref {
  uint32_t up = 0, slot = 0;
  Value& in(Frame& frame) const {
    Frame* f = &frame;
    for (uint32_t i = 0; i < up; ++i) f = f->parent;
    return f->slots[slot];
  }
};

// How a scope's own variables begin.
struct Init {
  enum class Kind : uint8_t { kUndefined, kAlias, kResolve } kind;
  Ref to, from;
  uint32_t variable = 0;  // kResolve: of the caller
  int64_t exported = -1;  // kResolve in a block: slot of the template's own variable
};
using Inits = std::vector<Init>;
void enter(const Inits& inits, State& state, Frame& frame);

struct Target {
  enum class Kind : uint8_t { kName, kNames, kTuple } kind = Kind::kName;
  Ref ref;
  const Str* attribute = nullptr;
  std::vector<Target> items;
  void assign(State& state, Frame& frame, const Value& value) const;
};

// --- expressions

struct Constant : Expression {
  Value value;
  Value eval(State&, Frame&) const override { return value; }
};

struct Name : Expression {
  Ref ref;
  UndefinedInfo undefined;
  std::string name;
  Value eval(State& state, Frame& frame) const override;
};

struct Attribute : Expression {
  ExpressionPtr object;
  const Name* variable = nullptr;  // the object, when it is one
  const Str* name = nullptr;
  UndefinedInfo undefined;
  bool plain_key = false;  // no dict has an attribute of this name, so it is a key
  int loop_field = 0;
  const Builtin *text_method = nullptr, *dict_method = nullptr, *list_method = nullptr;
  Value eval(State& state, Frame& frame) const override;
  Value of(State& state, const Value& object) const;
};

struct Item : Expression {
  ExpressionPtr object, key;
  const Str* constant = nullptr;  // a literal key that no dict has as an attribute
  Value eval(State& state, Frame& frame) const override;
};

struct Slice : Expression {
  ExpressionPtr object, start, stop, step;
  Value eval(State& state, Frame& frame) const override;
};

struct Sequence : Expression {
  Expressions items;
  Tag tag = Tag::kList;
  Value eval(State& state, Frame& frame) const override;
};

struct Mapping : Expression {
  Expressions keys, values;
  Value eval(State& state, Frame& frame) const override;
};

struct Condition : Expression {
  ExpressionPtr test_of, yes, no;
  std::string hint;
  UndefinedInfo undefined;
  Value eval(State& state, Frame& frame) const override;
};

struct ArgumentList {
  Expressions values, keyword_values;
  std::vector<const Str*> keyword_names;
  ExpressionPtr more_values, more_keywords;
};

struct Filter : Expression {
  ExpressionPtr value;  // null: the text that the block captured
  const Builtin* builtin = nullptr;
  std::string name;
  ArgumentList arguments;
  Value eval(State& state, Frame& frame) const override;
  Value of(State& state, Frame& frame, const Value& value) const;
};

struct Test : Expression {
  ExpressionPtr value;
  const Builtin* builtin = nullptr;
  std::string name;
  int quick = 0;
  ArgumentList arguments;
  Value eval(State& state, Frame& frame) const override { return boolean(test(state, frame)); }
  bool test(State& state, Frame& frame) const override;
};

struct CallExpression : Expression {
  ExpressionPtr callee;
  const Attribute* method = nullptr;  // the callee, when it is one
  ArgumentList arguments;
  Value eval(State& state, Frame& frame) const override { return call(state, frame, nullptr); }
  Value call(State& state, Frame& frame, const Value* caller) const;
};

struct Concat : Expression {
  Expressions items;
  Value eval(State& state, Frame& frame) const override;
  void write(State& state, Frame& frame) const override;
};

enum class Comparison : uint8_t {
  kEqual,
  kNotEqual,
  kLess,
  kLessEqual,
  kGreater,
  kGreaterEqual,
  kIn,
  kNotIn
};
struct Compare : Expression {
  ExpressionPtr first;
  Expressions others;
  std::vector<Comparison> ops;
  const Str* constant = nullptr;  // of one == or != with a literal text
  Value eval(State& state, Frame& frame) const override { return boolean(test(state, frame)); }
  bool test(State& state, Frame& frame) const override;
};

struct Arithmetic : Expression {
  Op op = Op::kAdd;
  ExpressionPtr left, right;
  Value eval(State& state, Frame& frame) const override;
};

// a + b + c ...: texts are put together once.
struct Sum : Expression {
  Expressions items;
  std::vector<const Str*> constants;  // of the items that are literals, else null
  Value eval(State& state, Frame& frame) const override;
  void write(State& state, Frame& frame) const override;
  Value from(State& state, Frame& frame, Value left, size_t i) const;
};

struct Logic : Expression {  // and, or
  bool is_and = false;
  ExpressionPtr left, right;
  Value eval(State& state, Frame& frame) const override;
  bool test(State& state, Frame& frame) const override;
};

struct Unary : Expression {
  char op = '-';  // '!': not
  ExpressionPtr operand;
  Value eval(State& state, Frame& frame) const override;
  bool test(State& state, Frame& frame) const override;
};

// --- statements

struct Output : Statement {
  struct Item {
    std::string literal;
    ExpressionPtr expression;
  };
  std::vector<Item> items;
  Flow run(State& state, Frame& frame) const override;
};

struct For : Statement {
  Target target, test_target;
  ExpressionPtr over, test;
  bool extended = false, recursive = false;
  Ref loop;
  Inits inits, else_inits, test_inits;
  Statements body, otherwise;
  uint32_t slots = 0;  // of a recursive loop's frame
  Flow run(State& state, Frame& frame) const override;
  Flow run_over(State& state, Frame& frame, const Value& iterable, int64_t depth0) const;
};

struct If : Statement {
  struct Branch {
    ExpressionPtr test;
    Statements body;
  };
  std::vector<Branch> branches;
  Statements otherwise;
  Flow run(State& state, Frame& frame) const override;
};

struct Assign : Statement {
  Target target;
  ExpressionPtr value;
  std::vector<Ref> must_be_names;
  Flow run(State& state, Frame& frame) const override;
};

struct AssignBlock : Statement {
  Target target;
  std::vector<Ref> must_be_names;
  ExpressionPtr filter;
  Inits inits;
  Statements body;
  Flow run(State& state, Frame& frame) const override;
};

struct MacroBody {
  std::string name;  // empty: a call block
  std::vector<const Str*> parameters;
  std::vector<uint32_t> parameter_slots;
  Expressions defaults;  // of the last parameters
  std::vector<UndefinedInfo> undefined;
  int64_t caller = -1, keywords = -1, rest = -1;  // slots of the special variables
  bool explicit_caller = false;
  Inits inits;
  Statements body;
  uint32_t slots = 0;
};
struct Macro {
  const MacroBody* body;
  Frame* frame;
};

struct MacroDefinition : Statement {
  std::unique_ptr<MacroBody> macro;
  Ref to;
  Flow run(State& state, Frame& frame) const override;
};

struct CallBlock : Statement {
  std::unique_ptr<MacroBody> macro;
  std::unique_ptr<CallExpression> call;
  Flow run(State& state, Frame& frame) const override;
};

struct GenerationBlock : Statement {
  std::unique_ptr<MacroBody> macro;
  Flow run(State& state, Frame& frame) const override;
};

struct FilterBlock : Statement {
  ExpressionPtr filter;
  Inits inits;
  Statements body;
  Flow run(State& state, Frame& frame) const override;
};

struct With : Statement {
  std::vector<Target> targets;
  Expressions values;
  Inits inits;
  Statements body;
  Flow run(State& state, Frame& frame) const override;
};

struct ScopedBlock : Statement {  // block, autoescape
  ExpressionPtr autoescape;
  bool own_frame = false;
  uint32_t slots = 0;
  Inits inits;
  Statements body;
  Flow run(State& state, Frame& frame) const override;
};

struct Jump : Statement {
  Flow flow = Flow::kBreak;
  Flow run(State&, Frame&) const override { return flow; }
};

struct Program {
  Arena constants;
  Statements body;
  Inits inits;
  uint32_t slots = 0;
  std::vector<std::string> variables;  // names that it asks the caller for
  std::vector<Value> globals;          // what they are when the caller has none
  bool has_generation = false;
};

// Error "line N: ..." for a template that cannot be.
std::unique_ptr<Program> compile(std::string_view source);

}  // namespace decant::jinja
