#include "core/model/fp8_weights.h"

#include <ATen/ATen.h>

#include "core/error.h"

namespace decant {

namespace {

constexpr std::string_view kScale = "_scale_inv";

}  // namespace

bool is_fp8(const TensorEntry& entry) { return entry.dtype == "F8_E4M3"; }

bool is_fp8_scale(const TensorFile& file, const std::string& name) {
  if (!name.ends_with(kScale)) return false;
  const auto weight = name.substr(0, name.size() - kScale.size());
  return file.contains(weight) && is_fp8(file.entry(weight));
}

at::Tensor load_fp8(const TensorFile& file, const std::string& name, int64_t rows, int64_t columns) {
  const auto scale_name = name + std::string(kScale);
  check(file.contains(scale_name), name, ": the weight is fp8, but '", scale_name, "' is missing");
  const auto weight = file.load(name);
  auto scale = file.load(scale_name);
  check(weight.dim() == 2, name, ": expected an fp8 weight of two dimensions, found ", weight.sizes());
  check(scale.scalar_type() == at::kFloat || scale.scalar_type() == at::kBFloat16, scale_name,
        ": expected F32 or BF16, found ", file.entry(scale_name).dtype);
  const std::vector<int64_t> expected = {(weight.size(0) + rows - 1) / rows,
                                         (weight.size(1) + columns - 1) / columns};
  check(scale.sizes() == expected, scale_name, ": expected shape ", at::IntArrayRef(expected),
        " for blocks of ", rows, " x ", columns, ", found ", scale.sizes());
  scale = scale.to(at::kFloat);
  check(at::isfinite(scale).all().item<bool>() && scale.gt(0).all().item<bool>(), scale_name,
        ": scales must be finite and above 0");
  auto wide = weight.to(at::kFloat);
  for (int64_t r = 0; r < expected[0]; ++r) {
    auto block = wide.slice(0, r * rows, std::min((r + 1) * rows, weight.size(0)));
    block.mul_(scale[r].repeat_interleave(columns).slice(0, 0, weight.size(1)));
  }
  return wide;
}

}  // namespace decant
