// What can be known to be wrong before a weight is read.
#include <algorithm>
#include <functional>

#include "core/error.h"
#include "core/model/stored_quantization.h"
#include "core/tensor_file.h"
#include "data_pipeline/chat_template.h"
#include "data_pipeline/prepare.h"
#include "data_pipeline/tokenizer.h"
#include "data_pipeline/tokenizer_files.h"
#include "export/gguf_writer.h"
#include "recipes/chain.h"
#include "recipes/open_model.h"
#include "recipes/possible_adapters.h"
#include "recipes/random_model.h"

namespace decant {

namespace fs = std::filesystem;

namespace {

void check_layers(const LoadedRecipe& loaded, const ModelConfig& config) {
  if (!loaded.recipe.distill) return;
  for (const int64_t layer : loaded.recipe.distill->student.keep_layers)
    check(layer < config.num_hidden_layers, loaded.place("distill.student.keep_layers"),
          ": the teacher has no layer ", layer, "; its layers are 0 to ", config.num_hidden_layers - 1);
}

void check_adapters(const LoadedRecipe& loaded, const ModelConfig& config) {
  if (!loaded.recipe.lora) return;
  std::vector<std::string> known;
  std::string list;
  for (const auto& one : linear_shapes(config)) {
    const std::string last = one.name.substr(one.name.rfind('.') + 1);
    if (std::find(known.begin(), known.end(), last) != known.end()) continue;
    known.push_back(last);
    list += (list.empty() ? "" : ", ") + last;
  }
  for (const auto& job : possible_adapters(*loaded.recipe.lora)) {
    for (const auto& target : job.settings.lora.targets) {
      if (target.starts_with("regex:")) continue;  // attach_lora says whether it matches
      const std::string last = target.substr(target.rfind('.') + 1);
      check(std::find(known.begin(), known.end(), last) != known.end(), adapter_place(loaded, job, "targets"),
            ": no linear of the model is called '", target, "'", did_you_mean("", last, known),
            "; there are ", list);
    }
    // Whether it has targets is attach_lora's to say, and of the layers of a student that is made first, all.
    for (const int64_t layer : job.settings.lora.layers)
      check(layer < config.num_hidden_layers, adapter_place(loaded, job, "layers"),
            ": the model has no layer ", layer, "; its layers are 0 to ", config.num_hidden_layers - 1);
    // A tenant's own start is known when the tenants are.
    const bool of_anyone =
        job.tenant == kEveryTenant && job.settings.lora.start.find("{tenant}") != std::string::npos;
    if (!of_anyone) start_adapter(loaded, job);
  }
}

// The released model is of the family of the model that it was made from.
void check_gguf(const LoadedRecipe& loaded, const ModelConfig& config) {
  const Recipe& r = loaded.recipe;
  if (!r.export_ || r.export_->files.gguf.empty() || has_gguf(config.family)) return;
  fail(loaded.place("export.gguf"), ": GGUF of ", config.source.value("model_type", "this family"),
       " models is not supported; say gguf: []");
}

void check_lengths(const LoadedRecipe& loaded, const ModelConfig& config) {
  const Recipe& r = loaded.recipe;
  if (!r.corpus) return;
  const int64_t row = r.corpus->sequence_length;
  check(row <= config.max_position_embeddings, loaded.place("corpus.sequence_length"), " is ", row,
        ", but the model takes at most ", config.max_position_embeddings, " positions");
  const auto batch = [&](const BatchConfig& b, const std::function<std::string(const char*)>& place) {
    check(b.tokens_per_micro_batch >= row, place("tokens_per_micro_batch"), " is ", b.tokens_per_micro_batch,
          ": a packed row of corpus.sequence_length (", row, ") tokens must fit");
    check(b.tokens_per_step >= row, place("tokens_per_step"), " is ", b.tokens_per_step,
          ": a packed row of corpus.sequence_length (", row, ") tokens must fit");
  };
  const auto of = [&](const char* section) {
    return [&loaded, section](const char* key) { return loaded.place(concat(section, ".batch.", key)); };
  };
  if (r.distill) batch(r.distill->train.batch, of("distill.train"));
  if (r.train) batch(r.train->train.batch, of("train"));
  if (r.lora)
    for (const auto& job : possible_adapters(*r.lora))
      batch(job.settings.train.batch,
            [&](const char* key) { return adapter_place(loaded, job, concat("train.batch.", key)); });
  if (r.distill && r.distill->generate.answers > 0)
    check(r.distill->generate.sampling.max_new_tokens < row,
          loaded.place("distill.generate.sampling.max_new_tokens"), " is ",
          r.distill->generate.sampling.max_new_tokens,
          ": a prompt and its answer must fit into corpus.sequence_length (", row, ")");
}

// A base in 4 bits can have adapters; it cannot be trained, distilled from or released.
void check_quantization(const LoadedRecipe& loaded,
                        const std::function<ModelConfig(const std::string&)>& config_of) {
  const Recipe& r = loaded.recipe;
  const auto stored = [&](const std::string& model) {
    return stored_quantization(config_of(model).source, "config.json");
  };
  const auto refuse = [&](const char* section, const std::string& model) {
    const auto kind = model == "@distill" || model == "@train" ? Quantization::kNone : stored(model);
    check(kind == Quantization::kNone, loaded.place(section), ": the model is quantized to ", to_string(kind),
          ", which only adapters can be trained on; give the unquantized model");
  };
  if (r.distill) refuse("distill", "@model");
  if (!new_tokens(r.model).empty()) refuse("model.new_tokens", "@model");
  if (r.train) refuse("train.model", r.train->model);
  if (r.export_) refuse("export.model", released_model(r));
  if (!r.lora || r.lora->quantize == Quantization::kNone || r.lora->model == "@distill" ||
      r.lora->model == "@train")
    return;
  const auto kind = stored(r.lora->model);
  check(kind == Quantization::kNone || kind == r.lora->quantize, loaded.place("lora.quantize"), " is ",
        to_string(r.lora->quantize), ", but the model is quantized to ", to_string(kind),
        " already; leave the key out, or give the unquantized model");
}

// Tokens that are added to the model, and those whose rows the adapters train.
void check_tokens(const LoadedRecipe& loaded, ModelConfig& config) {
  const Recipe& r = loaded.recipe;
  const auto added = new_tokens(r.model);
  std::vector<AdapterJob> training;
  if (r.lora) training = possible_adapters(*r.lora);
  std::erase_if(training, [](const AdapterJob& job) { return job.settings.lora.trainable_tokens.empty(); });
  if (added.empty() && training.empty()) return;
  const fs::path folder = loaded.resolve(r.model.random ? r.model.random->tokenizer : r.model.path);
  const auto tokenizer = load_tokenizer(folder);
  if (!added.empty()) {
    const std::string place = loaded.place("model.new_tokens");
    const auto ids = new_token_ids(*tokenizer, added, place);
    check(is_gguf(folder) || fs::exists(folder / "tokenizer.json"), place, ": ", folder.string(),
          " has no tokenizer.json, and tokens are added to such only");
    config.vocab_size = std::max(config.vocab_size, ids.back() + 1);
  }
  for (const auto& job : training)
    for (const auto& text : job.settings.lora.trainable_tokens)
      check(tokenizer->id_of(text) || std::any_of(added.begin(), added.end(),
                                                  [&](const NewToken& token) { return token.text == text; }),
            adapter_place(loaded, job, "trainable_tokens"), ": '", text,
            "' is no token of the model; add it with model.new_tokens or model.new_special_tokens");
}

// A model folder that is named by path: its files, headers only.
ModelConfig check_model(const std::string& place, const fs::path& path, bool templated) {
  check(fs::exists(path), place, ": there is no ", path.string(),
        "; expected a Hugging Face folder or a GGUF file");
  const ModelConfig config = open_model_config(path);
  if (!is_gguf(path)) {
    const TensorFile tensors(path);  // every shard is there, every header holds
    check(!tensors.names().empty(), place, ": ", path.string(), " holds no tensors");
  }
  const auto tokenizer = load_tokenizer(path);
  check(tokenizer->vocab_size() <= config.vocab_size, place, ": the tokenizer has ", tokenizer->vocab_size(),
        " tokens, the model only ", config.vocab_size, ": they do not belong together");
  if (templated) open_chat_template(path);
  for (const int64_t id : open_stop_ids(path))
    check(id >= 0 && id < config.vocab_size, place, ": stop id ", id, " is outside the vocabulary of ",
          config.vocab_size);
  return config;
}

}  // namespace

ModelConfig check_recipe(const LoadedRecipe& loaded) {
  const Recipe& r = loaded.recipe;
  const bool templated = r.corpus && r.corpus->template_name != "plain";
  ModelConfig config;
  if (r.model.random) {
    const fs::path folder = loaded.resolve(r.model.random->tokenizer);
    check(fs::is_directory(folder), loaded.place("model.random.tokenizer"), ": there is no folder ",
          folder.string());
    config = random_model_config(*r.model.random, load_tokenizer(folder)->vocab_size());
    if (templated) open_chat_template(folder);
  } else {
    config = check_model(loaded.place("model.path"), loaded.resolve(r.model.path), templated);
  }
  check_tokens(loaded, config);
  // A model by path is looked at here; one by step is of the first model's family.
  const auto other = [&](const char* key, const std::string& model) {
    return model.empty() || model[0] == '@'
               ? config
               : check_model(loaded.place(key), loaded.resolve(model), templated);
  };
  const auto config_of = [&](const std::string& model) {
    return model.empty() || model[0] == '@' ? config : read_model_config(loaded.resolve(model));
  };
  if (r.train) other("train.model", r.train->model);
  if (r.lora) check_adapters(loaded, other("lora.model", r.lora->model));
  if (r.export_) check_gguf(loaded, other("export.model", r.export_->model));
  if (r.corpus) {
    check(!r.corpus->inputs.empty() || !r.corpus->sources.empty(), loaded.place("corpus.inputs"),
          " is missing: the files of conversations, such as [corpus/*.jsonl]");
    for (const auto& file : corpus_files(*r.corpus, loaded.folder))
      check(!file.is_standard_input(), loaded.place("corpus.inputs"),
            ": a recipe reads files only: a step that is run again must find the same bytes, and standard "
            "input "
            "is gone then; write it to a file first");
  }
  check_quantization(loaded, config_of);
  check_layers(loaded, config);
  check_lengths(loaded, config);
  return config;
}

}  // namespace decant
