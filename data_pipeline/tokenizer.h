// Tokenizers: byte-level BPE (tokenizer.json or GGUF metadata) and SentencePiece models, exact to Hugging
// Face's ids.
//
// Input that is not valid UTF-8 is repaired first, as Python's errors='replace' does (U+FFFD per maximal
// ill-formed subsequence, Unicode 15 chapter 3.9): the ids are those of the repaired text. Bytes that the
// vocabulary lacks (SmolLM2 has no token for 21 single bytes) are dropped by Hugging Face and llama.cpp in
// silence; so do we, and `lost_bytes` counts them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace decant {

// What to do with the text of a special token ("<|im_end|>") that stands in the input.
enum class SpecialMode {
  kMatch,   // it becomes the special id: text that we rendered from a template
  kAsText,  // it is ordinary text: whatever a customer wrote (Hugging Face's encode_special_tokens=True)
};

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  // No BOS or EOS is added. Appends to `ids`. Thread-safe. Returns the number of bytes that the vocabulary
  // could not represent.
  virtual int64_t encode(std::string_view text, SpecialMode mode, std::vector<int64_t>& ids) const = 0;
  // Bytes of the ids; special tokens as their text unless skip_special. Error for an id outside the
  // vocabulary.
  virtual std::string decode(const std::vector<int64_t>& ids, bool skip_special = false) const = 0;
  // How many bytes decode({id}) has.
  virtual size_t decoded_bytes(int64_t id) const { return decode({id}).size(); }
  virtual int64_t vocab_size() const = 0;  // largest id + 1
  virtual std::optional<int64_t> id_of(
      std::string_view token) const = 0;  // special or ordinary token by its text
  virtual bool is_special(int64_t id) const = 0;
  virtual const std::string& sha256() const = 0;  // of the file it came from (tokenizer.json,
                                                  // tokenizer.model, or the canonical JSON made from GGUF)

  std::vector<int64_t> encode(std::string_view text, SpecialMode mode) const {
    std::vector<int64_t> ids;
    encode(text, mode, ids);
    return ids;
  }
};

// A folder with tokenizer.json or tokenizer.model, such a file, or a .gguf file. Errors name what of the file
// is not supported (a normalizer, pre-tokenizer, model type or decoder that we do not reproduce exactly).
std::unique_ptr<Tokenizer> load_tokenizer(const std::filesystem::path& path);

// The same from text (tests, GGUF).
std::unique_ptr<Tokenizer> tokenizer_from_json(std::string_view json, const std::string& where);

// tokenizer.json text equivalent to a GGUF's metadata (gpt2 model; pre: gpt-2, smollm, qwen2, llama-bpe,
// deepseek-v3, deepseek-r1-qwen), canonical bytes.
std::string tokenizer_json_from_gguf(const std::filesystem::path& gguf);

}  // namespace decant
