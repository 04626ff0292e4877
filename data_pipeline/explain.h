// The body of `decant inspect CORPUS --why ID`.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace decant {

// What became of the documents with this id, of any tenant: a line with place and fate, then one for each
// entry of the ledger. `corpus` is a folder of finish_corpus with its store in `store` below it. Error when
// no document has the id.
std::vector<std::string> explain_document(const std::filesystem::path& corpus, const std::string& id);

}  // namespace decant
