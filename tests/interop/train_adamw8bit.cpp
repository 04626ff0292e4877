// decant's side of adamw8bit_test.py: steps of the optimizer with 8-bit moments on given gradients.
//   interop_train_adamw8bit IN.safetensors OUT.safetensors LEARNING_RATE WEIGHT_DECAY
// IN holds start.<name>, and gradient.<name> [steps, ...]. OUT gets the optimizer's state.
#include <ATen/ATen.h>

#include <cstdio>
#include <cstdlib>
#include <deque>

#include "core/error.h"
#include "core/tensor_file.h"
#include "tests/support/guarded_main.h"
#include "train/optimizer.h"

namespace decant {
namespace {

int run(int count, char** arguments) {
  check(count == 5, "usage: interop_train_adamw8bit IN OUT LEARNING_RATE WEIGHT_DECAY");
  const TensorFile in(arguments[1]);
  std::deque<Parameter> parameters;
  std::vector<Parameter*> all;
  std::vector<at::Tensor> gradients;
  for (const auto& name : in.names()) {
    if (!name.starts_with("start.")) continue;
    const at::Tensor start = in.load(name);
    parameters.push_back({name.substr(6), start, at::zeros(start.sizes(), at::kFloat), true});
    all.push_back(&parameters.back());
    gradients.push_back(in.load("gradient." + name.substr(6)));
  }
  OptimizerConfig config;
  config.state = MomentState::kInt8;
  config.weight_decay = std::atof(arguments[4]);
  config.max_gradient_norm = 0;
  Optimizer optimizer(all, config);
  for (int64_t step = 0; step < gradients.at(0).size(0); ++step) {
    for (size_t i = 0; i < all.size(); ++i) all[i]->grad.copy_(gradients[i][step]);
    optimizer.step(std::atof(arguments[3]), 0);
  }
  write_tensors(arguments[2], optimizer.state());
  return 0;
}

}  // namespace
}  // namespace decant

int main(int count, char** arguments) { return decant::test::guarded_main(decant::run, count, arguments); }
