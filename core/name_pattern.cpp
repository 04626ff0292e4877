#include "core/name_pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <memory>

#include "core/error.h"

namespace decant {

bool matches_whole(const std::string& pattern, const std::string& name, const std::string& where) {
  int code = 0;
  PCRE2_SIZE offset = 0;
  const std::unique_ptr<pcre2_code, decltype(&pcre2_code_free)> compiled(
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                    PCRE2_ANCHORED | PCRE2_ENDANCHORED, &code, &offset, nullptr),
      pcre2_code_free);
  check(compiled != nullptr, where, ": '", pattern, "' is not a regular expression (at ", offset, ")");
  const std::unique_ptr<pcre2_match_data, decltype(&pcre2_match_data_free)> data(
      pcre2_match_data_create_from_pattern(compiled.get(), nullptr), pcre2_match_data_free);
  const std::unique_ptr<pcre2_match_context, decltype(&pcre2_match_context_free)> limits(
      pcre2_match_context_create(nullptr), pcre2_match_context_free);
  pcre2_set_match_limit(limits.get(), 100'000);
  pcre2_set_heap_limit(limits.get(), 4096);
  const int result = pcre2_match(compiled.get(), reinterpret_cast<PCRE2_SPTR>(name.data()), name.size(), 0, 0,
                                 data.get(), limits.get());
  check(result >= 0 || result == PCRE2_ERROR_NOMATCH, where, ": matching '", pattern,
        "' takes too much work");
  return result >= 0;
}

bool matches_suffix(const std::string& target, const std::string& name) {
  return name == target || name.ends_with("." + target);
}

}  // namespace decant
