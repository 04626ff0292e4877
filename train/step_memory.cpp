#include "train/step_memory.h"

#include <algorithm>
#include <numeric>

#include "core/kernels/head_cross_entropy.h"
#include "core/kernels/tile_linear.h"

namespace decant {

int64_t ProjectionMemory::outputs() const {
  int64_t sum = 0;
  for (const auto& one : linears) sum += one.outputs;
  return sum;
}

int64_t PassMemory::tokens() const { return std::accumulate(segments.begin(), segments.end(), int64_t{0}); }

namespace {

constexpr int64_t kFloat = 4, kSlice = 256;

class Step {
 public:
  Step(MemoryWalk& walk, const PassMemory& pass) : walk_(walk), pass_(pass), config_(*pass.config) {}

  ForwardMemory forward(const std::vector<LayerMemory>& layers, bool keeps) {
    const int64_t tokens = pass_.tokens(), width = config_.hidden_size;
    ForwardMemory out;
    out.layers.resize(layers.size());
    Room x = take(tokens, width);
    if (config_.family == Family::kGemma2) x = take(tokens, width);
    if (pass_.noise) {
      const Room wide = pass_.element == 4 ? nullptr : take_wide(tokens, width);
      if (wide) x = take(tokens, width);
    }
    for (size_t i = 0; i < layers.size(); ++i) {
      const bool keep = keeps && static_cast<int64_t>(i) >= pass_.lowest;
      if (keep && pass_.checkpoint) out.layers[i].rooms.push_back(x);
      x = block(layers[i], x, keep && !pass_.checkpoint ? &out.layers[i] : nullptr);
    }
    const Room inverse = keeps ? walk_.take(tokens * kFloat) : nullptr;
    out.hidden = norm(tokens, width);
    if (keeps) out.last = x;
    return out;
  }

  void backward(const std::vector<LayerMemory>& layers, const ForwardMemory& forward) {
    const int64_t tokens = pass_.tokens(), width = config_.hidden_size,
                  count = static_cast<int64_t>(layers.size());
    if (pass_.lowest == count && !pass_.norm_trains) return;
    Room dx = norm_backward(tokens, width, pass_.norm_trains);
    for (int64_t i = count - 1; i >= std::max<int64_t>(pass_.lowest, 0); --i) {
      const auto at = static_cast<size_t>(i);
      LayerKept again;
      if (pass_.checkpoint) block(layers[at], forward.layers[at].rooms.at(0), &again);
      dx = block_backward(layers[at], dx, i > pass_.lowest);
    }
    if (pass_.lowest >= 0) return;
    if (config_.family == Family::kGemma2) dx = take(tokens, width);
    if (pass_.element != 4) take_wide(tokens, width);
  }

  Room cross_entropy(int64_t rows) {
    Room d_hidden = take(pass_.tokens(), config_.hidden_size);
    each_chunk(rows, [&](int64_t n) {
      const Room h = take(n, config_.hidden_size);
      if (config_.logit_cap > 0) {
        plain_chunk(n);
        return;
      }
      const Room logits = product(Kind::kForward, n, config_.hidden_size, config_.vocab_size);
      const Room d = product(Kind::kInputGrad, n, config_.vocab_size, config_.hidden_size);
      if (pass_.head_trains) weight_grad(n, config_.vocab_size, config_.hidden_size);
    });
    return d_hidden;
  }

  void log_probabilities(int64_t rows) {
    each_chunk(rows, [&](int64_t n) {
      const Room h = take(n, config_.hidden_size);
      const Room logits = product(Kind::kForward, n, config_.hidden_size, config_.vocab_size);
    });
  }

  Room distill_loss(const PassMemory* teacher, int64_t rows) {
    const int64_t width = config_.hidden_size, vocabulary = config_.vocab_size;
    const auto element = [](const PassMemory& pass) {
      return pass.config->logit_cap > 0 ? kFloat : pass.element;
    };
    Room d_hidden = take(pass_.tokens(), width);
    each_chunk(rows, [&](int64_t n) {
      const Room h = take(n, width);
      Room logits = this->logits(n);
      const Room slope = config_.logit_cap > 0 ? this->slope(n) : nullptr;
      int64_t common = element(pass_);
      Room taught;
      if (teacher == nullptr) {
        taught = walk_.take(n * vocabulary * common);
      } else {
        common = std::max(common, element(*teacher));
        const Room rows_of = walk_.take(n * teacher->config->hidden_size * teacher->element);
        taught = Step(walk_, *teacher).logits(n);
        if (element(*teacher) != common) taught = walk_.take(n * vocabulary * common);
      }
      if (element(pass_) != common) logits = walk_.take(n * vocabulary * common);
      taught.reset();
      const Room d = pass_.element == common ? nullptr : take(n, vocabulary);
      const Room dx = product(Kind::kInputGrad, n, vocabulary, width);
      if (pass_.head_trains) weight_grad(n, vocabulary, width);
    });
    return d_hidden;
  }

