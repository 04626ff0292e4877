// transformers' numbers on the demo model (conformance/golden/README-models.md, gen_smollm2.py): logits of a
// prompt of 96 tokens, three greedy answers, the loss and the norm of every weight's gradient. One test,
// since ctest gives every test its own process and loading is the slow part.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <map>

#include "core/json.h"
#include "core/kernels/head_cross_entropy.h"
#include "core/model/generate.h"
#include "core/model/load_model.h"
#include "core/model/score.h"
#include "core/tensor_file.h"
#include "tests/support/shared.h"

namespace decant {
namespace {

namespace fs = std::filesystem;

fs::path demo_model() {
  const char* deps = std::getenv("DECANT_DEPS");
  const char* home = std::getenv("HOME");
  const fs::path cache =
      deps != nullptr ? fs::path(deps) : fs::path(home != nullptr ? home : "") / ".cache/decant";
  return cache / "smollm2/SmolLM2-135M-Instruct.Q4_1.gguf";
}

// The reference was made from this file's weights rounded to bf16, and computed in fp32.
Decoder load_as_the_reference_was(const fs::path& gguf) {
  const Decoder rounded = import_gguf(gguf, Dtype::kBf16);
  std::map<std::string, at::Tensor> weights;
  for (const Parameter* p : rounded.parameters()) weights[p->name] = p->value;
  return make_decoder(rounded.config, Dtype::kFp32,
                      [&](const std::string& name) { return weights.at(name); });
}

void expect_logits(const Decoder& model, const Batch& batch, const std::vector<int64_t>& ids,
                   const TensorFile& reference) {
  const auto hidden = forward(model, batch);
  const auto last = reference.load("hidden_final_norm_last").flatten();
  EXPECT_LE(((hidden[-1] - last).norm() / last.norm()).item<double>(), 1e-5);
  const auto logits = head_logits(hidden, model.head().value, false);
  const auto top_ids = reference.load("top8_ids")[0].to(at::kLong), top = reference.load("top8_logits")[0];
  ASSERT_EQ(top_ids.sizes(), (at::IntArrayRef{96, 8}));
  EXPECT_LE((logits.gather(1, top_ids) - top).abs().max().item<double>(), 2e-4);
  // The same eight, in the same order but where two are nearer than the tolerance.
  const auto found = std::get<0>(logits.topk(8, -1));
  EXPECT_LE((found - top).abs().max().item<double>(), 2e-4);
  EXPECT_TRUE(at::equal(logits.argmax(-1), top_ids.select(1, 0)));
  EXPECT_LE((logits.logsumexp(-1) - reference.load("logsumexp")[0]).abs().max().item<double>(), 2e-4);
  const auto expected = reference.load("token_logprobs")[0].contiguous();
  const auto scores = score(model, {ids})[0];
  ASSERT_EQ(static_cast<int64_t>(scores.size()), expected.numel());
  for (size_t t = 0; t < scores.size(); ++t)
    EXPECT_NEAR(scores[t], expected.data_ptr<float>()[t], 2e-4) << "token " << t;
}

void expect_greedy_answers(const Decoder& model, const Json& cases) {
  std::vector<GenerationRequest> requests;
  for (const auto& one : cases)
    requests.push_back({one.at("prompt_ids").get<std::vector<int64_t>>(), requests.size()});
  ASSERT_EQ(requests.size(), 3u);
  SamplingConfig greedy;
  greedy.max_new_tokens = 32;
  const int64_t end_of_turn = 2;
  const auto answers = generate(model, requests, greedy, {end_of_turn});
  for (size_t n = 0; n < answers.size(); ++n) {
    const auto expected = cases[n].at("gen_ids").get<std::vector<int64_t>>();
    EXPECT_EQ(answers[n].tokens, expected) << cases[n].at("prompt");
    EXPECT_EQ(answers[n].reason,
              expected.back() == end_of_turn ? StopReason::kStopToken : StopReason::kLength);
  }
}

void expect_gradient_norms(Decoder& model, const Batch& batch, const Json& cases) {
  make_trainable(model);
  clear_gradients(model.parameters());
  Saved saved;
  const auto hidden = forward(model, batch, &saved);
  const auto next = next_token_targets(batch);
  const auto loss =
      head_cross_entropy(hidden, model.head(), next.targets, next.weights, 1 / batch.total_weight(), true);
  EXPECT_NEAR(loss.sum / loss.weight, cases.at("loss").get<double>(), 2e-5);
  // transformers gives the embedding a padding_idx, the pad token's, which for SmolLM2 is the end-of-turn
  // token too: its row gets no gradient from the lookup, only the tied head's. We train it
  // (docs/decisions/0003); here it is left out as there.
  constexpr int64_t kPadToken = 2;
  const at::Tensor head_part = model.embed_tokens.grad[kPadToken].clone();
  backward(model, batch, saved, loss.d_hidden);
  EXPECT_GT((model.embed_tokens.grad[kPadToken] - head_part).norm().item<double>(), 0);
  model.embed_tokens.grad[kPadToken].copy_(head_part);
  const auto& norms = cases.at("grad_norms");
  size_t seen = 0;
  double squares = 0;
  for (const Parameter* parameter : model.parameters()) {
    ASSERT_TRUE(norms.contains(parameter->name)) << parameter->name;
    const double expected = norms.at(parameter->name).get<double>(),
                 found = parameter->grad.norm().item<double>();
    // fp32 rounding through 30 layers: the plain ATen forms stay within 1e-4, the fast kernels reach 1.2e-4
    // on two norms.
    EXPECT_NEAR(found, expected, 3e-4 * expected) << parameter->name;
    squares += found * found;
    ++seen;
  }
  EXPECT_EQ(seen, norms.size());
  EXPECT_EQ(seen, 272u);
  const double total = cases.at("grad_norm_total").get<double>();
  EXPECT_NEAR(std::sqrt(squares), total, 1e-4 * total);
}

TEST(SmolLm2Golden, LogitsAnswersLossAndGradientsAreTransformers) {
  DECANT_NEEDS_SHARED("conformance/golden/smollm2/model_cases.json");
  const auto gguf = demo_model();
  if (!fs::exists(gguf)) GTEST_SKIP() << "no " << gguf << " (scripts/setup.sh brings it)";
  const auto folder = test::shared_folder() / "conformance/golden/smollm2";
  const TensorFile reference(folder / "reference.safetensors");
  const auto cases = read_json(folder / "model_cases.json");
  auto model = load_as_the_reference_was(gguf);
  const auto ids = reference.load("input_ids").flatten().contiguous();
  const std::vector<int64_t> document(ids.data_ptr<int64_t>(), ids.data_ptr<int64_t>() + ids.numel());
  const auto batch = make_batch({document});
  expect_logits(model, batch, document, reference);
  expect_greedy_answers(model, cases.at("generation_fp32_greedy"));
  expect_gradient_norms(model, batch, cases);
}

}  // namespace
}  // namespace decant
