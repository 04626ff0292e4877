#include "core/json.h"

#include <set>
#include <vector>

#include "core/error.h"
#include "core/file.h"

namespace decant {

namespace {

constexpr int kMaxDepth = 256;

}  // namespace

Json parse_json(std::string_view text, const std::string& where) {
  std::vector<std::set<std::string>> keys;
  std::string duplicate;
  const auto watch = [&](int depth, Json::parse_event_t event, Json& parsed) {
    if (depth > kMaxDepth) fail(where, ": JSON nested deeper than ", kMaxDepth, " levels");
    if (event == Json::parse_event_t::object_start) keys.emplace_back();
    if (event == Json::parse_event_t::object_end) keys.pop_back();
    if (event == Json::parse_event_t::key && !keys.back().insert(parsed.get<std::string>()).second)
      fail(where, ": the JSON key '", parsed.get<std::string>(), "' stands twice in one object");
    return true;
  };
  try {
    return Json::parse(text.begin(), text.end(), watch);
  } catch (const nlohmann::json::exception& e) {
    // nlohmann's text starts with "[json.exception.parse_error.101] "; the user needs what follows.
    const std::string what = e.what();
    const size_t end = what.find("] ");
    fail(where, ": not valid JSON: ", end == std::string::npos ? what : what.substr(end + 2));
  }
}

Json read_json(const std::filesystem::path& path) {
  return parse_json(MappedFile(path).bytes(), path.string());
}

void write_json(const std::filesystem::path& path, const Json& json) {
  write_file(path, json.dump(2) + "\n");
}

}  // namespace decant
