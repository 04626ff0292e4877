// A training of a second or so on a random tiny model: what the resume tests kill.
#pragma once

#include <cstdint>

#include "core/model/load_model.h"
#include "core/random.h"
#include "train/trainer.h"

namespace decant::test {

inline ModelConfig tiny_model_config() {
  return parse_model_config(Json{{"model_type", "llama"},
                                 {"architectures", {"LlamaForCausalLM"}},
                                 {"vocab_size", 64},
                                 {"hidden_size", 32},
                                 {"intermediate_size", 48},
                                 {"num_hidden_layers", 2},
                                 {"num_attention_heads", 4},
                                 {"num_key_value_heads", 2},
                                 {"max_position_embeddings", 64},
                                 {"rms_norm_eps", 1e-5},
                                 {"rope_theta", 10000.0},
                                 {"hidden_act", "silu"},
                                 {"tie_word_embeddings", true}},
                            "tiny");
}

// Two micro-batches of two documents a step, a pure function of the step.
inline StepBatches tiny_batches() {
  StepBatches batches;
  batches.steps_per_epoch = 4;
  batches.tokens_per_epoch = 4 * 2 * 27;
  batches.step = [](int64_t step) {
    std::vector<Batch> micro;
    for (uint64_t m = 0; m < 2; ++m) {
      std::vector<std::vector<int64_t>> documents(2);
      for (uint64_t d = 0; d < 2; ++d)
        for (uint64_t t = 0; t < 12 + 3 * d; ++t)
          documents[d].push_back(static_cast<int64_t>(
              64 * uniform(5, purpose_stream(Purpose::kTest, static_cast<uint64_t>(step)),
                           1000 * m + 100 * d + t)));
      micro.push_back(make_batch(documents));
    }
    return micro;
  };
  return batches;
}

inline TrainConfig tiny_config() {
  TrainConfig config;
  config.steps = 12;
  config.optimizer.learning_rate = 1e-2;
  config.checkpoint_every = 3;
  return config;
}

}  // namespace decant::test
