// What a LoRA run trains.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/adapter_file.h"
#include "core/config.h"

namespace decant {

// How the factors start; all leave the base as it is (B A = 0).
enum class LoraInit { kUniform, kGaussian, kOrthogonal };
template <>
struct EnumNames<LoraInit> {
  static constexpr std::pair<LoraInit, const char*> values[] = {{LoraInit::kUniform, "uniform"},
                                                                {LoraInit::kGaussian, "gaussian"},
                                                                {LoraInit::kOrthogonal, "orthogonal"}};
};

struct LoraConfig {
  int64_t rank = 16;
  double alpha = 16;
  bool rslora = true;
  bool dora = false;
  std::vector<std::string> targets = {"q_proj",    "k_proj",  "v_proj",   "o_proj",
                                      "gate_proj", "up_proj", "down_proj"};
  std::vector<int64_t> layers;
  double dropout = 0;
  std::vector<std::string> trainable_tokens;
  std::map<std::string, int64_t> rank_pattern;
  std::map<std::string, double> alpha_pattern;
  LoraInit init = LoraInit::kUniform;
  double b_rate_ratio = 1;
  std::string start;
  int64_t seed = 0;

  // The ids of trainable_tokens, rising: filled by whoever has the tokenizer.
  std::vector<int64_t> trainable_token_ids;

  static void visit(auto& c, auto&& field) {
    field("rank", c.rank, "inner dimension of the two factors");
    field("alpha", c.alpha,
          "the update is scaled by alpha / sqrt(rank) with rslora, by alpha / rank without");
    field("rslora", c.rslora, "rank-stabilised scaling (arXiv 2312.03732)");
    field("dora", c.dora,
          "learn the length of every row of the weights apart from its direction (DoRA, arXiv 2402.09353); "
          "serving runtimes refuse such adapters, a merged model they take");
    field("targets", c.targets,
          "linears that get an adapter, by the last part of their name or a longer suffix, of which a part * "
          "is any "
          "one (experts.*.up_proj); or one entry 'regex:...' that matches whole names");
    field("layers", c.layers, "numbers of the layers that get adapters, from 0; empty: all");
    field(
        "dropout", c.dropout,
        "share of a linear's inputs that its adapter does not see in a training step, drawn for every linear "
        "and token from the seed (0.05 is usual); not beside dora, not on experts");
    field(
        "trainable_tokens", c.trainable_tokens,
        "tokens by their text, such as '<|ticket|>', whose rows of the embedding, and of a head of its own, "
        "train beside the adapter and are part of it; model.new_tokens adds tokens that the model lacks");
    field("rank_pattern", c.rank_pattern,
          "by regular expression of a name's end: another rank; the first in alphabetical order that matches "
          "holds");
    field("alpha_pattern", c.alpha_pattern, "by regular expression of a name's end: another alpha");
    field(
        "init", c.init,
        "start of the factors: uniform (A in +-1/sqrt(inputs), B zero), gaussian (A with deviation 1/rank, B "
        "zero) or orthogonal (both filled, their product zero)");
    field("b_rate_ratio", c.b_rate_ratio,
          "learning rate of B over that of the rest (LoRA+, arXiv 2402.12354; 16 is its advice)");
    field(
        "start", c.start,
        "folder of an adapter to go on from, with {tenant} for the tenant's name; a larger rank adds rows to "
        "A and zero columns to B");
    field("seed", c.seed, "of the start values and of the dropout");
  }
  void validate(const Place& place) const;

  // As PEFT writes it: the one description of which module gets what (is_target, rank_of, scale_of).
  AdapterConfig adapter_config() const;
  bool adapts(const std::string& module) const;  // targets and layers
};

}  // namespace decant
