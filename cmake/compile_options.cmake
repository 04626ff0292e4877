# One interface target holds what every file of decant is compiled with; no global flags.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()

find_program(DECANT_CCACHE ccache)
if(DECANT_CCACHE)
  # The precompiled header needs the sloppiness; the base directory lets two checkouts share results.
  set(CMAKE_CXX_COMPILER_LAUNCHER
      ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime
      CCACHE_BASEDIR=${PROJECT_SOURCE_DIR} CCACHE_NOHASHDIR=1 ${DECANT_CCACHE})
endif()

add_library(decant_options INTERFACE)
target_include_directories(decant_options INTERFACE "${PROJECT_SOURCE_DIR}")
target_compile_options(decant_options INTERFACE -Wall -Wextra -Wpedantic -Wno-missing-field-initializers)
target_compile_definitions(decant_options INTERFACE DECANT_VERSION="${PROJECT_VERSION}")
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  target_compile_options(decant_options INTERFACE -fpch-preprocess)
endif()
if(DECANT_WERROR)
  target_compile_options(decant_options INTERFACE -Werror)
endif()
if(DECANT_SANITIZE)
  target_compile_options(decant_options INTERFACE -fsanitize=${DECANT_SANITIZE} -fno-omit-frame-pointer -O1)
  target_link_options(decant_options INTERFACE -fsanitize=${DECANT_SANITIZE})
endif()
