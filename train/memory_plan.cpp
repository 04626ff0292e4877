#include "train/memory_plan.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <numeric>

#include "core/kernels/tile.h"
#include "train/step_memory.h"

namespace decant {

namespace {

constexpr int64_t kFloat = 4, kMebibyte = int64_t{1} << 20;

// Measured: resident pages of the program, its libraries, the tokenizer and a few megabytes of heap, and what
// each thread adds.
constexpr int64_t kProcess = 150 * kMebibyte, kProcessOfThread = 2 * kMebibyte;

int64_t bytes_of(Dtype dtype) { return dtype == Dtype::kBf16 ? 2 : kFloat; }

LinearMemory linear(std::string name, int64_t outputs, int64_t inputs, bool bias) {
  LinearMemory one;
  one.name = std::move(name);
  one.outputs = outputs;
  one.inputs = inputs;
  one.bias = bias;
  return one;
}

FeedForwardMemory feed_forward(const ModelConfig& c, const std::string& at, int64_t inner) {
  FeedForwardMemory one;
  if (c.family == Family::kPhi3)
    one.gate_up.linears = {linear(at + "gate_up_proj", 2 * inner, c.hidden_size, false)};
  else
    one.gate_up.linears = {linear(at + "gate_proj", inner, c.hidden_size, c.mlp_bias),
                           linear(at + "up_proj", inner, c.hidden_size, c.mlp_bias)};
  one.down.linears = {linear(at + "down_proj", c.hidden_size, inner, c.mlp_bias)};
  return one;
}

LayerMemory layer_of(const ModelConfig& c, int64_t number) {
  const std::string at = concat("model.layers.", number, "."), attention = at + "self_attn.";
  const int64_t q = c.num_attention_heads * c.head_dim, kv = c.num_key_value_heads * c.head_dim,
                width = c.hidden_size;
  LayerMemory layer;
  if (c.latent) {
    const auto& latent = *c.latent;
    const int64_t heads = c.num_attention_heads, all = heads * latent.qk_head_dim();
    const auto kv_a = linear(attention + "kv_a_proj_with_mqa", latent.kv_lora_rank + latent.qk_rope_head_dim,
                             width, c.qkv_bias);
    if (latent.q_lora_rank > 0) {
      layer.inputs.linears = {linear(attention + "q_a_proj", latent.q_lora_rank, width, c.qkv_bias), kv_a};
      layer.q_b.linears = {linear(attention + "q_b_proj", all, latent.q_lora_rank, false)};
    } else {
      layer.inputs.linears = {linear(attention + "q_proj", all, width, false), kv_a};
    }
    layer.kv_b.linears = {linear(attention + "kv_b_proj",
                                 heads * (latent.qk_nope_head_dim + latent.v_head_dim), latent.kv_lora_rank,
                                 false)};
  } else if (c.family == Family::kPhi3) {
    layer.qkv.linears = {linear(attention + "qkv_proj", q + 2 * kv, width, false)};
  } else {
    layer.qkv.linears = {linear(attention + "q_proj", q, width, c.qkv_bias),
                         linear(attention + "k_proj", kv, width, c.qkv_bias),
                         linear(attention + "v_proj", kv, width, c.qkv_bias)};
  }
  const int64_t mixed = c.latent ? c.num_attention_heads * c.latent->v_head_dim : q;
  layer.o.linears = {linear(attention + "o_proj", width, mixed, c.o_bias)};
  if (c.has_experts(number)) {
    for (int64_t e = 0; e < c.experts->routed; ++e)
      layer.experts.push_back(
          feed_forward(c, concat(at, "mlp.experts.", e, "."), c.experts->intermediate_size));
    layer.shared =
        feed_forward(c, at + "mlp.shared_experts.", c.experts->shared * c.experts->intermediate_size);
  } else {
    layer.dense = feed_forward(c, at + "mlp.", c.intermediate_size);
  }
  return layer;
}

std::vector<LayerMemory> layers_of(const ModelConfig& config) {
  std::vector<LayerMemory> layers;
  for (int64_t i = 0; i < config.num_hidden_layers; ++i) layers.push_back(layer_of(config, i));
  return layers;
}

// In the order in which a model is read.
template <class Visit>
void each_projection(std::vector<LayerMemory>& layers, const Visit& visit) {
  const auto some = [&](ProjectionMemory& one) {
    if (!one.linears.empty()) visit(one);
  };
  for (auto& layer : layers) {
    for (auto* one : {&layer.inputs, &layer.q_b, &layer.kv_b, &layer.qkv, &layer.o, &layer.dense.gate_up,
                      &layer.dense.down})
      some(*one);
    for (auto& expert : layer.experts) {
      some(expert.gate_up);
      some(expert.down);
    }
    some(layer.shared.gate_up);
    some(layer.shared.down);
  }
}

class Training {
 public:
  Training(const TrainingMemory& training, const PassShape& shape)
      : t_(training), shape_(shape), layers_(layers_of(training.model)) {
    for (auto& layer : layers_) layer.trains_norms = trains("model.layers.0.input_layernorm.weight");
    each_projection(layers_, [&](ProjectionMemory& projection) {
      projection.quantized = t_.quantized;
      for (auto& one : projection.linears) {
        one.trains = trains(one.name + ".weight");
        for (size_t s = 0; s < shape.segments.size() && s < t_.adapters.size(); ++s) {
          one.ranks.push_back(t_.adapters[s].rank_of(one.name));
          one.dora = one.dora || (t_.adapters[s].dora && one.ranks.back() > 0);
        }
      }
    });
    pass_ = pass_of(t_.model, shape.segments);
    for (const auto& adapter : t_.adapters) pass_.drops.push_back(adapter.dropout);
    pass_.checkpoint = shape.checkpoint;
    pass_.noise = t_.config.noise_alpha > 0;
    pass_.norm_trains = trains("model.norm.weight");
    pass_.head_trains = trains(t_.model.tie_word_embeddings ? "model.embed_tokens.weight" : "lm_head.weight");
    pass_.lowest = lowest();
  }

