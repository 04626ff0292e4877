// A config struct read from the text that a recipe holds, for tests of configs.
#pragma once

#include <string>

#include "core/config.h"

namespace decant::test {

template <class T>
T read_config_text(const std::string& yaml) {
  return read_config<T>(parse_settings(yaml, "x.yaml"), "");
}

}  // namespace decant::test
