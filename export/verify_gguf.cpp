#include <ATen/ATen.h>

#include <algorithm>
#include <bit>
#include <cmath>

#include "export/verify_bytes.h"
#include "export/verify_parts.h"

namespace decant::verifying {
namespace {

namespace fs = std::filesystem;

struct GgufTensorEntry {
  std::vector<int64_t> shape;  // torch order
  uint32_t type = 0;
  uint64_t offset = 0, bytes = 0;
  at::Tensor value;  // fp32
};

struct PlainGguf {
  Tree pairs = Tree::object();
  std::map<std::string, GgufTensorEntry> tensors;
};

constexpr uint64_t kMany = 1ull << 30;

std::string take_text(Cursor& cursor, const char* what) {
  const auto length = cursor.take<uint64_t>(what);
  expect(length <= kMany, what, " of ", length, " bytes");
  return std::string(cursor.take_bytes(length, what));
}

Tree take_value(Cursor& cursor, uint32_t type, const std::string& key) {
  switch (type) {
    case 0:
      return cursor.take<uint8_t>("a value");
    case 1:
      return cursor.take<int8_t>("a value");
    case 2:
      return cursor.take<uint16_t>("a value");
    case 3:
      return cursor.take<int16_t>("a value");
    case 4:
      return cursor.take<uint32_t>("a value");
    case 5:
      return cursor.take<int32_t>("a value");
    case 6:
      return static_cast<double>(cursor.take<float>("a value"));
    case 7:
      return cursor.take<uint8_t>("a value") != 0;
    case 8:
      return take_text(cursor, "a text");
    case 10:
      return cursor.take<uint64_t>("a value");
    case 11:
      return cursor.take<int64_t>("a value");
    case 12:
      return cursor.take<double>("a value");
    default:
      throw Defect("key " + key + " has the unknown type " + std::to_string(type));
  }
}

at::Tensor decoded(const GgufTensorEntry& entry, std::string_view bytes, const std::string& name) {
  at::Tensor out = at::empty(entry.shape, at::kFloat);
  auto* x = out.data_ptr<float>();
  const auto n = static_cast<size_t>(out.numel());
  const auto half_at = [&](size_t at) {
    return static_cast<uint16_t>(static_cast<unsigned char>(bytes[at]) |
                                 (static_cast<unsigned char>(bytes[at + 1]) << 8));
  };
  for (size_t i = 0; i < n; ++i) {
    if (entry.type == 0)
      std::memcpy(&x[i], bytes.data() + 4 * i, 4);
    else if (entry.type == 1)
      x[i] = float_of_half(half_at(2 * i));
    else if (entry.type == 30)
      x[i] = std::bit_cast<float>(static_cast<uint32_t>(half_at(2 * i)) << 16);
    else
      x[i] = float_of_half(half_at(i / 32 * 34)) *
             static_cast<float>(static_cast<int8_t>(bytes[i / 32 * 34 + 2 + i % 32]));
  }
  expect(at::isfinite(out).all().item<bool>(), "tensor ", name, " holds values that are not finite");
  return out;
}

PlainGguf read_plain_gguf(const fs::path& path) {
  const std::string bytes = slurp(path);
  Cursor cursor(bytes);
  expect(cursor.take_bytes(4, "magic") == "GGUF", "the file does not begin with GGUF");
  const auto version = cursor.take<uint32_t>("version");
  expect(version == 3, "GGUF version ", version, ", not 3");
  const auto tensor_count = cursor.take<int64_t>("tensor count");
  const auto pair_count = cursor.take<int64_t>("key count");
  expect(tensor_count >= 0 && pair_count >= 0 && tensor_count < 1'000'000 && pair_count < 1'000'000,
         "impossible counts: ", tensor_count, " tensors, ", pair_count, " keys");
  PlainGguf file;
  for (int64_t i = 0; i < pair_count; ++i) {
    const std::string key = take_text(cursor, "a key");
    expect(!key.empty() && !file.pairs.contains(key), "key '", key, "' is empty or there twice");
    const auto type = cursor.take<uint32_t>("a type");
    if (type != 9) {
      file.pairs[key] = take_value(cursor, type, key);
      continue;
    }
    const auto element = cursor.take<uint32_t>("an element type");
    const auto count = cursor.take<uint64_t>("an array length");
    expect(element != 9 && count <= cursor.left(), "array ", key, " of ", count, " elements cannot be");
    Tree list = Tree::array();
    for (uint64_t j = 0; j < count; ++j) list.push_back(take_value(cursor, element, key));
    file.pairs[key] = std::move(list);
  }
  uint64_t end = 0;
  for (int64_t i = 0; i < tensor_count; ++i) {
    const std::string name = take_text(cursor, "a tensor name");
    expect(!name.empty() && name.size() < 64 && !file.tensors.contains(name), "tensor name '", name,
           "' is empty, too long or there twice");
    GgufTensorEntry entry;
    const auto dimensions = cursor.take<uint32_t>("dimensions");
    expect(dimensions >= 1 && dimensions <= 4, "tensor ", name, " has ", dimensions, " dimensions");
    uint64_t elements = 1;
    for (uint32_t d = 0; d < dimensions; ++d) {
      const auto size = cursor.take<int64_t>("a size");
      expect(size > 0 && size < (1ll << 31) && elements <= (1ull << 40) / static_cast<uint64_t>(size),
             "tensor ", name, " has a bad shape");
      elements *= static_cast<uint64_t>(size);
      entry.shape.insert(entry.shape.begin(), size);
    }
    entry.type = cursor.take<uint32_t>("a type");
    entry.offset = cursor.take<uint64_t>("an offset");
    expect(entry.type == 0 || entry.type == 1 || entry.type == 8 || entry.type == 30, "tensor ", name,
           " has ggml type ", entry.type, ", not F32, F16, Q8_0 or BF16");
    expect(entry.type != 8 || entry.shape.back() % 32 == 0, "tensor ", name, " is Q8_0 with rows of ",
           entry.shape.back());
    entry.bytes = entry.type == 0 ? elements * 4 : entry.type == 8 ? elements / 32 * 34 : elements * 2;
    expect(entry.offset == end, "tensor ", name, " is at offset ", entry.offset, ", expected ", end);
    end = (entry.offset + entry.bytes + 31) / 32 * 32;
    file.tensors[name] = std::move(entry);
  }
  expect(integer_or(file.pairs, "general.alignment", 32, "metadata") == 32, "the alignment is not 32");
  const uint64_t start = (cursor.at() + 31) / 32 * 32;
  expect(bytes.size() == start + end, "the file has ", bytes.size(), " bytes, its tensors need ", start + end,
         " (truncated, or bytes after the end)");
  for (auto& [name, entry] : file.tensors)
    entry.value = decoded(entry, std::string_view(bytes).substr(start + entry.offset, entry.bytes), name);
  return file;
}

// Rows from llama.cpp's pairs (2i, 2i + 1) back to halves (i, i + K/2).
at::Tensor to_halves(const at::Tensor& value, int64_t heads) {
  const at::Tensor rows = value.dim() == 1 ? value.unsqueeze(1) : value;
  return rows.view({heads, rows.size(0) / heads / 2, 2, rows.size(1)}).transpose(1, 2).reshape(value.sizes());
}

class GgufModel {
 public:
  explicit GgufModel(PlainGguf& file)
      : file_(file), arch_(text_or(file.pairs, "general.architecture", "", kWhere)) {
    expect(arch_ == "llama" || arch_ == "qwen2" || arch_ == "qwen3", "general.architecture '", arch_,
           "' is not one that decant writes");
    expect(text_or(file.pairs, "general.type", "model", kWhere) == "model", "general.type is not model");
  }

