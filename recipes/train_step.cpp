// The full fine-tune, and what the steps that train have in common.
#include <algorithm>

#include "core/error.h"
#include "core/file.h"
#include "core/log.h"
#include "core/machine_memory.h"
#include "recipes/held_out_probe.h"
#include "recipes/import_model.h"
#include "recipes/memory.h"
#include "recipes/open_model.h"
#include "recipes/training.h"
#include "recipes/training_report.h"
#include "recipes/training_samples.h"

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

Json training_figures(const TrainResult& result, const std::string& title, const fs::path& folder) {
  Json speed;
  speed["tokens_per_second"] = result.tokens_per_second;
  speed["mfu"] = result.mfu;
  speed["product_flops_per_second"] = result.product_rate;
  speed["resident_bytes"] = resident_memory();
  write_json(folder / "speed.json", speed);
  write_training_report(title, folder);
  Json figures;
  figures["steps"] = result.steps;
  figures["tokens"] = result.tokens;
  figures["first_loss"] = result.first_loss;
  figures["last_loss"] = result.last_loss;
  return figures;
}

uint64_t model_bytes(int64_t parameters) { return 2 * static_cast<uint64_t>(parameters) + (1 << 22); }
uint64_t checkpoint_bytes(int64_t trainable) { return 24 * static_cast<uint64_t>(trainable) + (1 << 22); }

Answers answers_of(const TrainConfig& config) {
  switch (config.objective) {
    case ObjectiveKind::kSft:
      break;
    case ObjectiveKind::kDpo:
    case ObjectiveKind::kOrpo:
      return Answers::kPairs;
    case ObjectiveKind::kKto:
      return Answers::kJudged;
  }
  return Answers::kLearned;
}

void train_steps(Chain& chain) {
  TrainSection section = *chain.recipe.train;
  const StepKey rows{"train/rows", 1, "", {{"corpus", chain.digest_of_step("corpus")}}};
  chain.step("train", rows, 0,
             [&](const fs::path& folder) { return write_rows(chain, {}, true, folder / "rows"); });

  const fs::path start = chain.model_of(section.model);
  const StepPlan plan = plan_full(chain.loaded, chain.dtype, known_model(start));
  section.train = plan.config;
  StepKey key{"train/model", 1, config_key(section) + chain.precision(), {}};
  key.inputs = {{"rows", chain.digest_of_step("train/rows")}, {"model", chain.digest_of(section.model)}};
  if (section.train.probe.every > 0) key.inputs["held_out"] = chain.digest_of_step("corpus");
  const int64_t parameters = read_model_config(start).parameters();
  chain.step(
      "train", key, model_bytes(parameters) + checkpoint_bytes(parameters), [&](const fs::path& folder) {
        accept_plan(plan);
        Decoder model = load_model(start, chain.dtype);
        make_trainable(model);
        freeze_matching(model, section.freeze, chain.loaded.place("train.freeze"));
        auto batches =
            open_batches(chain.run.step_path("train/rows") / "rows", section.train.batch,
                         chain.tokenizer_sha256(), chain.template_sha256(), answers_of(section.train));
        if (section.train.objective == ObjectiveKind::kDpo)
          batches = with_references(batches, section.train,
                                    stored_reference(model, batches, folder / "reference.safetensors"), {});
        else
          batches = with_references(batches, section.train, {}, {});
        TrainingSamples samples(chain, chain.tenants(), section.train.samples, model.config, folder);
        samples.take(model, kBefore);
        HeldOut held_out(chain, chain.tenants(), section.train.probe.tokens);
        const Probe probe = [&](int64_t step) {
          samples.take_at_probe(model, step);
          return held_out.measure(model);
        };
        const TrainResult result = train(model, trainable_parameters(model), batches,
                                         make_objective(section.train), section.train, folder, probe);
        samples.take(model, "after");
        save_model(model, folder / "model", chain.dtype);
        copy_tokenizer_files(start, folder / "model");
        return training_figures(result, "train/model", folder);
      });
}

}  // namespace decant
