// The grammar of jinja2 3.1 with the tags that transformers adds: generation, break and continue.
#include <algorithm>
#include <array>

#include "core/error.h"
#include "data_pipeline/jinja/ast.h"
#include "data_pipeline/jinja/lexer.h"

namespace decant::jinja {

namespace {

constexpr int kMaxDepth = 400;

using Words = std::vector<std::string_view>;

class Parser {
 public:
  explicit Parser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  NodePtr parse() {
    auto root = make(Kind::kTemplate, 1);
    root->list = statements_until({});
    return finish(std::move(root));
  }

 private:
  struct Deeper {
    explicit Deeper(Parser& p) : parser(p) {
      if (++parser.depth_ > kMaxDepth) parser.wrong("the template is nested too deeply");
    }
    ~Deeper() { --parser.depth_; }
    Deeper(const Deeper&) = delete;
    Deeper& operator=(const Deeper&) = delete;
    Parser& parser;
  };

  // --- tokens
  const Token& now() const { return tokens_[at_]; }
  const Token& later() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  const Token& take() {
    const Token& token = tokens_[at_];
    if (at_ + 1 < tokens_.size()) ++at_;
    return token;
  }
  template <class... Parts>
  [[noreturn]] void wrong_at(int line, const Parts&... parts) const {
    fail("line ", line, ": ", parts...);
  }
  template <class... Parts>
  [[noreturn]] void wrong(const Parts&... parts) const {
    wrong_at(now().line, parts...);
  }
  static std::string shown(const Token& token) {
    switch (token.kind) {
      case TokenKind::kEnd:
        return "end of template";
      case TokenKind::kBlockEnd:
        return "end of statement block";
      case TokenKind::kVariableEnd:
        return "end of print statement";
      case TokenKind::kBlockBegin:
        return "begin of statement block";
      case TokenKind::kVariableBegin:
        return "begin of print statement";
      case TokenKind::kData:
        return "template data";
      case TokenKind::kString:
        return "string";
      case TokenKind::kInteger:
        return "integer";
      case TokenKind::kFloat:
        return "float";
      default:
        return token.text;
    }
  }
  bool is(TokenKind kind) const { return now().kind == kind; }
  static bool is_op(const Token& token, std::string_view op) {
    return token.kind == TokenKind::kOperator && token.text == op;
  }
  static bool is_word(const Token& token, std::string_view word) {
    return token.kind == TokenKind::kName && token.text == word;
  }
  bool op(std::string_view text) const { return is_op(now(), text); }
  bool word(std::string_view text) const { return is_word(now(), text); }
  bool any_word(const Words& words) const {
    return is(TokenKind::kName) && std::find(words.begin(), words.end(), now().text) != words.end();
  }
  bool skip_op(std::string_view text) {
    if (!op(text)) return false;
    take();
    return true;
  }
  bool skip_word(std::string_view text) {
    if (!word(text)) return false;
    take();
    return true;
  }
  void expect_op(std::string_view text) {
    if (!skip_op(text)) wrong("expected '", text, "', got '", shown(now()), "'");
  }
  void expect_word(std::string_view text) {
    if (!skip_word(text)) wrong("expected '", text, "', got '", shown(now()), "'");
  }
  void expect(TokenKind kind, const char* what) {
    if (!is(kind)) wrong("expected ", what, ", got '", shown(now()), "'");
    take();
  }
  std::string expect_name() {
    if (!is(TokenKind::kName)) wrong("expected a name, got '", shown(now()), "'");
    return take().text;
  }

  // --- nodes
  static NodePtr make(Kind kind, int line) {
    auto node = std::make_unique<Node>();
    node->kind = kind;
    node->line = line;
    return node;
  }
  NodePtr finish(NodePtr node) const {
    int depth = 0;
    each_child(*node, [&](const Node& child) { depth = std::max(depth, child.depth); });
    node->depth = depth + 1;
    if (node->depth > kMaxDepth) wrong_at(node->line, "the template is nested too deeply");
    return node;
  }
  NodePtr binary(std::string text, NodePtr left, NodePtr right, int line) const {
    auto node = make(Kind::kBinary, line);
    node->text = std::move(text);
    node->a = std::move(left);
    node->b = std::move(right);
    return finish(std::move(node));
  }
  NodePtr unary(std::string text, NodePtr operand, int line) const {
    auto node = make(Kind::kUnary, line);
    node->text = std::move(text);
    node->a = std::move(operand);
    return finish(std::move(node));
  }