 private:
  Room take(int64_t rows, int64_t columns) { return walk_.take(rows * columns * pass_.element); }
  Room take_wide(int64_t rows, int64_t columns) { return walk_.take(rows * columns * kFloat); }

  template <class Visit>
  void each_chunk(int64_t rows, const Visit& visit) {
    for (int64_t begin = 0; begin < rows; begin += kHeadChunk) visit(std::min(kHeadChunk, rows - begin));
  }

  // --- products (gemm.cpp) ---

  enum class Kind { kForward, kInputGrad };
  struct Added {
    int64_t rows, columns, rank;
  };
  using Adds = std::vector<Added>;

  bool in_tiles() const { return pass_.element != kFloat && !pass_.converts; }

  // x [rows, inner] b [inner, columns] and what low-rank terms add.
  Room product(Kind kind, int64_t rows, int64_t inner, int64_t columns, const Adds& adds = {},
               int64_t panel = 256) {
    if (in_tiles()) return tiles(kind, rows, inner, columns, adds, kPlainTokens);
    const Room y = panels(rows, inner, columns, panel, pass_.element);
    add_low_rank(adds);
    return y;
  }
  Room panels(int64_t rows, int64_t inner, int64_t columns, int64_t panel, int64_t element) {
    constexpr int64_t kLeastColumns = 16;
    if (rows == 0) return nullptr;
    if (columns < kLeastColumns && element == kFloat) {
      const Room b = take_wide(inner, kLeastColumns);
      const Room y = panels(rows, inner, kLeastColumns, panel, kFloat);
      return take_wide(rows, columns);
    }
    if (element != kFloat && pass_.converts) {
      const Room b = take_wide(inner, columns), x = take_wide(rows, inner),
                 y = panels(rows, inner, columns, panel, kFloat);
      return take(rows, columns);
    }
    const Room y = walk_.take(rows * columns * element);
    if (rows % panel != 0) {
      const Room in = walk_.take(panel * inner * element), out = walk_.take(panel * columns * element);
    }
    return y;
  }
  // tile_linear.h
  Room tiles(Kind kind, int64_t rows, int64_t inner, int64_t columns, const Adds& adds, int64_t tokens) {
    if (rows == 0) return nullptr;
    Room y = take(rows, columns);
    std::vector<Room> rooms;
    const auto deep = [](const Added& one) { return deep_rank(one.rank); };
    if (kind == Kind::kForward && (columns > kTile || !adds.empty())) {
      rooms.push_back(take(round_up(std::min(rows, tokens), kTile), padded_depth(inner)));
      for (const auto& one : adds) {
        rooms.push_back(take(round_up(std::min(one.rows, tokens), kTile), deep(one)));
        if (deep(one) != one.rank) rooms.push_back(take(one.columns, deep(one)));
      }
      return y;
    }
    if (inner != padded_depth(inner)) rooms.push_back(take(rows, padded_depth(inner)));
    if (rows % kTile != 0) rooms.push_back(take(kTile, padded_depth(inner)));
    for (const auto& one : adds) {
      rooms.push_back(take(round_up(one.columns, kTile), deep(one)));
      if (deep(one) != one.rank) rooms.push_back(take(std::min(one.rows, tokens), deep(one)));
    }
    return y;
  }

  // low_rank.cpp
  void add_low_rank(const Adds& adds) {
    for (const auto& one : adds) {
      if (pass_.element != kFloat && pass_.converts) {
        const Room b = take_wide(one.columns, one.rank), y = take_wide(one.rows, one.columns),
                   s = take_wide(one.rows, one.rank), product = take_wide(one.rows, one.columns);
      } else {
        const Room right = take(round_up(one.columns, 256), round_up(one.rank, 32));
      }
    }
  }

  // grad [outputs, inputs] += dy^T x.
  void weight_grad(int64_t rows, int64_t outputs, int64_t inputs) {
    if (pass_.element == kFloat) return;
    if (in_tiles()) {
      const bool turned = inputs < outputs && inputs <= kTile;
      const int64_t high = turned ? inputs : outputs, wide = turned ? outputs : inputs,
                    slices = round_up(rows, kSlice);
      const Room a = take(slices, round_up(high, std::min<int64_t>(kTile, round_up(high, 16))));
      const Room b = high <= kTile ? nullptr : take(slices, round_up(wide, block_width(wide, 256)));
      return;
    }
    const int64_t slice = std::min(rows, kSlice);
    const Room x = take_wide(slice, inputs), dy = take_wide(slice, outputs);
  }

