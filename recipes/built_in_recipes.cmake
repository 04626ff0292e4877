# Compiles every recipe into the program: one raw string each.
file(GLOB recipe_files CONFIGURE_DEPENDS RELATIVE "${CMAKE_CURRENT_SOURCE_DIR}" "${CMAKE_CURRENT_SOURCE_DIR}/*/*.yaml")
list(SORT recipe_files)
set(recipe_entries "")
foreach(file IN LISTS recipe_files)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/${file}")
  file(READ "${CMAKE_CURRENT_SOURCE_DIR}/${file}" text)
  string(REGEX REPLACE "\\.yaml$" "" name "${file}")
  string(APPEND recipe_entries "      {\"${name}\", R\"recipe(${text})recipe\"},\n")
endforeach()
file(CONFIGURE OUTPUT "${CMAKE_CURRENT_BINARY_DIR}/built_in_recipes.cpp" @ONLY CONTENT
"#include \"recipes/built_in.h\"

namespace decant {

const std::vector<BuiltInRecipe>& built_in_recipes() {
  static const std::vector<BuiltInRecipe> recipes = {
@recipe_entries@  };
  return recipes;
}

}  // namespace decant
")
