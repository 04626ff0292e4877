// Template text to tokens, as jinja2 does it with trim_blocks and lstrip_blocks.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace decant::jinja {

enum class TokenKind : uint8_t {
  kData,
  kBlockBegin,
  kBlockEnd,
  kVariableBegin,
  kVariableEnd,
  kName,
  kString,
  kInteger,
  kFloat,
  kOperator,
  kEnd,
};

struct Token {
  TokenKind kind;
  int line;
  std::string text;  // of data, a name, a string (unescaped), a number (digits without '_') or an operator
};

// Errors say "line N: ...".
std::vector<Token> tokenize_template(std::string_view source);

}  // namespace decant::jinja
