#include "export/golden.h"

#include "core/error.h"
#include "core/file.h"
#include "core/hash.h"
#include "core/json.h"
#include "core/model/score.h"
#include "data_pipeline/chat_template.h"
#include "data_pipeline/tokenizer.h"
#include "data_pipeline/tokenizer_files.h"

namespace decant {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxTokens = 64;

const char* const kTexts[] = {
    "Hello, where is my parcel? The tracking has not moved since Monday.",
    "您好，我的订单什么时候发货？请帮我查一下，谢谢。",
    "Order 4711: 3 x 12.50 = 37.50, paid on 2026-09-14 at 08:05.",
    "  two spaces,\n\na blank line,\ttab; naïve café 🙂 don't I'LL x²",
    "def total(items):\n    return sum(i['price'] for i in items)  # EUR\n",
};

std::string digest_of(const std::string& bytes) { return bytes.empty() ? std::string() : sha256_hex(bytes); }

// The text as a user's turn under the model's template, when the template takes it.
std::string as_chat(const fs::path& folder, const std::string& text) {
  if (chat_template_text(folder).empty()) return {};
  try {
    return load_chat_template(folder)->render({{"user", text, nullptr}}, true).text;
  } catch (const Error&) {
    return {};  // one that wants another conversation, or a date: the plain texts serve
  }
}

}  // namespace

void write_golden(Decoder& model, const fs::path& tokenizer_folder,
                  const std::vector<std::pair<std::string, Adapter>>& adapters, const fs::path& file) {
  const auto tokenizer = load_tokenizer(tokenizer_folder);
  std::vector<std::string> texts(std::begin(kTexts), std::end(kTexts));
  if (const std::string chat = as_chat(tokenizer_folder, kTexts[0]); !chat.empty()) texts.push_back(chat);

  // Cut to whole tokens; the recorded text is that of the ids when something was cut.
  const size_t longest =
      std::min<size_t>(kMaxTokens, static_cast<size_t>(model.config.max_position_embeddings));
  std::vector<std::vector<int64_t>> documents;
  std::vector<bool> whole;
  for (const std::string& text : texts) {
    std::vector<int64_t> ids = tokenizer->encode(text, SpecialMode::kMatch);
    whole.push_back(ids.size() <= longest);
    if (ids.size() > longest) ids.resize(longest);
    check(ids.size() >= 2, tokenizer_folder.string(), ": the tokenizer makes fewer than two tokens of '",
          text, "'");
    documents.push_back(std::move(ids));
  }

  Json header = Json::object();
  header["decant_golden"] = 1;
  header["vocab_size"] = model.config.vocab_size;
  header["eos_token_ids"] = stop_ids(tokenizer_folder);
  const fs::path tokenizer_json = tokenizer_folder / "tokenizer.json";
  header["tokenizer_sha256"] = fs::exists(tokenizer_json) ? sha256_file(tokenizer_json) : std::string();
  header["chat_template_sha256"] = digest_of(chat_template_text(tokenizer_folder));
  std::string out = header.dump() + "\n";
  const auto append = [&](const std::string& artefact) {
    const auto log_probabilities = score(model, documents);
    for (size_t i = 0; i < documents.size(); ++i) {
      Json line = Json::object();
      line["artefact"] = artefact;
      line["text"] = texts[i];
      line["whole"] = static_cast<bool>(whole[i]);  // ids are all of text's, not only the first ones
      line["ids"] = documents[i];
      line["log_probabilities"] = log_probabilities[i];
      out += line.dump() + "\n";
    }
  };
  append("model");
  for (const auto& [tenant, adapter] : adapters) {
    apply_adapter(model, adapter);
    try {
      append("adapters/" + tenant);
    } catch (...) {
      remove_adapter(model);
      throw;
    }
    remove_adapter(model);
  }
  write_file(file, out);
}

}  // namespace decant
