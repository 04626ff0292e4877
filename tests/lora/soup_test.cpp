// The sum of adapters: exact, best at its rank, and one adapter alone comes back as it is.
#include "lora/soup.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "lora/attach.h"
#include "tests/support/expect_error.h"
#include "tests/support/shared.h"

namespace decant {
namespace {

constexpr int64_t kOutputs = 40, kInputs = 56;

Adapter adapter(int64_t rank, double alpha, bool rslora, int64_t seed,
                const std::vector<std::string>& modules = {"model.layers.0.self_attn.q_proj",
                                                           "model.layers.0.self_attn.v_proj"}) {
  at::manual_seed(static_cast<uint64_t>(seed));
  Adapter made;
  made.config.rank = rank;
  made.config.alpha = alpha;
  made.config.use_rslora = rslora;
  for (const auto& name : modules)
    made.modules.push_back({name, at::randn({rank, kInputs}), at::randn({kOutputs, rank})});
  return made;
}

// The update of a module, [N, K] fp64.
at::Tensor update(const Adapter& a, const std::string& module) {
  for (const auto& m : a.modules)
    if (m.module == module)
      return at::mm(m.lora_b.to(at::kDouble), m.lora_a.to(at::kDouble)) * a.config.scale_of(module);
  return at::zeros({kOutputs, kInputs}, at::kDouble);
}

double relative(const at::Tensor& a, const at::Tensor& b) {
  return (a - b).norm().item<double>() / b.norm().item<double>();
}

TEST(Soup, OneAdapterAloneComesBackBitForBit) {
  for (const bool rslora : {false, true}) {
    Adapter one = adapter(4, 10, rslora, 1);
    one.config.rank_pattern = {{"v_proj", 6}};
    one.modules[1].lora_a = at::randn({6, kInputs});
    one.modules[1].lora_b = at::randn({kOutputs, 6});
    const Adapter same = soup({{one, 1}}, 0);
    EXPECT_EQ(same.config.rank_pattern, one.config.rank_pattern);
    for (size_t i = 0; i < 2; ++i) {
      EXPECT_TRUE(at::equal(same.modules[i].lora_a, one.modules[i].lora_a));
      EXPECT_TRUE(at::equal(same.modules[i].lora_b, one.modules[i].lora_b));
    }
  }
}

TEST(Soup, IsTheSumOfTheUpdates) {
  const Adapter a = adapter(4, 10, false, 1), b = adapter(7, 3, true, 2),
                c = adapter(2, 8, false, 3, {"model.layers.0.self_attn.v_proj"});
  SoupReport report;
  for (const int64_t rank : {0, 20}) {  // 20: more than there is
    const Adapter sum = soup({{a, 0.5}, {b, 0.25}, {c, -1}}, rank, &report);
    EXPECT_EQ(sum.modules.size(), 2U);
    for (const auto& m : sum.modules) {
      const auto dense = update(a, m.module) * 0.5 + update(b, m.module) * 0.25 - update(c, m.module);
      EXPECT_LE(relative(update(sum, m.module), dense), 1e-6) << m.module;
    }
    const auto folder = test::scratch_folder();
    write_adapter(folder, sum);
    EXPECT_EQ(read_adapter(folder).modules.size(), 2U);  // ranks and targets hold together
  }
  EXPECT_EQ(report.modules[0].rank, 11);
  EXPECT_EQ(report.modules[1].rank, 13);
}

TEST(Soup, CutIsTheBestOfItsRank) {
  const Adapter a = adapter(6, 6, false, 1), b = adapter(6, 6, false, 2);
  SoupReport report;
  const Adapter sum = soup({{a, 1}, {b, 1}}, 5, &report);
  EXPECT_EQ(sum.config.rank, 5);
  for (size_t i = 0; i < 2; ++i) {
    const auto& name = sum.modules[i].module;
    const auto dense = update(a, name) + update(b, name);
    const auto [u, s, v] = at::linalg_svd(dense, false);
    const auto best = at::mm(u.slice(1, 0, 5) * s.slice(0, 0, 5), v.slice(0, 0, 5));
    EXPECT_LE(relative(update(sum, name), best), 1e-5);
    EXPECT_NEAR(report.modules[i].relative_error, relative(best, dense), 1e-6);
  }
  // Halves of one adapter, cut to its rank, are that adapter.
  const Adapter whole = soup({{a, 0.5}, {a, 0.5}}, 6);
  EXPECT_LE(relative(update(whole, a.modules[0].module), update(a, a.modules[0].module)), 1e-5);
}

TEST(Soup, RefusesWhatHasNoSum) {
  Adapter a = adapter(4, 4, false, 1), b = adapter(4, 4, false, 2);
  EXPECT_ERROR(soup({}, 0), "there is no adapter to add");
  a.config.base_sha256 = "aa";
  b.config.base_sha256 = "bb";
  EXPECT_ERROR(soup({{a, 1}, {b, 1}}, 0), "for different bases");
  b.config.base_sha256 = "";
  b.modules[0].lora_a = at::ones({4, kInputs + 1});
  EXPECT_ERROR(soup({{a, 1}, {b, 1}}, 0), "has another shape");
  b = adapter(4, 4, false, 2);
  b.config.use_dora = true;
  EXPECT_ERROR(soup({{a, 1}, {b, 1}}, 0), "merge it into its base instead");
}

}  // namespace
}  // namespace decant
