// What the steps that train have in common.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "core/adapter_file.h"
#include "core/json.h"
#include "data_pipeline/conversation.h"
#include "data_pipeline/shard.h"
#include "recipes/chain.h"
#include "train/preference.h"

namespace decant {

// The lines of a conversations/<split>/<tenant>.jsonl that the corpus step wrote; empty when it wrote none.
std::vector<Conversation> read_conversations(const std::filesystem::path& file);

// Every document of a folder of shards, in order.
std::vector<ShardDocument> shard_documents(const std::filesystem::path& folder);

// Packs the corpus's training documents of all tenants, and `more` before them, into one folder of rows.
Json write_rows(const Chain& chain, std::vector<ShardDocument> more, bool with_corpus,
                const std::filesystem::path& folder);

// What a training's objective does with the answers of its rows.
Answers answers_of(const TrainConfig& config);

// The adapters of these tenants (adapter_jobs), the ids of their trainable tokens looked up.
std::vector<AdapterJob> adapters_of(const Chain& chain, const std::vector<std::string>& tenants);
// How an adapter is trained: the job's settings, with LoRA+'s group of parameters.
TrainConfig training_of(const AdapterJob& job);
// The adapter that the job goes on from (lora.start); absent: it begins anew. Error when that is of another
// base.
std::optional<Adapter> read_start(const AdapterJob& job, const Chain& chain, const std::string& base_sha256);

// Text of a model, with U+FFFD for bytes that are not UTF-8: a token may hold half a character.
std::string utf8_text(const std::string& text);

// For the manifest, without times; the speed goes to speed.json beside it, and report.html is written.
// `title`: the step's name.
Json training_figures(const TrainResult& result, const std::string& title,
                      const std::filesystem::path& folder);

// Bytes on disk of a model of `parameters` in 2 bytes each, and of a checkpoint (fp32 master and two moments,
// old and new).
uint64_t model_bytes(int64_t parameters);
uint64_t checkpoint_bytes(int64_t trainable);

}  // namespace decant