  // --- quantized products (quantized_gemm.cpp) ---

  std::vector<Room> absmax(const ProjectionMemory& projection) {
    std::vector<Room> rooms;
    if (projection.quantized == Quantization::kNf4Dq)
      for (const auto& one : projection.linears)
        rooms.push_back(walk_.take(round_up(one.outputs * one.inputs, kTile) / kTile * kFloat));
    return rooms;
  }
  Room quantized_product(Kind kind, int64_t rows, int64_t inner, int64_t outer,
                         const ProjectionMemory& projection, const Adds& adds) {
    const auto scales = absmax(projection);
    if (in_tiles()) return tiles(kind, rows, inner, outer, adds, kQuantizedTokens);
    const Room y = take(rows, outer);
    const Room in = rows % 256 != 0 ? take(round_up(rows, 256), inner) : nullptr;
    constexpr int64_t kPanelBytes = int64_t{1} << 21;
    const int64_t step = std::max<int64_t>(kTile, kPanelBytes / (inner * pass_.element) / kTile * kTile);
    for (int64_t at = 0; at < outer; at += step) {
      const int64_t some = std::min(step, outer - at);
      const Room weight = take(some, inner), part = product(kind, round_up(rows, 256), inner, some);
    }
    add_low_rank(adds);
    return y;
  }

  // --- projections (projection.cpp) ---

  struct Segment {
    int64_t rows = 0, ranks = 0;  // sum of its terms' ranks
  };
  Segment segment(const ProjectionMemory& projection, size_t s, int64_t all_rows) const {
    Segment one{pass_.segments.size() == 1 ? all_rows : pass_.segments[s], 0};
    for (const auto& linear : projection.linears) one.ranks += rank_of(linear, s);
    return one;
  }
  static int64_t rank_of(const LinearMemory& linear, size_t s) {
    return s < linear.ranks.size() ? linear.ranks[s] : 0;
  }
  static int64_t ranks_of(const std::vector<const LinearMemory*>& group, size_t s) {
    int64_t sum = 0;
    for (const LinearMemory* linear : group) sum += rank_of(*linear, s);
    return sum;
  }

  bool drops(size_t s) const { return s < pass_.drops.size() && pass_.drops[s]; }
  // Products that a segment's terms share: linears of one product, with their ranks. With dropout each reads
  // a copy of its own.
  std::vector<std::vector<const LinearMemory*>> term_groups(const ProjectionMemory& projection,
                                                            size_t s) const {
    std::vector<std::vector<const LinearMemory*>> groups;
    for (const auto& linear : projection.linears) {
      if (rank_of(linear, s) == 0) continue;
      if (groups.empty() || drops(s)) groups.emplace_back();
      groups.back().push_back(&linear);
    }
    return groups;
  }
  // A of every group of several linears, joined before the first product.
  std::vector<Room> joined_factors(int64_t rows, const ProjectionMemory& projection) {
    std::vector<Room> factors;
    if (projection.linears.size() == 1) return factors;
    for (size_t s = 0; s < pass_.segments.size(); ++s)
      if (const Segment one = segment(projection, s, rows); one.ranks > 0 && !drops(s))
        factors.push_back(take(one.ranks, projection.inputs()));
    return factors;
  }

  void dora_norm(const LinearMemory& linear, int64_t rank, Quantization quantized) {
    constexpr int64_t kRows = 1024;
    const bool narrow = pass_.element != kFloat;
    const Room a = narrow ? take_wide(rank, linear.inputs) : nullptr,
               b = narrow ? take_wide(rank, linear.outputs) : nullptr;
    const Room whole = quantized != Quantization::kNone ? take_wide(linear.outputs, linear.inputs) : nullptr;
    const int64_t rows = std::min(kRows, linear.outputs);
    const Room wide = narrow && !whole ? take_wide(rows, linear.inputs) : nullptr,
               sum = take_wide(rows, linear.inputs);
  }

  Room product(Kind kind, int64_t rows, const ProjectionMemory& projection, const Adds& adds, int64_t panel) {
    const auto outputs = projection.outputs(), inputs = projection.inputs();
    const auto inner = kind == Kind::kForward ? inputs : outputs,
               columns = kind == Kind::kForward ? outputs : inputs;
    return projection.quantized != Quantization::kNone
               ? quantized_product(kind, rows, inner, columns, projection, adds)
               : product(kind, rows, inner, columns, adds, panel);
  }

