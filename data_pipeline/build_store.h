// The first pass of the corpus step: inputs to store, in blocks, whatever their size in flat memory.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "data_pipeline/chat_template.h"
#include "data_pipeline/corpus_config.h"
#include "data_pipeline/erasure.h"
#include "data_pipeline/tokenizer.h"

namespace decant {

// The secret of the surrogates and of customer tags: from the environment, or a public one.
std::string corpus_secret(const CorpusConfig& config);

// A digest that tells one secret from another and does not give it away.
std::string surrogates_sha256(const CorpusConfig& config);

// How much is worked on together. Part of the store's key, but the corpus does not depend on it.
struct StoreLimits {
  uint64_t chunk_bytes = uint64_t{256} << 10;  // of input, by one thread
  uint64_t block_bytes = uint64_t{8} << 20;    // of input, between two points that a killed pass returns to
};

// What a corpus is made of besides its settings.
struct CorpusJob {
  std::vector<InputFile> files;       // plain files: read twice, for their digests and their records
  std::string period;                 // of records without one
  std::filesystem::path base_folder;  // that other paths of the settings are relative to
  const Tokenizer* tokenizer = nullptr;
  const ChatTemplate* chat_template = nullptr;
  StoreLimits limits;
  Erasure erasure;  // what must not be in the corpus, though the files have it
};

// Reads, checks, normalises, replaces PII, renders and tokenizes every record into `folder` (corpus_store.h).
// Nothing to do when the store there has the same key: digests of the inputs, settings that the store depends
// on, period, tokenizer, template, key of the surrogates. Another key's store is removed; a killed pass goes
// on after its last whole block; a larger erasure is applied to the blocks that it touches, without reading
// the inputs again. The bytes depend neither on threads nor on kills. Error when there is no
// record. Returns the key.
std::string build_store(const CorpusConfig& config, const CorpusJob& job,
                        const std::filesystem::path& folder);

}  // namespace decant
