// Conformance data that is not ours to copy lies in a folder beside the checkout (DECANT_SHARED, default
// ../shared); tests that need it skip, visibly, when it is not there.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>

namespace decant::test {

inline std::filesystem::path shared_folder() {
  const char* given = std::getenv("DECANT_SHARED");
  return given != nullptr ? std::filesystem::path(given) : std::filesystem::path("../shared");
}

// A folder of this test's own, empty at the start.
inline std::filesystem::path scratch_folder() {
  const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
  std::string name = std::string(info->test_suite_name()) + "." + info->name();
  for (char& c : name)
    if (c == '/') c = '_';
  const auto path =
      std::filesystem::temp_directory_path() / ("decant-test-" + std::to_string(::getpid())) / name;
  std::filesystem::remove_all(path);
  std::filesystem::create_directories(path);
  return path;
}

}  // namespace decant::test

#define DECANT_NEEDS_SHARED(relative)                                            \
  if (!std::filesystem::exists(decant::test::shared_folder() / (relative)))      \
  GTEST_SKIP() << "no " << (decant::test::shared_folder() / (relative)).string() \
               << " (set DECANT_SHARED to the folder of conformance data)"
