#include <ATen/ATen.h>

#include <cmath>

#include "core/kernels/block_codes.h"
#include "core/kernels/plain.h"
#include "core/random.h"

namespace decant::plain {

namespace {

void update(at::Tensor& master, at::Tensor& m, at::Tensor& v, const at::Tensor& grad, const AdamwStep& step) {
  const auto g = grad * step.gradient_scale;
  m.mul_(step.beta1).add_(g, 1 - step.beta1);
  v.mul_(step.beta2).addcmul_(g, g, 1 - step.beta2);
  const double c1 = 1 - std::pow(step.beta1, static_cast<double>(step.step));
  const double c2 = 1 - std::pow(step.beta2, static_cast<double>(step.step));
  master.mul_(1 - step.learning_rate * step.weight_decay);
  master.addcdiv_(m, (v / c2).sqrt_().add_(step.epsilon), -step.learning_rate / c1);
}

// Sixteen random bits are added below the last bit that bf16 keeps; what is cut off afterwards is zero in the
// mean.
void round_stochastically(at::Tensor& weight_bf16, at::Tensor& master, uint64_t seed, uint64_t stream) {
  const auto n = master.numel();
  auto noise = at::empty({n}, at::kInt);
  auto* bits = noise.data_ptr<int32_t>();
  for (int64_t i = 0; i < n; i += 8) {
    const auto draw = philox(seed, stream, static_cast<uint64_t>(i / 8));
    for (int64_t j = 0; j < 8 && i + j < n; ++j)
      bits[i + j] = static_cast<int32_t>((draw[static_cast<size_t>(j / 2)] >> (16 * (j % 2))) & 0xffff);
  }
  auto words = master.view(at::kInt);
  words.add_(noise.view(words.sizes()).to(words.device())).bitwise_and_(static_cast<int64_t>(-65536));
  weight_bf16.copy_(master);
}

// x [elements] in rows of a block, zeros beyond the end.
at::Tensor in_blocks(const at::Tensor& x) {
  const auto flat = x.flatten();
  const auto blocks = code_blocks(flat.numel());
  return at::constant_pad_nd(flat, {0, blocks * kCodeBlock - flat.numel()}).view({blocks, kCodeBlock});
}

}  // namespace

void adamw(const AdamwTensor& one) {
  const Moments& moments = one.moments;
  auto m = moments.m, v = moments.v;
  if (moments.coded()) {
    m = plain::decode_blocks({m, moments.m_absmax}, CodeMap::kSigned);
    v = plain::decode_blocks({v, moments.v_absmax}, CodeMap::kUnsigned);
  }
  auto weight = one.master, compute = one.compute;
  if (weight.scalar_type() == at::kBFloat16) {
    auto master = weight.to(at::kFloat);
    update(master, m, v, one.grad, one.step);
    round_stochastically(weight, master, one.seed, one.stream);
  } else {
    update(weight, m, v, one.grad, one.step);
    if (compute.defined() && compute.data_ptr() != weight.data_ptr()) compute.copy_(weight);
  }
  if (!moments.coded()) return;
  const auto put = [](const BlockCodes& from, const at::Tensor& codes, const at::Tensor& absmax) {
    codes.copy_(from.codes);
    absmax.copy_(from.absmax);
  };
  put(plain::encode_blocks(m, CodeMap::kSigned), moments.m, moments.m_absmax);
  put(plain::encode_blocks(v, CodeMap::kUnsigned), moments.v, moments.v_absmax);
}

double sum_of_squares(const at::Tensor& x) { return x.to(at::kDouble).square().sum().item<double>(); }

BlockCodes encode_blocks(const at::Tensor& x, CodeMap map) {
  const auto levels = dynamic_map(map).to(x.device());
  const int64_t zero = at::nonzero(levels == 0).item<int64_t>();
  const auto above = levels.slice(0, zero);
  const auto bounds = (above.slice(0, 0, -1) + above.slice(0, 1)) * 0.5;
  const auto absmax = std::get<0>(in_blocks(x.abs()).max(1));
  const auto safe = at::where(absmax > 0, absmax, at::ones_like(absmax)).unsqueeze(1);
  // Bounds below the ratio: of a tie the level nearer to 0.
  const auto flat = x.flatten();
  auto steps =
      at::searchsorted(bounds, (in_blocks(x.abs()) / safe).contiguous()).flatten().slice(0, 0, flat.numel());
  if (map == CodeMap::kUnsigned) steps = at::where(flat > 0, steps.clamp_min(1), steps);
  const auto codes = at::where(flat < 0, zero - steps.clamp_max(zero), zero + steps);
  return {codes.to(at::kByte).view(x.sizes()), absmax};
}

at::Tensor decode_blocks(const BlockCodes& x, CodeMap map) {
  const auto values = dynamic_map(map).to(x.codes.device()).index_select(0, x.codes.flatten().to(at::kLong));
  return (in_blocks(values) * x.absmax.unsqueeze(1))
      .flatten()
      .slice(0, 0, values.numel())
      .view(x.codes.sizes());
}

}  // namespace decant::plain