  StepMemory run() {
    StepMemory memory;
    memory.process = kProcess + kProcessOfThread * at::get_num_threads();
    int64_t before = walk_.used();
    const auto since = [&] { return walk_.used() - std::exchange(before, walk_.used()); };
    if (t_.teacher) {
      load(*t_.teacher);
      memory.teacher = since();
      copy_of_teacher();
    } else {
      load(t_.model);
      if (!t_.adapters.empty() && t_.digests) digest();
    }
    memory.weights = since();
    optimizer();
    memory.state = since();
    const int64_t positions =
        std::min(t_.model.max_position_embeddings, std::max<int64_t>(512, shape_.longest_document));
    for (int i = 0; i < 2; ++i) hold(positions * t_.model.rotary_width() / 2 * kFloat);
    references();
    memory.kept = step();
    // Later steps find free blocks of other sizes than the first, and may have to reach further.
    int64_t reached = 0;
    for (int64_t more = 1; more < 4 && several() && walk_.held() > reached; ++more) {
      reached = walk_.held();
      step();
    }
    if (const int64_t every = t_.config.checkpoint_every; every > 0) {
      before = walk_.used();
      std::vector<Room> copies;
      for (const int64_t bytes : saved_) copies.push_back(walk_.take(bytes));
      // It is written while the next step runs; the last one is followed by none.
      if (t_.config.steps == 0 || t_.config.steps > every) {
        memory.saved = since();
        for (int i = 0; i < 2; ++i) step();
      }
    }
    if (t_.measures || t_.config.probe.every > 0) measure();
    memory.arena = walk_.held();
    memory.scratch =
        walk_.peak() - memory.teacher - memory.weights - memory.state - memory.saved - memory.kept;
    return memory;
  }

 private:
  bool trains(const std::string& name) const { return t_.trains && t_.trains(name); }
  void hold(int64_t bytes) { held_.push_back(walk_.take(bytes)); }
  int64_t element() const { return bytes_of(t_.dtype); }

  PassMemory pass_of(const ModelConfig& config, std::vector<int64_t> segments) const {
    PassMemory pass;
    pass.config = &config;
    pass.element = element();
    pass.converts = t_.dtype == Dtype::kBf16 && !bf16_tiles();
    pass.threads = at::get_num_threads();
    pass.segments = std::move(segments);
    pass.longest_document = shape_.longest_document;
    return pass;
  }

  int64_t lowest() const {
    if (trains("model.embed_tokens.weight")) return -1;
    auto layers = layers_;
    for (size_t i = 0; i < layers.size(); ++i) {
      bool found = trains(concat("model.layers.", i, ".input_layernorm.weight"));
      std::vector<LayerMemory> one = {layers[i]};
      each_projection(one, [&](const ProjectionMemory& projection) {
        for (const auto& linear : projection.linears)
          found = found || linear.trains ||
                  std::any_of(linear.ranks.begin(), linear.ranks.end(), [](int64_t r) { return r > 0; });
      });
      if (found) return static_cast<int64_t>(i);
    }
    return static_cast<int64_t>(layers.size());
  }

  // --- loading (load_model.cpp) ---

  // One tensor of the file in the compute dtype.
  Room loaded(int64_t elements) {
    const Room raw = walk_.take(elements * bytes_of(t_.stored));
    return t_.stored == t_.dtype ? raw : walk_.take(elements * element());
  }

