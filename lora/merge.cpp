#include "lora/merge.h"

#include <ATen/ATen.h>

#include <cstdio>
#include <map>

#include "core/error.h"

namespace decant {

namespace {

double frobenius(const at::Tensor& x) { return x.to(at::kDouble).square().sum().sqrt().item<double>(); }

// Rounds W + delta into `weight` and says what that cost.
MergeReport::Module merge_module(const AdapterModule& module, at::Tensor& weight, double scale) {
  MergeReport::Module report;
  const std::string& name = report.name = module.module;
  const at::Tensor before = weight.to(at::kFloat, /*non_blocking=*/false, /*copy=*/true);
  const at::Tensor exact = merge_weight(weight, module.lora_a, module.lora_b, scale, module.magnitude);
  const at::Tensor delta =
      module.magnitude.defined()
          ? exact - before
          : at::matmul(module.lora_b.to(at::kFloat), module.lora_a.to(at::kFloat)).mul_(scale);
  check(at::isfinite(exact).all().item<bool>(), "merge: ", name,
        ".weight would not be finite; the adapter is broken");
  weight.copy_(exact);
  const at::Tensor rounded = weight.to(at::kFloat);
  const double delta_norm = frobenius(delta), weight_norm = frobenius(before);
  if (weight_norm > 0) report.delta_norm_ratio = delta_norm / weight_norm;
  if (delta_norm > 0) report.relative_error = frobenius(rounded - exact) / delta_norm;
  const at::Tensor changes = delta != 0;
  const auto changed = changes.sum().item<int64_t>();
  if (changed > 0)
    report.unchanged_fraction =
        static_cast<double>(changes.logical_and(rounded == before).sum().item<int64_t>()) /
        static_cast<double>(changed);
  const at::Tensor size = delta.abs();
  report.max_delta = size.max().item<double>();
  report.mean_delta = size.to(at::kDouble).mean().item<double>();
  return report;
}

}  // namespace

MergeReport merge_adapter(Decoder& model, const Adapter& adapter) {
  remove_adapter(model);
  apply_adapter(model, adapter);  // refuses what does not fit before any weight is touched
  std::map<std::string, Linear*> by_name;
  for (Linear* linear : model.linears()) {
    by_name[linear->name] = linear;
    check(!linear->quantized.defined(), "merge: ", linear->name, ".weight is quantized to ",
          to_string(linear->quantized.kind),
          ": an update smaller than its steps would be lost; dequantize the model first");
  }
  keep_token_rows(model);
  remove_adapter(model);
  MergeReport report;
  for (const AdapterModule& module : adapter.modules)
    report.modules.push_back(merge_module(module, by_name.at(module.module)->weight.value,
                                          adapter.config.scale_of(module.module)));
  return report;
}

std::string merge_report_text(const MergeReport& report) {
  size_t width = 6;
  for (const auto& m : report.modules) width = std::max(width, m.name.size());
  const auto row = [width](const std::string& name, const std::string& rest) {
    return name + std::string(width - name.size(), ' ') + rest + "\n";
  };
  std::string text = row("module", "  delta/weight  lost in rounding  unchanged  mean |delta|   max |delta|");
  for (const auto& m : report.modules) {
    char rest[128];
    std::snprintf(rest, sizeof rest, "  %12.3e  %15.2f%%  %8.2f%%  %12.3e  %12.3e", m.delta_norm_ratio,
                  100 * m.relative_error, 100 * m.unchanged_fraction, m.mean_delta, m.max_delta);
    text += row(m.name, rest);
  }
  return text;
}

}  // namespace decant
