// Training steps on real token ids, timed: decant's side of scripts/bench.sh (its peer is peers/lora_peft.py;
// both print the same JSON).
//   lora_bench MODEL IDS.json STEPS THREADS STARTED [full|distill|dropout] [micro] [checkpoint] [lean]
// STARTED: seconds since the epoch when the process was launched. full: all weights instead of LoRA; distill:
// a student of every other layer learns the model's distributions (forward KL); dropout: 0.1 of what LoRA
// reads; micro: every row is a
// micro-batch of its own, the step is the same; checkpoint: activations are made again; lean: bf16 weights
// without fp32 masters and 8-bit moments.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <string>

#include "core/error.h"
#include "core/json.h"
#include "core/kernels/head_cross_entropy.h"
#include "core/model/batch.h"
#include "core/model/decoder.h"
#include "core/model/load_model.h"
#include "core/tensor_memory.h"
#include "distill/distill_loss.h"
#include "lora/attach.h"
#include "tests/bench/measure.h"
#include "tests/support/guarded_main.h"
#include "train/optimizer.h"

// The C library's allocation, counted: what a step takes from it in pieces above 1 MiB.
namespace {
std::atomic<int64_t> large_allocations = 0;
void count(size_t bytes) {
  if (bytes > (size_t{1} << 20)) large_allocations.fetch_add(1, std::memory_order_relaxed);
}
}  // namespace
extern "C" {
// NOLINTBEGIN(bugprone-reserved-identifier,readability-inconsistent-declaration-parameter-name)
void* __libc_malloc(size_t bytes);
void* __libc_memalign(size_t alignment, size_t bytes);
void* malloc(size_t bytes) noexcept {
  count(bytes);
  return __libc_malloc(bytes);
}
int posix_memalign(void** out, size_t alignment, size_t bytes) noexcept {
  count(bytes);
  *out = __libc_memalign(alignment, bytes);
  return *out == nullptr ? ENOMEM : 0;
}
// NOLINTEND(bugprone-reserved-identifier,readability-inconsistent-declaration-parameter-name)
}

