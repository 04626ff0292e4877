// What a recipe file says: one struct per section, gathered from the parts that they configure, and the rules
// between sections.
//
//   LoadedRecipe loaded = load_recipe("monthly.yaml", {"lora.rank=8"});
//
// Paths in a recipe are relative to the recipe's folder, on the command line to the current one; outputs go
// below the current folder. The sections present are the steps that run, in the order of the chain.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/config.h"
#include "core/kernels/quantized_weight.h"
#include "core/model/generate.h"
#include "core/setting.h"
#include "data_pipeline/new_tokens.h"
#include "data_pipeline/prepare.h"
#include "distill/distill_loss.h"
#include "export/release.h"
#include "lora/lora_config.h"
#include "train/grouped.h"

namespace decant {

enum class Precision { kAuto, kBf16, kFp32 };
template <>
struct EnumNames<Precision> {
  static constexpr std::pair<Precision, const char*> values[] = {
      {Precision::kAuto, "auto"}, {Precision::kBf16, "bf16"}, {Precision::kFp32, "fp32"}};
};

template <>
struct EnumNames<Quantization> {
  static constexpr std::pair<Quantization, const char*> values[] = {{Quantization::kNone, "none"},
                                                                    {Quantization::kInt8, "int8"},
                                                                    {Quantization::kNf4, "nf4"},
                                                                    {Quantization::kNf4Dq, "nf4_dq"}};
};

struct RandomModelConfig {
  std::string tokenizer;
  int64_t hidden_size = 64, intermediate_size = 128, num_hidden_layers = 4;
  int64_t num_attention_heads = 4, num_key_value_heads = 2, max_position_embeddings = 512;
  double deviation = 0.02;
  int64_t seed = 0;

  static void visit(auto& c, auto&& field) {
    field("tokenizer", c.tokenizer,
          "folder with tokenizer.json, chat_template.jinja and generation_config.json");
    field("hidden_size", c.hidden_size, "model width");
    field("intermediate_size", c.intermediate_size, "feed-forward width");
    field("num_hidden_layers", c.num_hidden_layers, "decoder layers");
    field("num_attention_heads", c.num_attention_heads, "query heads");
    field("num_key_value_heads", c.num_key_value_heads, "key and value heads");
    field("max_position_embeddings", c.max_position_embeddings, "longest sequence");
    field("deviation", c.deviation, "standard deviation of the weights");
    field("seed", c.seed, "of the weights");
  }
  void validate(const Place& place) const;
};

struct ModelSection {
  std::string path;
  std::optional<RandomModelConfig> random;
  std::vector<std::string> new_tokens, new_special_tokens;
  Precision dtype = Precision::kAuto;

  static void visit(auto& c, auto&& field) {
    field("path", c.path, "Hugging Face folder, or a GGUF file that is imported first");
    field("random", c.random, "instead of a path: a llama of random weights, for trying recipes out");
    field("new_tokens", c.new_tokens,
          "texts that become tokens of their own wherever they stand; their rows of the embedding, and of a "
          "head "
          "of its own, start as the mean of the others (lora.trainable_tokens trains them)");
    field("new_special_tokens", c.new_special_tokens,
          "the same for tokens of templates: in people's text they stay ordinary text");
    field("dtype", c.dtype, "auto (bf16 where the machine has bf16 instructions), bf16 or fp32");
  }
  void validate(const Place& place) const;
};

struct StudentConfig {
  std::vector<int64_t> keep_layers;

  static void visit(auto& c, auto&& field) {
    field("keep_layers", c.keep_layers,
          "the teacher's layers that the student starts from, in order, from 0");
  }
  void validate(const Place& place) const;
};

struct AnswersConfig {
  int64_t answers = 64;
  int64_t batch_size = 16;
  SamplingConfig sampling;

  static void visit(auto& c, auto&& field) {
    field("answers", c.answers,
          "how many the teacher writes, to prompts of the training conversations of each tenant in turn; 0: "
          "none");
    field("batch_size", c.batch_size, "sequences that are written at one time; does not change them",
          kDoesNotAffectResults);
    field("sampling", c.sampling, "how the teacher chooses its words");
  }
  void validate(const Place& place) const;
};

struct DistillSection {
  StudentConfig student;
  AnswersConfig generate;
  bool corpus = true;
  DistillLossConfig loss;
  TrainConfig train;

  static void visit(auto& c, auto&& field) {
    field("student", c.student, "the model that is trained");
    field("generate", c.generate, "the teacher's answers");
    field("corpus", c.corpus, "train on the corpus's own conversations too");
    field("loss", c.loss, "what the student learns from");
    field("train", c.train, "how the student is trained");
  }
};

struct TrainSection {
  std::string model = "@model";
  std::vector<std::string> freeze;
  TrainConfig train;

  static void visit(auto& c, auto&& field) {
    field("model", c.model, "start: @model, @distill, or the path of a Hugging Face folder");
    field("freeze", c.freeze,
          "weights that stay as they are: regular expressions of whole names, such as "
          "'model\\.layers\\.[0-3]\\..*' or '.*embed_tokens.*'");
    TrainConfig::visit(c.train, field);
  }
  void validate(const Place& place) const;
};

// What a tenant's adapter is and how it is trained.
struct AdapterSettings {
  LoraConfig lora;
  TrainConfig train;

