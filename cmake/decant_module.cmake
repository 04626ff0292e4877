# The floor plan, made binding.
#
#   decant_module(distill USES core data_pipeline SOURCES a.cpp b.cpp TORCH_SOURCES c.cpp)
#
# makes the library decant_<name> from the current folder, links the folders it USES, and stops the configure step when one
# of its files includes a folder that it does not use. SOURCES include no torch header and are compiled without the
# precompiled one; TORCH_SOURCES share it (11-14 s a file without, about 4 s with).

# Every `#include "folder/..."` of the current folder must name the folder itself or one of ARGN.
function(decant_check_floor_plan name)
  set(allowed ${name} ${ARGN})
  file(GLOB_RECURSE files CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/*.h" "${CMAKE_CURRENT_SOURCE_DIR}/*.cpp")
  foreach(file IN LISTS files)
    file(STRINGS "${file}" includes REGEX "^[ \t]*#[ \t]*include[ \t]*\"[^\"]+/")
    foreach(line IN LISTS includes)
      string(REGEX REPLACE "^[ \t]*#[ \t]*include[ \t]*\"([^\"/]+)/([^\"]*)\".*" "\\1" folder "${line}")
      if(NOT folder IN_LIST allowed)
        file(RELATIVE_PATH shown "${PROJECT_SOURCE_DIR}" "${file}")
        string(STRIP "${line}" line)
        message(FATAL_ERROR "${shown}: '${name}' does not use '${folder}' (${line})\n"
                            "The floor plan is in the README; what two folders need belongs in core.")
      endif()
    endforeach()
  endforeach()
endfunction()

function(decant_module name)
  cmake_parse_arguments(ARG "" "" "USES;SOURCES;TORCH_SOURCES;LINKS" ${ARGN})
  decant_check_floor_plan(${name} ${ARG_USES})
  add_library(decant_${name} STATIC ${ARG_SOURCES} ${ARG_TORCH_SOURCES})
  foreach(used IN LISTS ARG_USES)
    target_link_libraries(decant_${name} PUBLIC decant_${used})
  endforeach()
  target_link_libraries(decant_${name} PUBLIC decant_options ${ARG_LINKS})
  decant_precompile(decant_${name} "${ARG_SOURCES}")
endfunction()

# Gives `target` the precompiled torch header; `plain` lists its sources that do without.
function(decant_precompile target plain)
  if(DECANT_PCH)
    target_precompile_headers(${target} REUSE_FROM decant_torch_header)
    # A program would be compiled with -fPIE, and g++ takes a precompiled header only with the -fPIC it was made with.
    get_target_property(type ${target} TYPE)
    if(type STREQUAL "EXECUTABLE")
      set_target_properties(${target} PROPERTIES POSITION_INDEPENDENT_CODE OFF)
      target_compile_options(${target} PRIVATE -fPIC)
    endif()
    if(plain)
      set_source_files_properties(${plain} PROPERTIES SKIP_PRECOMPILE_HEADERS ON)
    endif()
  endif()
endfunction()
