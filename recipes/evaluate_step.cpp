// Held-out bits per byte of every model of the chain, one sample answer, and the gate before the release.
//
// Bits per byte: sum of -log2 p over the tokens of assistant turns, divided by the bytes of what the
// assistant wrote. Unlike a loss per token it compares models with different tokenizers.
#include <algorithm>
#include <cmath>

#include "core/adapter_file.h"
#include "core/error.h"
#include "core/log.h"
#include "core/model/score.h"
#include "data_pipeline/chat_template.h"
#include "data_pipeline/tokenizer_files.h"
#include "recipes/open_model.h"
#include "recipes/training.h"

namespace decant {

namespace fs = std::filesystem;

namespace {

struct HeldOut {
  std::string tenant;
  std::vector<TokenizedDocument> documents;
  int64_t tokens = 0, target_bytes = 0;
  std::vector<Message> question;  // of the first conversation that has one
};

std::vector<HeldOut> read_held_out(const Chain& chain) {
  const auto tokenizer = load_tokenizer(chain.model_folder);
  const auto chat = recipe_chat_template(chain.recipe, chain.model_folder);
  const EvaluateSection& section = *chain.recipe.evaluate;
  std::vector<HeldOut> all;
  for (const auto& tenant : chain.tenants()) {
    HeldOut held;
    held.tenant = tenant;
    for (const auto& c : read_conversations(chain.conversations("held_out", tenant))) {
      if (held.tokens >= section.tokens) break;
      if (c.rejected) continue;  // not what a model should say
      TokenizedDocument document =
          tokenize_rendered(chat->render(c.messages, render_options(*chain.recipe.corpus, c)), *tokenizer);
      const auto size = static_cast<int64_t>(document.tokens.size());
      if (size > chain.recipe.corpus->sequence_length || document.target_bytes == 0) continue;
      held.tokens += size;
      held.target_bytes += document.target_bytes;
      held.documents.push_back(std::move(document));
      if (held.question.empty())
        for (size_t i = 0; i < c.messages.size() && held.question.empty(); ++i)
          if (c.messages[i].role == "assistant" && i > 0)
            held.question.assign(c.messages.begin(), c.messages.begin() + static_cast<std::ptrdiff_t>(i));
    }
    check(!held.documents.empty(), "corpus: tenant '", tenant,
          "' has no held-out conversation to measure on; raise corpus.held_out_fraction",
          " or choose another corpus.split_salt");
    all.push_back(std::move(held));
  }
  return all;
}

// Bits, not yet divided by bytes. One document a batch row at a time: the sum does not depend on how much is
// measured at once.
double bits(const Decoder& model, const HeldOut& held) {
  double nats = 0;
  for (const auto& document : held.documents) {
    std::vector<float> weights(document.loss_weight.begin(), document.loss_weight.end());
    for (float& w : weights) w /= 255;
    nats += evaluate_loss(model, make_batch({document.tokens}, {weights})).sum;
  }
  return nats / std::log(2.0);
}

std::string answer(const Chain& chain, const Decoder& model, const std::vector<Message>& question) {
  const auto tokenizer = load_tokenizer(chain.model_folder);
  const auto ids =
      tokenize_rendered(recipe_chat_template(chain.recipe, chain.model_folder)->render(question, true),
                        *tokenizer)
          .tokens;
  SamplingConfig sampling;
  sampling.max_new_tokens = chain.recipe.evaluate->sample_tokens;
  const auto results = generate(model, {{ids, 0}}, sampling, stop_ids(chain.model_folder));
  return utf8_text(tokenizer->decode(results[0].tokens, true));
}

// Figures by model name ("base", "start", "student", "train", "adapter"), of each tenant and of all.
class Measurements {
 public:
  explicit Measurements(const std::vector<HeldOut>& held) : held_(held) {
    for (const auto& h : held_) {
      json_["tenants"][h.tenant]["tokens"] = h.tokens;
      json_["tenants"][h.tenant]["target_bytes"] = h.target_bytes;
    }
  }
  void add(const std::string& name, const Decoder& model) {
    double sum = 0;
    int64_t bytes = 0;
    for (const auto& h : held_) {
      const double b = bits(model, h);
      add(name, h, b);
      sum += b;
      bytes += h.target_bytes;
    }
    json_["all"][name] = sum / static_cast<double>(bytes);
    log_info("evaluate: ", name, " ", json_["all"][name].get<double>(), " bits per byte");
  }
  void add(const std::string& name, const HeldOut& h, double b) {
    json_["tenants"][h.tenant][name] = b / static_cast<double>(h.target_bytes);
  }
  Json& json() { return json_; }

