// Teacher answers on disk, one JSON object a line, never paid for twice: each is kept under a key of prompt
// ids, sampling and model digest; a torn last line (kill) is cut off on opening; finish() rewrites the file
// in request order, so its bytes do not depend on kills.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"

namespace decant {

class GenerationStore {
 public:
  // Reads what is there. Error for a line, other than a torn last one, that is not a record, or a key that
  // stands twice.
  explicit GenerationStore(const std::filesystem::path& journal);
  ~GenerationStore();
  GenerationStore(const GenerationStore&) = delete;
  GenerationStore& operator=(const GenerationStore&) = delete;
  const Json* find(const std::string& key) const;
  // Appended and fsynced: {"key": key, "record": record}. Error when the key is there already.
  void add(const std::string& key, const Json& record);
  // Rewrites the file, atomically: the given keys in their order (each once, all must be there), then what
  // else was paid for, by key.
  void finish(const std::vector<std::string>& keys);
  size_t size() const { return records_.size(); }

 private:
  void open_journal();
  std::filesystem::path path_;
  std::map<std::string, Json> records_;
  int descriptor_ = -1;
};

}  // namespace decant