  PlainModel build() {
    sizes();
    rope();
    take("token_embd.weight", "model.embed_tokens.weight", {model_.vocabulary, width_});
    take("output_norm.weight", "model.norm.weight", {width_});
    take("output.weight", "lm_head.weight", {model_.vocabulary, width_}, 0, true);
    for (int64_t layer = 0; layer < model_.layers; ++layer) block(layer);
    for (const auto& [name, entry] : file_.tensors)
      expect(taken_.contains(name), "tensor ", name, " is not one of a ", arch_,
             " model: llama.cpp refuses the file");
    return std::move(model_);
  }

 private:
  static constexpr const char* kWhere = "metadata";

  int64_t size(const std::string& key) const {
    const int64_t value = integer(file_.pairs, (arch_ + key).c_str(), kWhere);
    expect(value > 0 && value < (1ll << 30), arch_, key, " is ", value);
    return value;
  }

  void sizes() {
    width_ = size(".embedding_length");
    feed_forward_ = size(".feed_forward_length");
    model_.layers = size(".block_count");
    model_.heads = size(".attention.head_count");
    model_.kv_heads = size(".attention.head_count_kv");
    expect(model_.heads % model_.kv_heads == 0, model_.heads, " heads do not share ", model_.kv_heads,
           " key/value heads");
    size(".context_length");
    model_.head_dim = has(file_.pairs, (arch_ + ".attention.key_length").c_str())
                          ? size(".attention.key_length")
                          : width_ / model_.heads;
    expect(has(file_.pairs, (arch_ + ".attention.layer_norm_rms_epsilon").c_str()), arch_,
           ".attention.layer_norm_rms_epsilon is missing");
    model_.eps = number_or(file_.pairs, (arch_ + ".attention.layer_norm_rms_epsilon").c_str(), 0, kWhere);
    model_.qk_norm = arch_ == "qwen3";
    const auto tokens = file_.pairs.find("tokenizer.ggml.tokens");
    expect(tokens != file_.pairs.end() && tokens->is_array(), "tokenizer.ggml.tokens is missing");
    model_.vocabulary = static_cast<int64_t>(tokens->size());
    const int64_t named = integer_or(file_.pairs, (arch_ + ".vocab_size").c_str(), model_.vocabulary, kWhere);
    expect(named == model_.vocabulary, arch_, ".vocab_size is ", named, ", but there are ", model_.vocabulary,
           " tokens");
  }

