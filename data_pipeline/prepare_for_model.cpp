#include "data_pipeline/prepare.h"

namespace decant {

Json prepare_corpus(const CorpusConfig& config, const std::filesystem::path& base_folder,
                    const std::filesystem::path& model_folder, const std::string& period,
                    const std::filesystem::path& folder) {
  const auto chat_template =
      config.template_name == "plain" ? plain_template() : load_chat_template(model_folder);
  const auto tokenizer = load_tokenizer(model_folder);
  return prepare_corpus(config, base_folder, *tokenizer, *chat_template, period, folder);
}

}  // namespace decant
