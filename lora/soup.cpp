#include "lora/soup.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <set>

#include "core/error.h"

namespace decant {

namespace {

struct Sum {
  std::vector<at::Tensor> a, b;  // fp64, scales folded into b
};

// The concatenated sum cut to `rank`.
AdapterModule cut(const std::string& name, const Sum& sum, int64_t rank, SoupReport::Module& report) {
  const at::Tensor a = at::cat(sum.a, 0), b = at::cat(sum.b, 1);
  report.name = name;
  report.rank = a.size(0);
  if (rank == 0 || a.size(0) <= rank)
    return {name, a.to(at::kFloat).contiguous(), b.to(at::kFloat).contiguous()};
  const auto [qb, rb] = at::linalg_qr(b);
  const auto [qa, ra] = at::linalg_qr(a.t().contiguous());
  const auto [u, s, v] = at::linalg_svd(at::mm(rb, ra.t()), /*full_matrices=*/false);
  const int64_t kept = std::min(rank, s.size(0));
  const double whole = s.norm().item<double>();
  if (whole > 0) report.relative_error = s.slice(0, kept).norm().item<double>() / whole;
  const at::Tensor root = s.slice(0, 0, kept).sqrt();
  auto out_a = at::zeros({rank, a.size(1)}, at::kFloat), out_b = at::zeros({b.size(0), rank}, at::kFloat);
  out_a.narrow(0, 0, kept).copy_(root.unsqueeze(1) * at::mm(v.slice(0, 0, kept), qa.t()));
  out_b.narrow(1, 0, kept).copy_(at::mm(qb, u.slice(1, 0, kept)) * root);
  return {name, out_a, out_b};
}

void check_same_base(const AdapterConfig& a, const AdapterConfig& b) {
  check(a.base_sha256.empty() || b.base_sha256.empty() || a.base_sha256 == b.base_sha256,
        "soup: the adapters are for different bases (", a.base_model, " and ", b.base_model,
        "); their updates cannot be added");
}

}  // namespace

Adapter soup(const std::vector<std::pair<Adapter, double>>& adapters, int64_t rank, SoupReport* report) {
  check(!adapters.empty(), "soup: there is no adapter to add");
  check(rank >= 0 && rank <= 4096, "soup: the rank must lie in 0 .. 4096, found ", rank);
  std::map<std::string, Sum> sums;
  for (const auto& [adapter, weight] : adapters) {
    check(std::isfinite(weight), "soup: a weight is not a finite number");
    check(!adapter.config.use_dora,
          "soup: a DoRA adapter's update is not a product of two factors; merge it "
          "into its base instead (decant merge)");
    check(
        adapter.tokens.ids.empty(),
        "soup: an adapter with rows for tokens (trainable_token_indices) has values in place of the base's, "
        "which do not add up; merge it into its base instead (decant merge)");
    check_same_base(adapters.front().first.config, adapter.config);
    for (const auto& m : adapter.modules) {
      Sum& sum = sums[m.module];
      check(sum.a.empty() || (sum.a[0].size(1) == m.lora_a.size(1) && sum.b[0].size(0) == m.lora_b.size(0)),
            "soup: '", m.module, "' has another shape in one of the adapters; they are for different models");
      sum.a.push_back(m.lora_a.to(at::kDouble));
      sum.b.push_back(m.lora_b.to(at::kDouble).mul(weight * adapter.config.scale_of(m.module)));
    }
  }
  const auto& [first, weight] = adapters.front();
  const bool fits =
      rank == 0 || std::all_of(first.modules.begin(), first.modules.end(),
                               [&](const AdapterModule& m) { return m.lora_a.size(0) <= rank; });
  if (adapters.size() == 1 && weight == 1 && fits) {
    if (report != nullptr)
      for (const auto& m : first.modules) report->modules.push_back({m.module, m.lora_a.size(0), 0});
    return first;
  }
  Adapter out;
  out.config.base_model = first.config.base_model;
  out.config.base_sha256 = first.config.base_sha256;
  out.config.base_quantization = first.config.base_quantization;
  out.config.rank = 1;
  for (const auto& [name, sum] : sums) {
    SoupReport::Module line;
    out.modules.push_back(cut(name, sum, rank, line));
    out.config.rank = std::max(out.config.rank, out.modules.back().lora_a.size(0));
    out.config.target_modules.push_back(name);
    if (report != nullptr) report->modules.push_back(line);
  }
  // Modules that fewer adapters have are padded with zeros: alpha / r is then 1 everywhere.
  out.config.alpha = static_cast<double>(out.config.rank);
  for (auto& m : out.modules) {
    const int64_t missing = out.config.rank - m.lora_a.size(0);
    if (missing == 0) continue;
    m.lora_a = at::cat({m.lora_a, at::zeros({missing, m.lora_a.size(1)})}, 0);
    m.lora_b = at::cat({m.lora_b, at::zeros({m.lora_b.size(0), missing})}, 1);
  }
  return out;
}

std::string soup_report_text(const SoupReport& report) {
  size_t width = 6;
  for (const auto& m : report.modules) width = std::max(width, m.name.size());
  std::string text = "module" + std::string(width - 6, ' ') + "  rank of the sum  lost by cutting\n";
  for (const auto& m : report.modules) {
    char rest[64];
    std::snprintf(rest, sizeof rest, "  %15lld  %14.4f%%\n", static_cast<long long>(m.rank),
                  100 * m.relative_error);
    text += m.name + std::string(width - m.name.size(), ' ') + rest;
  }
  return text;
}

}  // namespace decant