  Room project(int64_t rows, const ProjectionMemory& projection, LayerKept* kept, int64_t panel = 256) {
    std::vector<Room> rooms;  // masks and x A^T
    for (size_t s = 0; s < pass_.segments.size(); ++s)
      for (const auto& linear : projection.linears)
        if (drops(s) && rank_of(linear, s) > 0)
          rooms.push_back(walk_.take(segment(projection, s, rows).rows * ((linear.inputs + 7) / 8)));
    const auto factors = joined_factors(rows, projection);
    Adds adds;
    for (size_t s = 0; s < pass_.segments.size(); ++s) {
      const Segment one = segment(projection, s, rows);
      for (const auto& group : term_groups(projection, s)) {
        const Room x = drops(s) ? take(one.rows, projection.inputs()) : nullptr;
        rooms.push_back(
            product(Kind::kForward, one.rows, projection.inputs(), ranks_of(group, s), {}, panel));
        for (const LinearMemory* linear : group)
          adds.push_back({one.rows, linear->outputs, rank_of(*linear, s)});
      }
    }
    if (kept != nullptr) kept->rooms.insert(kept->rooms.end(), rooms.begin(), rooms.end());
    const Room y = product(Kind::kForward, rows, projection, adds, panel);
    for (size_t s = 0; s < pass_.segments.size(); ++s) {
      const Segment one = segment(projection, s, rows);
      for (const auto& linear : projection.linears) {
        if (!linear.dora || rank_of(linear, s) == 0) continue;
        dora_norm(linear, rank_of(linear, s), projection.quantized);
        const Room wide = pass_.element != kFloat ? take_wide(one.rows, linear.outputs) : nullptr;
        const Room bare = linear.bias ? take_wide(one.rows, linear.outputs) : nullptr;
        if (kept != nullptr) kept->rooms.push_back(take(one.rows, linear.outputs));
        take_wide(one.rows, linear.outputs);
      }
    }
    return y;
  }

  Room project_backward(int64_t rows, const ProjectionMemory& projection, bool need_dx, int64_t panel = 256) {
    const auto factors = joined_factors(rows, projection);
    Room scaled;
    for (const auto& linear : projection.linears) {
      if (!linear.dora) continue;
      if (!scaled) scaled = take(rows, projection.outputs());
      for (size_t s = 0; s < pass_.segments.size(); ++s) {
        if (rank_of(linear, s) == 0) continue;
        const int64_t some = segment(projection, s, rows).rows;
        const bool narrow = pass_.element != kFloat;
        const Room d = narrow ? take_wide(some, linear.outputs) : nullptr;
        {
          const Room z = narrow ? take_wide(some, linear.outputs) : nullptr;
          take_wide(some, linear.outputs);
        }
        take_wide(some, linear.outputs);
      }
    }
    for (const auto& linear : projection.linears)
      if (linear.trains) weight_grad(rows, linear.outputs, linear.inputs);
    std::vector<Room> of_terms;  // dS
    Adds adds;
    for (size_t s = 0; s < pass_.segments.size(); ++s) {
      const Segment one = segment(projection, s, rows);
      for (const auto& group : term_groups(projection, s)) {
        const int64_t ranks = ranks_of(group, s);
        std::vector<Room> parts;
        for (const LinearMemory* linear : group) {
          weight_grad(one.rows, linear->outputs, rank_of(*linear, s));
          parts.push_back(
              product(Kind::kInputGrad, one.rows, linear->outputs, rank_of(*linear, s), {}, panel));
        }
        of_terms.push_back(parts.size() > 1 ? take(one.rows, ranks) : parts[0]);
        const Room sums = take_wide(ranks, projection.inputs()),
                   x = drops(s) ? take(one.rows, projection.inputs()) : nullptr;
        weight_grad(one.rows, ranks, projection.inputs());
        adds.push_back({one.rows, projection.inputs(), ranks});
      }
    }
    return need_dx ? product(Kind::kInputGrad, rows, projection, adds, panel) : nullptr;
  }

  static bool learns(const ProjectionMemory& projection) {
    return std::any_of(projection.linears.begin(), projection.linears.end(), [](const LinearMemory& one) {
      return one.trains || std::any_of(one.ranks.begin(), one.ranks.end(), [](int64_t r) { return r > 0; });
    });
  }

  // --- norms ---