  // --- statements
  // Up to a block that starts with one of `ends`, which stays the next token; to the end without any.
  Nodes statements_until(const Words& ends) {
    Nodes body;
    NodePtr output;
    const auto flush = [&] {
      if (output) body.push_back(finish(std::move(output)));
      output = nullptr;
    };
    const auto add_output = [&](NodePtr node) {
      if (!output) output = make(Kind::kOutput, node->line);
      output->list.push_back(std::move(node));
    };
    while (!is(TokenKind::kEnd)) {
      if (is(TokenKind::kData)) {
        auto data = make(Kind::kData, now().line);
        data->text = take().text;
        add_output(finish(std::move(data)));
      } else if (is(TokenKind::kVariableBegin)) {
        take();
        add_output(tuple(true, {}, false));
        expect(TokenKind::kVariableEnd, "'}}'");
      } else {
        flush();
        expect(TokenKind::kBlockBegin, "a tag");
        if (any_word(ends)) return body;
        body.push_back(statement());
        expect(TokenKind::kBlockEnd, "'%}'");
      }
    }
    flush();
    if (!ends.empty()) {
      std::string list;
      for (const auto end : ends) list += (list.empty() ? "'" : " or '") + std::string(end) + "'";
      wrong("unexpected end of template, expected ", list);
    }
    return body;
  }

  // The rest of a tag, then statements up to one of `ends`.
  Nodes block(const Words& ends) {
    skip_op(":");
    expect(TokenKind::kBlockEnd, "'%}'");
    return statements_until(ends);
  }

  NodePtr statement() {
    const Deeper deeper(*this);
    if (!is(TokenKind::kName)) wrong("tag name expected");
    const int line = now().line;
    const std::string tag = now().text;
    take();
    if (tag == "for") return for_statement(line);
    if (tag == "if") return if_statement(line);
    if (tag == "set") return set_statement(line);
    if (tag == "macro") return macro(line);
    if (tag == "call") return call_block(line);
    if (tag == "generation") {
      auto node = make(Kind::kGeneration, line);
      node->third = block({"endgeneration"});
      take();
      return finish(std::move(node));
    }
    if (tag == "filter") {
      auto node = make(Kind::kFilterBlock, line);
      node->a = filters(nullptr, true);
      node->list = block({"endfilter"});
      take();
      return finish(std::move(node));
    }
    if (tag == "with") return with_statement(line);
    if (tag == "print") {
      auto node = make(Kind::kOutput, line);
      while (!is(TokenKind::kBlockEnd)) {
        if (!node->list.empty()) expect_op(",");
        node->list.push_back(expression());
      }
      return finish(std::move(node));
    }
    if (tag == "block") return block_statement(line);
    if (tag == "autoescape") {
      auto node = make(Kind::kAutoescape, line);
      node->a = expression();
      node->list = block({"endautoescape"});
      take();
      return finish(std::move(node));
    }
    if (tag == "break" || tag == "continue")
      return finish(make(tag == "break" ? Kind::kBreak : Kind::kContinue, line));
    if (tag == "include" || tag == "import" || tag == "from" || tag == "extends")
      wrong_at(line, "'", tag, "' needs other templates, and a chat template stands alone");
    wrong_at(line, "encountered unknown tag '", tag, "'");
  }

  NodePtr for_statement(int line) {
    auto node = make(Kind::kFor, line);
    node->a = target({"in"}, false);
    expect_word("in");
    node->b = tuple(false, {"recursive"}, false);
    if (skip_word("if")) node->c = expression();
    node->flag = skip_word("recursive");
    node->list = block({"endfor", "else"});
    if (take().text == "else") {
      node->second = block({"endfor"});
      take();
    }
    return finish(std::move(node));
  }

  NodePtr if_statement(int line) {
    auto root = make(Kind::kIf, line);
    Node* node = root.get();
    while (true) {
      node->a = tuple(false, {}, false);
      node->list = block({"elif", "else", "endif"});
      const std::string next = take().text;
      if (next == "elif") {
        if (node != root.get()) root->second.back() = finish(std::move(root->second.back()));
        root->second.push_back(make(Kind::kIf, now().line));
        node = root->second.back().get();
        continue;
      }
      if (next == "else") {
        root->third = block({"endif"});
        take();
      }
      break;
    }
    if (!root->second.empty()) root->second.back() = finish(std::move(root->second.back()));
    return finish(std::move(root));
  }

  NodePtr set_statement(int line) {
    auto to = target({}, true);
    if (skip_op("=")) {
      auto node = make(Kind::kAssign, line);
      node->a = std::move(to);
      node->b = tuple(true, {}, false);
      return finish(std::move(node));
    }
    auto node = make(Kind::kAssignBlock, line);
    node->a = std::move(to);
    if (op("|")) node->b = filters(nullptr, false);
    node->list = block({"endset"});
    take();
    return finish(std::move(node));
  }

