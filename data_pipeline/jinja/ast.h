// The syntax tree, as jinja2's parser has it. What a kind of node keeps where is said beside its name.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace decant::jinja {

enum class Kind : uint8_t {
  // expressions
  kData,       // text
  kText,       // text: a string literal
  kInteger,    // text: digits
  kFloat,      // text
  kBool,       // flag
  kNone,       //
  kName,       // text, use
  kNamesRef,   // text . attribute: target of an assignment
  kTuple,      // list
  kList,       // list
  kDict,       // list of keys, second of values
  kCondition,  // b if a else c (may be null)
  kFilter,     // a (null in a block) | text (list, names = second, *b, **c)
  kTest,       // the same
  kCall,       // the same, a is called
  kItem,       // a[b]
  kAttribute,  // a.text
  kSlice,      // a:b:c, each may be null
  kConcat,     // list joined by ~
  kCompare,    // a, then names[i] list[i]
  kBinary,     // a text b; text also "and", "or"
  kUnary,      // text a; "not", "-", "+"
  // statements
  kOutput,       // list
  kFor,          // for a in b if c: list, else second; flag: recursive
  kIf,           // a: list; elif nodes second; else third
  kMacro,        // text(list = second): third
  kCallBlock,    // call(list = second) a: third
  kGeneration,   // third
  kFilterBlock,  // a: list
  kWith,         // list = second: third
  kBlock,        // text: list
  kAssign,       // a = b
  kAssignBlock,  // a = list through b (may be null)
  kAutoescape,   // a: list
  kBreak,
  kContinue,
  kTemplate,  // list
};

enum class NameUse : uint8_t { kLoad, kStore, kParameter };

struct Node;
using NodePtr = std::unique_ptr<Node>;
using Nodes = std::vector<NodePtr>;

struct Node {
  Kind kind;
  int line;
  int depth = 0;  // of the tree below, so that nothing that recurses over it can overflow the stack
  std::string text, attribute;
  bool flag = false;
  NameUse use = NameUse::kLoad;
  NodePtr a, b, c;
  Nodes list, second, third;
  std::vector<std::string> names;
};

// Calls each(child) in the order of jinja2's fields, which its scoping rules follow.
template <class Each>
void each_child(const Node& node, const Each& each) {
  const auto one = [&](const NodePtr& child) {
    if (child) each(*child);
  };
  const auto all = [&](const Nodes& children) {
    for (const NodePtr& child : children) each(*child);
  };
  switch (node.kind) {
    case Kind::kFor:  // target, iter, body, else, test
      one(node.a), one(node.b), all(node.list), all(node.second), one(node.c);
      break;
    case Kind::kFilterBlock:
      all(node.list), one(node.a);
      break;
    case Kind::kAssignBlock:
      one(node.a), one(node.b), all(node.list);
      break;
    case Kind::kDict:
      for (size_t i = 0; i < node.list.size(); ++i) each(*node.list[i]), each(*node.second[i]);
      break;
    case Kind::kFilter:
    case Kind::kTest:
    case Kind::kCall:
      one(node.a), all(node.list), all(node.second), one(node.b), one(node.c);
      break;
    default:
      one(node.a), one(node.b), one(node.c), all(node.list), all(node.second), all(node.third);
  }
}

// Errors say "line N: ...".
NodePtr parse_template(std::string_view source);

}  // namespace decant::jinja
