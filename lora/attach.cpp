#include "lora/attach.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "core/config.h"
#include "core/hash.h"
#include "core/model/layer_walk.h"
#include "core/name_pattern.h"
#include "core/random.h"
#include "core/threads.h"

namespace decant {

namespace {

constexpr std::string_view kRegex = "regex:";

bool is_pattern(const LoraConfig& config) { return config.targets.at(0).starts_with(kRegex); }

std::string last_part(const std::string& module) { return module.substr(module.rfind('.') + 1); }

[[noreturn]] void fail_unmatched(const std::string& target, const std::vector<Linear*>& linears) {
  std::vector<std::string> known;
  std::string list;
  for (const Linear* linear : linears) {
    const std::string name = last_part(linear->name);
    if (std::find(known.begin(), known.end(), name) != known.end()) continue;
    known.push_back(name);
    list += (list.empty() ? "" : ", ") + name;
  }
  fail("lora: the target '", target, "' matches no linear of the model", did_you_mean("", target, known),
       "; there are ", list);
}

// Each element a pure function of seed, module and position.
at::Tensor drawn(const at::IntArrayRef sizes, uint64_t seed, uint64_t stream, bool normal) {
  at::Tensor a = at::empty(sizes, at::kFloat);
  float* out = a.mutable_data_ptr<float>();
  for_threads(0, a.numel(), 4096, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const auto counter = static_cast<uint64_t>(i);
      out[i] = static_cast<float>(normal ? standard_normal(seed, stream, counter)
                                         : 2 * uniform(seed, stream, counter) - 1);
    }
  });
  return a;
}

struct Factors {
  at::Tensor a, b;
};

// PEFT's starts: kaiming_uniform_(a = sqrt 5) is uniform in +-1/sqrt(K); "gaussian" has deviation 1/R;
// "orthogonal" gives A and B the odd and the even rows of one orthogonal matrix as bases, so that B A = 0.
Factors start_values(const std::string& module, int64_t outputs, int64_t inputs, int64_t rank,
                     const LoraConfig& config) {
  const auto seed = static_cast<uint64_t>(config.seed);
  const auto stream = [&](const std::string& part) {
    return purpose_stream(Purpose::kInit, xxh3_64(module + part) >> 8);
  };
  const at::Tensor zero = at::zeros({outputs, rank}, at::kFloat);
  switch (config.init) {
    case LoraInit::kUniform:
      return {
          drawn({rank, inputs}, seed, stream(""), false).mul_(1.0 / std::sqrt(static_cast<double>(inputs))),
          zero};
    case LoraInit::kGaussian:
      return {drawn({rank, inputs}, seed, stream(""), true).mul_(1.0 / static_cast<double>(rank)), zero};
    case LoraInit::kOrthogonal:
      break;
  }
  const auto q = std::get<0>(at::linalg_qr(drawn({rank, rank}, seed, stream(".q"), true).to(at::kDouble)));
  const auto odd = q.slice(0, 0, rank, 2).to(at::kFloat), even = q.slice(0, 1, rank, 2).to(at::kFloat);
  return {at::mm(drawn({inputs, rank / 2}, seed, stream(""), true), odd).t().contiguous().mul_(0.1),
          at::mm(drawn({outputs, rank / 2}, seed, stream(".b"), true), even).mul_(0.1)};
}

// The start adapter's factors in place of the first ranks.
void go_on_from(const AdapterModule& from, double its_scale, double scale, Factors& factors) {
  const int64_t rank = factors.a.size(0), had = from.lora_a.size(0);
  check(from.lora_a.size(1) == factors.a.size(1) && from.lora_b.size(0) == factors.b.size(0), "lora.start: '",
        from.module, "' is for a weight [", from.lora_b.size(0), ", ", from.lora_a.size(1),
        "], the model's is [", factors.b.size(0), ", ", factors.a.size(1),
        "]; it was trained on another base model");
  check(had <= rank, "lora.start: '", from.module, "' has rank ", had, ", more than the ", rank,
        " asked for; raise lora.rank or shrink it with decant soup");
  factors.a.narrow(0, 0, had).copy_(from.lora_a);
  factors.b.zero_();  // of the new columns too: they start without effect
  factors.b.narrow(1, 0, had).copy_(from.lora_b.to(at::kFloat).mul(its_scale / scale));
}

