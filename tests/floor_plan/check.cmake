# The floor plan holds: a module that includes a folder it does not use stops the configure step and is told where; the same module
# configures once it says that it uses the folder.
#   cmake -DSOURCE=<repository> -DSCRATCH=<folder> -P check.cmake
file(REMOVE_RECURSE "${SCRATCH}")
file(WRITE "${SCRATCH}/train/train.h" "#pragma once\n#include \"core/error.h\"\n  #include \"lora/lora.h\"\n")

function(configure uses result output)
  file(WRITE "${SCRATCH}/CMakeLists.txt" "cmake_minimum_required(VERSION 3.25)\nproject(plan LANGUAGES NONE)\n"
    "include(${SOURCE}/cmake/decant_module.cmake)\nadd_subdirectory(train)\n")
  file(WRITE "${SCRATCH}/train/CMakeLists.txt" "decant_check_floor_plan(train ${uses})\n")
  execute_process(COMMAND "${CMAKE_COMMAND}" -S "${SCRATCH}" -B "${SCRATCH}/build"
    RESULT_VARIABLE status OUTPUT_VARIABLE text ERROR_VARIABLE text)
  set(${result} ${status} PARENT_SCOPE)
  set(${output} "${text}" PARENT_SCOPE)
endfunction()

configure("core" status text)
if(status EQUAL 0)
  message(FATAL_ERROR "a sibling was included and nothing stopped it")
endif()
if(NOT text MATCHES "train/train.h: 'train' does not use 'lora'")
  message(FATAL_ERROR "the message does not name file and folder:\n${text}")
endif()
configure("core lora" status text)
if(NOT status EQUAL 0)
  message(FATAL_ERROR "an allowed include was refused:\n${text}")
endif()