  void load(const ModelConfig& config) {
    const int64_t embedding = config.vocab_size * config.hidden_size;
    held_.push_back(loaded(embedding));
    auto layers = layers_of(config);
    each_projection(layers, [&](const ProjectionMemory& projection) {
      if (t_.quantized != Quantization::kNone) return load_quantized(projection);
      std::vector<Room> parts;
      for (const auto& one : projection.linears) parts.push_back(loaded(one.outputs * one.inputs));
      held_.push_back(parts.size() == 1 ? parts[0]
                                        : walk_.take(projection.outputs() * projection.inputs() * element()));
    });
    for (int64_t i = 0; i < config.num_hidden_layers; ++i) {
      if (config.has_experts(i)) held_.push_back(loaded(config.experts->routed * config.hidden_size));
      for (int n = 0; n < (config.family == Family::kGemma2 ? 4 : 2); ++n)
        held_.push_back(loaded(config.hidden_size));
    }
    held_.push_back(loaded(config.hidden_size));
    if (!config.tie_word_embeddings) held_.push_back(loaded(embedding));
  }

  void load_quantized(const ProjectionMemory& projection) {
    for (const auto& one : projection.linears) {
      const int64_t bytes = quantized_bytes(one.outputs, one.inputs, t_.quantized);
      hold(bytes + 4 * 64);
      const Room values = loaded(one.outputs * one.inputs);
      const Room codes = walk_.take(bytes);
    }
  }

  void copy_of_teacher() {
    const int64_t embedding = t_.model.vocab_size * t_.model.hidden_size;
    hold(embedding * element());
    each_projection(layers_, [&](const ProjectionMemory& projection) {
      std::vector<Room> parts;
      for (const auto& one : projection.linears)
        parts.push_back(walk_.take(one.outputs * one.inputs * element()));
      held_.push_back(parts.size() == 1 ? parts[0]
                                        : walk_.take(projection.outputs() * projection.inputs() * element()));
    });
    hold(t_.model.hidden_size * (2 * t_.model.num_hidden_layers + 1) * element());
    if (!t_.model.tie_word_embeddings) hold(embedding * element());
  }

  // The base's name is a digest over all of its tensors in bf16.
  void digest() {
    const auto one = [&](int64_t elements) {
      const Room raw = walk_.take(elements * bytes_of(t_.stored));
      const Room rounded = t_.stored == Dtype::kBf16 ? nullptr : walk_.take(elements * 2);
    };
    one(t_.model.vocab_size * t_.model.hidden_size);
    each_projection(layers_, [&](const ProjectionMemory& projection) {
      for (const auto& linear : projection.linears) one(linear.outputs * linear.inputs);
    });
  }

  // --- what trains (decoder.cpp, attach.cpp, optimizer.cpp) ---

  void optimizer() {
    std::vector<Trained> sizes;
    if (t_.trains) {
      std::vector<Room> frozen;  // gradients come with make_trainable() and go with freeze_matching()
      const auto gradient = [&](int64_t elements, bool stays) {
        Room room = walk_.take(elements * kFloat);
        (stays ? held_ : frozen).push_back(std::move(room));
      };
      const int64_t embedding = t_.model.vocab_size * t_.model.hidden_size;
      const auto weight = [&](const std::string& name, int64_t elements) {
        gradient(elements, trains(name));
        if (trains(name)) sizes.push_back(trained(name, elements));
      };
      weight("model.embed_tokens.weight", embedding);
      each_projection(layers_, [&](const ProjectionMemory& projection) {
        bool any = false;
        for (const auto& one : projection.linears) {
          any = any || one.trains;
          if (one.trains) sizes.push_back(trained(one.name, one.outputs * one.inputs));
          if (one.trains && one.bias) sizes.push_back(trained(one.name, one.outputs));
        }
        gradient(projection.outputs() * projection.inputs(), any);
      });
      for (int64_t i = 0; i < t_.model.num_hidden_layers; ++i)
        for (const char* name : {"input", "post_attention"})
          weight(concat("model.layers.", i, ".", name, "_layernorm.weight"), t_.model.hidden_size);
      weight("model.norm.weight", t_.model.hidden_size);
      if (!t_.model.tie_word_embeddings) weight("lm_head.weight", embedding);
    }
    for (const auto& adapter : t_.adapters) {
      std::vector<Trained> own;
      each_projection(layers_, [&](const ProjectionMemory& projection) {
        for (const auto& one : projection.linears) {
          const int64_t rank = adapter.rank_of(one.name);
          if (rank == 0) continue;
          for (const int64_t elements : {rank * one.inputs, rank * one.outputs}) {
            const Room drawn = walk_.take(elements * kFloat);
            held_.push_back(element() == kFloat ? drawn : walk_.take(elements * element()));
            hold(elements * kFloat);  // gradient
            own.push_back(trained(one.name, elements));
          }
          if (!adapter.dora) continue;
          hold(one.outputs * kFloat);
          hold(one.outputs * kFloat);
          own.push_back(trained(one.name, one.outputs));
        }
      });
      states(own);
      sizes.insert(sizes.end(), own.begin(), own.end());
    }
    if (t_.trains) states(sizes);
    // A checkpoint is of one training; those that train side by side write theirs at different times.
    const size_t mine = t_.adapters.empty() ? sizes.size() : sizes.size() / t_.adapters.size();
    const bool stochastic = element() == 2 && t_.config.optimizer.masters == Masters::kStochastic;
    for (size_t i = 0; i < mine; ++i) {
      saved_.push_back(sizes[i].elements * (stochastic ? 2 : kFloat));
      for (const int64_t bytes : sizes[i].moments) saved_.push_back(bytes);
      if (averages()) saved_.push_back(sizes[i].elements * kFloat);
    }
  }