  static void visit(auto& c, auto&& field) {
    LoraConfig::visit(c.lora, field);
    field("train", c.train, "how each adapter is trained");
  }
  void validate(const Place& place) const { lora.validate(place); }
};

struct LoraSection {
  std::string model = "@model";
  std::vector<std::string> tenants;
  std::string tenant_files;
  std::map<std::string, Setting> overrides, candidates;
  GroupConfig together;
  Quantization quantize = Quantization::kNone;
  std::string quantize_cache;
  LoraConfig lora;
  TrainConfig train;

  static void visit(auto& c, auto&& field) {
    field("model", c.model, "base: @model, @distill, @train, or the path of a Hugging Face folder");
    field("tenants", c.tenants, "an adapter for each, trained on its conversations alone");
    field("quantize", c.quantize,
          "the base's linears while adapters train: none, int8, nf4, or nf4_dq (nf4 with double "
          "quantization), as QLoRA; "
          "evaluation and release keep the base as it is");
    field("quantize_cache", c.quantize_cache,
          "folder that keeps the quantized base, which is then mapped instead of made again; empty: none",
          kDoesNotAffectResults);
    field("tenant_files", c.tenant_files,
          "instead of tenants: a folder with a file TENANT.yaml for each, which holds its overrides or "
          "nothing");
    field("overrides", c.overrides,
          "by tenant: settings of this section that differ for it, as rank or train");
    field("candidates", c.candidates,
          "by name: settings to try for every tenant; the adapter with the lowest held-out loss is kept");
    field("together", c.together, "how adapters share the base while they train; does not change them",
          kDoesNotAffectResults);
    LoraConfig::visit(c.lora, field);
    field("train", c.train, "how each adapter is trained");
  }
  void validate(const Place& place) const;
};

struct EvaluateSection {
  int64_t tokens = 2048;
  bool gate = true;
  int64_t sample_tokens = 48;

  static void visit(auto& c, auto&& field) {
    field("tokens", c.tokens, "of held-out conversations that each model is measured on, for each tenant");
    field("gate", c.gate,
          "stop with exit status 3 unless distillation made the student better and each adapter its tenant's "
          "text");
    field("sample_tokens", c.sample_tokens, "length of the sample answer; 0 for none");
  }
  void validate(const Place& place) const;
};

struct ExportSection {
  std::string model;
  ExportConfig files;

  static void visit(auto& c, auto&& field) {
    field("model", c.model, "what is released; empty: the adapters' base, or else the last model trained");
    ExportConfig::visit(c.files, field);
  }
  void validate(const Place& place) const { files.validate(place); }
};

struct Recipe {
  std::string name, period;
  std::string output = "runs";
  ModelSection model;
  std::optional<CorpusConfig> corpus;
  std::optional<DistillSection> distill;
  std::optional<TrainSection> train;
  std::optional<LoraSection> lora;
  std::optional<EvaluateSection> evaluate;
  std::optional<ExportSection> export_;

  static void visit(auto& c, auto&& field) {
    field("name", c.name, "of the job; its runs lie in <output>/<name>/<period>");
    field("period", c.period, "YYYY-MM, the month that the job is about; never taken from the clock");
    field("output", c.output, "folder of the runs", kDoesNotAffectResults);
    field("model", c.model, "the model that everything starts from: the teacher");
    field("corpus", c.corpus, "conversations to packed rows");
    field("distill", c.distill, "a smaller student of the model");
    field("train", c.train, "a full fine-tune");
    field("lora", c.lora, "an adapter for each tenant");
    field("evaluate", c.evaluate, "held-out measurements, and the gate before the release");
    field("export", c.export_, "the release directory");
  }
  void validate(const Place& place) const;
};

struct LoadedRecipe {
  Recipe recipe;
  std::filesystem::path file;
  std::filesystem::path folder;  // what the recipe's paths are relative to
  Setting root;                  // for the places of later errors

  // "monthly.yaml:12:3: 'lora.model'" of a dotted key; the nearest section above when the key was not
  // written.
  std::string place(const std::string& dotted_key) const;
  std::filesystem::path resolve(const std::string& path) const;  // relative to folder
  std::filesystem::path run_folder() const;                      // <output>/<name>/<period>
  // Customers who were erased, of all months: beside the run directories.
  std::filesystem::path erasure_file() const;
};

// Reads, applies the overrides, validates every section and the references between them. Reads no other file
// but those of lora.tenant_files.
LoadedRecipe load_recipe(const std::filesystem::path& file, const std::vector<std::string>& overrides);
LoadedRecipe parse_recipe(Setting root, const std::filesystem::path& file,
                          const std::vector<std::string>& overrides);

// The whole recipe with its defaults, input paths absolute: a recipe that does the same from anywhere.
std::string resolved_recipe(const LoadedRecipe& loaded);

// What model.new_tokens and new_special_tokens ask for, in order.
std::vector<NewToken> new_tokens(const ModelSection& section);

// One adapter that is trained: a tenant's, or one of several candidates for it.
struct AdapterJob {
  std::string tenant, candidate;  // candidate empty: the only one
  AdapterSettings settings;       // defaults, then the tenant's overrides, then the candidate's
  std::string step() const;       // "lora/acme", "lora/acme/candidates/r8"
};
// In order of tenants, then candidates. Error, with its place, for settings that make no sense together.
std::vector<AdapterJob> adapter_jobs(const LoraSection& section, const std::vector<std::string>& tenants);

// In `lora.tenants`: every tenant of the corpus.
inline constexpr const char* kEveryTenant = "*";

// What `@name` may stand for at `section`, resolved: "model", "distill", "train", or "" for a path.
std::string reference(const std::string& model);

// The model that the export step releases ("@distill", ...), its default worked out.
std::string released_model(const Recipe& recipe);

}  // namespace decant