Parameter trainable(std::string name, const at::Tensor& value, at::ScalarType dtype) {
  return {std::move(name), value.to(dtype), at::zeros(value.sizes(), at::kFloat), true};
}

// The number after "layers." of a module's name; -1 when it has none.
int64_t layer_of(const std::string& module) {
  const size_t at = module.find("layers.");
  return at == std::string::npos ? -1 : std::atoll(module.c_str() + at + 7);
}

// The names that patterns are about: every one must be of use.
void check_matches(const LoraConfig& config, const std::vector<Linear*>& linears) {
  const auto any = [&](const auto& test) { return std::any_of(linears.begin(), linears.end(), test); };
  if (is_pattern(config)) {
    const AdapterConfig names = config.adapter_config();
    check(any([&](const Linear* l) { return names.is_target(l->name); }), "lora: the target '",
          config.targets[0], "' matches no linear of the model, such as '", linears.at(0)->name, "'");
  } else {
    for (const auto& target : config.targets)
      if (!any([&](const Linear* l) { return matches_target(l->name, target); }))
        fail_unmatched(target, linears);
  }
  for (const int64_t layer : config.layers)
    check(any([&](const Linear* l) { return layer_of(l->name) == layer && config.adapts(l->name); }),
          "lora: 'layers' names the layer ", layer, ", which has no target; the last linear is '",
          linears.back()->name, "'");
  const auto useful = [&](const char* key, const std::string& pattern) {
    check(any([&](const Linear* l) {
            return config.adapts(l->name) &&
                   matches_whole("(?:.*\\.)?(?:" + pattern + ")", l->name, concat("lora: '", key, "'"));
          }),
          "lora: '", key, "' has '", pattern, "', which matches no module with an adapter");
  };
  for (const auto& [pattern, rank] : config.rank_pattern) useful("rank_pattern", pattern);
  for (const auto& [pattern, alpha] : config.alpha_pattern) useful("alpha_pattern", pattern);
}

}  // namespace

bool matches_target(std::string_view module, std::string_view target) {
  constexpr auto kNone = std::string_view::npos;
  for (;;) {
    const auto m = module.rfind('.'), t = target.rfind('.');
    const auto part = target.substr(t == kNone ? 0 : t + 1);
    if (part != "*" && part != module.substr(m == kNone ? 0 : m + 1)) return false;
    if (t == kNone) return true;
    if (m == kNone) return false;
    module = module.substr(0, m);
    target = target.substr(0, t);
  }
}

