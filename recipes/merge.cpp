// decant merge, decant import: a model folder made from others.
#include "lora/merge.h"

#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>

#include "core/adapter_file.h"
#include "core/file.h"
#include "core/log.h"
#include "core/model/load_model.h"
#include "core/model/stored_quantization.h"
#include "data_pipeline/tokenizer_files.h"
#include "recipes/import_model.h"
#include "recipes/open_model.h"
#include "recipes/verbs.h"

namespace decant {

namespace fs = std::filesystem;

void copy_tokenizer_files(const fs::path& from, const fs::path& to) {
  for (const auto& name : tokenizer_file_names(from)) write_file(to / name, read_file(from / name));
}

void import_model(const fs::path& gguf, const fs::path& folder, Dtype dtype) {
  const Decoder model = import_gguf(gguf, dtype);
  save_model(model, folder, dtype);
  import_gguf_tokenizer_files(gguf, folder);
}

namespace {

void refuse_existing(const fs::path& out) {
  check(!fs::exists(out), out.string(), ": exists already; choose another folder or remove it first");
}

// Merged in fp32 and rounded once, to bf16 unless told otherwise: the dtype that releases are in.
// An adapter of a base in 4 bits is merged only by force: it was trained against the 4-bit values, and W + s
// B A is neither those nor, quantized again, keeps updates smaller than a step (peft 2321 and 1043).
Exit run_merge(const fs::path& base, const fs::path& adapter, const fs::path& out, Dtype dtype, bool force) {
  refuse_existing(out);
  const Adapter read = read_adapter(adapter);
  const std::string stored = to_string(stored_quantization(read_model_config(base).source, base.string()));
  const std::string trained = read.config.base_quantization.empty() ? stored : read.config.base_quantization;
  check(force || (!trained.starts_with("nf4") && !stored.starts_with("nf4")), adapter.string(),
        ": was trained on a base in 4 bits (", trained,
        "). It fits those values: merged into others it drifts, and a merged model that is quantized again "
        "loses small "
        "updates. Serve the adapter beside the base that it is evaluated on, or merge into the weights of ",
        base.string(), stored == "none" ? "" : ", dequantized,", " all the same with --force");
  check_base(read, adapter, base);
  Decoder model = load_model(base, dtype);
  dequantize_model(model);
  const MergeReport report = merge_adapter(model, read);
  write_folder(out, [&](const fs::path& folder) {
    save_model(model, folder, dtype);
    copy_tokenizer_files(base, folder);
  });
  print(merge_report_text(report));
  log_info("wrote ", out.string());
  return Exit::kFinished;
}

Exit run_import(const fs::path& gguf, const fs::path& out, Dtype dtype) {
  refuse_existing(out);
  write_folder(out, [&](const fs::path& folder) { import_model(gguf, folder, dtype); });
  log_info("wrote ", out.string());
  return Exit::kFinished;
}

}  // namespace

void add_merge(CLI::App& app, Action& action) {
  auto* merge =
      app.add_subcommand("merge", "a model with an adapter merged into its weights, and what rounding cost");
  auto base = std::make_shared<std::string>(), adapter = std::make_shared<std::string>(),
       out = std::make_shared<std::string>();
  auto dtype = std::make_shared<std::string>("bf16");
  merge->add_option("MODEL", *base, "Hugging Face folder")->required();
  merge->add_option("ADAPTER", *adapter, "PEFT folder")->required();
  merge->add_option("OUT", *out, "folder to write")->required();
  merge->add_option("--dtype", *dtype, "of the merged weights: bf16 (default) or fp32")
      ->check(CLI::IsMember({"bf16", "fp32"}));
  auto force = std::make_shared<bool>(false);
  merge->add_flag("--force", *force, "merge an adapter that was trained on a base in 4 bits");
  merge->callback([=, &action] {
    action = [=] {
      return run_merge(*base, *adapter, *out, *dtype == "fp32" ? Dtype::kFp32 : Dtype::kBf16, *force);
    };
  });

  auto* import = app.add_subcommand("import", "a GGUF file as a Hugging Face folder");
  auto gguf = std::make_shared<std::string>(), folder = std::make_shared<std::string>();
  auto import_dtype = std::make_shared<std::string>("bf16");
  import->add_option("GGUF", *gguf, "file to read")->required();
  import->add_option("OUT", *folder, "folder to write")->required();
  import->add_option("--dtype", *import_dtype, "of the weights: bf16 (default) or fp32")
      ->check(CLI::IsMember({"bf16", "fp32"}));
  import->callback([=, &action] {
    action = [=] { return run_import(*gguf, *folder, *import_dtype == "fp32" ? Dtype::kFp32 : Dtype::kBf16);
};
}  // namespace decant
);
}

}  // namespace decant