namespace decant {
namespace {

using test::status_mib;

double now() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

int64_t page_faults() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_minflt;
}

template <class F>
double least_seconds(const F& f) {
  constexpr int kRuns = 5;
  f();
  double least = std::numeric_limits<double>::infinity();
  for (int i = 0; i < kRuns; ++i) {
    const double begin = now();
    f();
    least = std::min(least, now() - begin);
  }
  return least;
}

// bf16 rate of the machine in this very run, on a shape of the model: what a step's rate is to be read
// against.
double gemm_gflops(const Decoder& model) {
  const auto& w = model.layers.at(0).gate_up.weight;
  const auto x = at::randn({2048, w.size(1)}, w.options());
  auto y = at::empty({2048, w.size(0)}, w.options());
  const double seconds = least_seconds([&] { at::mm_out(y, x, w.t()); });
  return 2.0 * 2048 * static_cast<double>(w.numel()) / seconds / 1e9;
}

// Seconds of the matrix products of a step alone, through ATen on buffers that are there: the GEMM bound.
// Attention's are left out.
double gemm_bound(const Decoder& model, int64_t tokens, bool full) {
  const auto& layer = model.layers.at(0);
  const auto options = layer.o.weight.options();
  double seconds = 0;
  for (const auto* p : {&layer.qkv, &layer.o, &layer.gate_up, &layer.down}) {
    const auto& w = p->weight;
    const auto x = at::randn({tokens, w.size(1)}, options), dy = at::randn({tokens, w.size(0)}, options);
    auto y = at::empty({tokens, w.size(0)}, options), dx = at::empty({tokens, w.size(1)}, options);
    auto dw = at::empty(w.sizes(), options);
    std::vector<at::Tensor> a, b, ds;
    for (const auto& one : p->linears)
      for (const auto& term : one.terms) {
        a.push_back(term.lora_a.value);
        b.push_back(term.lora_b.value);
      }
    const auto all_a = a.empty() ? at::Tensor() : at::cat(a, 0);
    seconds += least_seconds([&] {
      at::mm_out(y, x, w.t());
      at::mm_out(dx, dy, w);
      if (full) at::mm_out(dw, dy.t(), x);
      if (a.empty()) return;
      const auto s = at::mm(x, all_a.t());
      auto d = at::empty(s.sizes(), options);
      int64_t column = 0, rank = 0;
      for (const auto& one : b) {
        const auto n = one.size(0), r = one.size(1);
        const auto mine = s.narrow(1, rank, r), dyi = dy.narrow(1, column, n);
        y.narrow(1, column, n).addmm_(mine, one.t());
        d.narrow(1, rank, r).copy_(at::mm(dyi, one));
        at::mm(dyi.t(), mine);
        column += n;
        rank += r;
      }
      at::mm(d.t(), x);
      dx.addmm_(d, all_a);
    });
  }
  seconds *= static_cast<double>(model.layers.size());
  const auto& w = model.head().value;
  const auto x = at::randn({kHeadChunk, w.size(1)}, options);
  auto y = at::empty({kHeadChunk, w.size(0)}, options), dx = at::empty(x.sizes(), options);
  auto dw = full ? at::empty(w.sizes(), options) : at::Tensor();
  const double chunk = least_seconds([&] {
    at::mm_out(y, x, w.t());
    at::mm_out(dx, y, w);
    if (full) at::mm_out(dw, y.t(), x);
  });
  return seconds + chunk * static_cast<double>(tokens) / static_cast<double>(kHeadChunk);
}

using Rows = std::vector<std::vector<int64_t>>;

int run(int count, char** arguments) {
  check(count >= 6,
        "usage: lora_bench MODEL IDS.json STEPS THREADS STARTED [full|distill|dropout] [micro] [checkpoint] "
        "[lean]");
  const auto asked = [&](std::string_view word) {
    return std::any_of(arguments + 6, arguments + count, [&](const char* a) { return word == a; });
  };
  const bool distill = asked("distill"), full = asked("full") || distill, micro = asked("micro");
  use_tensor_arena();
  at::set_num_threads(std::atoi(arguments[4]));
  const double started = std::atof(arguments[5]);
  Decoder model = load_model(arguments[1], Dtype::kBf16), teacher;
  if (distill) {
    teacher = std::move(model);
    std::vector<int64_t> layers;
    for (size_t layer = 0; layer < teacher.layers.size(); layer += 2)
      layers.push_back(static_cast<int64_t>(layer));
    model = keep_layers(teacher, layers);
  }
  LoraConfig lora;
  lora.dropout = asked("dropout") ? 0.1 : 0;
  if (full)
    make_trainable(model);
  else
    attach_lora(model, lora);
  const auto parameters = full ? model.parameters() : model.adapter_parameters();
  OptimizerConfig how;
  if (asked("lean")) {
    how.masters = Masters::kStochastic;
    how.state = MomentState::kInt8;
  }
  Optimizer optimizer(parameters, how);
  DistillLossConfig kl_alone;
  kl_alone.cross_entropy = 0;
  kl_alone.kl = 1;
  const Json steps = read_json(arguments[2]);  // [step][row][token]
  Json seconds = Json::array(), losses = Json::array(), faults = Json::array(), large = Json::array();
  double first = 0;
  int64_t tokens = 0;
  for (int64_t step = 0; step < std::atoi(arguments[3]); ++step) {
    const auto faults_before = page_faults(), large_before = large_allocations.load();
    const double begin = now();
    const auto rows = steps.at(static_cast<size_t>(step)).get<Rows>();
    std::vector<Batch> batches;
    if (micro)
      for (const auto& row : rows) batches.push_back(make_batch({row}));
    else
      batches.push_back(make_batch(rows));
    double weight = 0, sum = 0;
    tokens = 0;
    for (auto& batch : batches) {
      weight += batch.total_weight();
      batch.training = {{0, batch.size(), step, tokens}};
      tokens += batch.size();
    }
    for (const auto& batch : batches) {
      const Targets targets = next_token_targets(batch);
      Saved saved;
      saved.checkpoint = asked("checkpoint");
      const at::Tensor hidden = forward(model, batch, &saved);
      if (distill) {
        const DistillPart part = distill_loss(teacher, kl_alone, model, batch, hidden, 1 / weight, true);
        backward(model, batch, saved, part.d_hidden);
        sum += part.sum;
        continue;
      }
      const HeadLoss loss =
          head_cross_entropy(hidden, model.head(), targets.targets, targets.weights, 1 / weight, true);
      backward(model, batch, saved, loss.d_hidden);
      sum += loss.sum;
    }
    optimizer.step(1e-5);
    clear_gradients(parameters);
    seconds.push_back(now() - begin);
    losses.push_back(sum / weight);
    faults.push_back(page_faults() - faults_before);
    large.push_back(large_allocations.load() - large_before);
    if (step == 0) first = now() - started;
  }
  Json out;
  out["tokens"] = tokens;
  out["step_seconds"] = seconds;
  out["losses"] = losses;
  out["first_step_seconds"] = first;
  out["peak_mib"] = status_mib("VmHWM");
  out["page_faults"] = faults;
  out["large_allocations"] = large;
  out["gemm_gflops"] = gemm_gflops(model);
  if (!distill) out["gemm_bound_seconds"] = gemm_bound(model, tokens, full);
  std::printf("%s\n", out.dump().c_str());
  return 0;
}

}  // namespace
}  // namespace decant

int main(int count, char** arguments) { return decant::test::guarded_main(decant::run, count, arguments); }
