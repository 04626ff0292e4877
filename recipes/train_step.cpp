// The steps that train: full fine-tune and adapters, both through train().
#include <algorithm>

#include "core/adapter_file.h"
#include "core/error.h"
#include "core/file.h"
#include "core/log.h"
#include "lora/attach.h"
#include "recipes/import_model.h"
#include "recipes/open_model.h"
#include "recipes/training.h"

namespace decant {

namespace fs = std::filesystem;

std::vector<Conversation> read_conversations(const fs::path& file) {
  std::vector<Conversation> conversations;
  if (!fs::exists(file)) return conversations;
  const std::string text = read_file(file);
  int64_t line = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string where = concat(file.string(), ":", ++line);
    if (end > begin) {
      try {
        conversations.push_back(
            parse_conversation(parse_json(std::string_view(text).substr(begin, end - begin), where)));
      } catch (const Error& e) {
        fail(std::string(e.what()).starts_with(where) ? "" : where + ": ", e.what());
      }
    }
    begin = end + 1;
  }
  return conversations;
}

std::string utf8_text(const std::string& text) {
  const std::string json = Json(text).dump(-1, ' ', false, Json::error_handler_t::replace);
  return parse_json(json, "text").get<std::string>();
}

std::vector<ShardDocument> shard_documents(const fs::path& folder) {
  const ShardReader reader(folder);
  std::vector<ShardDocument> documents;
  for (int64_t i = 0; i < reader.rows(); ++i)
    for (auto& document : reader.row(i)) documents.push_back(std::move(document));
  return documents;
}

Json write_rows(const Chain& chain, std::vector<ShardDocument> documents, bool with_corpus,
                const fs::path& folder) {
  if (with_corpus)
    for (const auto& tenant : chain.tenants())
      for (auto& document : shard_documents(chain.shards("train", tenant)))
        documents.push_back(std::move(document));
  const ShardHeader header = ShardReader(chain.shards("train", chain.tenants().front())).header();
  int64_t tokens = 0;
  for (const auto& document : documents) tokens += static_cast<int64_t>(document.tokens.size());
  write_shards(folder, header, documents);
  Json figures;
  figures["documents"] = documents.size();
  figures["tokens"] = tokens;
  return figures;
}

Json training_figures(const TrainResult& result, const fs::path& folder) {
  Json speed;
  speed["tokens_per_second"] = result.tokens_per_second;
  write_json(folder / "speed.json", speed);
  Json figures;
  figures["steps"] = result.steps;
  figures["tokens"] = result.tokens;
  figures["first_loss"] = result.first_loss;
  figures["last_loss"] = result.last_loss;
  return figures;
}

uint64_t model_bytes(int64_t parameters) { return 2 * static_cast<uint64_t>(parameters) + (1 << 22); }
uint64_t checkpoint_bytes(int64_t trainable) { return 24 * static_cast<uint64_t>(trainable) + (1 << 22); }

void train_steps(Chain& chain) {
  const TrainSection& section = *chain.recipe.train;
  const StepKey rows{"train/rows", 1, "", {{"corpus", chain.digest_of_step("corpus")}}};
  chain.step("train", rows, 0,
             [&](const fs::path& folder) { return write_rows(chain, {}, true, folder / "rows"); });

  const fs::path start = chain.model_of(section.model);
  StepKey key{"train/model", 1, config_key(section) + chain.precision(), {}};
  key.inputs = {{"rows", chain.digest_of_step("train/rows")}, {"model", chain.digest_of(section.model)}};
  const int64_t parameters = read_model_config(start).parameters();
  chain.step(
      "train", key, model_bytes(parameters) + checkpoint_bytes(parameters), [&](const fs::path& folder) {
        Decoder model = load_model(start, chain.dtype);
        make_trainable(model);
        const auto batches = open_batches(chain.run.step_path("train/rows") / "rows", section.train.batch,
                                          chain.tokenizer_sha256(), chain.template_sha256());
        const TrainResult result =
            train(model, model.trainable_parameters(), batches, next_token_loss, section.train, folder);
        save_model(model, folder / "model", chain.dtype);
        copy_tokenizer_files(start, folder / "model");
        return training_figures(result, folder);
      });
}

void lora_steps(Chain& chain) {
  const LoraSection& section = *chain.recipe.lora;
  const fs::path base = chain.model_of(section.model);
  const std::string base_digest = chain.digest_of(section.model);
  const ModelConfig config = read_model_config(base);
  for (const auto& tenant : section.tenants) {
    // A tenant's adapter depends on its own rows and on nobody else's.
    StepKey key{
        "lora/" + tenant, 1, config_key(section.lora) + config_key(section.train) + chain.precision(), {}};
    key.inputs = {{"rows", digest_path(chain.shards("train", tenant))}, {"model", base_digest}};
    chain.step(
        "lora", key, checkpoint_bytes(lora_parameters(config, section.lora)), [&](const fs::path& folder) {
          Decoder model = load_model(base, chain.dtype);
          attach_lora(model, section.lora);
          const auto batches = open_batches(chain.shards("train", tenant), section.train.batch,
                                            chain.tokenizer_sha256(), chain.template_sha256());
          const TrainResult result =
              train(model, model.adapter_parameters(), batches, next_token_loss, section.train, folder);
          write_adapter(folder / "adapter", collect_adapter(model, section.lora, base.string(),
                                                            weights_sha256(base), result.masters));
          Json figures = training_figures(result, folder);
          figures["tenant"] = tenant;
          return figures;
        });
  }
}

}  // namespace decant