void LoraConfig::validate(const Place& place) const {
  const auto check_rank = [&](const std::string& key, int64_t r) {
    check(r >= 1 && r <= 4096, place(key), ": must lie in 1 .. 4096, found ", r);
    check(init != LoraInit::kOrthogonal || r % 2 == 0, place(key),
          ": must be even with init: orthogonal, found ", r);
  };
  const auto check_alpha = [&](const std::string& key, double a) {
    check(std::isfinite(a) && a > 0, place(key), ": must be above 0, found ", a);
  };
  check_rank("rank", rank);
  check_alpha("alpha", alpha);
  for (const auto& [pattern, r] : rank_pattern) check_rank("rank_pattern", r);
  for (const auto& [pattern, a] : alpha_pattern) check_alpha("alpha_pattern", a);
  check(!targets.empty(), place("targets"), ": must name at least one linear");
  std::set<std::string> seen;
  for (const auto& target : targets) {
    check(!target.empty(), place("targets"), ": must not hold an empty name");
    check(seen.insert(target).second, place("targets"), ": holds '", target, "' twice");
    check(!target.starts_with(kRegex) || targets.size() == 1, place("targets"), ": '", target,
          "' must be the only entry");
  }
  if (is_pattern(*this)) matches_whole(targets[0].substr(kRegex.size()), "", place("targets"));
  for (const auto& [pattern, r] : rank_pattern) matches_whole(pattern, "", place("rank_pattern"));
  for (const auto& [pattern, a] : alpha_pattern) matches_whole(pattern, "", place("alpha_pattern"));
  check(std::isfinite(dropout) && dropout >= 0 && dropout <= 0.95, place("dropout"),
        ": must lie in 0 .. 0.95, found ", dropout);
  check(dropout == 0 || !dora, place("dropout"),
        ": is not done beside 'dora', whose base product would read the dropped input, too; set one of them");
  std::set<std::string> tokens;
  for (const auto& token : trainable_tokens) {
    check(!token.empty(), place("trainable_tokens"), ": must not hold an empty text");
    check(tokens.insert(token).second, place("trainable_tokens"), ": holds '", token, "' twice");
  }
  for (const int64_t layer : layers)
    check(layer >= 0, place("layers"), ": numbers from 0 are expected, found ", layer);
  check(std::isfinite(b_rate_ratio) && b_rate_ratio > 0, place("b_rate_ratio"), ": must be above 0, found ",
        b_rate_ratio);
}

AdapterConfig LoraConfig::adapter_config() const {
  AdapterConfig config;
  config.rank = rank;
  config.alpha = alpha;
  config.use_rslora = rslora;
  config.use_dora = dora;
  config.dropout = dropout;
  if (is_pattern(*this))
    config.target_pattern = targets[0].substr(kRegex.size());
  else
    // PEFT knows no '*': of such a target the last part is written, which its readers look for in all
    // modules.
    for (const auto& target : targets)
      config.target_modules.push_back(target.find('*') == std::string::npos ? target : last_part(target));
  std::sort(config.target_modules.begin(), config.target_modules.end());
  config.target_modules.erase(std::unique(config.target_modules.begin(), config.target_modules.end()),
                              config.target_modules.end());
  config.rank_pattern = {rank_pattern.begin(), rank_pattern.end()};
  config.alpha_pattern = {alpha_pattern.begin(), alpha_pattern.end()};
  return config;
}

bool LoraConfig::adapts(const std::string& module) const {
  const bool named = is_pattern(*this)
                         ? adapter_config().is_target(module)
                         : std::any_of(targets.begin(), targets.end(), [&](const std::string& target) {
                             return matches_target(module, target);
                           });
  return named &&
         (layers.empty() || std::find(layers.begin(), layers.end(), layer_of(module)) != layers.end());
}

