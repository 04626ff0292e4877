// AdamW and its 8-bit moments: the fast loops against the plain forms, the maps against bitsandbytes
// (tests/golden/dynamic_maps.json), and what coding may and may not do.
#include "core/kernels/adamw.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>

#include "core/json.h"
#include "core/kernels/block_codes.h"
#include "core/kernels/plain.h"

namespace decant {
namespace {

double relative(const at::Tensor& got, const at::Tensor& want) {
  const auto a = got.to(at::kDouble), b = want.to(at::kDouble);
  return ((a - b).norm() / (b.norm() + 1e-30)).item<double>();
}

AdamwTensor copy(const AdamwTensor& x) {
  AdamwTensor y = x;
  for (auto* t :
       {&y.master, &y.compute, &y.moments.m, &y.moments.v, &y.moments.m_absmax, &y.moments.v_absmax})
    if (t->defined()) *t = t->clone();
  return y;
}

TEST(Adamw, IsThePlainForm) {
  at::manual_seed(4);
  for (const int64_t n : {1, 16, 1000, 70001}) {
    const auto start = at::randn({n});
    AdamwTensor fast{start.clone(), {}, start.to(at::kBFloat16), zero_moments({n}, false), {}};
    AdamwTensor slow{start.clone(), {}, {}, zero_moments({n}, false), {}};
    for (int64_t step = 1; step <= 10; ++step) {
      fast.grad = slow.grad = at::randn({n});
      fast.step = slow.step = {1e-2, 0.9, 0.999, 1e-8, 0.1, step, 0.5};
      adamw({fast});
      plain::adamw(slow);
    }
    EXPECT_LT(relative(fast.master, slow.master), 1e-6);
    EXPECT_LT(relative(fast.moments.v, slow.moments.v), 1e-6);
    EXPECT_TRUE(at::equal(fast.compute, fast.master.to(at::kBFloat16)));
  }
}

TEST(Adamw, StochasticRoundingIsExactInTheMean) {
  // An update far below bf16's step: nearest rounding would never move.
  const int64_t n = 100000;
  for (const bool coded : {false, true}) {
    AdamwTensor fast{at::ones({n}, at::kBFloat16),
                     at::ones({n}),
                     {},
                     zero_moments({n}, coded),
                     {1e-4, 0.9, 0.999, 1e-8, 0, 1, 1},
                     7,
                     3};
    const AdamwTensor slow = copy(fast);
    adamw({fast});
    EXPECT_NEAR(fast.master.to(at::kDouble).mean().item<double>(), 1 - 1e-4, 1e-5);
    plain::adamw(slow);
    EXPECT_TRUE(at::equal(fast.master, slow.master));
  }
}

TEST(SumOfSquares, IsFp64) {
  const auto x = at::randn({200003}), y = at::randn({5, 7});
  const double want = plain::sum_of_squares(x) + plain::sum_of_squares(y);
  EXPECT_NEAR(sum_of_squares({x, y}) / want, 1, 1e-12);
}

TEST(BlockCodes, MapsAreThoseOfBitsandbytes) {
  const Json golden = read_json("tests/golden/dynamic_maps.json");
  for (const auto& [map, name] : {std::pair{CodeMap::kSigned, "signed"}, {CodeMap::kUnsigned, "unsigned"}}) {
    const auto levels = dynamic_map(map);
    ASSERT_EQ(golden[name].size(), 256U);
    for (size_t i = 0; i < 256; ++i)
      EXPECT_EQ(std::bit_cast<uint32_t>(levels.const_data_ptr<float>()[i]), golden[name][i].get<uint32_t>())
          << name << " " << i;
  }
}

// Numbers of every size, zeros among them, and blocks that end early.
at::Tensor mixed(int64_t n, CodeMap map) {
  auto x = at::randn({n}) * at::exp(at::randn({n}) * 6);
  x.masked_fill_(at::rand({n}) < 0.05, 0);
  if (n > 600) x.slice(0, 256, 512).zero_();
  return map == CodeMap::kUnsigned ? x.square() : x;
}

TEST(BlockCodes, AreTheNearestLevelsByExhaustiveSearch) {
  at::manual_seed(5);
  for (const CodeMap map : {CodeMap::kSigned, CodeMap::kUnsigned}) {
    const auto levels = dynamic_map(map).to(at::kDouble);
    for (const int64_t n : {1, 255, 256, 257, 4097}) {
      const auto x = mixed(n, map);
      const BlockCodes got = encode_blocks(x, map);
      for (int64_t b = 0; b < got.absmax.numel(); ++b) {
        const auto part = x.slice(0, b * 256, std::min(n, b * 256 + 256));
        const auto codes = got.codes.slice(0, b * 256, std::min(n, b * 256 + 256));
        const float absmax = part.abs().max().item<float>();
        EXPECT_EQ(got.absmax[b].item<float>(), absmax);
        const auto ratio = (absmax > 0 ? part / absmax : part).to(at::kDouble);
        const auto distances = (ratio.unsqueeze(1) - levels.unsqueeze(0)).abs();
        const auto chosen = distances.gather(1, codes.to(at::kLong).unsqueeze(1)).squeeze(1);
        // Bounds are fp32: a ratio this near to one may fall on either side. Second moments below the first
        // level are lifted to it.
        const bool lifts = map == CodeMap::kUnsigned;
        const auto lifted = (part > 0) & (codes == 1) & (ratio <= levels[1]);
        auto right = chosen <= std::get<0>(distances.min(1)) + 1e-7;
        if (lifts) right = (right | lifted) & ((part == 0) == (codes == 0));
        EXPECT_TRUE(right.all().item<bool>()) << n;
      }
    }
  }
}

TEST(BlockCodes, ThePlainFormGivesTheSameBits) {
  at::manual_seed(6);
  for (const CodeMap map : {CodeMap::kSigned, CodeMap::kUnsigned})
    for (const int64_t n : {1, 255, 256, 257, 70001}) {
      const auto x = mixed(n, map);
      const BlockCodes fast = encode_blocks(x, map), slow = plain::encode_blocks(x, map);
      EXPECT_TRUE(at::equal(fast.codes, slow.codes)) << n;
      EXPECT_TRUE(at::equal(fast.absmax, slow.absmax)) << n;
      EXPECT_TRUE(at::equal(decode_blocks(fast, map), plain::decode_blocks(slow, map))) << n;
    }
  // What lies exactly between two levels goes to the one nearer to 0, on both sides and in both forms.
  const auto levels = dynamic_map(CodeMap::kSigned);
  const auto between = (levels.slice(0, 127, 255) + levels.slice(0, 128, 256)) * 0.5;
  const auto x = at::cat({at::ones({1}), between, -between.slice(0, 0, 127)});
  const BlockCodes fast = encode_blocks(x, CodeMap::kSigned);
  EXPECT_TRUE(at::equal(fast.codes, plain::encode_blocks(x, CodeMap::kSigned).codes));
  EXPECT_TRUE(at::equal(fast.codes.slice(0, 1, 129), at::arange(127, 255, at::kByte)));
  EXPECT_TRUE(at::equal(fast.codes.slice(0, 129), at::arange(127, 0, -1, at::kByte)));
}

TEST(BlockCodes, OfWhatTheyDecodeToAreTheSame) {
  at::manual_seed(7);
  for (const CodeMap map : {CodeMap::kSigned, CodeMap::kUnsigned}) {
    const BlockCodes once = encode_blocks(mixed(5000, map), map);
    const BlockCodes twice = encode_blocks(decode_blocks(once, map), map);
    // But for negative blocks' ends: no level of the signed map is -1.
    const double share = (once.codes == twice.codes).to(at::kDouble).mean().item<double>();
    EXPECT_GE(share, map == CodeMap::kUnsigned ? 1.0 : 0.4);
    EXPECT_TRUE(at::equal(decode_blocks(zero_codes({3, 100}, map), map), at::zeros({3, 100})));
  }
}

TEST(BlockCodes, SurviveTheEndsOfFp32) {
  for (const double scale : {1e-44, 1e-38, 1e30, 3e38}) {
    const auto x = at::tensor({1.0F, 0.5F, 0.0F, 1e-12F}) * scale;
    const auto back = decode_blocks(encode_blocks(x, CodeMap::kUnsigned), CodeMap::kUnsigned);
    EXPECT_TRUE(at::isfinite(back).all().item<bool>()) << scale;
    EXPECT_EQ(back[0].item<float>(), x[0].item<float>());
    EXPECT_EQ(back[2].item<float>(), 0);
  }
}

// Fast and plain update differ in an fp32 rounding, which now and then tips an element to the next code.
TEST(CodedAdamw, IsThePlainForm) {
  at::manual_seed(8);
  for (const bool rounds : {false, true})
    for (const int64_t n : {1, 257, 5000, 70001}) {
      const auto start = at::randn({n});
      AdamwTensor fast{start.clone(), {}, {}, zero_moments({n}, true), {}};
      if (rounds) fast.compute = start.to(at::kBFloat16);
      const AdamwTensor other = copy(fast);
      AdamwTensor slow = other;
      for (int64_t step = 1; step <= 10; ++step) {
        fast.grad = slow.grad = at::randn({n});
        fast.step = slow.step = {1e-2, 0.9, 0.999, 1e-8, 0.1, step, 0.5};
        adamw({fast});
        plain::adamw(slow);
      }
      EXPECT_LT(relative(fast.master - start, slow.master - start), 1e-3) << n;
      const double same = (fast.moments.m == slow.moments.m).to(at::kDouble).mean().item<double>();
      EXPECT_GT(same, 0.99) << n;
      if (rounds) {
        EXPECT_TRUE(at::equal(fast.compute, fast.master.to(at::kBFloat16)));
      }
    }
}

TEST(CodedAdamw, StaysNearFp32Moments) {
  at::manual_seed(9);
  const int64_t n = 8192;
  const auto start = at::randn({n}), sizes = at::exp(at::randn({n}));
  AdamwTensor coded{start.clone(), {}, {}, zero_moments({n}, true), {}};
  AdamwTensor exact{start.clone(), {}, {}, zero_moments({n}, false), {}};
  for (int64_t step = 1; step <= 60; ++step) {
    coded.grad = exact.grad = sizes * (at::randn({n}) + 0.3);
    coded.step = exact.step = {1e-2, 0.9, 0.95, 1e-8, 0, step, 1};
    adamw({coded});
    adamw({exact});
  }
  const double distance = relative(coded.master - start, exact.master - start);
  EXPECT_LT(distance, 0.06);
  EXPECT_GT(distance, 1e-5);  // it is another computation
}

// A block with one huge gradient: the others' second moments are below the smallest level. They must move
// less than they would, not without bound.
TEST(CodedAdamw, SmallSecondMomentsDoNotBlowUp) {
  const int64_t n = 512;
  AdamwTensor one{at::zeros({n}), at::full({n}, 1e-4), {}, zero_moments({n}, true), {}};
  one.grad[0] = 1.0;
  for (int64_t step = 1; step <= 20; ++step) {
    if (step > 1) one.grad.fill_(0);  // nothing but what is remembered
    one.step = {1e-2, 0.9, 0.95, 1e-8, 0, step, 1};
    adamw({one});
    EXPECT_LE(one.master.abs().max().item<double>(), 1.01e-2 * static_cast<double>(step)) << step;
  }
}

TEST(CodedAdamw, ThreadsAndCompanyChangeNoBit) {
  at::manual_seed(10);
  const auto make = [](int64_t n, bool coded, bool bf16) {
    AdamwTensor one{at::randn({n}),
                    at::randn({n}),
                    {},
                    zero_moments({n}, coded),
                    {1e-2, 0.9, 0.95, 1e-8, 0.1, 1, 1},
                    7,
                    static_cast<uint64_t>(n)};
    if (bf16) one.master = one.master.to(at::kBFloat16);
    return one;
  };
  std::vector<AdamwTensor> all;
  for (const bool coded : {false, true})
    for (const bool bf16 : {false, true})
      for (const int64_t n : {5, 300, 40001}) all.push_back(make(n, coded, bf16));
  const int threads = at::get_num_threads();
  std::vector<AdamwTensor> together;
  for (const auto& one : all) together.push_back(copy(one));
  at::set_num_threads(3);
  for (int step = 0; step < 3; ++step) adamw(together);
  std::vector<at::Tensor> gradients;
  for (const auto& one : all) gradients.push_back(one.grad);
  const double norm = sum_of_squares(gradients);
  at::set_num_threads(1);
  EXPECT_EQ(norm, sum_of_squares(gradients));
  for (size_t i = 0; i < all.size(); ++i) {
    for (int step = 0; step < 3; ++step) adamw({all[i]});
    EXPECT_TRUE(at::equal(all[i].master, together[i].master)) << i;
    EXPECT_TRUE(at::equal(all[i].moments.m, together[i].moments.m)) << i;
    EXPECT_TRUE(at::equal(all[i].moments.v, together[i].moments.v)) << i;
  }
  at::set_num_threads(threads);
}

}  // namespace
}  // namespace decant
