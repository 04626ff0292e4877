// report.html of a corpus: the contract, distributions as plots, counts, and sampled documents with their
// tokens coloured by loss weight. One file without references, the same bytes for the same corpus.
#pragma once

#include <string>

#include "core/json.h"
#include "data_pipeline/corpus_documents.h"
#include "data_pipeline/tokenizer.h"

namespace decant {

std::string corpus_report(const std::string& title, const Json& counts, const Json& contract,
                          const CorpusDocuments& documents, const Tokenizer& tokenizer);

}  // namespace decant
