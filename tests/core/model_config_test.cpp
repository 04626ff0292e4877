#include "core/model/model_config.h"

#include <gtest/gtest.h>

#include <functional>

#include "core/json.h"
#include "tests/support/expect_error.h"

namespace decant {
namespace {

Json tiny_llama() {
  return parse_json(R"({"model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 320,
    "hidden_size": 64, "intermediate_size": 112, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 256, "rms_norm_eps": 1e-05, "rope_theta": 10000.0})",
                    "test");
}

Json changed(const std::function<void(Json&)>& change) {
  Json json = tiny_llama();
  change(json);
  return json;
}

ModelConfig parsed(const std::function<void(Json&)>& change) {
  return parse_model_config(changed(change), "config.json");
}

const char* const kLlama3 = R"({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
  "high_freq_factor": 4.0, "original_max_position_embeddings": 64})";

TEST(ModelConfig, BothSpellingsOfRopeGiveTheSame) {
  const auto legacy = parsed([](Json& j) {
    j["rope_theta"] = 500000;
    j["rope_scaling"] = Json::parse(kLlama3);
  });
  const auto modern = parsed([](Json& j) {
    j.erase("rope_theta");
    j["rope_parameters"] = Json::parse(kLlama3);
    j["rope_parameters"]["rope_theta"] = 500000.0;
  });
  const auto both = parsed([](Json& j) {
    j.erase("rope_theta");
    j["rope_scaling"] = Json::parse(kLlama3);
    j["rope_parameters"] = Json::parse(kLlama3);
    j["rope_parameters"]["rope_theta"] = 500000.0;
  });
  EXPECT_EQ(legacy.rope.kind, RopeConfig::Kind::kLlama3);
  EXPECT_EQ(legacy.rope.theta, 500000);
  EXPECT_EQ(legacy.rope, modern.rope);
  EXPECT_EQ(legacy.rope, both.rope);
}

TEST(ModelConfig, SpellingsThatDisagreeAreAnError) {
  EXPECT_ERROR(parsed([](Json& j) {
                 j["rope_parameters"] = Json::parse(R"({"rope_type": "default", "rope_theta": 500000.0})");
               }),
               "'rope_parameters.rope_theta' is 500000 but the top level's 'rope_theta' is 10000");
  EXPECT_ERROR(parsed([](Json& j) {
                 j["rope_scaling"] = Json::parse(kLlama3);
                 j["rope_parameters"] = Json::parse(kLlama3);
                 j["rope_parameters"]["factor"] = 4.0;
               }),
               "'rope_scaling' and 'rope_parameters' disagree");
  EXPECT_ERROR(
      parsed([](Json& j) { j["rope_scaling"] = Json::parse(R"({"rope_type": "linear", "type": "yarn"})"); }),
      "'rope_scaling.rope_type' is 'linear' but 'type' is 'yarn'");
}

TEST(ModelConfig, FamiliesHaveTheirBiasesAndNorms) {
  const auto llama = parsed([](Json& j) { j["attention_bias"] = true; });
  EXPECT_TRUE(llama.qkv_bias && llama.o_bias && !llama.mlp_bias && !llama.qk_norm);
  EXPECT_TRUE(parsed([](Json& j) { j["mlp_bias"] = true; }).mlp_bias);
  const auto qwen2 = parsed([](Json& j) { j["model_type"] = "qwen2"; });
  EXPECT_TRUE(qwen2.qkv_bias && !qwen2.o_bias && !qwen2.qk_norm);
  const auto qwen3 = parsed([](Json& j) { j["model_type"] = "qwen3"; });
  EXPECT_TRUE(!qwen3.qkv_bias && qwen3.qk_norm);
  EXPECT_EQ(qwen3.head_dim, 128);  // its default, whatever the width
  const auto mistral = parsed([](Json& j) { j["model_type"] = "mistral"; });
  EXPECT_TRUE(!mistral.qkv_bias && !mistral.o_bias);
  EXPECT_EQ(mistral.head_dim, 16);
}

