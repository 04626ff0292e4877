// decant inspect PATH: what is in it, with a sample.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdlib>
#include <memory>

#include "core/adapter_file.h"
#include "core/error.h"
#include "core/gguf_file.h"
#include "core/model/model_config.h"
#include "core/tensor_file.h"
#include "data_pipeline/explain.h"
#include "data_pipeline/shard.h"
#include "data_pipeline/tokenizer.h"
#include "data_pipeline/tokenizer_files.h"
#include "export/release.h"
#include "recipes/training.h"
#include "recipes/verbs.h"

namespace decant {

namespace fs = std::filesystem;

namespace {

struct InspectArguments {
  std::string path, tokenizer, why;
  int64_t documents = 3;
};

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string out = "[";
  for (const int64_t n : shape) out += (out.size() > 1 ? ", " : "") + std::to_string(n);
  return out + "]";
}

// Text from a file, on one line and without control characters, cut to what a screen shows.
std::string shown(const std::string& text, size_t most = 60) {
  std::string out;
  for (const char c : text.substr(0, most))
    out += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? ' ' : c;
  while (text.size() > most && !out.empty() && (static_cast<unsigned char>(out.back()) & 0xC0) == 0x80)
    out.pop_back();
  if (text.size() > most && !out.empty() && static_cast<unsigned char>(out.back()) >= 0xC0) out.pop_back();
  return out + (text.size() > most ? concat("... (", text.size(), " bytes)") : "");
}

void show_tensor(const std::string& name, const std::string& dtype, const std::vector<int64_t>& shape) {
  print("  " + shown(name, 200) + "  " + dtype + " " + shape_text(shape) + "\n");
}

void inspect_safetensors(const fs::path& path) {
  const SafetensorsFile file(path);
  print(concat(path.string(), ": safetensors, ", file.entries().size(), " tensors\n"));
  for (const auto& [key, value] : file.metadata())
    print("  metadata " + shown(key) + ": " + shown(value) + "\n");
  for (const auto& entry : file.entries()) show_tensor(entry.name, entry.dtype, entry.shape);
}

std::string gguf_value_text(const GgufValue& value) {
  if (value.type == 9)
    return concat("list of ", value.strings.empty() ? value.numbers.size() : value.strings.size(),
                  value.strings.empty() ? " numbers" : " texts");
  if (const auto* text = std::get_if<std::string>(&value.scalar)) return "\"" + shown(*text) + "\"";
  if (const auto* b = std::get_if<bool>(&value.scalar)) return *b ? "true" : "false";
  if (const auto* i = std::get_if<int64_t>(&value.scalar)) return std::to_string(*i);
  if (const auto* u = std::get_if<uint64_t>(&value.scalar)) return std::to_string(*u);
  return concat(std::get<double>(value.scalar));
}

void inspect_gguf(const fs::path& path) {
  const GgufFile file(path);
  print(concat(path.string(), ": GGUF version ", file.version(), ", ", file.metadata().size(),
               " metadata keys, ", file.tensors().size(), " tensors\n"));
  for (const auto& [key, value] : file.metadata())
    print("  " + shown(key, 200) + ": " + gguf_value_text(value) + "\n");
  for (const auto& tensor : file.tensors())
    show_tensor(tensor.name, ggml_type_name(tensor.type), tensor.shape);
}

void inspect_model(const fs::path& path) {
  const ModelConfig config = read_model_config(path);
  const TensorFile tensors(path);
  print(concat(path.string(), ": model, ", config.source.value("model_type", std::string("?")), ", ",
               config.parameters(), " parameters, ", config.num_hidden_layers, " layers, width ",
               config.hidden_size, ", vocabulary ", config.vocab_size, ", ", tensors.files().size(),
               tensors.files().size() == 1 ? " file\n" : " files\n"));
  if (fs::exists(path / "tokenizer.json") || fs::exists(path / "tokenizer.model")) {
    const auto tokenizer = load_tokenizer(path);
    print(concat("  tokenizer: ", tokenizer->vocab_size(), " ids, ", padded_rows(*tokenizer, path),
                 " padded rows, sha256 ", tokenizer->sha256(), "\n"));
  }
  for (const auto& name : tensors.names())
    show_tensor(name, tensors.entry(name).dtype, tensors.entry(name).shape);
}

void inspect_adapter(const fs::path& path) {
  const Adapter adapter = read_adapter(path);
  print(concat(path.string(), ": PEFT adapter, rank ", adapter.config.rank, ", alpha ", adapter.config.alpha,
               adapter.config.use_rslora ? ", rsLoRA" : "", ", base ", shown(adapter.config.base_model, 200),
               adapter.config.base_quantization.empty() ? "" : " quantized to ",
               adapter.config.base_quantization, ", ", adapter.modules.size(), " modules\n"));
  if (!adapter.tokens.ids.empty()) {
    std::string ids;
    for (const int64_t id : adapter.tokens.ids) ids += concat(" ", id);
    print(concat("  rows of its own", adapter.tokens.head.defined() ? " (embedding and head)" : "",
                 " for the tokens", ids, "\n"));
  }
  for (const auto& module : adapter.modules)
    print(concat("  ", shown(module.module, 200), "  A ", shape_text(module.lora_a.sizes().vec()), " B ",
                 shape_text(module.lora_b.sizes().vec()), " scale ", adapter.config.scale_of(module.module),
                 "\n"));
}

// Tokens under loss stand out: green on a terminal, in guillemets elsewhere.
void show_document(const ShardDocument& document, const Tokenizer* tokenizer, bool terminal) {
  std::string role;
  if (document.role != DocumentRole::kPlain) role = concat(", ", role_name(document.role));
  if (document.pair >= 0) role += concat(" of pair ", document.pair);
  print("  " + shown(document.id, 200) + concat(" (", document.tokens.size(), " tokens", role, ")\n    "));
  std::string text;
  bool learned = false;
  std::vector<int64_t> span;
  const auto flush = [&] {
    if (span.empty()) return;
    std::string piece;
    if (tokenizer != nullptr)
      piece = tokenizer->decode(span);
    else
      for (const int64_t id : span) piece += std::to_string(id) + " ";
    std::string line;
    for (const char c : piece)
      line += c == '\n'                              ? std::string("\n    ")
              : static_cast<unsigned char>(c) < 0x20 ? " "
                                                     : std::string(1, c);
    text += learned ? (terminal ? "\033[32m" + line + "\033[0m" : "«" + line + "»") : line;
    span.clear();
  };
  for (size_t i = 0; i < document.tokens.size(); ++i) {
    if ((document.loss_weight[i] > 0) != learned) flush();
    learned = document.loss_weight[i] > 0;
    span.push_back(document.tokens[i]);
  }
  flush();
  print(text + "\n");
}

// The tokenizer that was used: given, or of the run directory that the shards lie in.
std::unique_ptr<Tokenizer> tokenizer_of(const fs::path& shards, const InspectArguments& a,
                                        const std::string& sha256) {
  if (!a.tokenizer.empty()) return load_tokenizer(a.tokenizer);
  for (fs::path at = fs::absolute(shards); at.has_relative_path(); at = at.parent_path()) {
    const fs::path model = at / "model" / "model";
    if (!fs::exists(model / "tokenizer.json")) continue;
    auto tokenizer = load_tokenizer(model);
    if (tokenizer->sha256() == sha256) return tokenizer;
  }
  return nullptr;
}

void inspect_shards(const fs::path& path, const InspectArguments& a) {
  const ShardReader reader(path);
  print(concat(path.string(), ": shards, ", reader.rows(), " rows of at most ",
               reader.header().sequence_length, " tokens, ", reader.tokens(), " tokens\n  tokenizer sha256 ",
               reader.header().tokenizer_sha256, "\n  template sha256 ", reader.header().template_sha256,
               "\n"));
  const RoleCounts& roles = reader.roles();
  if (roles.chosen + roles.rejected > 0)
    print(concat("  roles: ", roles.chosen, " chosen, ", roles.rejected, " rejected, ", roles.plain,
                 " plain; ", roles.pairs, " pairs\n"));
  const auto tokenizer = tokenizer_of(path, a, reader.header().tokenizer_sha256);
  if (tokenizer == nullptr) print("  ids are shown; --tokenizer MODEL shows text\n");
  int64_t left = a.documents;
  for (int64_t r = 0; r < reader.rows() && left > 0; ++r)
    for (const auto& document : reader.row(r))
      if (left-- > 0) show_document(document, tokenizer.get(), ::isatty(STDOUT_FILENO) == 1);
}

// Documents and tokens of each tenant and source, and what the contract found broken.
void inspect_corpus(const fs::path& path) {
  const Json contract = read_json(path / "contract.json");
  const std::string where = (path / "contract.json").string();
  const auto part = [&](const Json& json, const char* key) {
    check(json.is_object() && json.contains(key), where, ": has no '", key, "'; prepare the corpus again");
    return json[key];
  };
  const Json measures = part(contract, "measures");
  print(concat(path.string(), ": corpus, ", part(measures, "kept").dump(), " of ",
               part(measures, "documents").dump(), " documents kept, ", part(measures, "kept_tokens").dump(),
               " tokens\n"));
  constexpr const char* kColumns[] = {"in",           "train",           "held_out",
                                      "train_tokens", "held_out_tokens", "target_tokens"};
  for (const char* kind : {"tenants", "sources"}) {
    const Json table = part(measures, kind);
    check(table.is_object(), where, ": '", kind, "' must be an object");
    print(concat("  ", kind, "\n"));
    for (const auto& [name, of] : table.items()) {
      std::string line = "    " + shown(name);
      for (const char* column : kColumns) line += concat("  ", column, " ", part(of, column).dump());
      print(line + "\n");
    }
  }
  for (const Json& bound : part(contract, "checks"))
    if (part(bound, "ok") == false)
      print(concat("  broken: ", shown(part(bound, "name").dump()), " found ", part(bound, "found").dump(),
                   ", allowed ", part(bound, "bound").dump(), "\n"));
}

void inspect_conversations(const fs::path& path, const InspectArguments& a) {
  const auto conversations = read_conversations(path);
  std::map<std::string, int64_t> tenants;
  int64_t turns = 0;
  for (const auto& c : conversations) {
    ++tenants[c.tenant];
    turns += static_cast<int64_t>(c.messages.size());
  }
  print(concat(path.string(), ": ", conversations.size(), " conversations, ", turns, " messages\n"));
  for (const auto& [tenant, n] : tenants) print(concat("  tenant ", tenant, ": ", n, "\n"));
  for (size_t i = 0; i < conversations.size() && static_cast<int64_t>(i) < a.documents; ++i) {
    print("  " + shown(conversations[i].id) + "\n");
    for (const auto& m : conversations[i].messages)
      print("    " + m.role + ": " + shown(m.content, 200) + "\n");
  }
}

void inspect_steps(const fs::path& path) {
  print(path.string() + ": run directory\n");
  std::vector<fs::path> manifests;
  for (const auto& entry : fs::recursive_directory_iterator(path))
    if (entry.path().filename() == "manifest.json") manifests.push_back(entry.path());
  std::sort(manifests.begin(), manifests.end());
  for (const auto& manifest : manifests) {
    const Json json = read_json(manifest);
    print("  " + fs::relative(manifest.parent_path(), path).string() + ": " +
          (json.contains("figures") ? json["figures"].dump() : "done") + "\n");
  }
}

void inspect_folder(const fs::path& path, const InspectArguments& a) {
  if (fs::exists(path / "adapter_config.json")) return inspect_adapter(path);
  if (fs::exists(path / "config.json")) return inspect_model(path);
  if (fs::exists(path / "golden.jsonl")) {
    print(path.string() + ": release\n");
    std::vector<fs::path> entries;
    for (const auto& entry : fs::directory_iterator(path)) entries.push_back(entry.path());
    std::sort(entries.begin(), entries.end());
    for (const auto& entry : entries)
      print("  " + entry.filename().string() + (fs::is_directory(entry) ? "/" : "") + "\n");
    if (fs::is_directory(path / "model")) inspect_model(path / "model");
    return;
  }
  if (fs::exists(path / "index.json")) return inspect_shards(path, a);
  if (fs::exists(path / "contract.json")) return inspect_corpus(path);
  if (fs::exists(path / "recipe.resolved.yaml") || fs::exists(path / "manifest.json"))
    return inspect_steps(path);
  if (fs::exists(path / "model.safetensors.index.json")) {
    const TensorFile tensors(path);
    print(concat(path.string(), ": ", tensors.names().size(), " tensors in ", tensors.files().size(),
                 " files\n"));
    for (const auto& name : tensors.names())
      show_tensor(name, tensors.entry(name).dtype, tensors.entry(name).shape);
    return;
  }
  fail(path.string(),
       ": found none of config.json, adapter_config.json, index.json, golden.jsonl, recipe.resolved.yaml: "
       "not a folder that decant knows");
}

// Of a corpus, or of the run directory that it lies in.
void inspect_why(const fs::path& path, const std::string& id) {
  for (const fs::path& corpus : {path, path / "corpus"}) {
    if (!fs::exists(corpus / "ledger.sqlite")) continue;
    for (const std::string& line : explain_document(corpus, id)) print(line + "\n");
    return;
  }
  fail(path.string(), ": no corpus with a ledger.sqlite in it; name the corpus folder of a run");
}

Exit run_inspect(const InspectArguments& a) {
  const fs::path path = a.path;
  check(fs::exists(path), a.path, ": no such file or folder");
  if (!a.why.empty()) {
    inspect_why(path, a.why);
    return Exit::kFinished;
  }
  if (fs::is_directory(path)) {
    inspect_folder(fs::path(path) / "", a);
    return Exit::kFinished;
  }
  const std::string extension = path.extension().string();
  std::string magic;
  {
    const MappedFile file(path);
    magic = std::string(file.bytes().substr(0, 16));
  }
  if (extension == ".gguf" || magic.starts_with("GGUF"))
    inspect_gguf(path);
  else if (extension == ".jsonl" || extension == ".json")
    inspect_conversations(path, a);
  else if (extension == ".h5" || magic.starts_with("\x89HDF"))
    inspect_shards(fs::absolute(path).parent_path(), a);
  else
    inspect_safetensors(path);  // its first bytes are a length: there is no magic to go by
  return Exit::kFinished;
}

}  // namespace

void add_inspect(CLI::App& app, Action& action) {
  auto* verb = app.add_subcommand(
      "inspect", "what is in a model, adapter, GGUF, corpus, folder of shards, release or run directory");
  auto a = std::make_shared<InspectArguments>();
  verb->add_option("PATH", a->path, "file or folder")->required();
  verb->add_option("--tokenizer", a->tokenizer, "shows the text of shards");
  verb->add_option("--documents", a->documents, "how many of a corpus or of shards to show")
      ->check(CLI::NonNegativeNumber);
  verb->add_option("--why", a->why, "of a corpus: what became of the document with this id, and why");
  verb->callback([&action, a] { action = [a] { return run_inspect(*a); }; });
}

}  // namespace decant
