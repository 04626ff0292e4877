// The chain of a recipe: model -> corpus -> distill -> train -> lora -> evaluate -> export, each step through
// the run directory (skip, resume, manifest). Every step is one function here; what it does in detail lies on
// the floors below.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/json.h"
#include "core/model/load_model.h"
#include "core/run_directory.h"
#include "data_pipeline/chat_template.h"
#include "recipes/recipe_config.h"

namespace decant {

class Chain {
 public:
  // `only`: the section to run ("lora"); empty for all. Earlier sections must then be done.
  Chain(const LoadedRecipe& loaded, RunDirectory& run, std::string only);

  const LoadedRecipe& loaded;
  const Recipe& recipe;
  RunDirectory& run;
  Dtype dtype;                          // what the recipe's models compute in
  std::filesystem::path model_folder;   // of the base, once model_step is done
  std::map<std::string, Json> figures;  // what each step returned, by step
  bool worked = false;                  // whether any step did anything

  // Whether the steps of `section` are to be visited at all: nothing after `only`.
  bool visits(const std::string& section) const;

  // Runs a step of `section` unless it is done. `bytes`: free disk that it needs. Error when it is not done
  // and another section was asked for, with the command that makes it.
  void step(const std::string& section, const StepKey& key, uint64_t bytes,
            const std::function<Json(const std::filesystem::path&)>& work);

  // The same in two halves, for steps that are worked on side by side: begin() is false when the step is
  // done.
  bool begin(const std::string& section, const StepKey& key, uint64_t bytes);
  void finish(const StepKey& key, Json figures);

  // Folder of a model by path or by step ("@distill"), and the digest of what it holds.
  std::filesystem::path model_of(const std::string& model) const;
  std::string digest_of(const std::string& model) const;
  std::string digest_of_step(const std::string& step) const;  // of its manifest
  std::filesystem::path shards(const std::string& split, const std::string& tenant) const;
  std::vector<std::string> tenants() const;  // of the corpus, sorted
  std::vector<std::string> adapter_tenants()
      const;  // that get an adapter; of the corpus with lora.tenants: ["*"]
  std::filesystem::path conversations(const std::string& split, const std::string& tenant) const;
  std::string precision() const;  // of the models, as part of a step's key
  std::string tokenizer_sha256() const;
  std::string template_sha256() const;

 private:
  void close(const StepKey& key, const Json& manifest, bool ran);
  std::string only_;
};

// The steps, in order. model_step imports a GGUF or makes a random model.
void model_step(Chain& chain);
// `mend`: what is there is changed to what the recipe and its erasures say now, not made anew.
void corpus_step(Chain& chain, bool mend = false);
void distill_steps(Chain& chain);
void train_steps(Chain& chain);
void lora_steps(Chain& chain);
void evaluate_step(Chain& chain);
void export_step(Chain& chain);

// Error with exit status 3 and the numbers unless the evaluation allows the release.
void check_gate(const Chain& chain);

// Files of a step that are not hashed: those that hold times, and of trainings what people look at, which
// `decant erase` may take away.
const std::vector<std::string>& volatile_files(const std::string& step);

// Runs the recipe, or one section of it, and prints the report.
void run_chain(const LoadedRecipe& loaded, const std::string& only);

// Everything that can be checked without reading a weight: files, layers, names, tokenizer and template
// against the model. Returns the model's configuration.
ModelConfig check_recipe(const LoadedRecipe& loaded);

// The template of the recipe's corpus: the model's, or plain.
std::unique_ptr<ChatTemplate> recipe_chat_template(const Recipe& recipe, const std::filesystem::path& model);

// Tables of a finished run: text for standard output and a static page.
struct ReportSection {
  std::string title;
  std::vector<std::vector<std::string>> rows;  // the first is the header
};
std::vector<ReportSection> make_report(const Chain& chain);
std::string report_text(const std::vector<ReportSection>& report);
std::string report_html(const std::string& title, const std::vector<ReportSection>& report);

}  // namespace decant
