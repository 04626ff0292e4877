// Distillation: the teacher's answers and the rows made of them, then the student trained on those.
#include <algorithm>

#include "core/error.h"
#include "core/file.h"
#include "core/hash.h"
#include "core/log.h"
#include "core/model/generate.h"
#include "core/progress.h"
#include "data_pipeline/tokenizer_files.h"
#include "distill/answer_checks.h"
#include "distill/distill_loss.h"
#include "distill/generation_store.h"
#include "recipes/held_out_probe.h"
#include "recipes/import_model.h"
#include "recipes/memory.h"
#include "recipes/open_model.h"
#include "recipes/training.h"
#include "recipes/training_samples.h"

namespace decant {

namespace fs = std::filesystem;

namespace {

struct Prompt {
  std::string id, tenant, key;  // key: names the answer in the store
  std::vector<int64_t> ids;
};

// One conversation of each tenant in turn, so that a small number of prompts covers all. A prompt whose
// answer could not fit a row is passed over.
std::vector<Prompt> choose_prompts(const Chain& chain, const AnswersConfig& config,
                                   const std::string& model_digest) {
  const auto tokenizer = load_tokenizer(chain.model_folder);
  const auto chat = recipe_chat_template(chain.recipe, chain.model_folder);
  std::vector<std::vector<Conversation>> by_tenant;
  for (const auto& tenant : chain.tenants())
    by_tenant.push_back(read_conversations(chain.conversations("train", tenant)));
  const int64_t longest = chain.recipe.corpus->sequence_length - config.sampling.max_new_tokens;
  std::vector<Prompt> prompts;
  for (size_t i = 0, left = 1; left > 0; ++i) {
    left = 0;
    for (const auto& conversations : by_tenant) {
      if (i >= conversations.size()) continue;
      ++left;
      if (static_cast<int64_t>(prompts.size()) >= config.answers) return prompts;
      const auto messages = question_of(conversations[i]);
      if (messages.empty()) continue;
      RenderOptions options = render_options(*chain.recipe.corpus, conversations[i]);
      options.add_generation_prompt = true;
      Prompt prompt{conversations[i].id, conversations[i].tenant, "",
                    tokenize_rendered(chat->render(messages, options), *tokenizer).tokens};
      if (prompt.ids.empty() || static_cast<int64_t>(prompt.ids.size()) > longest) continue;
      std::string text = config_key(config.sampling) + model_digest;
      for (const int64_t id : prompt.ids) text += " " + std::to_string(id);
      prompt.key = sha256_hex(text);
      const bool asked =
          std::any_of(prompts.begin(), prompts.end(), [&](const Prompt& p) { return p.key == prompt.key; });
      if (!asked) prompts.push_back(std::move(prompt));
    }
  }
  return prompts;
}

uint64_t sample_key(const std::string& key) { return std::stoull(key.substr(0, 16), nullptr, 16); }

// Answers on disk under folder/answers.jsonl, whatever a killed run left there included. An answer becomes a
// document as it was sampled: the same ids, the loss on what the teacher wrote. Empty and looping answers
// teach nothing good and are left out.
std::vector<ShardDocument> teacher_answers(Chain& chain, const std::string& model_digest,
                                           const fs::path& folder, Json& figures) {
  const AnswersConfig& config = chain.recipe.distill->generate;
  const auto prompts = choose_prompts(chain, config, model_digest);
  const auto tokenizer = load_tokenizer(chain.model_folder);
  GenerationStore store(folder / "answers.jsonl");
  std::vector<const Prompt*> open;
  std::vector<std::string> keys;
  for (const auto& prompt : prompts) {
    keys.push_back(prompt.key);
    if (store.find(prompt.key) == nullptr) open.push_back(&prompt);
  }
  if (!open.empty()) {
    const Decoder teacher = load_model(chain.model_folder, chain.dtype);
    const auto stop = stop_ids(chain.model_folder);
    Progress progress("distill: answers", static_cast<int64_t>(prompts.size()), "answers");
    const auto batch = static_cast<size_t>(config.batch_size);
    for (size_t begin = 0; begin < open.size(); begin += batch) {
      const size_t end = std::min(begin + batch, open.size());
      std::vector<GenerationRequest> requests;
      for (size_t i = begin; i < end; ++i) requests.push_back({open[i]->ids, sample_key(open[i]->key)});
      const auto results = generate(teacher, requests, config.sampling, stop, config.batch_size);
      for (size_t i = begin; i < end; ++i) {
        const auto& result = results[i - begin];
        const bool stopped = result.reason == StopReason::kStopToken;
        const std::string text = utf8_text(tokenizer->decode(result.tokens, true));
        Json record;
        record["id"] = open[i]->id;
        record["tenant"] = open[i]->tenant;
        record["answer"] = result.tokens;
        record["fault"] = answer_fault_name(check_answer(result.tokens, stopped, text));
        record["usable"] = usable(check_answer(result.tokens, stopped, text));
        record["text"] = text;
        store.add(open[i]->key, record);
      }
      progress.update(static_cast<int64_t>(prompts.size() - open.size() + end));
    }
  }
  store.finish(keys);
  std::vector<ShardDocument> documents;
  int64_t tokens = 0;
  std::map<std::string, int64_t> faults;
  for (const auto& prompt : prompts) {
    const Json& record = *store.find(prompt.key);
    ++faults[record["fault"].get<std::string>()];
    if (!record["usable"].get<bool>()) continue;
    ShardDocument document;
    document.id = "answer/" + prompt.id;
    document.tokens.assign(prompt.ids.begin(), prompt.ids.end());
    document.loss_weight.assign(prompt.ids.size(), 0);
    for (const auto& id : record["answer"]) {
      document.tokens.push_back(id.get<uint32_t>());
      document.loss_weight.push_back(255);
      ++tokens;
    }
    documents.push_back(std::move(document));
  }
  figures["answers"] = prompts.size();
  figures["answers_kept"] = documents.size();
  figures["answer_tokens"] = tokens;
  for (const auto& [fault, n] : faults) figures["faults"][fault] = n;
  return documents;
}

Json train_student(Chain& chain, const DistillSection& section, const StepPlan& plan,
                   const fs::path& folder) {
  accept_plan(plan);
  const Decoder teacher = load_model(chain.model_folder, chain.dtype);
  Decoder student = keep_layers(teacher, section.student.keep_layers);
  make_trainable(student);
  const Objective objective = [&](Decoder& model, const Batch& batch, const at::Tensor& hidden, double scale,
                                  bool gradients) {
    DistillPart part = distill_loss(teacher, section.loss, model, batch, hidden, scale, gradients);
    return ObjectiveResult{{part.sum, part.weight, part.d_hidden},
                           {{"cross_entropy", part.cross_entropy}, {"kl", part.kl}}};
  };
  const auto batches = open_batches(chain.run.step_path("distill/rows") / "rows", section.train.batch,
                                    chain.tokenizer_sha256(), chain.template_sha256());
  TrainingSamples samples(chain, chain.tenants(), section.train.samples, student.config, folder);
  samples.take(student, kBefore);
  HeldOut held_out(chain, chain.tenants(), section.train.probe.tokens);
  const Probe probe = [&](int64_t step) {
    samples.take_at_probe(student, step);
    return held_out.measure(student);
  };
  const TrainResult result =
      train(student, trainable_parameters(student), batches, objective, section.train, folder, probe);
  samples.take(student, "after");
  save_model(student, folder / "model", chain.dtype);
  copy_tokenizer_files(chain.model_folder, folder / "model");
  Json figures = training_figures(result, "distill/student", folder);
  figures["parameters"] = student.config.parameters();
  return figures;
}

}  // namespace

void distill_steps(Chain& chain) {
  DistillSection section = *chain.recipe.distill;
  const std::string model = chain.digest_of("@model");
  StepKey rows{"distill/rows",
               1,
               config_key(section.generate) + (section.corpus ? "corpus: true\n" : "corpus: false\n") +
                   chain.precision(),
               {{"corpus", chain.digest_of_step("corpus")}, {"model", model}}};
  chain.step("distill", rows, 1 << 22, [&](const fs::path& folder) {
    Json figures;
    std::vector<ShardDocument> documents;
    if (section.generate.answers > 0) documents = teacher_answers(chain, model, folder, figures);
    figures["rows"] = write_rows(chain, std::move(documents), section.corpus, folder / "rows");
    return figures;
  });

  const KnownModel teacher = known_model(chain.model_folder);
  const StepPlan plan =
      plan_student(chain.loaded, chain.dtype, teacher, student_config(teacher.config, section.student));
  section.train = plan.config;
  StepKey student{
      "distill/student",
      1,
      config_key(section.student) + config_key(section.loss) + config_key(section.train) + chain.precision(),
      {{"rows", chain.digest_of_step("distill/rows")}, {"model", model}}};
  const int64_t parameters = read_model_config(chain.model_folder).parameters();
  chain.step("distill", student, model_bytes(parameters) + checkpoint_bytes(parameters),
             [&](const fs::path& folder) { return train_student(chain, section, plan, folder); });
}

}  // namespace decant