TEST(ModelConfig, SlidingWindows) {
  using Windows = std::vector<int64_t>;
  const auto windows = [](const std::function<void(Json&)>& change) { return parsed(change).sliding_window; };
  EXPECT_EQ(windows([](Json& j) { j["sliding_window"] = 8; }), Windows({0, 0, 0}));  // llama has none
  EXPECT_EQ(windows([](Json& j) { j["model_type"] = "mistral", j["sliding_window"] = 8; }),
            Windows({8, 8, 8}));
  EXPECT_EQ(windows([](Json& j) { j["model_type"] = "mistral", j["sliding_window"] = nullptr; }),
            Windows({0, 0, 0}));
  EXPECT_EQ(windows([](Json& j) { j["model_type"] = "mistral"; }), Windows({4096, 4096, 4096}));
  const auto qwen = [](Json& j) {
    j["model_type"] = "qwen2";
    j["sliding_window"] = 8;
    j["use_sliding_window"] = true;
    j["max_window_layers"] = 2;
  };
  EXPECT_EQ(windows(qwen), Windows({0, 0, 8}));
  EXPECT_EQ(windows([&](Json& j) { qwen(j), j["use_sliding_window"] = false; }), Windows({0, 0, 0}));
  const auto types = Json::parse(R"(["sliding_attention", "full_attention", "sliding_attention"])");
  EXPECT_EQ(windows([&](Json& j) { qwen(j), j["layer_types"] = types; }), Windows({8, 0, 8}));
  EXPECT_ERROR(windows([&](Json& j) { qwen(j), j["layer_types"] = types, j["use_sliding_window"] = false; }),
               "layer 0 is sliding_attention, but no sliding window is in use");
  EXPECT_ERROR(windows([&](Json& j) { qwen(j), j["layer_types"] = Json::parse(R"(["full_attention"])"); }),
               "'layer_types' must be a list of 3 names");
}

TEST(ModelConfig, HostileValuesAreErrors) {
  struct Case {
    const char* key;
    const char* value;
    const char* text;
  };
  const Case cases[] = {
      {"model_type", "\"falcon\"", "'model_type' is 'falcon', a family that decant does not have"},
      {"model_type", "7", "'model_type' must be a string"},
      {"model_type", "null", "'model_type' is missing"},
      {"vocab_size", "null", "'vocab_size' is missing"},
      {"vocab_size", "0", "'vocab_size' must be from 1 to"},
      {"vocab_size", "-5", "'vocab_size' must be from 1 to"},
      {"vocab_size", "320.0", "'vocab_size' must be a whole number"},
      {"vocab_size", "18446744073709551615", "'vocab_size' must be from 1 to"},
      {"hidden_size", "4611686018427387904", "'hidden_size' must be from 1 to"},
      {"hidden_size", "\"64\"", "'hidden_size' must be a whole number"},
      {"hidden_size", "66", "must be a multiple of 'num_attention_heads'"},
      {"intermediate_size", "true", "'intermediate_size' must be a whole number"},
      {"num_hidden_layers", "1000000", "'num_hidden_layers' must be from 1 to 4096"},
      {"num_attention_heads", "0", "'num_attention_heads' must be from 1 to"},
      {"num_key_value_heads", "3", "'num_key_value_heads' (3) must divide 'num_attention_heads' (4)"},
      {"head_dim", "15", "'head_dim' must be even"},
      {"head_dim", "[]", "'head_dim' must be a whole number"},
      {"max_position_embeddings", "1000000000000", "'max_position_embeddings' must be from 1 to"},
      {"rms_norm_eps", "0", "'rms_norm_eps' must be a positive number"},
      {"rms_norm_eps", "2", "'rms_norm_eps' must be below 1"},
      {"hidden_act", "\"gelu\"", "'hidden_act' is 'gelu'; only silu is supported"},
      {"tie_word_embeddings", "1", "'tie_word_embeddings' must be true or false"},
      {"attention_bias", "\"yes\"", "'attention_bias' must be true or false"},
      {"rope_theta", "-1.0", "'rope_theta' must be a positive number"},
      {"rope_theta", "\"1e4\"", "'rope_theta' must be a number"},
      {"rope_scaling", "[]", "'rope_scaling' must be a JSON object"},
      {"rope_scaling", R"({"rope_type": "longrope"})",
       "is 'longrope'; supported are default, linear, llama3, yarn"},
      {"rope_scaling", R"({"type": "dynamic", "factor": 2.0})", "'rope_scaling.type' is 'dynamic'"},
      {"rope_scaling", R"({"rope_type": "linear"})", "'rope_scaling.factor' is missing"},
      {"rope_scaling", R"({"rope_type": "linear", "factor": 0})",
       "'rope_scaling.factor' must be a positive number"},
      {"rope_scaling", R"({"rope_type": "llama3", "factor": 8})",
       "'rope_scaling.low_freq_factor' is missing"},
      {"rope_scaling", R"({"rope_type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 4})",
       "'rope_scaling.high_freq_factor' must be above low_freq_factor"},
      {"rope_scaling", R"({"rope_type": "yarn", "factor": 4, "original_max_position_embeddings": 64.5})",
       "'rope_scaling.original_max_position_embeddings' must be a whole number"},
      {"rope_parameters", R"({"full_attention": {"rope_type": "default"}})", "rope settings per layer type"},
      {"rope_parameters", R"({"rope_type": "default", "partial_rotary_factor": 0.5})", "only 1 is supported"},
      {"quantization_config", R"({"quant_method": "gptq"})",
       "quantized weights ('gptq') are not supported, but for bitsandbytes' nf4 and block-scaled fp8"},
  };
  for (const auto& one : cases)
    EXPECT_ERROR(parsed([&](Json& j) { j[one.key] = Json::parse(one.value); }), one.text);
  EXPECT_ERROR(parse_model_config(Json::parse("[1]"), "config.json"), "must be a JSON object");
}

