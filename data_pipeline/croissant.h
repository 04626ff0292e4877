// Where a corpus came from and what it holds, for other programs: lineage.json, a chain of digests from the
// inputs to every output, and croissant.json, the same corpus as MLCommons Croissant 1.1 (JSON-LD).
#pragma once

#include <filesystem>
#include <string>

#include "core/json.h"
#include "data_pipeline/build_store.h"
#include "data_pipeline/corpus_store.h"
#include "data_pipeline/earlier_corpora.h"

namespace decant {

// {"tool", "period", "inputs": [{"name", "sha256", "bytes", "license"?}], "settings_sha256",
// "tokenizer_sha256", "template_sha256", "store": {"key", "blocks_sha256"}, "replayed_from"?: [{"period",
// "sha256"}], "outputs": {path: sha256}, "sha256"}: the last is that of all before it, so it names the
// corpus. Outputs are the files of conversations, shards, lists and decisions.
Json corpus_lineage(const CorpusConfig& config, const CorpusJob& job, const StoreReader& store,
                    const EarlierCorpora& earlier, const std::filesystem::path& folder);

// Files with digests, record sets of the conversations of each side with their fields, licences of the
// inputs. No time of making: the version is the period, and so is the date.
Json corpus_croissant(const CorpusJob& job, const Json& counts, const Json& lineage);

}  // namespace decant
