// decant's side of bitsandbytes_test.py: steps of an adapter on a quantized base.
//   interop_train_qlora MODEL KIND START_ADAPTER IDS.json LEARNING_RATE
// prints {"codes": digest of every linear's codes and scales, "losses": [...], "norms": [...]}.
#include <ATen/ATen.h>

#include <cstdio>
#include <cstdlib>
#include <map>

#include "core/adapter_file.h"
#include "core/hash.h"
#include "core/json.h"
#include "core/kernels/head_cross_entropy.h"
#include "core/model/load_model.h"
#include "core/model/stored_quantization.h"
#include "lora/attach.h"
#include "tests/support/guarded_main.h"
#include "train/optimizer.h"

namespace decant {
namespace {

// As the tensors lie in bitsandbytes' state_dict, but for the JSON.
std::string digest(Decoder& model) {
  Sha256 sum;
  for (const auto* one : model.linears()) {
    const auto& q = one->quantized;
    for (const auto& t : {q.codes, q.absmax, q.nested_absmax})
      if (t.defined())
        sum.update({static_cast<const char*>(t.const_data_ptr()), static_cast<size_t>(t.nbytes())});
  }
  return sum.hex();
}

int run(int count, char** arguments) {
  check(count == 6, "usage: interop_train_qlora MODEL KIND START_ADAPTER IDS.json LEARNING_RATE");
  const std::string kind = arguments[2];
  Decoder model = load_model(arguments[1], Dtype::kFp32,
                             {kind == "nf4"      ? Quantization::kNf4
                              : kind == "nf4_dq" ? Quantization::kNf4Dq
                              : kind == "int8"   ? Quantization::kInt8
                                                 : Quantization::kNone,
                              {}});
  Json out;
  out["codes"] = digest(model);
  out["losses"] = out["norms"] = Json::array();
  const Adapter start = read_adapter(arguments[3]);
  LoraConfig config;
  config.rank = start.config.rank;
  config.alpha = start.config.alpha;
  config.rslora = start.config.use_rslora;
  attach_lora(model, config);
  std::map<std::string, const AdapterModule*> by_name;
  for (const auto& module : start.modules) by_name[module.module] = &module;
  for (auto* linear : model.linears()) {
    linear->terms.at(0).lora_a.value.copy_(by_name.at(linear->name)->lora_a);
    linear->terms.at(0).lora_b.value.copy_(by_name.at(linear->name)->lora_b);
  }
  const auto parameters = model.adapter_parameters();
  OptimizerConfig optimizer_config;
  optimizer_config.weight_decay = 0;
  Optimizer optimizer(parameters, optimizer_config);
  for (const auto& rows : read_json(arguments[4])) {
    const Batch batch = make_batch(rows.get<std::vector<std::vector<int64_t>>>());
    const Targets targets = next_token_targets(batch);
    const double scale = 1 / batch.total_weight();
    Saved saved;
    const auto hidden = forward(model, batch, &saved);
    const HeadLoss loss =
        head_cross_entropy(hidden, model.head(), targets.targets, targets.weights, scale, true);
    backward(model, batch, saved, loss.d_hidden);
    out["losses"].push_back(loss.sum * scale);
    out["norms"].push_back(optimizer.step(std::atof(arguments[5])));
    clear_gradients(parameters);
  }
  std::printf("%s\n", out.dump().c_str());
  return 0;
}

}  // namespace
}  // namespace decant

int main(int count, char** arguments) { return decant::test::guarded_main(decant::run, count, arguments); }
