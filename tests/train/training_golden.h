// The ten golden steps of conformance/golden/train/<model>: rows of 24 tokens, two micro-batches of two rows
// a step.
#pragma once

#include <ATen/ATen.h>

#include <string>
#include <vector>

#include "core/json.h"
#include "core/model/load_model.h"
#include "core/tensor_file.h"
#include "tests/support/shared.h"
#include "train/trainer.h"

namespace decant::test {

inline std::filesystem::path golden_folder() { return shared_folder() / "conformance/golden"; }

// Rows [begin, end) as documents; the weight of a token is 1 where its label counts and it is not the first.
inline Batch golden_batch(const at::Tensor& ids, const at::Tensor& labels, int64_t begin, int64_t end) {
  std::vector<std::vector<int64_t>> documents;
  std::vector<std::vector<float>> weights;
  for (int64_t row = begin; row < end; ++row) {
    documents.emplace_back();
    weights.emplace_back();
    for (int64_t t = 0; t < ids.size(1); ++t) {
      documents.back().push_back(ids[row][t].item<int64_t>());
      weights.back().push_back(t > 0 && labels[row][t].item<int64_t>() != -100 ? 1.0F : 0.0F);
    }
  }
  return make_batch(documents, weights);
}

// Four rows a step, `rows_per_micro_batch` of them at a time.
inline StepBatches golden_steps(const std::string& model, int64_t rows_per_micro_batch = 2) {
  const TensorFile file(golden_folder() / "train" / model / "data.safetensors");
  const at::Tensor ids = file.load("input_ids"), labels = file.load("labels");
  StepBatches batches;
  batches.steps_per_epoch = 10;
  batches.tokens_per_epoch = ids.numel();
  batches.step = [=](int64_t step) {
    std::vector<Batch> micro;
    for (int64_t row = 4 * step; row < 4 * step + 4; row += rows_per_micro_batch)
      micro.push_back(golden_batch(ids, labels, row, row + rows_per_micro_batch));
    return micro;
  };
  return batches;
}

inline TrainConfig golden_config() {
  TrainConfig config;
  config.steps = 10;
  config.optimizer.learning_rate = 1e-3;
  config.optimizer.weight_decay = 0.1;
  config.schedule.warmup_steps = 2;
  config.schedule.first_step_zero = true;
  return config;
}

inline std::vector<Json> read_metrics(const std::filesystem::path& folder) {
  std::vector<Json> lines;
  const std::string text = read_file(folder / "metrics.jsonl");
  for (size_t begin = 0, end; (end = text.find('\n', begin)) != std::string::npos; begin = end + 1)
    lines.push_back(parse_json(text.substr(begin, end - begin), "metrics.jsonl"));
  return lines;
}

inline void expect_golden_metrics(const std::vector<Json>& metrics, const Json& golden) {
  ASSERT_EQ(metrics.size(), 10U);
  for (size_t i = 0; i < 10; ++i) {
    const double loss = golden["loss"][i], norm = golden["grad_norm"][i], rate = golden["lr"][i];
    EXPECT_NEAR(metrics[i]["loss"].get<double>(), loss, 5e-5) << "step " << i;
    EXPECT_NEAR(metrics[i]["grad_norm"].get<double>(), norm, 5e-5 * norm) << "step " << i;
    EXPECT_NEAR(metrics[i]["learning_rate"].get<double>(), rate, 1e-12) << "step " << i;
    EXPECT_EQ(metrics[i]["weight"].get<double>(), golden["num_items"][i].get<double>()) << "step " << i;
  }
}

}  // namespace decant::test
