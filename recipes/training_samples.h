// Greedy answers to a few held-out questions, before a training, at its measurements when the recipe asks,
// and at its end: what a person looks at first. They hold customers' text, so they stay in the step's folder
// (samples.json, report.html), and `decant erase` removes them there.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "core/json.h"
#include "core/model/decoder.h"
#include "data_pipeline/conversation.h"
#include "data_pipeline/tokenizer.h"
#include "recipes/chain.h"
#include "train/probe.h"

namespace decant {

inline constexpr const char* kSamplesFile = "samples.json";
inline constexpr const char* kBefore = "before";

// The conversation up to its first answer; empty when it begins with one.
std::vector<Message> question_of(const Conversation& conversation);

class TrainingSamples {
 public:
  // The first held-out questions, of each tenant in turn, whose answers the model has room for; looked for
  // when the first sample is taken.
  TrainingSamples(const Chain& chain, std::vector<std::string> tenants, const SampleConfig& config,
                  const ModelConfig& model, const std::filesystem::path& folder);

  // The model's answers, into the file under `when` (kBefore, "step 40", "after"). Those before are not asked
  // for again when a training is resumed.
  void take(const Decoder& model, const std::string& when);
  // The same at a measurement, when the recipe asks for it.
  void take_at_probe(const Decoder& model, int64_t step);

 private:
  void choose();

  const Chain& chain_;
  std::vector<std::string> tenants_;
  SampleConfig config_;
  int64_t most_positions_;
  std::filesystem::path file_;
  std::unique_ptr<Tokenizer> tokenizer_;  // like all below, from choose() on
  std::vector<std::vector<int64_t>> prompts_;
  Json json_;
};

}  // namespace decant
