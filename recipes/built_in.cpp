#include "recipes/built_in.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>

#include "core/file.h"
#include "core/log.h"
#include "recipes/recipe_config.h"
#include "recipes/verbs.h"

namespace decant {

namespace {

// The first comment line of a recipe says what it is for.
std::string purpose(const std::string& text) {
  if (!text.starts_with("# ")) return "";
  return text.substr(2, text.find('\n') - 2);
}

Exit list_recipes() {
  for (const auto& recipe : built_in_recipes()) {
    std::string name = recipe.name;
    name.resize(std::max<size_t>(name.size() + 2, 24), ' ');
    print(name + purpose(recipe.text) + "\n");
  }
  return Exit::kFinished;
}

Exit copy_recipe(const std::string& name, const std::string& file) {
  std::vector<std::string> names;
  for (const auto& recipe : built_in_recipes()) {
    names.push_back(recipe.name);
    if (recipe.name != name && recipe.name + ".yaml" != name) continue;
    check(!std::filesystem::exists(file), file, ": exists already; choose another name or remove it first");
    write_file(file, recipe.text);
    log_info(
        "wrote ", file,
        "; the paths in it are relative to its folder: edit them to say where your model and corpus are");
    return Exit::kFinished;
  }
  std::string list;
  for (const auto& n : names) list += (list.empty() ? "" : ", ") + n;
  fail("no built-in recipe '", name, "'", did_you_mean("", name, names), "; there are: ", list);
}

}  // namespace

std::string help_text(const std::string& section) {
  const auto lines = config_help<Recipe>("");
  std::string out;
  for (const auto& line : lines) {
    if (!section.empty() && line.key != section && !line.key.starts_with(section + ".") &&
        !line.key.starts_with(section + "["))
      continue;
    std::string key = line.key;
    key.resize(std::max<size_t>(key.size() + 1, 44), ' ');
    const std::string value =
        line.default_value.empty() || line.default_value == "null" ? "" : " [" + line.default_value + "]";
    out += key + " " + line.help + value + "\n";
  }
  if (!out.empty()) return out;
  std::vector<std::string> known;
  for (const auto& line : lines) known.push_back(line.key);
  fail("no section or key '", section, "' in a recipe", did_you_mean("", section, known),
       "; decant help shows all");
}

void add_built_in(CLI::App& app, Action& action) {
  app.add_subcommand("ls", "list the built-in recipes")->callback([&action] { action = list_recipes; });

  auto* cp = app.add_subcommand("cp", "copy a built-in recipe to edit it");
  auto name = std::make_shared<std::string>(), file = std::make_shared<std::string>();
  cp->add_option("NAME", *name, "of the recipe, as decant ls shows it")->required();
  cp->add_option("FILE", *file, "to write")->required();
  cp->callback([&action, name, file] { action = [name, file] { return copy_recipe(*name, *file); }; });

  auto* help = app.add_subcommand("help", "every key of a recipe with its default and meaning");
  auto section = std::make_shared<std::string>();
  help->add_option("SECTION", *section, "such as lora or distill.train");
  help->callback([&action, section] {
    action = [section] {
      print(help_text(*section));
      return Exit::kFinished;
    };
  });
}

}  // namespace decant