  void rope() {
    const auto key = [&](const char* name) { return arch_ + ".rope." + name; };
    PlainRope rope;
    expect(has(file_.pairs, key("freq_base").c_str()), key("freq_base"),
           " is missing: llama.cpp would use 10000 in silence");
    rope.theta = number_or(file_.pairs, key("freq_base").c_str(), 0, kWhere);
    expect(
        integer_or(file_.pairs, key("dimension_count").c_str(), model_.head_dim, kWhere) == model_.head_dim,
        key("dimension_count"), " is not the head width ", model_.head_dim);
    const std::string kind = text_or(file_.pairs, key("scaling.type").c_str(), "none", kWhere);
    rope.kind = kind == "none" ? "default" : kind;
    rope.factor = number_or(file_.pairs, key("scaling.factor").c_str(), 1, kWhere);
    if (kind == "yarn") {
      rope.original =
          static_cast<double>(integer(file_.pairs, key("scaling.original_context_length").c_str(), kWhere));
      rope.beta_fast = number_or(file_.pairs, key("scaling.yarn_beta_fast").c_str(), 32, kWhere);
      rope.beta_slow = number_or(file_.pairs, key("scaling.yarn_beta_slow").c_str(), 1, kWhere);
      model_.rotation_scale = number_or(file_.pairs, key("scaling.attn_factor").c_str(), 1, kWhere) *
                              (0.1 * std::log(rope.factor) + 1);
    }
    model_.frequencies = rope_frequencies(rope, model_.head_dim);
    if (const auto factors = file_.tensors.find("rope_freqs.weight"); factors != file_.tensors.end()) {
      expect(factors->second.shape == std::vector<int64_t>{model_.head_dim / 2} && factors->second.type == 0,
             "rope_freqs.weight is not F32 of half a head");
      model_.frequencies = model_.frequencies / factors->second.value;
      taken_.insert("rope_freqs.weight");
    }
  }