namespace {

// Calls visit(name, outputs, inputs) for every linear that a model of this config has.
template <class Visit>
void each_linear(const ModelConfig& model, const Visit& visit) {
  constexpr std::string_view kExpert = "mlp.experts.0.";
  const int64_t layers = model.num_hidden_layers, dense = model.experts ? model.experts->first_layer : layers;
  for (const auto& one : linear_shapes(model)) {
    const bool expert = one.name.starts_with(kExpert), shared = one.name.starts_with("mlp.shared_experts.");
    const bool feed_forward = one.name.starts_with("mlp.");
    const int64_t begin = expert || shared ? dense : 0,
                  end = feed_forward && !expert && !shared ? dense : layers;
    for (int64_t layer = begin; layer < end; ++layer) {
      const std::string at = concat("model.layers.", layer, ".");
      if (!expert) {
        visit(at + one.name, one.outputs, one.inputs);
        continue;
      }
      for (int64_t e = 0; e < model.experts->routed; ++e)
        visit(concat(at, "mlp.experts.", e, ".", one.name.substr(kExpert.size())), one.outputs, one.inputs);
    }
  }
}

// The rows of the config's tokens, from the base's values or the start adapter's.
void attach_token_rows(Decoder& model, const LoraConfig& config, const Adapter* start) {
  const std::vector<int64_t>& ids = config.trainable_token_ids;
  TORCH_INTERNAL_ASSERT(ids.size() == config.trainable_tokens.size(), "the tokens' ids were not looked up");
  const bool warm = start != nullptr && !start->tokens.ids.empty();
  if (ids.empty()) {
    check(!warm, "lora.start: the adapter has rows for ", warm ? start->tokens.ids.size() : 0,
          " tokens; name them in lora.trainable_tokens");
    return;
  }
  check(ids.front() >= 0 && ids.back() < model.config.vocab_size, "lora.trainable_tokens: the id ",
        ids.back(), " is outside the model's vocabulary of ", model.config.vocab_size);
  const auto at_ids = at::tensor(ids, at::kLong);
  const auto rows_of = [&](const Parameter& matrix) {
    return matrix.defined() ? matrix.value.index_select(0, at_ids.to(matrix.value.device())) : at::Tensor();
  };
  at::Tensor embedding = rows_of(model.embed_tokens), head = rows_of(model.lm_head);
  if (warm)
    for (size_t i = 0; i < start->tokens.ids.size(); ++i) {
      const auto found = std::lower_bound(ids.begin(), ids.end(), start->tokens.ids[i]);
      check(found != ids.end() && *found == start->tokens.ids[i],
            "lora.start: the adapter has a row for the ", "token ", start->tokens.ids[i],
            ", which is not among lora.trainable_tokens");
      const auto from = static_cast<int64_t>(i), to = static_cast<int64_t>(found - ids.begin());
      check(start->tokens.embedding.size(1) == embedding.size(1) &&
                (!start->tokens.head.defined() || head.defined()),
            "lora.start: the adapter's rows for tokens do not fit the model; it was trained on another base "
            "model");
      embedding.select(0, to).copy_(start->tokens.embedding.select(0, from));
      if (start->tokens.head.defined()) head.select(0, to).copy_(start->tokens.head.select(0, from));
    }
  set_token_rows(model, ids, embedding, head, /*trainable=*/true);
}

}  // namespace

int64_t lora_parameters(const ModelConfig& model, const LoraConfig& lora) {
  const AdapterConfig names = lora.adapter_config();
  int64_t parameters = 0;
  each_linear(model, [&](const std::string& name, int64_t outputs, int64_t inputs) {
    if (lora.adapts(name)) parameters += names.rank_of(name) * (outputs + inputs) + (lora.dora ? outputs : 0);
  });
  const int64_t matrices = model.tie_word_embeddings ? 1 : 2;
  return parameters + matrices * static_cast<int64_t>(lora.trainable_tokens.size()) * model.hidden_size;
}

void attach_lora(Decoder& model, const LoraConfig& config, const Adapter* start) {
  const std::vector<Linear*> linears = model.linears();
  check_matches(config, linears);
  for (const Linear* linear : linears)
    check(linear->terms.empty(), "lora: ", linear->name,
          " has an adapter already; merge or remove it before another is trained");
  std::map<std::string, const AdapterModule*> from;
  if (start != nullptr) {
    check(!start->config.use_dora || config.dora, "lora.start: the adapter is DoRA; set lora.dora: true");
    for (const auto& module : start->modules) {
      check(config.adapts(module.module), "lora.start: the adapter has '", module.module,
            "', which is not among lora.targets and lora.layers");
      from[module.module] = &module;
    }
  }
  freeze(model);
  const AdapterConfig names = config.adapter_config();
  for (Linear* linear : linears) {
    if (!config.adapts(linear->name)) continue;
    const int64_t rank = names.rank_of(linear->name);
    Factors factors = start_values(linear->name, linear->outputs(), linear->inputs(), rank, config);
    LowRankTerm term;
    term.scale = names.scale_of(linear->name);
    check(config.dropout == 0 || linear->name.find("experts.") == std::string::npos, "lora.dropout: '",
          linear->name,
          "' is an expert's, whose inputs are not dropped; take experts out of lora.targets, or "
          "set lora.dropout: 0");
    if (config.dropout > 0)
      term.dropout = Dropout::of(linear->name, config.dropout, static_cast<uint64_t>(config.seed));
    const AdapterModule* module = nullptr;
    if (const auto found = from.find(linear->name); found != from.end()) {
      module = found->second;
      go_on_from(*module, start->config.scale_of(linear->name), term.scale, factors);
      from.erase(found);
    }
    term.lora_a = trainable(linear->name + ".lora_A.weight", factors.a, model.dtype());
    term.lora_b = trainable(linear->name + ".lora_B.weight", factors.b, model.dtype());
    if (config.dora) {
      const at::Tensor norms =
          module != nullptr && module->magnitude.defined() ? module->magnitude : dora_norm(*linear, term);
      term.magnitude = trainable(linear->name + ".lora_magnitude_vector.weight", norms.clone(), at::kFloat);
    }
    linear->terms.push_back(std::move(term));
  }
  check(from.empty(), "lora.start: the model has no linear layer '", from.empty() ? "" : from.begin()->first,
        "'");
  attach_token_rows(model, config, start);
}