  NodePtr parameter_name() {
    auto name = make(Kind::kName, now().line);
    name->text = expect_name();
    name->use = NameUse::kParameter;
    check_assignable(*name);
    return finish(std::move(name));
  }

  void signature(Node& node) {
    expect_op("(");
    while (!op(")")) {
      if (!node.list.empty()) expect_op(",");
      node.list.push_back(parameter_name());
      if (skip_op("="))
        node.second.push_back(expression());
      else if (!node.second.empty())
        wrong("non-default argument follows default argument");
    }
    expect_op(")");
  }

  NodePtr macro(int line) {
    auto node = make(Kind::kMacro, line);
    node->text = expect_name();
    signature(*node);
    node->third = block({"endmacro"});
    take();
    return finish(std::move(node));
  }

  NodePtr call_block(int line) {
    auto node = make(Kind::kCallBlock, line);
    if (op("(")) signature(*node);
    node->a = expression();
    if (node->a->kind != Kind::kCall) wrong_at(line, "expected call");
    node->third = block({"endcall"});
    take();
    return finish(std::move(node));
  }

  NodePtr with_statement(int line) {
    auto node = make(Kind::kWith, line);
    while (!is(TokenKind::kBlockEnd)) {
      if (!node->list.empty()) expect_op(",");
      node->list.push_back(target({}, false));
      set_use(*node->list.back(), NameUse::kParameter);
      expect_op("=");
      node->second.push_back(expression());
    }
    node->third = block({"endwith"});
    take();
    return finish(std::move(node));
  }

  NodePtr block_statement(int line) {
    auto node = make(Kind::kBlock, line);
    node->text = expect_name();
    node->flag = skip_word("scoped");
    if (word("required")) wrong("a required block needs a template that extends this one");
    if (op("-")) wrong("block names may not contain hyphens");
    node->list = block({"endblock"});
    take();
    skip_word(node->text);
    return finish(std::move(node));
  }

  // --- targets
  static void set_use(Node& node, NameUse use) {
    node.use = use;
    for (const NodePtr& child : node.list) set_use(*child, use);
  }
  void check_assignable(const Node& node) const {
    if (node.kind == Kind::kTuple) {
      for (const NodePtr& child : node.list) check_assignable(*child);
    } else if (node.kind != Kind::kName && node.kind != Kind::kNamesRef) {
      wrong_at(node.line, "can't assign to this");
    } else if (node.kind == Kind::kName) {
      const Words constants = {"true", "false", "none", "True", "False", "None"};
      if (std::find(constants.begin(), constants.end(), node.text) != constants.end())
        wrong_at(node.line, "can't assign to '", node.text, "'");
    }
  }
  NodePtr target(const Words& ends, bool with_namespace) {
    NodePtr node = tuple(true, ends, false, true, with_namespace);
    set_use(*node, NameUse::kStore);
    check_assignable(*node);
    return node;
  }

  // --- expressions
  bool tuple_ends(const Words& ends) const {
    return is(TokenKind::kVariableEnd) || is(TokenKind::kBlockEnd) || op(")") || any_word(ends);
  }
  // One expression, or several with commas. `simple`: only names and literals (targets).
  NodePtr tuple(bool conditions, const Words& ends, bool parentheses, bool simple = false,
                bool with_namespace = false) {
    int line = now().line;
    Nodes items;
    bool is_tuple = false;
    while (true) {
      if (!items.empty()) expect_op(",");
      if (tuple_ends(ends)) break;
      items.push_back(simple ? primary(with_namespace) : expression(conditions));
      if (!op(",")) break;
      is_tuple = true;
      line = now().line;
    }
    if (!is_tuple) {
      if (!items.empty()) return std::move(items[0]);
      if (!parentheses) wrong("expected an expression, got '", shown(now()), "'");
    }
    auto node = make(Kind::kTuple, line);
    node->list = std::move(items);
    return finish(std::move(node));
  }

  NodePtr expression(bool conditions = true) {
    const Deeper deeper(*this);
    if (!conditions) return logical_or();
    int line = now().line;
    NodePtr value = logical_or();
    while (skip_word("if")) {
      auto node = make(Kind::kCondition, line);
      node->a = logical_or();
      node->b = std::move(value);
      if (skip_word("else")) node->c = expression();
      value = finish(std::move(node));
      line = now().line;
    }
    return value;
  }

