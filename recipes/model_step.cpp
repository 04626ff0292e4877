// The first steps: the model as a Hugging Face folder, the corpus as packed rows.
#include <algorithm>

#include "core/error.h"
#include "core/file.h"
#include "core/gguf_file.h"
#include "core/hash.h"
#include "core/model/grow_vocabulary.h"
#include "core/tensor_file.h"
#include "data_pipeline/corpus_store.h"
#include "data_pipeline/decisions.h"
#include "data_pipeline/earlier_corpora.h"
#include "data_pipeline/new_tokens.h"
#include "data_pipeline/prepare.h"
#include "data_pipeline/tokenizer.h"
#include "recipes/chain.h"
#include "recipes/import_model.h"
#include "recipes/open_model.h"
#include "recipes/random_model.h"

namespace decant {

namespace fs = std::filesystem;

ModelConfig random_model_config(const RandomModelConfig& random, int64_t vocab_size) {
  Json json;
  json["architectures"] = {"LlamaForCausalLM"};
  json["model_type"] = "llama";
  json["hidden_act"] = "silu";
  json["vocab_size"] = vocab_size;
  json["hidden_size"] = random.hidden_size;
  json["intermediate_size"] = random.intermediate_size;
  json["num_hidden_layers"] = random.num_hidden_layers;
  json["num_attention_heads"] = random.num_attention_heads;
  json["num_key_value_heads"] = random.num_key_value_heads;
  json["head_dim"] = random.hidden_size / random.num_attention_heads;
  json["max_position_embeddings"] = random.max_position_embeddings;
  json["rms_norm_eps"] = 1e-5;
  json["rope_theta"] = 10000.0;
  json["tie_word_embeddings"] = true;
  json["attention_bias"] = false;
  json["mlp_bias"] = false;
  return parse_model_config(json, "model.random");
}

namespace {

void make_random_model(const RandomModelConfig& random, const fs::path& tokenizer_folder,
                       const fs::path& folder) {
  const auto tokenizer = load_tokenizer(tokenizer_folder);
  const ModelConfig config = random_model_config(random, tokenizer->vocab_size());
  save_model(random_decoder(config, Dtype::kBf16, static_cast<uint64_t>(random.seed), random.deviation),
             folder, Dtype::kBf16);
  copy_tokenizer_files(tokenizer_folder, folder);
}

// A model folder with the recipe's new tokens; the folders may be the same.
void add_new_tokens(const std::vector<NewToken>& tokens, const fs::path& from, const fs::path& to,
                    const std::string& where) {
  const int64_t had = load_tokenizer(from)->vocab_size();
  const auto stored = TensorFile(from).load("model.embed_tokens.weight").scalar_type();
  const Dtype dtype = stored == at::kBFloat16 ? Dtype::kBf16 : Dtype::kFp32;
  Decoder model = load_model(from, dtype);
  grow_vocabulary(model, had, had + static_cast<int64_t>(tokens.size()));
  save_model(model, to, dtype);
  write_with_new_tokens(from, to, tokens, where);
}

}  // namespace

void model_step(Chain& chain) {
  const ModelSection& section = chain.recipe.model;
  const fs::path path = chain.loaded.resolve(section.random ? section.random->tokenizer : section.path);
  const auto tokens = new_tokens(section);
  if (!section.random && !is_gguf(path) && tokens.empty()) {
    chain.model_folder = path;
    return;
  }
  StepKey key{"model", 1, section.random ? config_key(*section.random) : "", {{"source", digest_path(path)}}};
  for (const NewToken& token : tokens)
    key.config += concat(token.special ? "new special token: " : "new token: ", token.text, "\n");
  const uint64_t bytes = section.random  ? uint64_t{1} << 26
                         : is_gguf(path) ? 6 * fs::file_size(path)
                                         : 5 * static_cast<uint64_t>(read_model_config(path).parameters());
  chain.step("model", key, bytes, [&](const fs::path& folder) {
    const fs::path out = folder / "model";
    fs::create_directories(out);
    if (section.random)
      make_random_model(*section.random, path, out);
    else if (is_gguf(path))
      import_model(path, out, Dtype::kBf16);
    if (!tokens.empty())
      add_new_tokens(tokens, section.random || is_gguf(path) ? out : path, out,
                     chain.loaded.place("model.new_tokens"));
    Json figures;
    figures["parameters"] = read_model_config(out).parameters();
    return figures;
  });
  chain.model_folder = chain.run.step_path("model") / "model";
}

void corpus_step(Chain& chain, bool mend) {
  const CorpusConfig& corpus = *chain.recipe.corpus;
  StepKey store{"corpus/store", 2, store_settings(corpus) + "period: " + chain.recipe.period, {}};
  uint64_t bytes = 0;
  const auto files = corpus_files(corpus, chain.loaded.folder);
  for (const auto& file : files) {
    store.inputs["file " + file.name] = digest_path(file.path);
    bytes += fs::file_size(file.path);
  }
  const auto tokenizer = load_tokenizer(chain.model_folder);
  const auto chat_template = recipe_chat_template(chain.recipe, chain.model_folder);
  store.inputs["tokenizer"] = tokenizer->sha256();
  store.inputs["template"] = chat_template->sha256();
  // The key of the surrogates decides the text; its digest, never itself, goes into the manifest.
  if (const char* secret = std::getenv(corpus.pii_key_env.c_str()); secret != nullptr && corpus.replace_pii)
    store.inputs["pii_key"] = sha256_hex("decant pii key " + sha256_hex(secret));
  const fs::path erased = chain.loaded.erasure_file();
  Erasure erasure;
  if (fs::exists(erased)) {
    erasure = read_erasure(erased);
    store.inputs["erased"] = sha256_hex(erasure_json(erasure).dump());
  }
  const CorpusJob job{
      files, chain.recipe.period, chain.loaded.folder, tokenizer.get(), chat_template.get(), {}, erasure};
  const std::string replayed = EarlierCorpora(corpus, job).digest();
  const fs::path store_folder = chain.run.step_path(store.step);
  if (mend) chain.run.reopen(store);
  chain.step("corpus", store, 6 * bytes, [&](const fs::path& folder) {
    build_store(corpus, job, folder);
    Json figures;
    figures["documents"] = StoreReader(folder).documents();
    return figures;
  });
  StepKey key{"corpus", 3, config_key(corpus) + "period: " + chain.recipe.period, store.inputs};
  key.inputs["store"] = chain.digest_of_step(store.step);
  key.inputs["earlier months"] = earlier_months_digest(corpus, job);
  if (!replayed.empty()) key.inputs["replayed months"] = replayed;
  if (!corpus.contract.previous.empty()) {
    const fs::path previous = chain.loaded.resolve(corpus.contract.previous) / "contract.json";
    check(fs::is_regular_file(previous), chain.loaded.place("corpus.contract.previous"), ": there is no ",
          previous.string());
    key.inputs["previous"] = digest_path(previous);
  }
  if (mend) chain.run.reopen(key);
  chain.step("corpus", key, 6 * bytes,
             [&](const fs::path& folder) { return finish_corpus(corpus, job, store_folder, folder); });
  const auto tenants = chain.tenants();
  check(!tenants.empty(), chain.loaded.place("corpus.inputs"), ": no conversation is left to train on; see ",
        (chain.run.step_path("corpus") / "quarantine.jsonl").string());
  if (!chain.recipe.lora) return;
  for (const auto& tenant : chain.adapter_tenants()) {
    std::string list;
    for (const auto& t : tenants) list += (list.empty() ? "" : ", ") + t;
    check(std::find(tenants.begin(), tenants.end(), tenant) != tenants.end(),
          chain.loaded.place("lora.tenants"), ": the corpus has no tenant '", tenant, "'",
          did_you_mean("", tenant, tenants), "; it has ", list);
  }
}

}  // namespace decant