TEST(ModelConfig, WrittenConfigReadsBackTheSameInBothSpellings) {
  const std::function<void(Json&)> changes[] = {
      [](Json&) {},
      [](Json& j) { j["rope_theta"] = 500000, j["rope_scaling"] = Json::parse(kLlama3); },
      [](Json& j) { j["rope_scaling"] = Json::parse(R"({"type": "linear", "factor": 2})"); },
      [](Json& j) {
        j["rope_scaling"] =
            Json::parse(R"({"type": "yarn", "factor": 4, "mscale": 0.707, "mscale_all_dim": 1.0,
          "original_max_position_embeddings": 64, "truncate": false, "attention_factor": 1.25, "beta_fast": 16})");
      },
      [](Json& j) {
        j["model_type"] = "qwen3", j["use_sliding_window"] = true, j["sliding_window"] = 8,
        j["max_window_layers"] = 1;
      },
      [](Json& j) { j["model_type"] = "mistral", j["sliding_window"] = nullptr, j["head_dim"] = 32; },
      [](Json& j) { j["model_type"] = "qwen2", j["tie_word_embeddings"] = true; },
  };
  for (const auto& change : changes) {
    const auto config = parsed(change);
    const auto written = model_config_json(config, "bfloat16");
    for (const auto* dropped : {"none", "rope_parameters", "rope_theta rope_scaling"}) {
      Json json = written;
      if (std::string(dropped) == "rope_parameters") json.erase("rope_parameters");
      if (std::string(dropped) == "rope_theta rope_scaling")
        json.erase("rope_theta"), json.erase("rope_scaling");
      const auto again = parse_model_config(json, "again");
      EXPECT_EQ(again.rope, config.rope) << dropped << "\n" << json.dump(1);
      EXPECT_EQ(again.sliding_window, config.sliding_window);
      EXPECT_EQ(again.head_dim, config.head_dim);
      EXPECT_EQ(again.parameters(), config.parameters());
      EXPECT_EQ(again.tie_word_embeddings, config.tie_word_embeddings);
      EXPECT_EQ(again.qkv_bias, config.qkv_bias);
    }
    EXPECT_EQ(model_config_json(parse_model_config(written, "again"), "bfloat16").dump(), written.dump());
  }
}

TEST(ModelConfig, FloatsStayFloatsAndForeignKeysStay) {
  const auto config = parsed([](Json& j) {
    j["rope_scaling"] = Json::parse(R"({"rope_type": "llama3", "factor": 8, "low_freq_factor": 1,
      "high_freq_factor": 4, "original_max_position_embeddings": 64})");
    j["eos_token_id"] = Json::parse("[2, 7]");
  });
  const auto text = model_config_json(config, "bfloat16").dump();
  EXPECT_NE(text.find("\"factor\":8.0"), std::string::npos) << text;
  EXPECT_NE(text.find("\"original_max_position_embeddings\":64}"), std::string::npos) << text;
  EXPECT_NE(text.find("\"eos_token_id\":[2,7]"), std::string::npos) << text;
  EXPECT_NE(text.find("\"torch_dtype\":\"bfloat16\",\"dtype\":\"bfloat16\""), std::string::npos) << text;
}

}  // namespace
}  // namespace decant