  Room norm(int64_t rows, int64_t width) {
    if (config_.family != Family::kGemma2 || pass_.element == kFloat) return take(rows, width);
    const Room x = take_wide(rows, width), y = take_wide(rows, width);
    return take(rows, width);
  }
  Room norm_backward(int64_t rows, int64_t width, bool trains) {
    const bool wide = config_.family == Family::kGemma2 && pass_.element != kFloat;
    const Room dy = wide ? take_wide(rows, width) : nullptr;
    const Room dx = wide ? take_wide(rows, width) : take(rows, width);
    const Room parts = trains ? take_wide(round_up(rows, 128) / 128, width) : nullptr;
    return wide ? take(rows, width) : dx;
  }

  // --- attention (attention.cpp, capped_attention.cpp) ---

  Room attention(LayerKept* kept) {
    const int64_t tokens = pass_.tokens(), heads = config_.num_attention_heads, groups = config_.key_heads(),
                  width = config_.key_width();
    if (config_.attention_cap > 0) {
      Room out = take(tokens, heads * width);
      capped_scores(/*backward=*/false);
      return out;
    }
    const auto run = [&](int64_t element) {
      Room out = walk_.take(tokens * heads * width * element);
      const int64_t packed = round_up(tokens, kTile) * groups * round_up(width, 32) * element;
      Room sums;
      if (kept != nullptr) kept->rooms.push_back(sums = take_wide(tokens, heads));
      const Room k = walk_.take(packed), v = walk_.take(packed);
      return out;
    };
    if (!pass_.converts || pass_.element == kFloat) return run(pass_.element);
    const Room v = take_wide(tokens, groups * width), k = take_wide(tokens, groups * width),
               q = take_wide(tokens, heads * width), out = run(kFloat);
    return take(tokens, heads * width);
  }

  // dq, dk and dv are there.
  void attention_backward() {
    const int64_t tokens = pass_.tokens(), heads = config_.num_attention_heads, groups = config_.key_heads(),
                  width = config_.key_width(), wide = round_up(width, 32);
    if (config_.attention_cap > 0) return capped_scores(/*backward=*/true);
    const bool converts = pass_.converts && pass_.element != kFloat;
    std::vector<Room> turned;
    if (converts)
      for (const int64_t of : {heads, groups, groups, heads, groups, groups, heads, heads})
        turned.push_back(take_wide(tokens, of * width));
    const int64_t element = converts ? kFloat : pass_.element,
                  longest = round_up(pass_.longest_document, kTile);
    const Room dk = take_wide(tokens, heads * width), dv = take_wide(tokens, heads * width);
    std::vector<Room> scratch;
    for (int64_t i = 0; i < std::min(pass_.threads, heads); ++i) {
      scratch.push_back(walk_.take(longest * 4 * wide * element));
      scratch.push_back(walk_.take(longest * wide * kFloat));
    }
  }

  // The scores of one document, and what is made of them.
  void capped_scores(bool backward) {
    const int64_t length = pass_.longest_document, heads = config_.num_attention_heads,
                  width = config_.key_width();
    const auto scores = [&] { return take_wide(heads * length, length); };
    const auto rows = [&] { return take_wide(heads * length, width); };
    const bool copies = pass_.element != kFloat;
    std::vector<Room> qkv;
    for (int i = 0; i < 3; ++i)
      if (i > 0 || copies) qkv.push_back(rows());
    const Room tanh = [&] {
      const Room raw = scores(), scaled = scores();
      return scores();
    }();
    const Room p = [&] {
      const Room wide = scores(), masked = scores();
      return scores();
    }();
    if (!backward) {
      const Room out = rows();
      return;
    }
    const Room d = copies ? rows() : nullptr, o = copies ? rows() : nullptr;
    const Room ds = [&] {
      const Room a = scores(), b = scores(), c = scores(), e = scores();
      return scores();
    }();
    const Room made = rows(), times = rows(), sum = rows();
  }

  // --- a block (block.cpp, latent_attention.cpp, mixture_of_experts.cpp) ---

  static void keep(LayerKept* kept, const Room& room) {
    if (kept != nullptr) kept->rooms.push_back(room);
  }