  void take(const std::string& name, const std::string& as, const std::vector<int64_t>& shape,
            int64_t heads = 0, bool may_lack = false) {
    const auto found = file_.tensors.find(name);
    if (found == file_.tensors.end() && may_lack) return;
    expect(found != file_.tensors.end(), "tensor ", name, " is missing",
           name.ends_with(".bias") ? ": llama.cpp would run without it in silence" : "");
    expect(found->second.shape == shape, "tensor ", name, " has another shape than the metadata asks for");
    expect(shape.size() != 1 || found->second.type == 0, "tensor ", name, " is 1-D and not F32");
    taken_.insert(name);
    model_.weights[as] =
        heads > 0 && arch_ == "llama" ? to_halves(found->second.value, heads) : found->second.value;
  }

  void linear(const std::string& block, const std::string& prefix, const char* name, const char* as,
              int64_t rows, int64_t columns, bool bias, int64_t heads = 0) {
    take(block + name + ".weight", prefix + as + ".weight", {rows, columns}, heads);
    take(block + name + ".bias", prefix + as + ".bias", {rows}, heads, !bias);
  }

  void block(int64_t layer) {
    const std::string block = "blk." + std::to_string(layer) + ".",
                      prefix = "model.layers." + std::to_string(layer) + ".";
    const int64_t q = model_.heads * model_.head_dim, kv = model_.kv_heads * model_.head_dim;
    const bool bias = arch_ == "qwen2";
    take(block + "attn_norm.weight", prefix + "input_layernorm.weight", {width_});
    take(block + "ffn_norm.weight", prefix + "post_attention_layernorm.weight", {width_});
    linear(block, prefix, "attn_q", "self_attn.q_proj", q, width_, bias, model_.heads);
    linear(block, prefix, "attn_k", "self_attn.k_proj", kv, width_, bias, model_.kv_heads);
    linear(block, prefix, "attn_v", "self_attn.v_proj", kv, width_, bias);
    linear(block, prefix, "attn_output", "self_attn.o_proj", width_, q, false);
    linear(block, prefix, "ffn_gate", "mlp.gate_proj", feed_forward_, width_, false);
    linear(block, prefix, "ffn_up", "mlp.up_proj", feed_forward_, width_, false);
    linear(block, prefix, "ffn_down", "mlp.down_proj", width_, feed_forward_, false);
    if (model_.qk_norm) {
      take(block + "attn_q_norm.weight", prefix + "self_attn.q_norm.weight", {model_.head_dim});
      take(block + "attn_k_norm.weight", prefix + "self_attn.k_norm.weight", {model_.head_dim});
    }
  }

