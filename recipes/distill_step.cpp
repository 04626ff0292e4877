// Distillation: the teacher's answers, the rows made of them, the student trained on them.
#include <algorithm>

#include "core/error.h"
#include "core/file.h"
#include "core/hash.h"
#include "core/log.h"
#include "core/progress.h"
#include "data_pipeline/chat_template.h"
#include "data_pipeline/tokenizer_files.h"
#include "distill/distill_loss.h"
#include "distill/generation_store.h"
#include "recipes/import_model.h"
#include "recipes/open_model.h"
#include "recipes/training.h"

namespace decant {

namespace fs = std::filesystem;

namespace {

struct Prompt {
  std::string id, tenant, key;  // key: names the answer in the store
  std::vector<int64_t> ids;
};

// The conversation up to its first answer.
std::vector<Message> question(const Conversation& conversation) {
  for (size_t i = 0; i < conversation.messages.size(); ++i)
    if (conversation.messages[i].role == "assistant")
      return i == 0 ? std::vector<Message>{}
                    : std::vector<Message>(conversation.messages.begin(),
                                           conversation.messages.begin() + static_cast<std::ptrdiff_t>(i));
  return {};
}

// One conversation of each tenant in turn, so that a small number of prompts covers all. A prompt whose
// answer could not fit a row is passed over.
std::vector<Prompt> choose_prompts(const Chain& chain, const AnswersConfig& config,
                                   const std::string& model_digest) {
  const auto tokenizer = load_tokenizer(chain.model_folder);
  const auto chat = chain.recipe.corpus->template_name == "plain" ? plain_template()
                                                                  : open_chat_template(chain.model_folder);
  std::vector<std::vector<Conversation>> by_tenant;
  for (const auto& tenant : chain.tenants())
    by_tenant.push_back(
        read_conversations(chain.run.step_path("corpus") / "conversations" / "train" / (tenant + ".jsonl")));
  const int64_t longest = chain.recipe.corpus->sequence_length - config.sampling.max_new_tokens;
  std::vector<Prompt> prompts;
  for (size_t i = 0, left = 1; left > 0; ++i) {
    left = 0;
    for (const auto& conversations : by_tenant) {
      if (i >= conversations.size()) continue;
      ++left;
      if (static_cast<int64_t>(prompts.size()) >= config.prompts) return prompts;
      const auto messages = question(conversations[i]);
      if (messages.empty()) continue;
      Prompt prompt{conversations[i].id, conversations[i].tenant, "",
                    tokenize_rendered(chat->render(messages, true), *tokenizer).tokens};
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

Json write_answers(Chain& chain, const std::string& model_digest, const fs::path& folder) {
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
        Json record;
        record["id"] = open[i]->id;
        record["tenant"] = open[i]->tenant;
        record["prompt"] = open[i]->ids;
        record["answer"] = result.tokens;
        record["stopped"] = result.reason == StopReason::kStopToken;
        record["text"] = tokenizer->decode(result.tokens, true);
        store.add(open[i]->key, record);
      }
      progress.update(static_cast<int64_t>(prompts.size() - open.size() + end));
    }
  }
  store.finish(keys);
  int64_t tokens = 0;
  for (const auto& key : keys) tokens += static_cast<int64_t>((*store.find(key))["answer"].size());
  Json figures;
  figures["answers"] = keys.size();
  figures["answer_tokens"] = tokens;
  figures["keys"] = keys;
  return figures;
}

// An answer becomes a document as it was sampled: the same ids, the loss on what the teacher wrote.
std::vector<ShardDocument> answer_documents(const Chain& chain) {
  const GenerationStore store(chain.run.step_path("distill/answers") / "answers.jsonl");
  std::vector<ShardDocument> documents;
  for (const auto& key : chain.figures.at("distill/answers")["keys"]) {
    const Json* record = store.find(key.get<std::string>());
    check(record != nullptr, "distill/answers/answers.jsonl: answer ", key.get<std::string>(),
          " is missing; remove the folder and run again");
    ShardDocument document;
    document.id = "answer/" + (*record)["id"].get<std::string>();
    for (const auto& id : (*record)["prompt"]) {
      document.tokens.push_back(id.get<uint32_t>());
      document.loss_weight.push_back(0);
    }
    for (const auto& id : (*record)["answer"]) {
      document.tokens.push_back(id.get<uint32_t>());
      document.loss_weight.push_back(255);
    }
    documents.push_back(std::move(document));
  }
  return documents;
}

Json train_student(Chain& chain, const fs::path& folder) {
  const DistillSection& section = *chain.recipe.distill;
  Decoder teacher = load_model(chain.model_folder, chain.dtype);
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
  const TrainResult result = train(student, student.parameters(), batches, objective, section.train, folder);
  save_model(student, folder / "model", chain.dtype);
  copy_tokenizer_files(chain.model_folder, folder / "model");
  Json figures = training_figures(result, folder);
  figures["parameters"] = student.config.parameters();
  return figures;
}

}  // namespace

void distill_steps(Chain& chain) {
  const DistillSection& section = *chain.recipe.distill;
  const std::string model = chain.digest_of("@model");
  const std::string corpus = chain.digest_of_step("corpus");
  StepKey answers{"distill/answers",
                  1,
                  config_key(section.generate) + write_config(chain.recipe.model),
                  {{"corpus", corpus}, {"model", model}}};
  chain.step("distill", answers, 1 << 22,
             [&](const fs::path& folder) { return write_answers(chain, model, folder); });

  StepKey rows{"distill/rows",
               1,
               section.corpus ? "corpus: true" : "corpus: false",
               {{"corpus", corpus}, {"answers", chain.digest_of_step("distill/answers")}}};
  chain.step("distill", rows, 1 << 22, [&](const fs::path& folder) {
    return write_rows(chain, answer_documents(chain), section.corpus, folder / "rows");
  });

  StepKey student{"distill/student",
                  1,
                  config_key(section.student) + config_key(section.loss) + config_key(section.train) +
                      write_config(chain.recipe.model),
                  {{"rows", chain.digest_of_step("distill/rows")}, {"model", model}}};
  const int64_t parameters = read_model_config(chain.model_folder).parameters();
  chain.step("distill", student, model_bytes(parameters) + checkpoint_bytes(parameters),
             [&](const fs::path& folder) { return train_student(chain, folder); });
}

}  // namespace decant
