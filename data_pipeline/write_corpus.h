// The third pass of the corpus step: conversations, shards, lists and ledger, from store and decisions.
#pragma once

#include <filesystem>
#include <string>

#include "core/json.h"
#include "data_pipeline/corpus_documents.h"
#include "data_pipeline/corpus_store.h"
#include "data_pipeline/decisions.h"
#include "data_pipeline/shard.h"

namespace decant {

// quarantine.jsonl, duplicates.jsonl, dropped.jsonl, canned_replies.jsonl and ledger.sqlite.
void write_lists(const CorpusDocuments& documents, int64_t sequence_length,
                 const std::filesystem::path& folder);

// conversations/{train,held_out}/<tenant>.jsonl and shards/{train,held_out}/<tenant>/, tenant by tenant;
// those whose documents are what sides.json says of them are kept as they are, so that a killed run goes on
// and an erasure packs only the tenants that it touched. Returns the counts (prepare.h).
Json write_sides(const CorpusDocuments& documents, const ShardHeader& header,
                 const std::filesystem::path& folder);

const char* side_name(bool held_out);

}  // namespace decant
