// AdamW with clipping against torch.optim (conformance/golden/schedules/optim.safetensors), and the
// optimizer's own laws.
#include "train/optimizer.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <map>

#include "tests/support/expect_error.h"
#include "tests/support/shared.h"

namespace decant {
namespace {

Parameter parameter(const std::string& name, const at::Tensor& value) {
  return {name, value, at::zeros(value.sizes(), at::kFloat), true};
}

// LoRA+ is a group with another rate: as if the group trained with that rate alone.
TEST(Optimizer, GroupsHaveTheirOwnRateAndDecay) {
  const at::Tensor start = at::linspace(-1, 1, 12).view({3, 4}), gradient = at::sin(start * 5);
  const auto run = [&](const OptimizerConfig& config, double rate) {
    Parameter a = parameter("x.lora_A.weight", start.clone()),
              b = parameter("x.lora_B.weight", start.clone());
    Optimizer optimizer({&a, &b}, config);
    for (int step = 0; step < 3; ++step) {
      a.grad.copy_(gradient);
      b.grad.copy_(gradient);
      optimizer.step(rate, 0);
    }
    return std::pair{a.value, b.value};
  };
  OptimizerConfig plain, grouped;
  plain.weight_decay = grouped.weight_decay = 0.1;
  grouped.groups = {{".*lora_B.*", 16, {}}};
  const auto both = run(grouped, 1e-3);
  EXPECT_TRUE(at::equal(both.first, run(plain, 1e-3).first));
  EXPECT_TRUE(at::allclose(both.second, run(plain, 16e-3).second, 1e-6, 1e-7));
  grouped.groups = {{".*lora_B.*", 1, 0.0}};
  plain.weight_decay = 0;
  EXPECT_TRUE(at::equal(run(grouped, 1e-3).second, run(plain, 1e-3).second));
  grouped.groups = {{"nothing", 1, {}}};
  EXPECT_ERROR(run(grouped, 1e-3), "'nothing' matches no parameter that trains");
}

TEST(Optimizer, EndsWithTheAverageOfItsSteps) {
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    Parameter p = parameter("w", at::linspace(-1, 1, 8).view({2, 4}).to(type));
    OptimizerConfig config;
    config.average_decay = 0.75;
    Optimizer optimizer({&p}, config);
    at::Tensor expected = optimizer.master(0).clone();
    for (int step = 0; step < 4; ++step) {
      p.grad.copy_(at::cos(at::arange(8, at::kFloat) + step).view({2, 4}));
      optimizer.step(1e-2);
      expected = expected * 0.75 + optimizer.master(0) * 0.25;
    }
    EXPECT_EQ(optimizer.state().size(), 4U);
    optimizer.end_with_average();
    EXPECT_TRUE(at::allclose(optimizer.master(0), expected, 1e-6, 1e-7));
    EXPECT_TRUE(at::equal(p.value, optimizer.master(0).to(type)));
  }
}

TEST(Optimizer, EqualsTorchWithClipping) {
  DECANT_NEEDS_SHARED("conformance/golden/schedules/optim.safetensors");
  const TensorFile golden(test::shared_folder() / "conformance/golden/schedules/optim.safetensors");
  const at::Tensor gradients = golden.load("grads"), norms = golden.load("grad_norm");
  for (const std::string decay : {"0.0", "0.1"}) {
    Parameter p = parameter("w", golden.load("w0"));
    OptimizerConfig config;
    config.weight_decay = std::stod(decay);
    Optimizer optimizer({&p}, config);
    const at::Tensor expected = golden.load("adamw_wd" + decay + ".w");
    ASSERT_EQ(expected.size(0), 6);
    for (int64_t step = 0; step < 6; ++step) {
      p.grad.copy_(gradients[step]);
      const double norm = optimizer.step(1e-2);
      EXPECT_NEAR(norm, norms[step].item<double>(), 1e-6 * norm);
      EXPECT_LE((p.value - expected[step]).abs().max().item<double>(), 1e-6) << "step " << step;
    }
    for (const auto& [name, tensor] : optimizer.state()) {
      if (name == "m.w") {
        EXPECT_LE((tensor - golden.load("adamw_wd" + decay + ".exp_avg")).abs().max().item<double>(), 1e-7);
      }
      if (name == "v.w") {
        EXPECT_LE((tensor - golden.load("adamw_wd" + decay + ".exp_avg_sq")).abs().max().item<double>(),
                  1e-7);
      }
    }
  }
}

TEST(Optimizer, NormsAndBiasesDoNotDecay) {
  Parameter matrix = parameter("w", at::ones({2, 2})), bias = parameter("b", at::ones({2}));
  OptimizerConfig config;
  config.weight_decay = 0.5;
  Optimizer optimizer({&matrix, &bias}, config);
  optimizer.step(0.1);  // gradients are 0: only the decay moves anything
  EXPECT_FLOAT_EQ(matrix.value[0][0].item<float>(), 0.95F);
  EXPECT_FLOAT_EQ(bias.value[0].item<float>(), 1.0F);
}

TEST(Optimizer, SmallStepsAreNotLostInBf16) {
  for (const Masters masters : {Masters::kFp32, Masters::kStochastic}) {
    Parameter p = parameter("w", at::ones({64, 64}, at::kBFloat16));
    OptimizerConfig config;
    config.masters = masters;
    config.max_gradient_norm = 0;
    Optimizer optimizer({&p}, config);
    for (int step = 0; step < 100; ++step) {
      p.grad.fill_(1);
      optimizer.step(1e-4);  // far less than bf16's spacing of 2^-8 below 1
    }
    EXPECT_NEAR(optimizer.master(0).to(at::kFloat).mean().item<double>(), 0.99, 1e-3);
    EXPECT_NEAR(p.value.to(at::kFloat).mean().item<double>(), 0.99, 2.5e-3);  // bf16's spacing is 3.9e-3
    EXPECT_EQ(optimizer.master(0).is_same(p.value), masters == Masters::kStochastic);
  }
}

TEST(Optimizer, SavedAndLoadedGoesOnWithTheSameBits) {
  struct Case {
    Masters masters;
    MomentState state;
    at::ScalarType dtype;
  };
  std::vector<Case> cases;
  for (const Masters masters : {Masters::kFp32, Masters::kStochastic})
    for (const MomentState state : {MomentState::kFp32, MomentState::kInt8})
      for (const auto dtype : {at::kFloat, at::kBFloat16}) cases.push_back({masters, state, dtype});
  for (const auto& [masters, state, dtype] : cases) {
    const auto file = test::scratch_folder() / "state.safetensors";
    OptimizerConfig config;
    config.masters = masters;
    config.state = state;
    constexpr int64_t kElements = 60 * 100;
    const at::Tensor start = at::sin(at::arange(0, kElements, at::kFloat)).reshape({60, 100}).to(dtype);
    Parameter a = parameter("w", start.clone()), b = parameter("w", start.clone());
    Optimizer first({&a}, config);
    const auto run = [](Optimizer& optimizer, Parameter& p, int begin, int end) {
      for (int step = begin; step < end; ++step) {
        p.grad.copy_(at::cos(at::arange(0, kElements, at::kFloat) * (step + 1)).reshape({60, 100}));
        optimizer.step(1e-2);
      }
    };
    run(first, a, 0, 3);
    EXPECT_EQ(first.state().size(), state == MomentState::kInt8 ? 5U : 3U);
    write_tensors(file, first.state());
    run(first, a, 3, 6);
    Optimizer second({&b}, config);
    second.load_state(TensorFile(file), 3);
    run(second, b, 3, 6);
    EXPECT_TRUE(at::equal(a.value, b.value));
    EXPECT_TRUE(at::equal(first.master(0), second.master(0)));
  }
}

TEST(Optimizer, Int8IsForLargeTensorsOtherThanTheEmbedding) {
  OptimizerConfig config;
  config.state = MomentState::kInt8;
  Parameter large = parameter("model.layers.0.mlp.up_proj.weight", at::ones({64, 65})),
            small = parameter("model.layers.0.mlp.down_proj.weight", at::ones({63, 65})),
            embedding = parameter("model.embed_tokens.weight", at::ones({80, 64}));
  Optimizer optimizer({&large, &small, &embedding}, config);
  std::map<std::string, at::ScalarType> types;
  for (const auto& [name, tensor] : optimizer.state()) types[name] = tensor.scalar_type();
  EXPECT_EQ(types.size(), 11U);
  EXPECT_EQ(types.at("m." + large.name), at::kByte);
  EXPECT_EQ(types.at("v." + large.name), at::kByte);
  EXPECT_EQ(types.at("m_absmax." + large.name), at::kFloat);
  EXPECT_EQ(types.at("m." + small.name), at::kFloat);
  EXPECT_EQ(types.at("m." + embedding.name), at::kFloat);
  int64_t expected = 0;
  for (const Parameter* p : {&large, &small, &embedding})
    expected += moment_bytes(p->name, p->value.numel(), MomentState::kInt8);
  EXPECT_EQ(optimizer.moment_bytes(), expected);
  EXPECT_EQ(moment_bytes(large.name, 4160, MomentState::kInt8), 2 * (4160 + 17 * 4));
  EXPECT_EQ(moment_bytes(large.name, 4160, MomentState::kFp32), 8 * 4160);
}

// Everything that the optimizer does otherwise is done with codes, too.
TEST(Optimizer, Int8StaysNearFp32WithGroupsAveragesAndClipping) {
  const auto run = [](MomentState state) {
    Parameter a = parameter("a", at::sin(at::arange(8192, at::kFloat)).view({64, 128})),
              b = parameter("b", at::cos(at::arange(8192, at::kFloat)).view({64, 128}).to(at::kBFloat16));
    OptimizerConfig config;
    config.state = state;
    config.weight_decay = 0.1;
    config.average_decay = 0.5;
    config.groups = {{"b", 4, 0.0}};
    Optimizer optimizer({&a, &b}, config);
    for (int step = 0; step < 50; ++step) {
      for (Parameter* p : {&a, &b})
        p->grad.copy_(at::sin(at::arange(8192, at::kFloat) * (step + 1) * 0.37).view({64, 128}) + 0.2);
      optimizer.step(1e-3);
    }
    optimizer.end_with_average();
    return std::pair{a.value, optimizer.master(1)};
  };
  const auto fp32 = run(MomentState::kFp32), int8 = run(MomentState::kInt8);
  const at::Tensor start_a = at::sin(at::arange(8192, at::kFloat)).view({64, 128}),
                   start_b =
                       at::cos(at::arange(8192, at::kFloat)).view({64, 128}).to(at::kBFloat16).to(at::kFloat);
  for (const auto& [got, want, start] :
       {std::tuple{int8.first, fp32.first, start_a}, {int8.second, fp32.second, start_b}}) {
    const double distance = ((got - want).norm() / (want - start).norm()).item<double>();
    EXPECT_LT(distance, 0.03);
    EXPECT_GT(distance, 1e-6);
  }
}

TEST(Optimizer, RefusesAForeignState) {
  const auto file = test::scratch_folder() / "state.safetensors";
  Parameter p = parameter("w", at::ones({2, 3})), q = parameter("w", at::ones({3, 2})),
            r = parameter("x", at::ones({2, 3}));
  write_tensors(file, Optimizer({&p}, {}).state());
  Optimizer other_shape({&q}, {}), other_name({&r}, {}), more({&p, &r}, {});
  EXPECT_ERROR(other_shape.load_state(TensorFile(file), 1),
               "'master.w' is F32 [2, 3], the model needs Float [3, 2]");
  EXPECT_ERROR(other_name.load_state(TensorFile(file), 1), "the tensor 'master.x' is missing");
  EXPECT_ERROR(more.load_state(TensorFile(file), 1), "holds 3 tensors, expected 6");
  EXPECT_ERROR(Optimizer({&p, &p}, {}), "stands twice");
  // Codes are not taken for numbers, nor the reverse.
  Parameter large = parameter("w", at::ones({64, 64}));
  OptimizerConfig coded;
  coded.state = MomentState::kInt8;
  Optimizer fp32({&large}, {}), int8({&large}, coded);
  write_tensors(file, fp32.state());
  EXPECT_ERROR(int8.load_state(TensorFile(file), 1), "holds 3 tensors, expected 5");
  write_tensors(file, {{"master.w", large.value},
                       {"m.w", at::zeros({64, 64})},
                       {"v.w", at::zeros({64, 64})},
                       {"m_absmax.w", at::zeros({16})},
                       {"v_absmax.w", at::zeros({16})}});
  EXPECT_ERROR(int8.load_state(TensorFile(file), 1), "'m.w' is F32 [64, 64], the model needs Byte [64, 64]");
}

}  // namespace
}  // namespace decant
