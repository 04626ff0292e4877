#include "export/hf_folder.h"

#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "core/model/load_model.h"
#include "data_pipeline/tokenizer.h"
#include "data_pipeline/tokenizer_files.h"

namespace decant {

namespace fs = std::filesystem;

void export_hf_folder(const Decoder& model, const fs::path& tokenizer_folder, const fs::path& out,
                      int64_t max_shard_bytes, Dtype dtype) {
  const auto tokenizer = load_tokenizer(tokenizer_folder);
  check(tokenizer->vocab_size() <= model.config.vocab_size, tokenizer_folder.string(),
        ": the tokenizer has ids up to ", tokenizer->vocab_size() - 1, ", but the model's embedding has ",
        model.config.vocab_size, " rows; this tokenizer belongs to another model");
  const std::string chat_template = chat_template_text(tokenizer_folder);
  const std::vector<std::string> names = tokenizer_file_names(tokenizer_folder);
  write_folder(out, [&](const fs::path& folder) {
    save_model(model, folder / "weights", dtype, max_shard_bytes);
    for (const auto& entry : fs::directory_iterator(folder / "weights"))
      fs::rename(entry.path(), folder / entry.path().filename());
    fs::remove(folder / "weights");
    for (const std::string& name : names) write_file(folder / name, read_file(tokenizer_folder / name));
    if (!chat_template.empty() && !fs::exists(folder / "chat_template.jinja"))
      write_file(folder / "chat_template.jinja", chat_template);
    if (!fs::exists(folder / "generation_config.json")) {
      Json generation = Json::object();
      generation["_from_model_config"] = true;
      const std::vector<int64_t> stops = stop_ids(tokenizer_folder);
      generation["eos_token_id"] = stops.size() == 1 ? Json(stops.front()) : Json(stops);
      write_json(folder / "generation_config.json", generation);
    }
  });
}

}  // namespace decant