Adapter collect_adapter(const Decoder& model, const LoraConfig& config, const std::string& base_model,
                        const std::string& base_sha256,
                        const std::vector<std::pair<std::string, at::Tensor>>& masters) {
  std::map<std::string, at::Tensor> by_name(masters.begin(), masters.end());
  const auto value = [&](const Parameter& p) {
    const auto found = by_name.find(p.name);
    const at::Tensor& tensor = found != by_name.end() ? found->second : p.value;
    TORCH_INTERNAL_ASSERT(tensor.sizes() == p.value.sizes(), p.name);
    return tensor.to(at::kFloat, /*non_blocking=*/false, /*copy=*/true).contiguous();
  };
  Adapter adapter;
  adapter.config = config.adapter_config();
  // PEFT knows layers_to_transform beside a list of targets only; the tensors say all in any case.
  if (!config.layers.empty() && adapter.config.target_pattern.empty())
    adapter.config.source = Json{{"layers_to_transform", config.layers}};
  adapter.config.base_model = base_model;
  adapter.config.base_sha256 = base_sha256;
  if (const auto kind = quantization_of(model); kind != Quantization::kNone)
    adapter.config.base_quantization = to_string(kind);
  const auto add = [&](const Projection& projection) {
    for (const Linear& linear : projection.linears) {
      if (linear.terms.empty()) continue;
      check(linear.terms.size() == 1, "lora: ", linear.name, " has ", linear.terms.size(),
            " adapter terms, one can be saved");
      const LowRankTerm& term = linear.terms[0];
      adapter.modules.push_back({linear.name, value(term.lora_a), value(term.lora_b),
                                 term.magnitude.defined() ? value(term.magnitude) : at::Tensor()});
    }
  };
  for (const DecoderLayer& layer : model.layers) walk_layer(layer, add, [](const Parameter&) {});
  if (model.token_rows) {
    const TokenRows& rows = *model.token_rows;
    const auto* ids = rows.ids.const_data_ptr<int64_t>();
    adapter.tokens.ids.assign(ids, ids + rows.ids.numel());
    adapter.tokens.embedding = value(rows.embedding);
    if (rows.head.defined()) adapter.tokens.head = value(rows.head);
  }
  // A pattern that meant some layers only would mean more to its reader.
  if (!config.layers.empty() && !adapter.config.target_pattern.empty()) {
    adapter.config.target_pattern.clear();
    for (const auto& module : adapter.modules) adapter.config.target_modules.push_back(module.module);
  }
  check(!adapter.modules.empty(), "lora: the model has no adapter to save");
  std::sort(adapter.modules.begin(), adapter.modules.end(),
            [](const AdapterModule& a, const AdapterModule& b) { return a.module < b.module; });
  return adapter;
}

}  // namespace decant