  NodePtr logical_or() {
    const int line = now().line;
    NodePtr left = logical_and();
    while (skip_word("or")) left = binary("or", std::move(left), logical_and(), line);
    return left;
  }
  NodePtr logical_and() {
    const int line = now().line;
    NodePtr left = logical_not();
    while (skip_word("and")) left = binary("and", std::move(left), logical_not(), line);
    return left;
  }
  NodePtr logical_not() {
    const Deeper deeper(*this);
    const int line = now().line;
    if (skip_word("not")) return unary("not", logical_not(), line);
    return comparison();
  }
  NodePtr comparison() {
    const int line = now().line;
    NodePtr left = sum();
    auto node = make(Kind::kCompare, line);
    while (true) {
      std::string name;
      if (is(TokenKind::kOperator) && (op("==") || op("!=") || op("<") || op("<=") || op(">") || op(">="))) {
        name = take().text;
      } else if (skip_word("in")) {
        name = "in";
      } else if (word("not") && is_word(later(), "in")) {
        take(), take();
        name = "not in";
      } else {
        break;
      }
      node->names.push_back(name);
      node->list.push_back(sum());
    }
    if (node->list.empty()) return left;
    node->a = std::move(left);
    return finish(std::move(node));
  }
  NodePtr sum() {
    const int line = now().line;
    NodePtr left = concatenation();
    while (op("+") || op("-")) {
      std::string name = take().text;
      left = binary(std::move(name), std::move(left), concatenation(), line);
    }
    return left;
  }
  NodePtr concatenation() {
    const int line = now().line;
    NodePtr first = product();
    if (!op("~")) return first;
    auto node = make(Kind::kConcat, line);
    node->list.push_back(std::move(first));
    while (skip_op("~")) node->list.push_back(product());
    return finish(std::move(node));
  }
  NodePtr product() {
    const int line = now().line;
    NodePtr left = power();
    while (op("*") || op("/") || op("//") || op("%")) {
      std::string name = take().text;
      left = binary(std::move(name), std::move(left), power(), line);
    }
    return left;
  }
  NodePtr power() {
    const int line = now().line;
    NodePtr left = signed_value(true);
    while (skip_op("**")) left = binary("**", std::move(left), signed_value(true), line);
    return left;
  }
  NodePtr signed_value(bool with_filter) {
    const Deeper deeper(*this);
    const int line = now().line;
    NodePtr node;
    if (op("-") || op("+")) {
      std::string name = take().text;
      node = unary(std::move(name), signed_value(false), line);
    } else {
      node = primary(false);
    }
    node = postfix(std::move(node));
    return with_filter ? filters_and_tests(std::move(node)) : std::move(node);
  }

  NodePtr primary(bool with_namespace) {
    const Token& token = now();
    const int line = token.line;
    NodePtr node;
    switch (token.kind) {
      case TokenKind::kName: {
        const std::string name = take().text;
        if (name == "true" || name == "True" || name == "false" || name == "False") {
          node = make(Kind::kBool, line);
          node->flag = name == "true" || name == "True";
        } else if (name == "none" || name == "None") {
          node = make(Kind::kNone, line);
        } else if (with_namespace && skip_op(".")) {
          node = make(Kind::kNamesRef, line);
          node->text = name;
          node->attribute = expect_name();
        } else {
          node = make(Kind::kName, line);
          node->text = name;
        }
        break;
      }
      case TokenKind::kString:
        node = make(Kind::kText, line);
        while (is(TokenKind::kString)) node->text += take().text;
        break;
      case TokenKind::kInteger:
      case TokenKind::kFloat:
        node = make(token.kind == TokenKind::kInteger ? Kind::kInteger : Kind::kFloat, line);
        node->text = take().text;
        break;
      default:
        if (skip_op("(")) {
          node = tuple(true, {}, true);
          expect_op(")");
          return node;
        }
        if (skip_op("[")) {
          node = make(Kind::kList, line);
          while (!op("]")) {
            if (!node->list.empty()) expect_op(",");
            if (op("]")) break;
            node->list.push_back(expression());
          }
          expect_op("]");
        } else if (skip_op("{")) {
          node = make(Kind::kDict, line);
          while (!op("}")) {
            if (!node->list.empty()) expect_op(",");
            if (op("}")) break;
            node->list.push_back(expression());
            expect_op(":");
            node->second.push_back(expression());
          }
          expect_op("}");
        } else {
          wrong("unexpected '", shown(token), "'");
        }
    }
    return finish(std::move(node));
  }

