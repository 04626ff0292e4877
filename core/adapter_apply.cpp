#include <ATen/ATen.h>

#include <map>

#include "core/adapter_file.h"
#include "core/error.h"

namespace decant {

void apply_adapter(Decoder& model, const Adapter& adapter) {
  std::map<std::string, Linear*> linears;
  for (Linear* linear : model.linears()) linears.emplace(linear->name, linear);
  for (const auto& m : adapter.modules) {  // all checks before the first change
    const auto found = linears.find(m.module);
    check(found != linears.end(), "adapter: the model has no linear layer '", m.module, "'");
    const int64_t outputs = found->second->outputs(), inputs = found->second->inputs();
    check(m.lora_a.size(1) == inputs && m.lora_b.size(0) == outputs, "adapter: '", m.module,
          "' is for a weight [", m.lora_b.size(0), ", ", m.lora_a.size(1), "], the model's is [", outputs,
          ", ", inputs, "]; it was trained on another base model");
  }
  for (const auto& m : adapter.modules) {
    LowRankTerm term;
    term.lora_a = {m.module + ".lora_A.weight", m.lora_a.to(model.dtype()).contiguous(), {}, false};
    term.lora_b = {m.module + ".lora_B.weight", m.lora_b.to(model.dtype()).contiguous(), {}, false};
    term.scale = adapter.config.scale_of(m.module);
    linears.at(m.module)->terms.push_back(std::move(term));
  }
}

void remove_adapter(Decoder& model) {
  for (Linear* linear : model.linears()) linear->terms.clear();
}

}  // namespace decant
