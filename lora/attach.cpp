#include "lora/attach.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "core/config.h"
#include "core/hash.h"
#include "core/model/layer_walk.h"
#include "core/random.h"

namespace decant {

namespace {

std::string last_part(const std::string& module) { return module.substr(module.rfind('.') + 1); }

[[noreturn]] void fail_unmatched(const std::string& target, const std::vector<Linear*>& linears) {
  std::vector<std::string> known;
  std::string list;
  for (const Linear* linear : linears) {
    const std::string name = last_part(linear->name);
    if (std::find(known.begin(), known.end(), name) != known.end()) continue;
    known.push_back(name);
    list += (list.empty() ? "" : ", ") + name;
  }
  fail("lora: the target '", target, "' matches no linear of the model", did_you_mean("", target, known),
       "; there are ", list);
}

// PEFT's start, kaiming_uniform_(a = sqrt 5): uniform in +-1/sqrt(K); each element a pure function of seed,
// module and position.
at::Tensor start_values(const std::string& module, int64_t rank, int64_t inputs, uint64_t seed) {
  at::Tensor a = at::empty({rank, inputs}, at::kFloat);
  const double bound = 1.0 / std::sqrt(static_cast<double>(inputs));
  const uint64_t stream = purpose_stream(Purpose::kInit, xxh3_64(module) >> 8);
  float* out = a.mutable_data_ptr<float>();
  at::parallel_for(0, a.numel(), 4096, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      out[i] = static_cast<float>((2 * uniform(seed, stream, static_cast<uint64_t>(i)) - 1) * bound);
  });
  return a;
}

Parameter trainable(std::string name, const at::Tensor& value, at::ScalarType dtype) {
  return {std::move(name), value.to(dtype), at::zeros(value.sizes(), at::kFloat), true};
}

double scale_of(const LoraConfig& config) {
  const auto rank = static_cast<double>(config.rank);
  return config.alpha / (config.rslora ? std::sqrt(rank) : rank);
}

}  // namespace

bool matches_target(std::string_view module, std::string_view target) {
  constexpr auto kNone = std::string_view::npos;
  for (;;) {
    const auto m = module.rfind('.'), t = target.rfind('.');
    const auto part = target.substr(t == kNone ? 0 : t + 1);
    if (part != "*" && part != module.substr(m == kNone ? 0 : m + 1)) return false;
    if (t == kNone) return true;
    if (m == kNone) return false;
    module = module.substr(0, m);
    target = target.substr(0, t);
  }
}

void LoraConfig::validate(const Place& place) const {
  check(rank >= 1 && rank <= 4096, place("rank"), ": must lie in 1 .. 4096, found ", rank);
  check(std::isfinite(alpha) && alpha > 0, place("alpha"), ": must be above 0, found ", alpha);
  check(!targets.empty(), place("targets"), ": must name at least one linear");
  std::set<std::string> seen;
  for (const auto& target : targets) {
    check(!target.empty(), place("targets"), ": must not hold an empty name");
    check(seen.insert(target).second, place("targets"), ": holds '", target, "' twice");
  }
}

int64_t lora_parameters(const ModelConfig& model, const LoraConfig& lora) {
  constexpr std::string_view kLayers = "model.layers.";
  int64_t width = 0;
  for (const auto& one : linear_shapes(model)) {
    const auto named = [&](std::string_view target) {
      if (target.starts_with(kLayers)) {
        const auto dot = target.find('.', kLayers.size());
        target = dot == std::string_view::npos ? target : target.substr(dot + 1);
      }
      return matches_target(one.name, target);
    };
    if (std::any_of(lora.targets.begin(), lora.targets.end(), named))
      width += one.count * (one.outputs + one.inputs);
  }
  return lora.rank * width;
}

void attach_lora(Decoder& model, const LoraConfig& config) {
  const std::vector<Linear*> linears = model.linears();
  for (const auto& target : config.targets)
    if (std::none_of(linears.begin(), linears.end(),
                     [&](const Linear* l) { return matches_target(l->name, target); }))
      fail_unmatched(target, linears);
  for (const Linear* linear : linears)
    check(linear->terms.empty(), "lora: ", linear->name,
          " has an adapter already; merge or remove it before another is trained");
  freeze(model);
  for (Linear* linear : linears) {
    if (std::none_of(config.targets.begin(), config.targets.end(),
                     [&](const std::string& target) { return matches_target(linear->name, target); }))
      continue;
    const int64_t outputs = linear->weight.value.size(0), inputs = linear->weight.value.size(1);
    LowRankTerm term;
    term.lora_a = trainable(
        linear->name + ".lora_A.weight",
        start_values(linear->name, config.rank, inputs, static_cast<uint64_t>(config.seed)), model.dtype());
    term.lora_b = trainable(linear->name + ".lora_B.weight", at::zeros({outputs, config.rank}, at::kFloat),
                            model.dtype());
    term.scale = scale_of(config);
    linear->terms.push_back(std::move(term));
  }
}

Adapter collect_adapter(const Decoder& model, const LoraConfig& config, const std::string& base_model,
                        const std::string& base_sha256,
                        const std::vector<std::pair<std::string, at::Tensor>>& masters) {
  std::map<std::string, at::Tensor> by_name(masters.begin(), masters.end());
  const auto value = [&](const Parameter& p) {
    const auto found = by_name.find(p.name);
    const at::Tensor& tensor = found != by_name.end() ? found->second : p.value;
    TORCH_INTERNAL_ASSERT(tensor.sizes() == p.value.sizes(), p.name);
    return tensor.to(at::kFloat, /*non_blocking=*/false, /*copy=*/true).contiguous();
  };
  Adapter adapter;
  adapter.config.rank = config.rank;
  adapter.config.alpha = config.alpha;
  adapter.config.use_rslora = config.rslora;
  // PEFT knows no '*': of such a target the last part is written, which its readers look for in all modules.
  std::set<std::string> targets;
  for (const auto& target : config.targets)
    targets.insert(target.find('*') == std::string::npos ? target : last_part(target));
  adapter.config.target_modules.assign(targets.begin(), targets.end());
  adapter.config.base_model = base_model;
  adapter.config.base_sha256 = base_sha256;
  const auto add = [&](const Projection& projection) {
    for (const Linear& linear : projection.linears) {
      if (linear.terms.empty()) continue;
      check(linear.terms.size() == 1, "lora: ", linear.name, " has ", linear.terms.size(),
            " adapter terms, one can be saved");
      adapter.modules.push_back({linear.name, value(linear.terms[0].lora_a), value(linear.terms[0].lora_b)});
    }
  };
  for (const DecoderLayer& layer : model.layers) walk_layer(layer, add, [](const Parameter&) {});
  check(!adapter.modules.empty(), "lora: the model has no adapter to save");
  std::sort(adapter.modules.begin(), adapter.modules.end(),
            [](const AdapterModule& a, const AdapterModule& b) { return a.module < b.module; });
  return adapter;
}

}  // namespace decant
