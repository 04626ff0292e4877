#include "recipes/training_samples.h"

#include <algorithm>

#include "core/file.h"
#include "core/model/generate.h"
#include "data_pipeline/prepare.h"
#include "data_pipeline/tokenizer_files.h"
#include "recipes/open_model.h"
#include "recipes/training.h"

namespace decant {

namespace fs = std::filesystem;

namespace {

std::string shown(const std::vector<Message>& messages) {
  std::string text;
  for (const Message& message : messages)
    text += (text.empty() ? "" : "\n\n") + message.role + ": " + message.content;
  return text;
}

}  // namespace

std::vector<Message> question_of(const Conversation& conversation) {
  const auto answer = std::find_if(conversation.messages.begin(), conversation.messages.end(),
                                   [](const Message& m) { return m.role == "assistant"; });
  if (answer == conversation.messages.end()) return {};
  return {conversation.messages.begin(), answer};
}

TrainingSamples::TrainingSamples(const Chain& chain, std::vector<std::string> tenants,
                                 const SampleConfig& config, const ModelConfig& model, const fs::path& folder)
    : chain_(chain),
      tenants_(std::move(tenants)),
      config_(config),
      most_positions_(model.max_position_embeddings),
      file_(folder / kSamplesFile) {}

void TrainingSamples::choose() {
  json_ = {{"tokens", config_.tokens}, {"questions", Json::array()}, {"answers", Json::object()}};
  tokenizer_ = load_tokenizer(chain_.model_folder);
  const auto chat = recipe_chat_template(chain_.recipe, chain_.model_folder);
  std::vector<std::vector<Conversation>> by_tenant;
  for (const auto& tenant : tenants_)
    by_tenant.push_back(read_conversations(chain_.conversations("held_out", tenant)));
  const auto full = [&] { return static_cast<int64_t>(prompts_.size()) >= config_.questions; };
  for (size_t i = 0, left = 1; left > 0 && !full(); ++i) {
    left = 0;
    for (const auto& conversations : by_tenant) {
      if (i >= conversations.size() || full()) continue;
      ++left;
      const auto messages = question_of(conversations[i]);
      if (messages.empty()) continue;
      RenderOptions options = render_options(*chain_.recipe.corpus, conversations[i]);
      options.add_generation_prompt = true;
      auto ids = tokenize_rendered(chat->render(messages, options), *tokenizer_).tokens;
      if (ids.empty() || static_cast<int64_t>(ids.size()) + config_.tokens > most_positions_) continue;
      json_["questions"].push_back(
          {{"tenant", conversations[i].tenant}, {"id", conversations[i].id}, {"question", shown(messages)}});
      prompts_.push_back(std::move(ids));
    }
  }
  if (!fs::exists(file_)) return;
  const Json before = read_json(file_);
  if (before.is_object() && before.value("tokens", Json()) == json_["tokens"] &&
      before.value("questions", Json()) == json_["questions"] && before.contains("answers") &&
      before["answers"].is_object())
    json_ = before;
}

void TrainingSamples::take(const Decoder& model, const std::string& when) {
  if (config_.questions == 0) return;
  if (json_.is_null()) choose();
  if (prompts_.empty() || (when == kBefore && json_["answers"].contains(when))) return;
  SamplingConfig sampling;
  sampling.max_new_tokens = config_.tokens;
  std::vector<GenerationRequest> requests;
  for (const auto& ids : prompts_) requests.push_back({ids, 0});
  Json answers = Json::array();
  for (const auto& result : generate(model, requests, sampling, stop_ids(chain_.model_folder)))
    answers.push_back(utf8_text(tokenizer_->decode(result.tokens, true)));
  json_["answers"][when] = std::move(answers);
  fs::create_directories(file_.parent_path());
  write_json(file_, json_);
}

void TrainingSamples::take_at_probe(const Decoder& model, int64_t step) {
  if (config_.at_probes) take(model, concat("step ", step));
}

}  // namespace decant