  PlainGguf& file_;
  std::string arch_;
  PlainModel model_;
  int64_t width_ = 0, feed_forward_ = 0;
  std::set<std::string> taken_;
};

// llama.cpp's name of a tokenizer.json's pre-tokenizer, told from its digits rule; `names` are the ones that
// mean the same grammar.
std::set<std::string> pre_names(const Tree& tokenizer) {
  const std::string text =
      has(tokenizer, "pre_tokenizer") ? tokenizer.at("pre_tokenizer").dump() : std::string();
  const bool three = text.find("{1,3}") != std::string::npos, han = text.find("一-龥") != std::string::npos;
  if (three && han) return {"deepseek-v3"};
  if (three) return {"llama-bpe"};
  if (text.find("\"Split\"") != std::string::npos) return {"qwen2", "deepseek-r1-qwen"};
  if (text.find("\"Digits\"") != std::string::npos) return {"smollm"};
  return {"gpt-2"};
}

std::vector<std::string> texts_of(const Tree& pairs, const char* key) {
  expect(has(pairs, key) && pairs.at(key).is_array(), key, " is missing");
  std::vector<std::string> out;
  for (const Tree& value : pairs.at(key)) {
    expect(value.is_string(), key, " holds something that is not a text");
    out.push_back(value.get<std::string>());
  }
  return out;
}

std::string check_vocabulary(const Tree& pairs, const Context& context) {
  const std::string where = "metadata";
  expect(text_or(pairs, "tokenizer.ggml.model", "", where) == "gpt2", "tokenizer.ggml.model is not gpt2");
  const std::string pre = text_or(pairs, "tokenizer.ggml.pre", "", where);
  expect(!pre.empty(),
         "tokenizer.ggml.pre is missing: llama.cpp would split text by another rule in silence");
  const std::vector<std::string> tokens = texts_of(pairs, "tokenizer.ggml.tokens"),
                                 merges = texts_of(pairs, "tokenizer.ggml.merges");
  expect(std::set<std::string>(tokens.begin(), tokens.end()).size() == tokens.size(),
         "two tokens are the same: llama.cpp aborts");
  expect(has(pairs, "tokenizer.ggml.token_type") &&
             pairs.at("tokenizer.ggml.token_type").size() == tokens.size(),
         "tokenizer.ggml.token_type is missing or has another length than the tokens: special tokens would "
         "be read as text");
  std::set<int64_t> added;
  for (size_t id = 0; id < tokens.size(); ++id) {
    const Tree& type = pairs.at("tokenizer.ggml.token_type")[id];
    expect(type.is_number_integer() && type.get<int64_t>() >= 1 && type.get<int64_t>() <= 6, "token ", id,
           " has a bad type");
    if (type == 3 || type == 4) added.insert(static_cast<int64_t>(id));
  }
  if (!context.model_folder.empty() && fs::exists(context.model_folder / "tokenizer.json")) {
    const Tree tokenizer = read_tree(context.model_folder / "tokenizer.json");
    const PlainVocabulary plain = read_plain_vocabulary(tokenizer, "tokenizer.json");
    expect(plain.tokens.size() <= tokens.size(), "there are ", tokens.size(), " tokens, tokenizer.json has ",
           plain.tokens.size());
    for (size_t id = 0; id < tokens.size(); ++id) {
      const std::string wanted = id < plain.tokens.size() && !plain.tokens[id].empty()
                                     ? plain.tokens[id]
                                     : "[PAD" + std::to_string(id) + "]";
      expect(tokens[id] == wanted, "token ", id, " is '", tokens[id], "', tokenizer.json says '", wanted,
             "'");
      const auto here = static_cast<int64_t>(id);
      expect(added.contains(here) == plain.added.contains(here), "token ", id, " '", tokens[id],
             "' has a type that does not fit tokenizer.json");
      expect(!plain.special.contains(here) || pairs.at("tokenizer.ggml.token_type")[id] == 3,
             "special token ", id, " '", tokens[id], "' is not of type control");
    }
    expect(merges == plain.merges, "the merges are not those of tokenizer.json");
    expect(pre_names(tokenizer).contains(pre), "tokenizer.ggml.pre is '", pre,
           "', tokenizer.json's grammar is that of '", *pre_names(tokenizer).begin(), "'");
  }
  size_t texts = 0;
  if (context.golden != nullptr) {
    for (const GoldenLine& line : context.golden->lines) {
      if (line.artefact != "model") continue;
      const std::string text = plain_decode(tokens, added, line.ids);
      expect(line.whole ? text == line.text
                        : line.text.starts_with(text) || text.ends_with("\xEF\xBF\xBD") || !text.empty(),
             "the recorded ids of text ", texts + 1, " mean another text here");
      ++texts;
    }
  }
  return std::to_string(tokens.size()) + " tokens, " + pre;
}

std::string check_special_ids(const Tree& pairs, const Context& context) {
  const std::string where = "metadata";
  const auto count = static_cast<int64_t>(pairs.at("tokenizer.ggml.tokens").size());
  const int64_t eos = integer(pairs, "tokenizer.ggml.eos_token_id", where);
  for (const char* key :
       {"bos_token_id", "eos_token_id", "eot_token_id", "padding_token_id", "unknown_token_id"}) {
    const int64_t id = integer_or(pairs, (std::string("tokenizer.ggml.") + key).c_str(), 0, where);
    expect(id >= 0 && id < count, "tokenizer.ggml.", key, " ", id, " is outside the vocabulary of ", count);
  }
  if (context.golden != nullptr)
    expect(context.golden->eos.contains(eos), "tokenizer.ggml.eos_token_id is ", eos,
           ", at which the exported model does not stop");
  const bool adds = flag_or(pairs, "tokenizer.ggml.add_bos_token", false, where);
  expect(has(pairs, "tokenizer.ggml.add_bos_token"),
         "tokenizer.ggml.add_bos_token is missing: llama.cpp would decide by itself");
  if (!context.model_folder.empty()) {
    const Tree config = read_tree_if_there(context.model_folder / "tokenizer_config.json");
    if (has(config, "add_bos_token"))
      expect(adds == flag_or(config, "add_bos_token", false, "tokenizer_config.json"),
             "add_bos_token is not that of tokenizer_config.json");
    const std::string bos = named_token(config, "bos_token");
    if (!bos.empty() && has(pairs, "tokenizer.ggml.bos_token_id"))
      expect(pairs.at("tokenizer.ggml.tokens")[pairs.at("tokenizer.ggml.bos_token_id").get<size_t>()] == bos,
             "bos_token_id is not '", bos, "'");
  }
  const std::string chat_template = text_or(pairs, "tokenizer.chat_template", "", where);
  if (has(pairs, "tokenizer.ggml.bos_token_id") && adds && !chat_template.empty()) {
    const Tree& bos =
        pairs.at("tokenizer.ggml.tokens")[pairs.at("tokenizer.ggml.bos_token_id").get<size_t>()];
    std::string squeezed;
    for (const char c : chat_template.substr(0, 64))
      if (c != ' ' && c != '-' && c != '\n') squeezed += c;
    expect(!squeezed.starts_with("{{bos_token") && !chat_template.starts_with(bos.get<std::string>()),
           "double BOS: the template begins with bos_token and add_bos_token is true");
  }
  return "eos " + std::to_string(eos) + (adds ? ", adds BOS" : "");
}

}  // namespace

void verify_gguf(Checker& checker, const fs::path& path, const Context& context) {
  std::optional<PlainGguf> file;
  std::optional<PlainModel> model;
  checker.run("structure", [&] {
    file = read_plain_gguf(path);
    return std::to_string(file->tensors.size()) + " tensors, " + std::to_string(file->pairs.size()) + " keys";
  });
  if (!file.has_value()) return;
  bool eight_bit = false;
  for (const auto& [name, entry] : file->tensors) eight_bit = eight_bit || entry.type == 8;
  checker.run("weights", [&] {
    model = GgufModel(*file).build();
    if (context.golden != nullptr)
      expect(model->vocabulary == context.golden->vocabulary, model->vocabulary,
             " tokens, the exported model's embedding has ", context.golden->vocabulary, " rows");
    if (context.model.has_value()) {
      const bool tied = !context.model->weights.contains("lm_head.weight");
      expect(tied == !model->weights.contains("lm_head.weight"),
             tied ? "output.weight is there although the head is tied"
                  : "output.weight is missing, the head is not tied");
    }
    return std::string("every tensor, 1-D ones F32");
  });
  checker.run("tokenizer", [&] { return check_vocabulary(file->pairs, context); });
  checker.run("special ids", [&] { return check_special_ids(file->pairs, context); });
  checker.run("chat template", [&] {
    const std::string text = text_or(file->pairs, "tokenizer.chat_template", "", "metadata");
    if (context.golden != nullptr) {
      const std::string& wanted = context.golden->template_sha256;
      expect(!text.empty() || wanted.empty(), "the chat template is missing");
      expect(text.empty() || sha256_of(text) == wanted,
             "the chat template is not the one that the model was trained with");
    }
    return text.empty() ? std::string("none") : "SHA-256 " + sha256_of(text).substr(0, 12);
  });
  if (model.has_value() && context.golden != nullptr)
    checker.run("log-probabilities", [&] {
      return compare_with_golden(*model, *context.golden, "model", eight_bit ? kEightBit : kExact);
    });
}

}  // namespace decant::verifying
