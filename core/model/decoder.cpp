#include "core/model/decoder.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/kernels/embedding.h"
#include "core/model/block.h"
#include "core/model/layer_walk.h"
#include "core/name_pattern.h"
#include "core/random.h"

namespace decant {

namespace {

// Calls visit(parameter) in the order of a transformers checkpoint.
template <class Model, class Visit>
void each_parameter(Model& model, const Visit& visit) {
  const auto linears = [&](auto& projection) {
    for (auto& one : projection.linears) {
      if (one.weight.defined()) visit(one.weight);
      if (one.bias.defined()) visit(one.bias);
    }
  };
  visit(model.embed_tokens);
  for (auto& layer : model.layers) walk_layer(layer, linears, visit);
  visit(model.norm);
  if (model.lm_head.defined()) visit(model.lm_head);
}

at::TensorOptions gradient_options(const at::Tensor& value) {
  return value.options().dtype(value.scalar_type() == at::kDouble ? at::kDouble : at::kFloat);
}

void train(Parameter& parameter, const at::Tensor& grad) {
  parameter.trainable = true;
  parameter.grad = grad;
}
void train(Parameter& parameter) {
  train(parameter, at::zeros(parameter.value.sizes(), gradient_options(parameter.value)));
}

void train(Projection& projection) {
  check(!projection.quantized(), projection.linears[0].name, ".weight: is quantized (",
        to_string(projection.linears[0].quantized.kind),
        "), and quantized weights cannot be trained; load the model unquantized, or train an adapter on it");
  const auto weight = at::zeros(projection.weight.sizes(), gradient_options(projection.weight));
  at::Tensor bias;
  if (projection.bias.defined()) bias = at::zeros(projection.bias.sizes(), gradient_options(projection.bias));
  int64_t row = 0;
  for (auto& one : projection.linears) {
    const auto rows = one.outputs();
    train(one.weight, weight.narrow(0, row, rows));
    if (one.bias.defined()) train(one.bias, bias.narrow(0, row, rows));
    row += rows;
  }
}

// Of the matrix's rows that train.
void add_row_embedding_grad(Parameter& embedding, const at::Tensor& tokens, const at::Tensor& dx) {
  const auto ids = embedding.row_ids.contiguous(), all = tokens.to(at::kCPU).contiguous();
  const auto *first = ids.const_data_ptr<int64_t>(), *last = first + ids.numel();
  std::vector<int64_t> rows, places;
  for (int64_t t = 0; t < all.numel(); ++t) {
    const auto* found = std::lower_bound(first, last, all.const_data_ptr<int64_t>()[t]);
    if (found == last || *found != all.const_data_ptr<int64_t>()[t]) continue;
    rows.push_back(t);
    places.push_back(found - first);
  }
  if (rows.empty()) return;
  add_embedding_gradient(embedding.row_grad, at::tensor(places, at::kLong),
                         dx.index_select(0, at::tensor(rows, at::kLong).to(dx.device())));
}

// The lowest layer that needs a gradient; -1 when the embedding does, the number of layers when none does.
int64_t lowest_trained(const Decoder& model) {
  if (model.embed_tokens.trainable || (model.token_rows && model.token_rows->embedding.trainable)) return -1;
  const auto found = std::find_if(model.layers.begin(), model.layers.end(),
                                  [](const DecoderLayer& layer) { return trains(layer); });
  return found - model.layers.begin();
}

// The batch with positions that are rows of the rope table.
Batch with_rope_rows(const Decoder& model, const Batch& batch) {
  if (model.config.rope.kind != RopeConfig::Kind::kLongrope) return batch;
  Batch turned = batch;
  turned.positions = batch.positions.clone();
  const auto* starts = batch.document_starts.const_data_ptr<int32_t>();
  for (int64_t n = 0; n + 1 < batch.document_starts.numel(); ++n)
    turned.positions.slice(0, starts[n], starts[n + 1])
        .add_(long_rope_offset(model, starts[n + 1] - starts[n]));
  return turned;
}

// gemma2's sqrt(D), as a number of the model's dtype.
at::Tensor embedding_scale(const Decoder& model) {
  return at::scalar_tensor(std::sqrt(static_cast<double>(model.config.hidden_size)),
                           at::TensorOptions(at::kFloat))
      .to(model.embed_tokens.value.options());
}

at::Tensor run_layer(const Decoder& model, size_t i, const at::Tensor& x, const Batch& batch,
                     const RopeTable& rope, LayerSaved* saved) {
  const auto& config = model.config;
  const auto attend = [&](const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
    return attend_rows(config, q, k, v, batch.document_starts, config.sliding_window.at(i),
                       saved != nullptr ? &saved->attention : nullptr);
  };
  return block_forward(config, model.layers[i], x, batch.positions, rope, Panel::kTraining, attend, saved,
                       batch.training);
}

}  // namespace

std::vector<Parameter*> Decoder::parameters() {
  std::vector<Parameter*> all;
  each_parameter(*this, [&](Parameter& parameter) { all.push_back(&parameter); });
  return all;
}

std::vector<const Parameter*> Decoder::parameters() const {
  std::vector<const Parameter*> all;
  each_parameter(*this, [&](const Parameter& parameter) { all.push_back(&parameter); });
  return all;
}

std::vector<Linear*> Decoder::linears() {
  std::vector<Linear*> all;
  for (auto& layer : layers)
    walk_layer(
        layer,
        [&](Projection& projection) {
          for (auto& one : projection.linears) all.push_back(&one);
        },
        [](Parameter&) {});
  return all;
}

std::vector<Parameter*> Decoder::adapter_parameters() {
  std::vector<Parameter*> all;
  for (auto* one : linears())
    for (auto& term : one->terms) {
      if (!term.lora_a.defined()) continue;
      all.push_back(&term.lora_a);
      all.push_back(&term.lora_b);
      if (term.magnitude.defined()) all.push_back(&term.magnitude);
    }
  if (token_rows) all.push_back(&token_rows->embedding);
  if (token_rows && token_rows->head.defined()) all.push_back(&token_rows->head);
  return all;
}

Quantization quantization_of(const Decoder& model) {
  return model.layers.empty() ? Quantization::kNone : model.layers[0].o.linears.at(0).quantized.kind;
}

void dequantize_model(Decoder& model) {
  for (auto& layer : model.layers)
    walk_layer(
        layer,
        [&](Projection& projection) {
          if (!projection.quantized()) return;
          auto linears = std::move(projection.linears);
          for (auto& one : linears) {
            one.weight.value = one.weight_values(model.dtype());
            one.quantized = {};
          }
          projection = make_projection(std::move(linears));
        },
        [](Parameter&) {});
}

void make_trainable(Decoder& model) {
  train(model.embed_tokens);
  for (auto& layer : model.layers) {
    const Parameter* correction = layer.experts ? &layer.experts->correction : nullptr;
    walk_layer(
        layer, [](Projection& projection) { train(projection); },
        [&](Parameter& parameter) {
          if (&parameter != correction) train(parameter);
        });
  }
  train(model.norm);
  if (model.lm_head.defined()) train(model.lm_head);
}

void freeze(Decoder& model) {
  for (auto* parameter : model.parameters()) {
    parameter->trainable = false;
    parameter->grad.reset();
  }
}

void freeze_matching(Decoder& model, const std::vector<std::string>& patterns, const std::string& where) {
  for (const auto& pattern : patterns) {
    bool used = false;
    for (auto* parameter : model.parameters()) {
      if (!matches_whole(pattern, parameter->name, where)) continue;
      used = true;
      parameter->trainable = false;
      parameter->grad.reset();
    }
    check(used, where, ": '", pattern, "' matches no weight of the model, such as '",
          model.linears().at(0)->weight.name, "'");
  }
  check(!trainable_parameters(model).empty(), where, ": freezes every weight; nothing is left to train");
}

std::vector<Parameter*> trainable_parameters(Decoder& model) {
  auto all = model.parameters();
  std::erase_if(all, [](const Parameter* p) { return !p->trainable; });
  return all;
}

void clear_gradients(const std::vector<Parameter*>& parameters) {
  for (auto* parameter : parameters)
    if (parameter->grad.defined()) parameter->grad.zero_();
}

namespace {

// Into the matrices: what is shown.
void put_token_rows(const Decoder& model) {
  if (!model.token_rows) return;
  const TokenRows& rows = *model.token_rows;
  const auto ids = rows.ids.to(rows.embedding.value.device());
  auto embedding = model.embed_tokens.value;
  embedding.index_copy_(0, ids, rows.shown ? rows.embedding.value : rows.base_embedding);
  if (!rows.head.defined()) return;
  auto head = model.lm_head.value;
  head.index_copy_(0, ids, rows.shown ? rows.head.value : rows.base_head);
}

void forget_token_rows(Decoder& model) {
  model.token_rows.reset();
  for (Parameter* matrix : {&model.embed_tokens, &model.lm_head}) {
    matrix->row_ids.reset();
    matrix->row_grad.reset();
  }
}

}  // namespace

void set_token_rows(Decoder& model, const std::vector<int64_t>& ids, const at::Tensor& embedding,
                    const at::Tensor& head, bool trainable) {
  check(!model.token_rows, "token rows: the model has an adapter with rows for tokens already");
  const auto count = static_cast<int64_t>(ids.size()), width = model.config.hidden_size;
  TORCH_INTERNAL_ASSERT(count > 0 &&
                        std::adjacent_find(ids.begin(), ids.end(), std::greater_equal<>()) == ids.end());
  check(ids.front() >= 0 && ids.back() < model.config.vocab_size, "token rows: the id ",
        ids.front() < 0 ? ids.front() : ids.back(), " is outside the model's vocabulary of ",
        model.config.vocab_size, "; the adapter was trained on a model with more tokens");
  check(!head.defined() || model.lm_head.defined(),
        "token rows: the adapter has rows for a head of its own, "
        "but the model's head is its embedding; it was trained on another base model");
  TokenRows rows;
  rows.ids = at::tensor(ids, at::kLong);
  const auto set = [&](Parameter& matrix, Parameter& row, at::Tensor& base, const at::Tensor& values) {
    check(values.dim() == 2 && values.size(0) == count && values.size(1) == width, "token rows: expected [",
          count, ", ", width, "] for ", matrix.name, ", found ", values.sizes(),
          "; the adapter was trained on another base model");
    const std::string module = matrix.name.substr(0, matrix.name.rfind('.'));
    base = matrix.value.index_select(0, rows.ids.to(matrix.value.device()));
    row.name = module + ".token_adapter.trainable_tokens_delta";
    row.value = values.to(matrix.value.options(), false, /*copy=*/true).contiguous();
    row.trainable = trainable;
    if (!trainable) return;
    row.grad = at::zeros(row.value.sizes(), gradient_options(row.value));
    matrix.row_ids = rows.ids;
    matrix.row_grad = row.grad;
  };
  set(model.embed_tokens, rows.embedding, rows.base_embedding, embedding);
  if (head.defined()) set(model.lm_head, rows.head, rows.base_head, head);
  model.token_rows = std::move(rows);
  put_token_rows(model);
}

void remove_token_rows(Decoder& model) {
  if (!model.token_rows) return;
  model.token_rows->shown = false;
  put_token_rows(model);
  forget_token_rows(model);
}

void keep_token_rows(Decoder& model) {
  if (!model.token_rows) return;
  put_token_rows(model);
  forget_token_rows(model);
}

int64_t check_batch(const Decoder& model, const Batch& batch) {
  const auto total = batch.size();
  check(total > 0, "forward: the row has no tokens");
  TORCH_INTERNAL_ASSERT(batch.positions.numel() == total && batch.document_starts.is_cpu() &&
                        batch.document_starts.scalar_type() == at::kInt &&
                        batch.document_starts.numel() >= 2);
  const auto* starts = batch.document_starts.const_data_ptr<int32_t>();
  const auto count = batch.document_starts.numel() - 1;
  TORCH_INTERNAL_ASSERT(starts[0] == 0 && starts[count] == total &&
                        std::is_sorted(starts, starts + count + 1));
  const auto [least, most] = at::aminmax(batch.tokens);
  const auto vocabulary = model.config.vocab_size;
  check(least.item<int64_t>() >= 0 && most.item<int64_t>() < vocabulary, "token id ",
        least.item<int64_t>() < 0 ? least.item<int64_t>() : most.item<int64_t>(),
        " is outside the model's vocabulary of ", vocabulary,
        "; were the tokens made with another model's tokenizer?");
  return batch.positions.max().item<int64_t>() + 1;
}

const RopeTable& rope_for(const Decoder& model, int64_t positions) {
  const auto most = model.config.max_position_embeddings;
  check(positions <= most, "a document of ", positions, " tokens is longer than the model's",
        " 'max_position_embeddings' (", most, ")");
  const bool halves = model.config.rope.kind == RopeConfig::Kind::kLongrope;
  const int64_t have = model.rope.cos.defined() ? model.rope.cos.size(0) / (halves ? 2 : 1) : 0;
  if (have < positions) {
    const auto count = std::min(most, std::max({positions, 2 * have, int64_t{512}}));
    auto table = rope_table(model.config, count);
    if (halves) {
      const auto further = rope_table(model.config, count, /*long_context=*/true);
      table = {at::cat({table.cos, further.cos}, 0), at::cat({table.sin, further.sin}, 0)};
    }
    const auto device = model.embed_tokens.value.device();
    model.rope = {table.cos.to(device), table.sin.to(device)};
  }
  return model.rope;
}

int64_t long_rope_offset(const Decoder& model, int64_t length) {
  const auto& rope = model.config.rope;
  const bool further = rope.kind == RopeConfig::Kind::kLongrope &&
                       static_cast<double>(length) > rope.original_max_position_embeddings;
  return further ? model.rope.cos.size(0) / 2 : 0;
}

at::Tensor embed(const Decoder& model, const at::Tensor& tokens) {
  put_token_rows(model);
  const auto rows = model.embed_tokens.value.index_select(0, tokens);
  return model.config.family == Family::kGemma2 ? rows * embedding_scale(model) : rows;
}

namespace {

// x [T, D] with the batch's noise added, in fp32.
void add_noise(at::Tensor& x, const Batch& batch) {
  if (std::none_of(batch.training.begin(), batch.training.end(),
                   [](const TrainingRows& rows) { return rows.noise_alpha > 0; }))
    return;
  auto wide = x.to(at::kFloat).contiguous();
  auto* values = wide.mutable_data_ptr<float>();
  const auto width = x.size(1);
  const auto* starts = batch.document_starts.const_data_ptr<int32_t>();
  const auto documents = batch.document_starts.numel() - 1;
  for (const TrainingRows& noise : batch.training)
    for (int64_t d = 0; d < documents; ++d) {
      if (noise.noise_alpha == 0 || starts[d] < noise.begin || starts[d] >= noise.end) continue;
      const double size =
          noise.noise_alpha / std::sqrt(static_cast<double>((starts[d + 1] - starts[d]) * width));
      const auto stream = purpose_stream(Purpose::kDropout, static_cast<uint64_t>(noise.step));
      at::parallel_for(starts[d], starts[d + 1], 8, [&](int64_t begin, int64_t end) {
        for (int64_t t = begin; t < end; ++t)
          for (int64_t i = 0; i < width; i += 4) {
            // Four elements a draw; 2^20 draws are kept for a token.
            const auto draw = philox(noise.noise_seed, stream,
                                     (static_cast<uint64_t>(noise.first_token + t - noise.begin) << 20) |
                                         static_cast<uint64_t>(i / 4));
            for (int64_t j = 0; j < 4 && i + j < width; ++j)
              values[t * width + i + j] += static_cast<float>(
                  size * (static_cast<double>(draw[static_cast<size_t>(j)]) * 0x1p-31 - 1));
          }
      });
    }
  x = wide.to(x.scalar_type());
}

}  // namespace

at::Tensor forward(const Decoder& model, const Batch& given, Saved* saved,
                   const std::function<void(int64_t, const at::Tensor&)>& after_layer) {
  const auto& rope = rope_for(model, check_batch(model, given));
  const auto batch = with_rope_rows(model, given);
  const auto lowest = lowest_trained(model);
  if (saved != nullptr) saved->layers.assign(model.layers.size(), {});
  auto x = embed(model, batch.tokens);
  add_noise(x, batch);
  for (size_t i = 0; i < model.layers.size(); ++i) {
    // Layers below the lowest one that trains are never gone back through.
    LayerSaved* keep = saved != nullptr && static_cast<int64_t>(i) >= lowest ? &saved->layers[i] : nullptr;
    if (keep != nullptr && saved->checkpoint) {
      keep->input = x;
      keep = nullptr;
    }
    x = run_layer(model, i, x, batch, rope, keep);
    if (after_layer) after_layer(static_cast<int64_t>(i), x);
  }
  return family_norm(model.config, x, model.norm, saved != nullptr ? &saved->norm : nullptr);
}

void backward(Decoder& model, const Batch& given, const Saved& saved, const at::Tensor& d_hidden) {
  const auto lowest = lowest_trained(model);
  const auto count = static_cast<int64_t>(model.layers.size());
  if (lowest == count && !model.norm.trainable) return;
  TORCH_INTERNAL_ASSERT(saved.layers.size() == model.layers.size());
  const auto& rope = rope_for(model, 0);  // long enough since forward
  const auto batch = with_rope_rows(model, given);

  auto dx = family_norm_backward(model.config, d_hidden, model.norm, saved.norm);
  for (int64_t i = count - 1; i >= std::max<int64_t>(lowest, 0); --i) {
    const auto at = static_cast<size_t>(i);
    const LayerSaved* kept = &saved.layers[at];
    TORCH_INTERNAL_ASSERT(kept->input.defined());
    LayerSaved again;
    if (saved.checkpoint) {
      run_layer(model, at, kept->input, batch, rope, &again);
      kept = &again;
    }
    dx = block_backward(model.config, model.layers[at], *kept, batch, model.config.sliding_window.at(at),
                        rope, dx, i > lowest);
  }
  if (lowest >= 0) return;
  if (model.config.family == Family::kGemma2) dx = dx * embedding_scale(model);
  if (model.embed_tokens.trainable) add_embedding_gradient(model.embed_tokens.grad, batch.tokens, dx);
  if (model.embed_tokens.row_ids.defined()) add_row_embedding_grad(model.embed_tokens, batch.tokens, dx);
}

}  // namespace decant
