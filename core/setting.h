// A YAML recipe as a tree of settings, each with its place in the file. Scalars stay text until a field asks
// for a type, so that `rank: no` is an error and `name: no` the text "no". No anchors, aliases, merge keys or
// tags: one way to write a value. Duplicate keys are errors.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace decant {

struct SettingMember;

struct Setting {
  enum class Kind { kNull, kScalar, kList, kMap };
  Kind kind = Kind::kMap;
  std::string scalar;
  bool quoted = false;  // "3" and '3' are text
  std::vector<Setting> items;
  std::vector<SettingMember> members;
  std::string where;      // "monthly.yaml:12:3", or "command line: lora.rank=8"
  std::string key_where;  // of the key that leads here

  const Setting* find(std::string_view key) const;
};

struct SettingMember {
  std::string key;
  Setting value;
};

Setting read_settings(const std::filesystem::path& yaml);
Setting parse_settings(const std::string& yaml, const std::string& name);

// `key=value` with a dotted key; value is YAML (so lists are `[a, b]`), or a
// step's name (@distill). Makes the sections on the way.
void override_setting(Setting& root, const std::string& assignment);

}  // namespace decant
