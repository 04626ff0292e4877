// Teacher answers on disk, one JSON object a line, never paid for twice: each is kept under a key of prompt ids, sampling and
// model digest; a torn last line (kill) is cut off on opening; the finished file is rewritten in request order, so its bytes do not depend on kills.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "core/json.h"

namespace decant {

class GenerationStore {
 public:
  explicit GenerationStore(const std::filesystem::path& journal);
  const Json* find(const std::string& key) const;
  void add(const std::string& key, const Json& record);  // appended and fsynced
  size_t size() const { return records_.size(); }

 private:
  std::filesystem::path path_;
  std::map<std::string, Json> records_;
};

}  // namespace decant
