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
  if (!adapter.tokens.ids.empty())
    set_token_rows(model, adapter.tokens.ids, adapter.tokens.embedding, adapter.tokens.head,
                   /*trainable=*/false);
  for (const auto& m : adapter.modules) {
    LowRankTerm term;
    term.lora_a = {m.module + ".lora_A.weight", m.lora_a.to(model.dtype()).contiguous(), {}, false};
    term.lora_b = {m.module + ".lora_B.weight", m.lora_b.to(model.dtype()).contiguous(), {}, false};
    term.scale = adapter.config.scale_of(m.module);
    if (m.magnitude.defined()) {
      check(linears.at(m.module)->terms.empty(), "adapter: '", m.module,
            "' has an adapter already; a DoRA adapter must be the only one");
      term.magnitude = {
          m.module + ".lora_magnitude_vector.weight", m.magnitude.to(at::kFloat).contiguous(), {}, false};
      fix_gain(*linears.at(m.module), term);
    }
    linears.at(m.module)->terms.push_back(std::move(term));
  }
}

void remove_adapter(Decoder& model) {
  remove_token_rows(model);
  for (Linear* linear : model.linears()) linear->terms.clear();
}

}  // namespace decant