 private:
  const std::vector<HeldOut>& held_;
  Json json_;
};

Json evaluate(Chain& chain, const fs::path& folder) {
  const Recipe& recipe = chain.recipe;
  const auto held = read_held_out(chain);
  Measurements measurements(held);
  Json samples;
  const HeldOut* asked = &held.front();  // who the sample question is of
  if (recipe.lora)
    for (const auto& h : held)
      if (h.tenant == chain.adapter_tenants().front()) asked = &h;
  const bool sample = recipe.evaluate->sample_tokens > 0 && !asked->question.empty();
  {
    const Decoder base = load_model(chain.model_folder, chain.dtype);
    measurements.add("base", base);
    if (sample) samples["before"] = answer(chain, base, asked->question);
    if (recipe.distill) measurements.add("start", keep_layers(base, recipe.distill->student.keep_layers));
  }
  const auto measure = [&](const char* name, const std::string& model) {
    const Decoder decoder = load_model(chain.model_of(model), chain.dtype);
    measurements.add(name, decoder);
    if (sample) samples["after"] = answer(chain, decoder, asked->question);
  };
  if (recipe.distill) measure("student", "@distill");
  if (recipe.train) measure("train", "@train");
  if (recipe.lora) {
    Decoder model = load_model(chain.model_of(recipe.lora->model), chain.dtype);
    for (const auto& tenant : chain.adapter_tenants())
      for (const auto& h : held) {
        if (h.tenant != tenant) continue;
        measurements.add("adapter_base", h, bits(model, h));
        apply_adapter(model, read_adapter(chain.run.step_path("lora/" + tenant) / "adapter"));
        measurements.add("adapter", h, bits(model, h));
        if (sample && &h == asked) samples["after"] = answer(chain, model, h.question);
        remove_adapter(model);
      }
  }
  if (sample) {
    samples["tenant"] = asked->tenant;
    samples["question"] = asked->question.back().content;
    write_json(folder / "sample.json", samples);  // what people wrote stays out of the manifest
  }
  write_json(folder / "evaluation.json", measurements.json());
  return measurements.json();
}

}  // namespace

void evaluate_step(Chain& chain) {
  const Recipe& recipe = chain.recipe;
  StepKey key{
      "evaluate",
      1,
      concat("tokens: ", recipe.evaluate->tokens, "\nsample_tokens: ", recipe.evaluate->sample_tokens, "\n") +
          chain.precision(),
      {}};
  key.inputs = {{"corpus", chain.digest_of_step("corpus")}, {"model", chain.digest_of("@model")}};
  if (recipe.distill) {
    key.config += config_key(recipe.distill->student);
    key.inputs["student"] = chain.digest_of("@distill");
  }
  if (recipe.train) key.inputs["train"] = chain.digest_of("@train");
  if (recipe.lora) {
    key.inputs["adapter_base"] = chain.digest_of(recipe.lora->model);
    for (const auto& tenant : chain.adapter_tenants())
      key.inputs["adapter " + tenant] = chain.digest_of_step("lora/" + tenant);
  }
  chain.step("evaluate", key, 1 << 20, [&](const fs::path& folder) { return evaluate(chain, folder); });
}

void check_gate(const Chain& chain) {
  const Recipe& recipe = chain.recipe;
  if (!recipe.evaluate->gate) return;
  const Json& figures = chain.figures.at("evaluate");
  const auto better = [](const std::string& what, double now, const std::string& than, double before) {
    if (now < before) return;
    throw Error(concat("gate: ", what, " has ", now, " held-out bits per byte, ", than, " ", before,
                       ": not better, so nothing is released (evaluate.gate; the measurements are in "
                       "evaluate/evaluation.json)"),
                Exit::kGateSaidNo);
  };
  const auto all = [&](const char* name) { return figures["all"][name].get<double>(); };
  if (recipe.distill) better("the student after distillation", all("student"), "before it", all("start"));
  if (recipe.train) {
    const std::string start = reference(recipe.train->model);
    if (!start.empty())
      better("the model after training", all("train"), "before it",
             all(start == "distill" ? "student" : "base"));
  }
  if (recipe.lora)
    for (const auto& tenant : chain.adapter_tenants()) {
      const Json& of = figures["tenants"][tenant];
      better("tenant '" + tenant + "' with its adapter", of["adapter"].get<double>(), "without it",
             of["adapter_base"].get<double>());
    }
}

}  // namespace decant
