// The tables of transformers (tests/golden/make_rope.py) for every scaling.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "core/json.h"
#include "core/model/model_config.h"
#include "tests/support/expect_error.h"

namespace decant {
namespace {

TEST(RopeTable, EveryScalingEqualsTransformers) {
  const auto golden = read_json("tests/golden/rope.json");
  size_t seen = 0;
  for (const auto& [name, one] : golden.at("cases").items()) {
    const auto table = rope_table(parse_model_config(one.at("config"), name), 256, one.value("long", false));
    const auto positions = one.value("positions", golden.at("positions"));
    for (size_t p = 0; p < positions.size(); ++p)
      for (size_t i = 0; i < 8; ++i) {
        const auto position = positions[p].get<int64_t>(), channel = static_cast<int64_t>(i);
        EXPECT_NEAR(table.cos[position][channel].item<double>(), one.at("cos")[p][i].get<double>(), 3e-6)
            << name;
        EXPECT_NEAR(table.sin[position][channel].item<double>(), one.at("sin")[p][i].get<double>(), 3e-6)
            << name;
      }
    ++seen;
  }
  EXPECT_EQ(seen, 11u);
}

TEST(RopeTable, AnEntryDoesNotDependOnTheSizeAndTheLimitIsAnError) {
  const auto config = parse_model_config(
      Json::parse(R"({"model_type": "llama", "vocab_size": 8, "hidden_size": 64, "intermediate_size": 8,
        "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 900})"),
      "tiny");
  EXPECT_TRUE(at::equal(rope_table(config, 100).cos, rope_table(config, 900).cos.narrow(0, 0, 100)));
  EXPECT_ERROR(rope_table(config, 901), "beyond the model's 'max_position_embeddings' (900)");
}

}  // namespace
}  // namespace decant
