// The recipes that are compiled into the program (made by CMake from recipes/*/*.yaml).
#pragma once

#include <string>
#include <vector>

namespace decant {

struct BuiltInRecipe {
  std::string name;  // "quickstart/monthly"
  std::string text;
};
const std::vector<BuiltInRecipe>& built_in_recipes();

// Every key of a section ("lora"), of a dotted part of it ("lora.train"), or of all ("").
std::string help_text(const std::string& section);

}  // namespace decant
