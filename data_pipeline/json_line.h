// One JSON object on a line, written member by member, without a tree: what nlohmann's dump() writes of the
// same members in the same order.
#pragma once

#include <concepts>
#include <string>
#include <string_view>

#include "core/json.h"
#include "data_pipeline/json_tree.h"

namespace decant {

class JsonLine {
 public:
  explicit JsonLine(std::string& out) : out_(out) { out_ += '{'; }

  // Keys are plain words. Strings are well-formed UTF-8.
  JsonLine& text(std::string_view key, std::string_view value) {
    append_json_string(member(key), value);
    return *this;
  }
  JsonLine& number(std::string_view key, std::integral auto value) {
    member(key) += std::to_string(value);
    return *this;
  }
  JsonLine& tree(std::string_view key, const Json& value) { return written(key, value.dump()); }
  // A value that is JSON as it stands.
  JsonLine& written(std::string_view key, std::string_view json) {
    member(key) += json;
    return *this;
  }
  // Begins a member whose value the caller appends to what is returned.
  std::string& member(std::string_view key) {
    if (!first_) out_ += ',';
    first_ = false;
    ((out_ += '"') += key) += "\":";
    return out_;
  }
  void end() { out_ += '}'; }

 private:
  std::string& out_;
  bool first_ = true;
};

}  // namespace decant