  NodePtr postfix(NodePtr node) {
    while (true) {
      if (op(".") || op("["))
        node = subscript(std::move(node));
      else if (op("("))
        node = call(std::move(node));
      else
        return node;
    }
  }
  NodePtr filters_and_tests(NodePtr node) {
    while (true) {
      if (op("|"))
        node = filters(std::move(node), false);
      else if (word("is"))
        node = test(std::move(node));
      else if (op("("))
        node = call(std::move(node));
      else
        return node;
    }
  }

  NodePtr subscript(NodePtr object) {
    const int line = now().line;
    if (skip_op(".")) {
      if (is(TokenKind::kName)) {
        auto node = make(Kind::kAttribute, line);
        node->text = take().text;
        node->a = std::move(object);
        return finish(std::move(node));
      }
      if (!is(TokenKind::kInteger)) wrong("expected name or number");
      auto node = make(Kind::kItem, line);
      node->b = primary(false);
      node->a = std::move(object);
      return finish(std::move(node));
    }
    expect_op("[");
    Nodes items;
    while (!op("]")) {
      if (!items.empty()) expect_op(",");
      items.push_back(subscribed());
    }
    expect_op("]");
    auto node = make(Kind::kItem, line);
    node->a = std::move(object);
    if (items.size() == 1) {
      node->b = std::move(items[0]);
    } else {
      auto key = make(Kind::kTuple, line);
      key->list = std::move(items);
      node->b = finish(std::move(key));
    }
    return finish(std::move(node));
  }
  NodePtr subscribed() {
    const int line = now().line;
    NodePtr start;
    if (!op(":")) {
      start = expression();
      if (!op(":")) return start;
    }
    take();
    auto node = make(Kind::kSlice, line);
    node->a = std::move(start);
    if (!op(":") && !op("]") && !op(",")) node->b = expression();
    if (skip_op(":") && !op("]") && !op(",")) node->c = expression();
    return finish(std::move(node));
  }

  // (a, k=v, *b, **c)
  void arguments(Node& node) {
    const int line = now().line;
    expect_op("(");
    const auto ensure = [&](bool ok) {
      if (!ok) wrong_at(line, "invalid syntax for function call expression");
    };
    for (bool first = true; !op(")"); first = false) {
      if (!first) {
        expect_op(",");
        if (op(")")) break;
      }
      if (skip_op("*")) {
        ensure(!node.b && !node.c);
        node.b = expression();
      } else if (skip_op("**")) {
        ensure(!node.c);
        node.c = expression();
      } else if (is(TokenKind::kName) && is_op(later(), "=")) {
        ensure(!node.c);
        node.names.push_back(take().text);
        take();
        if (std::find(node.names.begin(), node.names.end() - 1, node.names.back()) != node.names.end() - 1)
          wrong_at(line, "keyword argument repeated: ", node.names.back());
        node.second.push_back(expression());
      } else {
        ensure(!node.b && !node.c && node.second.empty());
        node.list.push_back(expression());
      }
    }
    expect_op(")");
  }
  NodePtr call(NodePtr callee) {
    auto node = make(Kind::kCall, now().line);
    node->a = std::move(callee);
    arguments(*node);
    return finish(std::move(node));
  }
  std::string dotted_name() {
    std::string name = expect_name();
    while (skip_op(".")) name += "." + expect_name();
    return name;
  }
  NodePtr filters(NodePtr value, bool first_is_bare) {
    while (first_is_bare || op("|")) {
      if (!first_is_bare) take();
      first_is_bare = false;
      auto node = make(Kind::kFilter, now().line);
      node->text = dotted_name();
      node->a = std::move(value);
      if (op("(")) arguments(*node);
      value = finish(std::move(node));
    }
    return value;
  }
  NodePtr test(NodePtr value) {
    const int line = now().line;
    take();
    const bool negated = skip_word("not");
    auto node = make(Kind::kTest, line);
    node->text = dotted_name();
    node->a = std::move(value);
    const bool argument = is(TokenKind::kName) || is(TokenKind::kString) || is(TokenKind::kInteger) ||
                          is(TokenKind::kFloat) || op("[") || op("{");
    if (op("(")) {
      arguments(*node);
    } else if (argument && !any_word({"else", "or", "and"})) {
      if (word("is")) wrong("You cannot chain multiple tests with is");
      node->list.push_back(postfix(primary(false)));
    }
    NodePtr result = finish(std::move(node));
    return negated ? unary("not", std::move(result), line) : std::move(result);
  }

  std::vector<Token> tokens_;
  size_t at_ = 0;
  int depth_ = 0;
};

}  // namespace

NodePtr parse_template(std::string_view source) { return Parser(tokenize_template(source)).parse(); }

}  // namespace decant::jinja