  Room block(const LayerMemory& layer, const Room& x, LayerKept* kept) {
    const int64_t tokens = pass_.tokens(), width = config_.hidden_size;
    const bool sandwich = config_.family == Family::kGemma2;
    keep(kept, x);
    const auto inverse = [&](int64_t rows) {
      if (kept != nullptr) kept->rooms.push_back(walk_.take(rows * kFloat));
    };
    Room h = norm(tokens, width);
    if (sandwich && pass_.element != kFloat) keep(kept, take_wide(tokens, width));
    inverse(tokens);
    Room mixed = layer.qkv.linears.empty() ? latent(layer, h, kept) : heads(layer, h, kept);
    keep(kept, mixed);
    Room o = project(tokens, layer.o, kept);
    mixed.reset();
    if (sandwich) return sandwich_rest(layer, x, o, kept);
    Room h2 = take(tokens, width);
    inverse(tokens);
    const Room x2 = take(tokens, width);
    keep(kept, x2);
    o.reset();
    if (!layer.experts.empty()) {
      const Room y = mixture(layer, h2, kept);
      return take(tokens, width);
    }
    Room gate_up = project(tokens, layer.dense.gate_up, kept);
    h2.reset();
    const Room act = take(tokens, layer.dense.down.inputs());
    keep(kept, gate_up);
    gate_up.reset();
    return project(tokens, layer.dense.down, kept);
  }

  Room heads(const LayerMemory& layer, Room& h, LayerKept* kept) {
    const int64_t tokens = pass_.tokens(), q = config_.num_attention_heads * config_.head_dim,
                  k = config_.num_key_value_heads * config_.head_dim;
    if (config_.family == Family::kGemma2) keep(kept, h);
    const Room qkv = project(tokens, layer.qkv, kept);
    keep(kept, qkv);
    if (config_.family != Family::kGemma2) h.reset();
    std::vector<Room> normed;
    if (config_.qk_norm)
      for (const int64_t columns : {q, k}) {
        const Room plain = take(tokens, columns), out = take(tokens, columns);
        if (kept != nullptr) kept->rooms.push_back(walk_.take(tokens * columns / config_.head_dim * kFloat));
        keep(kept, plain);
        keep(kept, out);
        normed.push_back(out);
      }
    return attention(kept);
  }

  Room latent(const LayerMemory& layer, const Room& h, LayerKept* kept) {
    const auto& latent = *config_.latent;
    const int64_t tokens = pass_.tokens(), all = config_.num_attention_heads * config_.key_width();
    keep(kept, h);
    const Room inputs = project(tokens, layer.inputs, kept);
    Room q = inputs;
    if (!layer.q_b.linears.empty()) {
      const Room plain = take(tokens, latent.q_lora_rank), normed = take(tokens, latent.q_lora_rank);
      keep(kept, plain);
      keep(kept, normed);
      q = project(tokens, layer.q_b, kept);
    }
    const Room compressed = take(tokens, latent.kv_lora_rank), c = take(tokens, latent.kv_lora_rank);
    keep(kept, compressed);
    keep(kept, c);
    const Room kv = project(tokens, layer.kv_b, kept);
    for (int i = 0; i < 3; ++i) keep(kept, take(tokens, all));
    if (kept == nullptr) {
      const Room heads_q = take(tokens, all), heads_k = take(tokens, all), heads_v = take(tokens, all);
      const Room out = attention(nullptr);
      return take(tokens, config_.num_attention_heads * latent.v_head_dim);
    }
    const Room out = attention(kept);
    keep(kept, out);
    return config_.key_width() == latent.v_head_dim
               ? out
               : take(tokens, config_.num_attention_heads * latent.v_head_dim);
  }

  // Experts take equal shares of the tokens.
  int64_t expert_rows() const {
    const auto& experts = *config_.experts;
    return std::max<int64_t>(1, pass_.tokens() * experts.per_token / experts.routed);
  }

  Room feed_forward(int64_t rows, const FeedForwardMemory& one, LayerKept* kept, int64_t panel) {
    const Room gate_up = project(rows, one.gate_up, kept, panel);
    keep(kept, gate_up);
    const Room act = take(rows, one.down.inputs());
    keep(kept, act);
    return project(rows, one.down, kept, panel);
  }

  Room mixture(const LayerMemory& layer, const Room& h2, LayerKept* kept) {
    const int64_t tokens = pass_.tokens(), width = config_.hidden_size;
    keep(kept, h2);
    {
      const Room x = pass_.element != kFloat ? take_wide(tokens, width) : nullptr;
      keep(kept, take_wide(tokens, config_.experts->routed));
      const Room worth = take_wide(tokens, config_.experts->routed);
    }
    const Room sum = take_wide(tokens, width);
    const int64_t rows = expert_rows();
    for (const auto& expert : layer.experts) {
      const Room in = take(rows, width);
      const Room y = feed_forward(rows, expert, kept, static_cast<int64_t>(Panel::kExpert));
      keep(kept, y);
      const Room wide = take_wide(rows, width), weighted = take_wide(rows, width);
    }
    const Room shared = feed_forward(tokens, layer.shared, kept, 256);
    const Room back = pass_.element != kFloat ? take(tokens, width) : nullptr;
    return take(tokens, width);
  }