  bool several() const { return t_.config.steps != 1; }
  bool averages() const { return t_.config.optimizer.average_decay > 0; }

  // A parameter: its elements, and the bytes of each tensor of its moments.
  struct Trained {
    int64_t elements;
    std::vector<int64_t> moments;
  };
  Trained trained(const std::string& name, int64_t elements) const {
    return {elements, moment_sizes(name, elements, t_.config.optimizer.state)};
  }

  // Masters, moments and averages of one Optimizer.
  void states(const std::vector<Trained>& sizes) {
    const bool master = element() == 2 && t_.config.optimizer.masters == Masters::kFp32;
    for (const Trained& one : sizes) {
      for (const int64_t bytes : one.moments) hold(bytes);
      for (int n = 0; n < (master ? 1 : 0) + (averages() ? 1 : 0); ++n) hold(one.elements * kFloat);
    }
  }

  // --- a step (trainer.cpp, grouped.cpp) ---

  // Returns what backward keeps.
  int64_t step() {
    const int64_t rows = pass_.tokens(), before = walk_.used();
    const ForwardMemory forward = forward_memory(walk_, pass_, layers_, true);
    const int64_t kept = walk_.used() - before;
    std::vector<Room> d;
    if (t_.teacher) {
      const PassMemory taught = pass_of(*t_.teacher, {rows});
      const ForwardMemory theirs = forward_memory(walk_, taught, teacher_layers(), false);
      d.push_back(distill_loss_memory(walk_, pass_, &taught, rows));
    } else if (t_.config.objective == ObjectiveKind::kSft) {
      d.push_back(cross_entropy_memory(walk_, pass_, rows - 1));
    } else {
      log_probabilities_memory(walk_, pass_, rows - 1);
      d.push_back(cross_entropy_memory(walk_, pass_, rows - 1));
    }
    // A group gathers its members' gradients.
    if (!t_.adapters.empty()) d.push_back(walk_.take(rows * t_.model.hidden_size * element()));
    backward_memory(walk_, pass_, layers_, forward);
    return kept;
  }

  std::vector<LayerMemory> teacher_layers() const { return layers_of(*t_.teacher); }

  // What the model says of the answers before it learns from them.
  void references() {
    if (t_.config.objective != ObjectiveKind::kDpo && t_.config.objective != ObjectiveKind::kKto) return;
    inference(pass_.segments.at(0), true);
  }
  void measure() { inference(t_.measured_tokens, false); }
  void inference(int64_t rows, bool bare) {
    auto layers = layers_;
    if (bare)
      each_projection(layers, [](ProjectionMemory& projection) {
        for (auto& one : projection.linears) one.ranks.clear();
      });
    const PassMemory pass = pass_of(t_.model, {rows});
    const ForwardMemory forward = forward_memory(walk_, pass, layers, false);
    log_probabilities_memory(walk_, pass, rows - 1);
  }

  const TrainingMemory& t_;
  const PassShape& shape_;
  std::vector<LayerMemory> layers_;
  PassMemory pass_;
  MemoryWalk walk_;
  std::vector<Room> held_;      // for the whole training
  std::vector<int64_t> saved_;  // bytes of a checkpoint's tensors
};

}  // namespace

StepMemory step_memory(const TrainingMemory& training, const PassShape& pass) {
  return Training(training, pass).run();
}

int64_t mebibytes(int64_t bytes) { return (bytes + kMebibyte - 1) / kMebibyte; }

std::string describe(const StepMemory& memory) {
  std::string text;
  const auto part = [&](const char* name, int64_t bytes) {
    if (bytes > 0) text += concat(text.empty() ? "" : ", ", name, " ", mebibytes(bytes));
  };
  part("program", memory.process);
  part("weights", memory.weights);
  part("teacher", memory.teacher);
  part("optimizer", memory.state);
  part("checkpoint being written", memory.saved);
  part("activations", memory.kept);
  part("scratch", memory.scratch);
  return text + " MiB";
}

}  // namespace decant
