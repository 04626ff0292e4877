// Good releases give no alarm; each injected defect is caught, by its own check and not only by the
// checksums.
#include "export/verify.h"

#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <functional>

#include "core/gguf_file.h"
#include "core/safetensors.h"
#include "export/release.h"
#include "tests/support/expect_error.h"
#include "tests/support/shared.h"
#include "tests/support/tiny_release.h"

namespace decant {
namespace {

namespace fs = std::filesystem;
using test::tiny_config;
using test::tiny_decoder;

const GgufType kAllTypes[] = {GgufType::kF32, GgufType::kF16, GgufType::kBf16, GgufType::kQ8_0};

fs::path make_release(const fs::path& parent, const Json& config, const std::string& grammar = "smollm",
                      int64_t max_shard_bytes = 5'000'000'000, uint64_t seed = 1) {
  test::write_tiny_tokenizer(parent / "tokenizer", grammar);
  const Decoder model = tiny_decoder(config, seed);
  ExportConfig settings;
  settings.name = "tiny";
  settings.gguf = {std::begin(kAllTypes), std::end(kAllTypes)};
  settings.max_shard_bytes = max_shard_bytes;
  const fs::path release = parent / "release";
  export_release(model, parent / "tokenizer",
                 {{"plain", test::tiny_adapter(model, 7, false)}, {"rs", test::tiny_adapter(model, 8, true)}},
                 settings, release);
  return release;
}

TEST(Verify, GoodReleasesGiveNoAlarm) {
  const Json llama3 = {{"rope_type", "llama3"},
                       {"factor", 8.0},
                       {"low_freq_factor", 1.0},
                       {"high_freq_factor", 4.0},
                       {"original_max_position_embeddings", 64}};
  const Json yarn = {{"rope_type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", 64}};
  const Json linear = {{"rope_type", "linear"}, {"factor", 2.0}};
  struct Case {
    const char* what;
    Json config;
    const char* grammar = "smollm";
    int64_t shard = 5'000'000'000;
  };
  const Case cases[] = {
      {"llama", tiny_config("llama")},
      {"llama tied, 9 heads of 8", tiny_config("llama", {{"hidden_size", 72},
                                                         {"num_attention_heads", 9},
                                                         {"num_key_value_heads", 3},
                                                         {"tie_word_embeddings", true}})},
      {"llama3 rope", tiny_config("llama", {{"rope_scaling", llama3}, {"rope_theta", 500000.0}}),
       "llama-bpe"},
      {"linear rope", tiny_config("llama", {{"rope_scaling", linear}})},
      {"explicit head_dim", tiny_config("llama", {{"head_dim", 32}})},
      {"sharded", tiny_config("llama"), "gpt-2", 40'000},
      {"qwen2", tiny_config("qwen2", {{"rope_theta", 1000000.0}}), "qwen2"},
      {"qwen2 tied", tiny_config("qwen2", {{"tie_word_embeddings", true}}), "qwen2"},
      {"qwen2 yarn", tiny_config("qwen2", {{"rope_scaling", yarn}}), "qwen2"},
      {"qwen3", tiny_config("qwen3"), "qwen2"},
  };
  const fs::path scratch = test::scratch_folder();
  size_t artefacts = 0;
  for (const Case& c : cases) {
    const fs::path release = make_release(scratch / c.what, c.config, c.grammar, c.shard);
    const VerifyReport report = verify_release(release);
    EXPECT_TRUE(report.passed()) << c.what << "\n" << verify_report_text(report);
    // Each artefact by itself.
    for (const char* name : {"model", "adapters/plain", "adapters/rs", "tiny-F32.gguf", "tiny-F16.gguf",
                             "tiny-BF16.gguf", "tiny-Q8_0.gguf"}) {
      const VerifyReport one = verify_release(release / name);
      EXPECT_TRUE(one.passed()) << c.what << " " << name << "\n" << verify_report_text(one);
      ++artefacts;
    }
  }
  EXPECT_EQ(artefacts, 70u);
}

// A window is in the Hugging Face folder; llama.cpp's context is shortened to it, so its file is right only
// up to there.
TEST(Verify, SlidingWindowsAreCompared) {
  const fs::path scratch = test::scratch_folder();
  test::write_tiny_tokenizer(scratch / "tokenizer");
  ExportConfig settings;
  settings.gguf = {};
  export_release(tiny_decoder(tiny_config("mistral")), scratch / "tokenizer", {}, settings,
                 scratch / "release");
  const VerifyReport report = verify_release(scratch / "release");
  EXPECT_TRUE(report.passed()) << verify_report_text(report);
}

TEST(Verify, ReleasesAreDeterministic) {
  const fs::path scratch = test::scratch_folder();
  const fs::path a = make_release(scratch / "a", tiny_config("qwen2"), "qwen2"),
                 b = make_release(scratch / "b", tiny_config("qwen2"), "qwen2");
  EXPECT_EQ(read_file(a / "SHA256SUMS"), read_file(b / "SHA256SUMS"));
  EXPECT_NE(read_file(a / "SHA256SUMS").find("model/model.safetensors"), std::string::npos);
}

// --- defects ---

void edit_json(const fs::path& file, const std::function<void(Json&)>& change) {
  Json json = read_json(file);
  change(json);
  write_json(file, json);
}

// The same number of bytes, so that nothing else moves.
void patch(const fs::path& file, const std::string& from, const std::string& to) {
  ASSERT_EQ(from.size(), to.size());
  std::string bytes = read_file(file);
  const size_t at = bytes.find(from);
  ASSERT_NE(at, std::string::npos) << from;
  write_file(file, bytes.replace(at, from.size(), to));
}

// Bytes at `skip` after the end of `key` in a GGUF.
void patch_after(const fs::path& file, const std::string& key, size_t skip, const std::string& to) {
  std::string bytes = read_file(file);
  const size_t at = bytes.find(key);
  ASSERT_NE(at, std::string::npos) << key;
  write_file(file, bytes.replace(at + key.size() + skip, to.size(), to));
}

template <class T>
std::string raw(T value) {
  std::string out(sizeof(T), '\0');
  std::memcpy(out.data(), &value, sizeof(T));
  return out;
}

struct Held {
  TensorEntry entry;
  std::string bytes;
};

void edit_tensors(const fs::path& path, const std::function<void(std::vector<Held>&)>& change,
                  bool keep_metadata = true) {
  std::vector<Held> held;
  std::map<std::string, std::string> metadata;
  {
    const SafetensorsFile file(path);
    for (const TensorEntry& entry : file.entries()) held.push_back({entry, std::string(file.bytes(entry))});
    if (keep_metadata) metadata = file.metadata();
  }
  change(held);
  std::vector<TensorEntry> entries;
  for (const Held& one : held) entries.push_back(one.entry);
  write_safetensors_file(path, entries, metadata,
                         [&](const TensorEntry& entry, const std::function<void(std::string_view)>& write) {
                           for (const Held& one : held)
                             if (one.entry.name == entry.name) write(one.bytes);
                         });
}

Held& named(std::vector<Held>& held, const std::string& part) {
  for (Held& one : held)
    if (one.entry.name.find(part) != std::string::npos) return one;
  throw std::logic_error("no tensor " + part);
}

void drop(std::vector<Held>& held, const std::string& part) {
  const size_t before = held.size();
  std::erase_if(held, [&](const Held& one) { return one.entry.name.find(part) != std::string::npos; });
  ASSERT_LT(held.size(), before);
}

// F32 values of a GGUF tensor, changed in place.
void edit_gguf(const fs::path& path, const std::string& name,
               const std::function<at::Tensor(const at::Tensor&)>& change) {
  std::string bytes = read_file(path);
  {
    const GgufFile file(path);
    const GgufTensor* tensor = file.find(name);
    ASSERT_NE(tensor, nullptr);
    ASSERT_EQ(tensor->type, 0u);
    const std::string_view old = file.bytes(*tensor);
    at::Tensor value = at::empty(tensor->shape, at::kFloat);
    std::memcpy(value.data_ptr(), old.data(), old.size());
    value = change(value).contiguous();
    const size_t at = bytes.find(old);
    ASSERT_NE(at, std::string::npos);
    std::memcpy(bytes.data() + at, value.const_data_ptr(), old.size());
  }
  write_file(path, bytes);
}

at::Tensor halves(const at::Tensor& w, int64_t heads) {
  return w.view({heads, w.size(0) / heads / 2, 2, w.size(1)}).transpose(1, 2).reshape(w.sizes());
}
at::Tensor pairs(const at::Tensor& w, int64_t heads) {
  return w.view({heads, 2, w.size(0) / heads / 2, w.size(1)}).transpose(1, 2).reshape(w.sizes());
}

struct Defect {
  const char* what;
  std::function<void(const fs::path&)> inject;
  const char* artefact;  // whose check must fail
  const char* text;      // what it must say
};

void expect_caught(const fs::path& good, const std::vector<Defect>& defects) {
  for (const Defect& defect : defects) {
    const fs::path copy = good.parent_path() / "defect";
    fs::remove_all(copy);
    fs::copy(good, copy, fs::copy_options::recursive);
    defect.inject(copy);
    write_checksums(copy);  // as a tool would that edits a release and means well
    const VerifyReport report = verify_release(copy);
    EXPECT_FALSE(report.passed()) << defect.what;
    bool caught = false;
    for (const auto& check : report.checks)
      caught = caught || (!check.passed && check.artefact == defect.artefact &&
                          check.detail.find(defect.text) != std::string::npos);
    EXPECT_TRUE(caught) << defect.what << ": no failed check of " << defect.artefact << " says '"
                        << defect.text << "'\n"
                        << verify_report_text(report);
  }
}

TEST(Verify, CatchesDefectsOfTheHuggingFaceFolder) {
  const fs::path good = make_release(test::scratch_folder(), tiny_config("qwen2"), "qwen2");
  const auto config = [](auto change) {
    return [change](const fs::path& r) { edit_json(r / "model/config.json", change); };
  };
  const auto weights = [](auto change) {
    return [change](const fs::path& r) { edit_tensors(r / "model/model.safetensors", change); };
  };
  const std::vector<Defect> defects = {
      {"a weight's exponent flipped",
       weights([](auto& t) { named(t, "layers.0.mlp.down_proj").bytes[5] ^= 0x02; }), "model",
       "log-probabilities"},
      {"bias dropped", weights([](auto& t) { drop(t, "layers.1.self_attn.k_proj.bias"); }), "model",
       "model.layers.1.self_attn.k_proj.bias is missing"},
      {"bias zeroed", weights([](auto& t) {
         auto& b = named(t, "layers.1.self_attn.q_proj.bias").bytes;
         b.assign(b.size(), '\0');
       }),
       "model", "log-probabilities"},
      {"q and k permuted as for llama", weights([](auto& t) {
         Held& q = named(t, "layers.0.self_attn.q_proj.weight");
         at::Tensor w = at::empty({64, 64}, at::kBFloat16);
         std::memcpy(w.data_ptr(), q.bytes.data(), q.bytes.size());
         w = pairs(w, 4).contiguous();
         std::memcpy(q.bytes.data(), w.data_ptr(), q.bytes.size());
       }),
       "model", "log-probabilities"},
      {"lm_head dropped", weights([](auto& t) { drop(t, "lm_head"); }), "model", "lm_head.weight is missing"},
      {"NaN", weights([](auto& t) {
         auto& b = named(t, "mlp.up_proj").bytes;
         b[0] = '\xc0';
         b[1] = '\x7f';
       }),
       "model", "not finite"},
      {"extra tensor", weights([](auto& t) {
         Held h = t[0];
         h.entry.name = "model.extra";
         t.push_back(h);
       }),
       "model", "model.extra is not one"},
      {"no format in the metadata",
       [](const fs::path& r) {
         edit_tensors(
             r / "model/model.safetensors", [](auto&) {}, false);
       },
       "model", "\"format\": \"pt\""},
      {"truncated",
       [](const fs::path& r) {
         fs::resize_file(r / "model/model.safetensors", fs::file_size(r / "model/model.safetensors") - 100);
       },
       "model", "truncated"},
      {"weights missing", [](const fs::path& r) { fs::remove(r / "model/model.safetensors"); }, "model",
       "nor its index is there"},
      {"tied although it has a head", config([](Json& c) { c["tie_word_embeddings"] = true; }), "model",
       "tie_word_embeddings is true"},
      {"rope theta lost in one spelling", config([](Json& c) { c.erase("rope_theta"); }), "model",
       "no top-level 'rope_theta'"},
      {"rope theta lost in the other", config([](Json& c) { c.erase("rope_parameters"); }), "model",
       "no 'rope_parameters.rope_theta'"},
      {"rope thetas differ", config([](Json& c) { c["rope_theta"] = 500000.0; }), "model", "differ"},
      {"wrong rope theta", config([](Json& c) {
         c["rope_theta"] = 500.0;
         c["rope_parameters"]["rope_theta"] = 500.0;
       }),
       "model", "log-probabilities"},
      {"wrong vocabulary", config([](Json& c) { c["vocab_size"] = 321; }), "model", "vocab_size 321"},
      {"wrong head width", config([](Json& c) { c["head_dim"] = 8; }), "model", "has shape"},
      {"wrong eps", config([](Json& c) { c["rms_norm_eps"] = 0.3; }), "model", "log-probabilities"},
      {"dtypes disagree", config([](Json& c) { c["torch_dtype"] = "float16"; }), "model",
       "'torch_dtype' (float16)"},
      {"not JSON", [](const fs::path& r) { write_file(r / "model/config.json", "{"); }, "model", "not JSON"},
      {"stops at another id",
       [](const fs::path& r) {
         edit_json(r / "model/generation_config.json", [](Json& g) { g["eos_token_id"] = 5; });
       },
       "model", "stop"},
      {"never stops",
       [](const fs::path& r) {
         edit_json(r / "model/generation_config.json", [](Json& g) { g.erase("eos_token_id"); });
       },
       "model", "never stop"},
      {"no generation_config", [](const fs::path& r) { fs::remove(r / "model/generation_config.json"); },
       "model", "generation_config.json is missing"},
      {"eos token of another family",
       [](const fs::path& r) {
         edit_json(r / "model/tokenizer_config.json", [](Json& t) { t["eos_token"] = "<|endoftext|>"; });
       },
       "model", "does not stop"},
      {"template swapped",
       [](const fs::path& r) {
         write_file(r / "model/chat_template.jinja", "{{ messages }}");
         edit_json(r / "model/tokenizer_config.json", [](Json& t) { t["chat_template"] = "{{ messages }}"; });
       },
       "model", "not the one that the model was trained with"},
      {"templates differ",
       [](const fs::path& r) { write_file(r / "model/chat_template.jinja", "{{ messages }}"); }, "model",
       "differ"},
      {"template lost",
       [](const fs::path& r) {
         fs::remove(r / "model/chat_template.jinja");
         edit_json(r / "model/tokenizer_config.json", [](Json& t) { t.erase("chat_template"); });
       },
       "model", "chat template is missing"},
      {"two BOS",
       [](const fs::path& r) {
         const std::string text = std::string("{{ bos_token }}") + test::tiny_template();
         write_file(r / "model/chat_template.jinja", text);
         edit_json(r / "model/tokenizer_config.json", [&](Json& t) {
           t["chat_template"] = text;
           t["add_bos_token"] = true;
         });
       },
       "model", "double BOS"},
      {"two tokens swapped",
       [](const fs::path& r) {
         edit_json(r / "model/tokenizer.json",
                   [](Json& t) { std::swap(t["model"]["vocab"]["a"], t["model"]["vocab"]["b"]); });
       },
       "model", "not the file that the model was trained with"},
      {"tokenizer lost", [](const fs::path& r) { fs::remove(r / "model/tokenizer.json"); }, "model",
       "neither tokenizer.json nor tokenizer.model"},
      {"golden.jsonl lost", [](const fs::path& r) { fs::remove(r / "golden.jsonl"); }, "release",
       "golden.jsonl is missing"},
      {"adapter lost", [](const fs::path& r) { fs::remove_all(r / "adapters/rs"); }, "release",
       "adapters/rs is recorded in golden.jsonl"},
  };
  EXPECT_EQ(defects.size(), 32u);
  expect_caught(good, defects);
}

TEST(Verify, CatchesDefectsOfShards) {
  const fs::path good = make_release(test::scratch_folder(),
                                     tiny_config("llama", {{"tie_word_embeddings", true}}), "smollm", 40'000);
  ASSERT_TRUE(fs::exists(good / "model/model.safetensors.index.json"));
  const auto first = [](const fs::path& r) {
    for (const auto& entry : fs::directory_iterator(r / "model"))
      if (entry.path().filename().string().starts_with("model-00001-of-")) return entry.path();
    return fs::path();
  };
  const auto index = [](auto change) {
    return [change](const fs::path& r) { edit_json(r / "model/model.safetensors.index.json", change); };
  };
  const std::vector<Defect> defects = {
      {"shard missing", [first](const fs::path& r) { fs::remove(first(r)); }, "model", "is missing"},
      {"shard truncated", [first](const fs::path& r) { fs::resize_file(first(r), 200); }, "model",
       "ends at byte"},
      {"index says another shard", index([](Json& i) {
         auto& map = i["weight_map"];
         map.begin().value() = std::prev(map.end()).value();
       }),
       "model", "the index is stale"},
      {"index lacks a tensor", index([](Json& i) { i["weight_map"].erase("model.norm.weight"); }), "model",
       "the index is stale"},
      {"index of another size", index([](Json& i) { i["metadata"]["total_size"] = 1; }), "model",
       "total_size 1"},
      {"a shard that is not listed",
       [first](const fs::path& r) { fs::copy_file(first(r), r / "model/model-00099-of-00099.safetensors"); },
       "model", "does not list"},
  };
  expect_caught(good, defects);
}

TEST(Verify, CatchesDefectsOfAdapters) {
  const fs::path good = make_release(test::scratch_folder(), tiny_config("llama"));
  const auto config = [](auto change) {
    return [change](const fs::path& r) { edit_json(r / "adapters/rs/adapter_config.json", change); };
  };
  const auto weights = [](auto change) {
    return [change](const fs::path& r) { edit_tensors(r / "adapters/rs/adapter_model.safetensors", change); };
  };
  const std::vector<Defect> defects = {
      {"alpha doubled", config([](Json& c) { c["lora_alpha"] = 8; }), "adapters/rs", "scale folded into B"},
      {"rsLoRA on", config([](Json& c) { c["use_rslora"] = true; }), "adapters/rs", "use_rslora true"},
      {"rank pattern", config([](Json& c) {
         c["rank_pattern"] = {{"q_proj", 4}};
       }),
       "adapters/rs", "ignored by vLLM"},
      {"modules to save", config([](Json& c) { c["modules_to_save"] = {"lm_head"}; }), "adapters/rs",
       "refused by vLLM"},
      {"rank wrong", config([](Json& c) {
         c["r"] = 8;
         c["lora_alpha"] = 8;
       }),
       "adapters/rs", "does not have rank 8"},
      {"target missing", config([](Json& c) {
         c["target_modules"] = {"q_proj", "k_proj"};
       }),
       "adapters/rs", "is not among target_modules"},
      {"B not scaled", weights([](auto& t) {
         for (Held& one : t) {
           if (one.entry.name.find("lora_B") == std::string::npos) continue;
           for (size_t i = 0; i + 4 <= one.bytes.size(); i += 4) {
             float v;
             std::memcpy(&v, one.bytes.data() + i, 4);
             one.bytes.replace(i, 4, raw(v / 4.0f));
           }
         }
       }),
       "adapters/rs", "log-probabilities differ"},
      {"a factor lost", weights([](auto& t) { drop(t, "layers.0.self_attn.q_proj.lora_B"); }), "adapters/rs",
       "lacks its lora_B"},
      {"another model's module", weights([](auto& t) {
         for (Held& one : t)
           if (const size_t at = one.entry.name.find("layers.1."); at != std::string::npos)
             one.entry.name[at + 7] = '9';
       }),
       "adapters/rs", "is not in the base model"},
      {"tenants swapped",
       [](const fs::path& r) {
         fs::rename(r / "adapters/rs", r / "adapters/x");
         fs::rename(r / "adapters/plain", r / "adapters/rs");
         fs::rename(r / "adapters/x", r / "adapters/plain");
       },
       "adapters/rs", "log-probabilities differ"},
      {"truncated",
       [](const fs::path& r) { fs::resize_file(r / "adapters/rs/adapter_model.safetensors", 3000); },
       "adapters/rs", "truncated"},
  };
  expect_caught(good, defects);
}

TEST(Verify, CatchesDefectsOfGguf) {
  const Json llama3 = {{"rope_type", "llama3"},
                       {"factor", 8.0},
                       {"low_freq_factor", 1.0},
                       {"high_freq_factor", 4.0},
                       {"original_max_position_embeddings", 16}};
  const fs::path good =
      make_release(test::scratch_folder(), tiny_config("llama", {{"rope_scaling", llama3}}));
  const std::string name = "tiny-F32.gguf";
  const auto tensor = [&](const char* which, auto change) {
    return [=](const fs::path& r) { edit_gguf(r / name, which, change); };
  };
  const auto bytes = [&](std::string from, std::string to) {
    return [=](const fs::path& r) { patch(r / name, from, to); };
  };
  const auto after = [&](const char* key, size_t skip, std::string to) {
    return [=](const fs::path& r) { patch_after(r / name, key, skip, to); };
  };
  const std::vector<Defect> defects = {
      {"q not permuted", tensor("blk.0.attn_q.weight", [](const at::Tensor& w) { return halves(w, 4); }),
       name.c_str(), "log-probabilities differ"},
      {"k not permuted", tensor("blk.1.attn_k.weight", [](const at::Tensor& w) { return halves(w, 2); }),
       name.c_str(), "log-probabilities differ"},
      {"rope factors lost", tensor("rope_freqs.weight", [](const at::Tensor& w) { return at::ones_like(w); }),
       name.c_str(), "log-probabilities differ"},
      {"a flipped exponent",
       tensor("blk.1.ffn_up.weight",
              [](const at::Tensor& w) {
                at::Tensor v = w.clone();
                v[3].mul_(16);
                return v;
              }),
       name.c_str(), "log-probabilities differ"},
      {"wrong rope theta", after("llama.rope.freq_base", 4, raw(500.0f)), name.c_str(),
       "log-probabilities differ"},
      {"wrong eos", after("tokenizer.ggml.eos_token_id", 4, raw(uint32_t{7})), name.c_str(), "does not stop"},
      {"eos outside", after("tokenizer.ggml.eos_token_id", 4, raw(uint32_t{7000})), name.c_str(),
       "outside the vocabulary"},
      {"adds BOS", after("tokenizer.ggml.add_bos_token", 4, raw(uint8_t{1})), name.c_str(),
       "add_bos_token is not that"},
      {"special token is text", after("tokenizer.ggml.token_type", 4 + 4 + 8, raw(int32_t{1})), name.c_str(),
       "type"},
      {"another pre-tokenizer", bytes(raw(uint64_t{6}) + "smollm", raw(uint64_t{6}) + "refact"), name.c_str(),
       "tokenizer.ggml.pre is 'refact'"},
      {"no pre-tokenizer", bytes("tokenizer.ggml.pre", "tokenizer.ggml.prx"), name.c_str(),
       "tokenizer.ggml.pre is missing"},
      {"no token types", bytes("tokenizer.ggml.token_type", "tokenizer.ggml.token_tipe"), name.c_str(),
       "token_type is missing"},
      {"a merge turned round", bytes("h e", "e h"), name.c_str(), "merges"},
      {"a token renamed", bytes("<think>", "<thonk>"), name.c_str(), "<thonk>"},
      {"template changed", bytes("<|im_start|>' + message", "<|im_start|>' - message"), name.c_str(),
       "not the one that the model was trained with"},
      {"a tensor renamed", bytes("blk.1.attn_k.weight", "blk.1.attn_x.weight"), name.c_str(),
       "blk.1.attn_k.weight is missing"},
      {"truncated", [&](const fs::path& r) { fs::resize_file(r / name, fs::file_size(r / name) - 64); },
       name.c_str(), "truncated"},
      {"bytes after the end", [&](const fs::path& r) { std::ofstream(r / name, std::ios::app) << "more"; },
       name.c_str(), "after the end"},
      {"version 2",
       [&](const fs::path& r) { patch(r / name, std::string("GGUF\x03", 5), std::string("GGUF\x02", 5)); },
       name.c_str(), "version 2"},
      {"a Q8_0 scale flipped",
       [&](const fs::path& r) {
         std::string data = read_file(r / "tiny-Q8_0.gguf");
         const GgufFile file(r / "tiny-Q8_0.gguf");
         const std::string_view old = file.bytes(*file.find("token_embd.weight"));
         const size_t at = data.find(old);
         for (size_t block = 0; block < old.size() / 34; block += 2) data[at + block * 34 + 1] ^= 0x0c;
         write_file(r / "tiny-Q8_0.gguf", data);
       },
       "tiny-Q8_0.gguf", "log-probabilities differ"},
  };
  EXPECT_EQ(defects.size(), 20u);
  expect_caught(good, defects);
}

TEST(Verify, CatchesALostBiasAndPermutedRowsOfQwenGguf) {
  const fs::path good = make_release(test::scratch_folder(), tiny_config("qwen2"), "qwen2");
  const std::string name = "tiny-F32.gguf";
  expect_caught(
      good,
      {
          {"bias lost", [&](const fs::path& r) { patch(r / name, "blk.0.attn_k.bias", "blk.0.attn_k.bios"); },
           name.c_str(), "blk.0.attn_k.bias is missing: llama.cpp would run without it"},
          {"rows permuted",
           [&](const fs::path& r) {
             edit_gguf(r / name, "blk.0.attn_q.weight", [](const at::Tensor& w) { return pairs(w, 4); });
           },
           name.c_str(), "log-probabilities differ"},
      });
}

// Any one byte of any file, checksums as they were.
TEST(Verify, CatchesAFlippedByteAnywhere) {
  const fs::path release = make_release(test::scratch_folder(), tiny_config("llama"));
  size_t files = 0;
  for (const auto& entry : fs::recursive_directory_iterator(release)) {
    if (!entry.is_regular_file() || entry.path().filename() == "SHA256SUMS") continue;
    const std::string good = read_file(entry.path());
    for (const double place : {0.37}) {
      std::string bad = good;
      bad[static_cast<size_t>(place * static_cast<double>(good.size()))] ^= 0x01;
      write_file(entry.path(), bad);
      EXPECT_FALSE(verify_release(release).passed()) << entry.path() << " at " << place;
    }
    write_file(entry.path(), good);
    ++files;
  }
  EXPECT_GE(files, 13u);
  EXPECT_TRUE(verify_release(release).passed());
  write_file(release / "notes.txt", "x");
  EXPECT_THAT(verify_report_text(verify_release(release)),
              testing::HasSubstr("notes.txt is not in SHA256SUMS"));
}

TEST(Verify, SaysWhenThereIsNothing) {
  const fs::path scratch = test::scratch_folder();
  EXPECT_ERROR(verify_release(scratch / "no"), "there is nothing to verify here");
  const VerifyReport report = verify_release(scratch);
  EXPECT_FALSE(report.passed());
  EXPECT_THAT(verify_report_text(report), testing::HasSubstr("NOT verified"));
}

}  // namespace
}  // namespace decant
