#include "core/model/generate.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/error.h"
#include "core/kernels/head_cross_entropy.h"
#include "core/model/block.h"
#include "core/model/sampling.h"
#include "core/random.h"

namespace decant {

namespace {

// A prompt enters in pieces that begin at multiples of this, whatever else runs; one call takes about as many
// rows.
constexpr int64_t kPrefillRows = 1024;

int64_t blocks_for(int64_t tokens) { return (tokens + kCacheBlockTokens - 1) / kCacheBlockTokens; }

struct Sequence {
  size_t request = 0;
  std::vector<int64_t> ids;  // prompt and answer
  std::vector<int32_t> blocks;
  int64_t cached = 0;  // ids whose keys are in the cache
  int64_t most = 0;    // ids that there can be in the end
};

// Rows of some sequences on their way through the model: ids [cached, cached + rows) of each.
struct Step {
  std::vector<Sequence*> sequences;
  std::vector<int64_t> rows;
};

// Keys and values of all running sequences, in blocks that a finished one hands back.
struct Cache {
  std::vector<at::Tensor> k, v;  // per layer [blocks, kCacheBlockTokens, G, K]
  std::vector<int32_t> free;
};

Cache make_cache(const Decoder& model, const std::vector<GenerationRequest>& requests, int64_t max_new_tokens,
                 int64_t batch_size) {
  // Room for the largest requests that can run at one time; pages that nobody writes cost nothing.
  std::vector<int64_t> needs;
  for (const auto& one : requests)
    needs.push_back(blocks_for(static_cast<int64_t>(one.prompt.size()) + max_new_tokens));
  std::sort(needs.rbegin(), needs.rend());
  int64_t blocks = 0;
  for (size_t i = 0; i < needs.size() && static_cast<int64_t>(i) < batch_size; ++i) blocks += needs[i];
  Cache cache;
  const auto& config = model.config;
  for (int64_t i = 0; i < config.num_hidden_layers; ++i)
    for (auto* side : {&cache.k, &cache.v})
      side->push_back(at::empty({blocks, kCacheBlockTokens, config.key_heads(), config.key_width()},
                                model.embed_tokens.value.options()));
  for (int64_t b = blocks - 1; b >= 0; --b) cache.free.push_back(static_cast<int32_t>(b));
  return cache;
}

// Runs the step's rows and returns the last row of each sequence after the final norm [sequences, D].
at::Tensor run_step(const Decoder& model, Cache& cache, const Step& step, Panel panel) {
  const auto count = static_cast<int64_t>(step.sequences.size());
  int64_t total = 0, most_blocks = 1, most_positions = 1;
  for (size_t s = 0; s < step.sequences.size(); ++s) {
    total += step.rows[s];
    most_positions = std::max(most_positions, step.sequences[s]->cached + step.rows[s]);
    most_blocks = std::max(most_blocks, static_cast<int64_t>(step.sequences[s]->blocks.size()));
  }
  const auto tokens = at::empty({total}, at::kLong), positions = at::empty({total}, at::kLong),
             slots = at::empty({total}, at::kLong), last = at::empty({count}, at::kLong);
  const auto starts = at::empty({count + 1}, at::kInt), lengths = at::empty({count}, at::kInt),
             table = at::zeros({count, most_blocks}, at::kInt);
  const auto& rope = rope_for(model, most_positions);
  int64_t row = 0;
  starts.mutable_data_ptr<int32_t>()[0] = 0;
  for (int64_t s = 0; s < count; ++s) {
    const auto& one = *step.sequences[static_cast<size_t>(s)];
    for (int64_t i = 0; i < step.rows[static_cast<size_t>(s)]; ++i, ++row) {
      const auto position = one.cached + i;
      tokens.mutable_data_ptr<int64_t>()[row] = one.ids[static_cast<size_t>(position)];
      positions.mutable_data_ptr<int64_t>()[row] = position + long_rope_offset(model, one.most);
      slots.mutable_data_ptr<int64_t>()[row] =
          one.blocks[static_cast<size_t>(position / kCacheBlockTokens)] * kCacheBlockTokens +
          position % kCacheBlockTokens;
    }
    starts.mutable_data_ptr<int32_t>()[s + 1] = static_cast<int32_t>(row);
    lengths.mutable_data_ptr<int32_t>()[s] =
        static_cast<int32_t>(one.cached + step.rows[static_cast<size_t>(s)]);
    last.mutable_data_ptr<int64_t>()[s] = row - 1;
    std::copy(one.blocks.begin(), one.blocks.end(), table.mutable_data_ptr<int32_t>() + s * most_blocks);
  }

  const auto& config = model.config;
  const auto device = model.embed_tokens.value.device();
  const auto on_device = [&](const at::Tensor& x) { return x.to(device); };
  const auto where = on_device(positions), to = on_device(slots);
  auto x = embed(model, on_device(tokens));
  for (size_t i = 0; i < model.layers.size(); ++i) {
    const auto attend = [&](const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
      cache.k[i].flatten(0, 1).index_copy_(0, to, k);
      cache.v[i].flatten(0, 1).index_copy_(0, to, v);
      return attend_cache(config, q, cache.k[i], cache.v[i], starts, lengths, table,
                          config.sliding_window.at(i));
    };
    x = block_forward(config, model.layers[i], x, where, rope, panel, attend, nullptr);
  }
  for (size_t s = 0; s < step.sequences.size(); ++s) step.sequences[s]->cached += step.rows[s];
  return family_norm(config, x.index_select(0, on_device(last)), model.norm, nullptr);
}

// The prompts of the new sequences into the cache, piece by piece; returns their last rows [sequences, D].
at::Tensor prefill(const Decoder& model, Cache& cache, const std::vector<Sequence*>& fresh) {
  std::vector<at::Tensor> last(fresh.size());
  for (bool more = true; more;) {
    more = false;
    Step step;
    std::vector<size_t> which;
    int64_t rows = 0;
    for (size_t s = 0; s < fresh.size(); ++s) {
      const auto left = static_cast<int64_t>(fresh[s]->ids.size()) - fresh[s]->cached;
      if (left == 0) continue;
      more = true;
      if (rows >= kPrefillRows) break;
      step.sequences.push_back(fresh[s]);
      step.rows.push_back(std::min(left, kPrefillRows));
      rows += step.rows.back();
      which.push_back(s);
    }
    if (!more) break;
    const auto hidden = run_step(model, cache, step, Panel::kTraining);
    for (size_t n = 0; n < which.size(); ++n) last[which[n]] = hidden.narrow(0, static_cast<int64_t>(n), 1);
  }
  return at::cat(last, 0);
}

struct Choice {
  int64_t token = 0;
  float log_probability = 0;
};

// logits [sequences, V] fp32: one token for each sequence.
std::vector<Choice> choose(const at::Tensor& logits, const std::vector<Sequence*>& sequences,
                           const std::vector<GenerationRequest>& requests, const SamplingConfig& sampling) {
  const auto rows = logits.to(at::kCPU, at::kFloat).contiguous();
  const auto vocabulary = static_cast<size_t>(rows.size(1));
  const auto* data = rows.const_data_ptr<float>();
  std::vector<Choice> choices(sequences.size());
  at::parallel_for(0, static_cast<int64_t>(sequences.size()), 1, [&](int64_t begin, int64_t end) {
    std::vector<float> scores;
    for (auto s = static_cast<size_t>(begin); s < static_cast<size_t>(end); ++s) {
      const std::span<const float> raw(data + s * vocabulary, vocabulary);
      const double log_sum = log_sum_exp(raw);
      std::span<const float> row = raw;
      if (sampling.repetition_penalty != 1) {
        scores.assign(raw.begin(), raw.end());
        apply_repetition_penalty(scores, sequences[s]->ids, sampling.repetition_penalty);
        row = scores;
      }
      auto& choice = choices[s];
      if (sampling.greedy) {
        choice.token = most_likely(row);
      } else {
        const auto& request = requests[sequences[s]->request];
        const auto index = sequences[s]->ids.size() - request.prompt.size();
        choice.token =
            draw(kept_candidates(row, sampling),
                 uniform(static_cast<uint64_t>(sampling.seed), purpose_stream(Purpose::kSample, request.key),
                         static_cast<uint64_t>(index)));
      }
      choice.log_probability =
          static_cast<float>(static_cast<double>(raw[static_cast<size_t>(choice.token)]) - log_sum);
    }
  });
  return choices;
}

void check_requests(const Decoder& model, const std::vector<GenerationRequest>& requests,
                    int64_t max_new_tokens) {
  const auto most = model.config.max_position_embeddings;
  for (size_t n = 0; n < requests.size(); ++n) {
    const auto& prompt = requests[n].prompt;
    check(!prompt.empty(), "generate: prompt ", n, " is empty");
    for (const auto id : prompt)
      check(id >= 0 && id < model.config.vocab_size, "generate: prompt ", n, " has the token id ", id,
            ", outside the model's vocabulary of ", model.config.vocab_size);
    const auto size = static_cast<int64_t>(prompt.size());
    check(max_new_tokens <= most - size, "generate: prompt ", n, " of ", size, " tokens and ", max_new_tokens,
          " new ones do not fit the model's 'max_position_embeddings' (", most, ")");
  }
}

// `name(key)` says where the setting stands.
template <class Name>
void check_sampling(const SamplingConfig& c, const Name& name) {
  check(c.max_new_tokens >= 1, name("max_new_tokens"), ": must be at least 1, found ", c.max_new_tokens);
  check(std::isfinite(c.temperature) && c.temperature > 0, name("temperature"), ": must be above 0, found ",
        c.temperature, "; for the most likely token say greedy: true");
  check(c.top_k >= 0, name("top_k"), ": must be 0 (off) or more, found ", c.top_k);
  check(c.top_p >= 0 && c.top_p <= 1, name("top_p"), ": must lie in 0 .. 1, found ", c.top_p);
  check(c.min_p >= 0 && c.min_p <= 1, name("min_p"), ": must lie in 0 .. 1, found ", c.min_p);
  check(std::isfinite(c.repetition_penalty) && c.repetition_penalty > 0, name("repetition_penalty"),
        ": must be above 0, found ", c.repetition_penalty);
}

}  // namespace

void SamplingConfig::validate(const Place& place) const {
  check_sampling(*this, [&](const char* key) { return place(key); });
}

std::vector<GenerationResult> generate(const Decoder& model, const std::vector<GenerationRequest>& requests,
                                       const SamplingConfig& sampling, const std::vector<int64_t>& stop_ids,
                                       int64_t batch_size, const StopCheck& stop,
                                       const std::function<void(int64_t finished)>& progress) {
  const c10::NoGradGuard no_grad;
  check_sampling(sampling, [](const char* key) { return concat("generate: '", key, "'"); });
  check(batch_size >= 1, "generate: the batch size must be at least 1, found ", batch_size);
  check_requests(model, requests, sampling.max_new_tokens);
  std::vector<GenerationResult> results(requests.size());
  auto cache = make_cache(model, requests, sampling.max_new_tokens, batch_size);
  std::vector<std::unique_ptr<Sequence>> running;
  size_t next = 0;
  int64_t finished = 0;

  const auto admit = [&] {
    std::vector<Sequence*> fresh;
    while (next < requests.size() && static_cast<int64_t>(running.size()) < batch_size) {
      auto one = std::make_unique<Sequence>();
      one->request = next;
      one->ids = requests[next++].prompt;
      const auto most = static_cast<int64_t>(one->ids.size()) + sampling.max_new_tokens;
      one->ids.reserve(static_cast<size_t>(most));
      one->most = most;
      for (int64_t b = blocks_for(most); b > 0; --b) {
        one->blocks.push_back(cache.free.back());
        cache.free.pop_back();
      }
      fresh.push_back(one.get());
      running.push_back(std::move(one));
    }
    return fresh;
  };
  // Appends a token to each sequence and lets the finished ones go.
  const auto take = [&](const std::vector<Sequence*>& sequences, const at::Tensor& hidden) {
    const auto logits = head_logits(hidden, model.head().value, /*decode=*/true, model.config.logit_cap);
    const auto choices = choose(logits, sequences, requests, sampling);
    for (size_t s = 0; s < sequences.size(); ++s) {
      auto& one = *sequences[s];
      auto& result = results[one.request];
      const auto token = choices[s].token;
      one.ids.push_back(token);
      result.tokens.push_back(token);
      result.log_probabilities.push_back(choices[s].log_probability);
      bool done = true;
      if (std::find(stop_ids.begin(), stop_ids.end(), token) != stop_ids.end())
        result.reason = StopReason::kStopToken;
      else if (stop && stop(one.request, result.tokens))
        result.reason = StopReason::kStopString;
      else if (static_cast<int64_t>(result.tokens.size()) >= sampling.max_new_tokens)
        result.reason = StopReason::kLength;
      else
        done = false;
      if (!done) continue;
      cache.free.insert(cache.free.end(), one.blocks.begin(), one.blocks.end());
      std::erase_if(running, [&](const auto& other) { return other.get() == &one; });
      if (progress) progress(++finished);
    }
  };

  while (next < requests.size() || !running.empty()) {
    // A prefill costs a whole panel however few rows it has, so it waits for a quarter of the places to be
    // free.
    const auto free = batch_size - static_cast<int64_t>(running.size());
    if (next < requests.size() && (running.empty() || 4 * free >= batch_size)) {
      const auto fresh = admit();
      take(fresh, prefill(model, cache, fresh));
      continue;
    }
    Step step;
    for (const auto& one : running) {
      step.sequences.push_back(one.get());
      step.rows.push_back(1);
    }
    take(step.sequences, run_step(model, cache, step, Panel::kDecode));
  }
  return results;
}

}  // namespace decant
