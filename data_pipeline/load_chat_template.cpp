#include "core/error.h"
#include "data_pipeline/chat_template.h"
#include "data_pipeline/tokenizer_files.h"

namespace decant {

std::unique_ptr<ChatTemplate> load_chat_template(const std::filesystem::path& model_folder) {
  const std::string text = chat_template_text(model_folder);
  check(!text.empty(), model_folder.string(),
        ": no chat template (chat_template.jinja, or chat_template in tokenizer_config.json); a recipe's "
        "'corpus.template: plain' and the command line's --raw do without");
  return chat_template_from_text(text, model_folder.string());
}

}  // namespace decant