  Room sandwich_rest(const LayerMemory& layer, const Room&, const Room& o, LayerKept* kept) {
    const int64_t tokens = pass_.tokens(), width = config_.hidden_size, inner = layer.dense.down.inputs();
    const bool narrow = pass_.element != kFloat;
    // A norm keeps its input, widened.
    const auto kept_norm = [&](const Room& input) {
      Room y = norm(tokens, width);
      keep(kept, narrow ? take_wide(tokens, width) : input);
      return y;
    };
    const Room x2 = [&] {
      const Room added = kept_norm(o);
      return take(tokens, width);
    }();
    const Room h2 = kept_norm(x2);
    keep(kept, h2);
    const Room gate_up = project(tokens, layer.dense.gate_up, kept);
    keep(kept, gate_up);
    geglu_scratch(tokens, inner, narrow ? 7 : 6);
    const Room act = take(tokens, inner);
    keep(kept, act);
    const Room down = project(tokens, layer.dense.down, kept);
    const Room added = kept_norm(down);
    return take(tokens, width);
  }

  // geglu.cpp: the temporaries of its longest expression, and what is there when the result is made.
  void geglu_scratch(int64_t rows, int64_t inner, int temporaries) {
    std::vector<Room> wide;
    for (int i = 0; i < temporaries; ++i) wide.push_back(take_wide(rows, inner));
  }

  Room feed_forward_backward(const LayerMemory& layer, bool need_h2) {
    const int64_t tokens = pass_.tokens(), width = config_.hidden_size;
    const auto& gate_up = layer.dense.gate_up;
    const auto& down = layer.dense.down;
    const bool need = need_h2 || learns(gate_up), sandwich = config_.family == Family::kGemma2;
    Room d_act = [&] {
      const Room act = sandwich ? nullptr : take(tokens, down.inputs());
      return project_backward(tokens, down, need);
    }();
    if (!need) return nullptr;
    Room d_gate_up;
    if (sandwich) {
      const int copies = pass_.element == kFloat ? 0 : 3;
      geglu_scratch(tokens, down.inputs(), 14 + copies);
      std::vector<Room> left;
      for (int i = 0; i < 5 + copies; ++i) left.push_back(take_wide(tokens, down.inputs()));
      const Room joined = take_wide(tokens, 2 * down.inputs());
      d_gate_up = pass_.element == kFloat ? joined : take(tokens, 2 * down.inputs());
    } else {
      d_gate_up = take(tokens, 2 * down.inputs());
    }
    d_act.reset();
    const Room normed = sandwich ? nullptr : take(tokens, width);
    return project_backward(tokens, gate_up, need_h2);
  }

  Room mixture_backward(const LayerMemory& layer, bool need_dx) {
    const int64_t tokens = pass_.tokens(), width = config_.hidden_size, rows = expert_rows();
    const auto expert_backward = [&](int64_t n, const FeedForwardMemory& one, int64_t panel) {
      const Room d_act = project_backward(n, one.down, true, panel);
      const Room d_gate_up = take(n, 2 * one.down.inputs());
      return project_backward(n, one.gate_up, need_dx, panel);
    };
    const Room dx = need_dx ? take_wide(tokens, width) : nullptr;
    for (const auto& expert : layer.experts) {
      const Room wide = take_wide(rows, width), x = take(rows, width), d_out = take(rows, width);
      const Room d_in = expert_backward(rows, expert, static_cast<int64_t>(Panel::kExpert));
      const Room wide_in = pass_.element != kFloat ? take_wide(rows, width) : nullptr;
    }
    const Room d_shared = expert_backward(tokens, layer.shared, 256);
    if (!need_dx) return nullptr;
    const Room through = panels(tokens, config_.experts->routed, width, 256, kFloat);
    return pass_.element == kFloat ? dx : take(tokens, width);
  }

  Room block_backward(const LayerMemory& layer, const Room& dy, bool need_dx) {
    const int64_t tokens = pass_.tokens(), width = config_.hidden_size;
    const bool sandwich = config_.family == Family::kGemma2;
    Room d_x2;
    {
      const Room d_down = sandwich ? norm_backward(tokens, width, layer.trains_norms) : dy;
      const Room d_h2 =
          layer.experts.empty() ? feed_forward_backward(layer, true) : mixture_backward(layer, true);
      d_x2 = norm_backward(tokens, width, layer.trains_norms);
      if (sandwich) d_x2 = take(tokens, width);
    }
    const Room d_o = sandwich ? norm_backward(tokens, width, layer.trains_norms) : d_x2;
    const Room d_mixed = project_backward(tokens, layer.o, true);
    const Room d_h =
        layer.qkv.linears.empty() ? latent_backward(layer, need_dx) : heads_backward(layer, need_dx);
    if (!d_h) return nullptr;
    const Room d_norm = norm_backward(tokens, width, layer.trains_norms);
    return need_dx ? take(tokens, width) : nullptr;
  }

