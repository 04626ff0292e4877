// Pre-tokenizers: cut text into the pieces that byte-pair merges never cross. Source: Hugging Face
// tokenizers, src/pre_tokenizers; their regular expressions are Oniguruma's.
//
// The grammars of GPT-2, Qwen2, Llama 3 and DeepSeek-V3 are scanners written by hand; any other Split pattern
// goes through PCRE2, translated so that it means there what it means in Oniguruma, or is refused.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "data_pipeline/bpe.h"

namespace decant {

using Pieces = std::vector<std::string_view>;

// Text is well-formed UTF-8; pieces are never empty and together are the text.
class PreTokenizerStep {
 public:
  virtual ~PreTokenizerStep() = default;
  // Appends the pieces of `text`.
  virtual void split(std::string_view text, Pieces& pieces) const = 0;
  // Cuts and encodes in one pass; appends the ids and returns the number of bytes without a token.
  virtual int64_t encode(std::string_view text, const Bpe& bpe, std::vector<int64_t>& ids) const;
};

// The regular expression of GPT-2 (ByteLevel with use_regex), each run of it a piece.
std::unique_ptr<PreTokenizerStep> gpt2_step();
// The same after Digits(individual_digits): SmolLM2's grammar in one pass.
std::unique_ptr<PreTokenizerStep> digits_gpt2_step();
// Qwen2's (max_digits 1) and Llama 3's (3).
std::unique_ptr<PreTokenizerStep> qwen2_step(int max_digits);
// The three Splits of DeepSeek-V3 in one pass.
std::unique_ptr<PreTokenizerStep> deepseek_v3_step();
// Digits: every numeric character by itself, or runs of them.
std::unique_ptr<PreTokenizerStep> digits_step(bool individual);

// Split with behavior Isolated. Error naming `where` and the construct when the pattern cannot be reproduced
// exactly.
std::unique_ptr<PreTokenizerStep> pattern_step(const std::string& pattern, const std::string& where);
// The scanner for a known pattern, else pattern_step.
std::unique_ptr<PreTokenizerStep> split_step(const std::string& pattern, const std::string& where);

// What known patterns look like in tokenizer.json.
extern const char* const kGpt2Pattern;
extern const char* const kQwen2Pattern;
extern const char* const kLlama3Pattern;
extern const char* const kDeepSeekV3Patterns[3];

// The pattern as PCRE2 gets it (tests).
std::string translate_pattern(const std::string& pattern, const std::string& where);

}  // namespace decant