  Room heads_backward(const LayerMemory& layer, bool need_h) {
    const int64_t tokens = pass_.tokens(), width = config_.hidden_size;
    const Room d_qkv = take(tokens, layer.qkv.outputs());
    attention_backward();
    if (config_.qk_norm)
      for (const int64_t heads : {config_.num_attention_heads, config_.num_key_value_heads}) {
        const Room plain = take(tokens, heads * config_.head_dim);
        norm_backward(tokens * heads, config_.head_dim, layer.trains_norms);
      }
    const Room normed = config_.family == Family::kGemma2 ? nullptr : take(tokens, width);
    return project_backward(tokens, layer.qkv, need_h || layer.trains_norms);
  }

  Room latent_backward(const LayerMemory& layer, bool need_h) {
    const auto& latent = *config_.latent;
    const int64_t tokens = pass_.tokens(), heads = config_.num_attention_heads,
                  all = heads * config_.key_width();
    const Room d_out = config_.key_width() > latent.v_head_dim ? take(tokens, all) : nullptr;
    const Room dq = take(tokens, all), dk = take(tokens, all), dv = take(tokens, all);
    attention_backward();
    const Room d_inputs = take(tokens, layer.inputs.outputs());
    Room d_q = take(tokens, heads * latent.qk_head_dim());
    if (!layer.q_b.linears.empty()) {
      d_q = project_backward(tokens, layer.q_b, true);
      d_q = norm_backward(tokens, latent.q_lora_rank, layer.trains_norms);
    }
    const Room d_kv = take(tokens, layer.kv_b.outputs());
    Room d_latent = project_backward(tokens, layer.kv_b, true);
    d_latent = norm_backward(tokens, latent.kv_lora_rank, layer.trains_norms);
    return project_backward(tokens, layer.inputs, need_h || layer.trains_norms);
  }

  // Of n rows, capped where the model caps them.
  Room logits(int64_t n) {
    Room raw = product(Kind::kForward, n, config_.hidden_size, config_.vocab_size);
    if (config_.logit_cap <= 0) return raw;
    const auto wide = [&] { return take_wide(n, config_.vocab_size); };
    const Room raised = pass_.element == kFloat ? nullptr : wide();
    const Room divided = wide(), tanh = wide();
    return wide();
  }
  Room slope(int64_t n) {
    const auto wide = [&] { return take_wide(n, config_.vocab_size); };
    const Room divided = wide(), squared = wide();
    return wide();
  }

  // A chunk of the loss in its plain form (a capped head).
  void plain_chunk(int64_t n) {
    const int64_t vocabulary = config_.vocab_size, width = config_.hidden_size;
    const auto wide = [&] { return take_wide(n, vocabulary); };
    const Room logits = this->logits(n), slope = this->slope(n);
    { const Room log_softmax = wide(), softmax = wide(); }
    const Room d = pass_.element == kFloat ? nullptr : take(n, vocabulary);
    const Room dx = product(Kind::kInputGrad, n, vocabulary, width);
    if (pass_.head_trains) weight_grad(n, vocabulary, width);
  }

  MemoryWalk& walk_;
  const PassMemory& pass_;
  const ModelConfig& config_;
};

}  // namespace

ForwardMemory forward_memory(MemoryWalk& walk, const PassMemory& pass, const std::vector<LayerMemory>& layers,
                             bool keeps) {
  return Step(walk, pass).forward(layers, keeps);
}

void backward_memory(MemoryWalk& walk, const PassMemory& pass, const std::vector<LayerMemory>& layers,
                     const ForwardMemory& forward) {
  Step(walk, pass).backward(layers, forward);
}

Room cross_entropy_memory(MemoryWalk& walk, const PassMemory& pass, int64_t rows) {
  return Step(walk, pass).cross_entropy(rows);
}

void log_probabilities_memory(MemoryWalk& walk, const PassMemory& pass, int64_t rows) {
  Step(walk, pass).log_probabilities(rows);
}

Room distill_loss_memory(MemoryWalk& walk, const PassMemory& pass, const PassMemory* teacher, int64_t rows) {
  return Step(walk, pass).distill_loss(teacher, rows);
}

}  // namespace decant
