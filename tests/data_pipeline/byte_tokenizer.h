// A tokenizer small enough to check by hand: id = byte, "<|im_start|>" 256 and "<|im_end|>" 257 special, and
// the longest of a few pieces first (258 ...), so that tokens can straddle the seams of a template. The byte
// 0x04 has no token.
#pragma once

#include <array>
#include <string>

#include "core/error.h"
#include "core/hash.h"
#include "data_pipeline/tokenizer.h"

namespace decant::test {

class ByteTokenizer : public Tokenizer {
 public:
  using Tokenizer::encode;
  int64_t encode(std::string_view text, SpecialMode mode, std::vector<int64_t>& ids) const override {
    int64_t lost = 0;
    for (size_t i = 0; i < text.size();) {
      size_t best = kPieces.size();
      for (size_t k = mode == SpecialMode::kMatch ? 0 : 2; k < kPieces.size(); ++k)
        if (text.substr(i).starts_with(kPieces[k]) &&
            (best == kPieces.size() || kPieces[k].size() > kPieces[best].size()))
          best = k;
      if (best < kPieces.size()) {
        ids.push_back(static_cast<int64_t>(256 + best));
        i += kPieces[best].size();
        continue;
      }
      const auto byte = static_cast<unsigned char>(text[i++]);
      if (byte == 4) {
        ++lost;
      } else {
        ids.push_back(byte);
      }
    }
    return lost;
  }
  std::string decode(const std::vector<int64_t>& ids, bool skip_special) const override {
    std::string text;
    for (const int64_t id : ids) {
      check(id >= 0 && id < vocab_size(), "no id ", id);
      if (id < 256) {
        text += static_cast<char>(id);
      } else if (!skip_special || !is_special(id)) {
        text += kPieces[static_cast<size_t>(id - 256)];
      }
    }
    return text;
  }
  int64_t vocab_size() const override { return 256 + static_cast<int64_t>(kPieces.size()); }
  std::optional<int64_t> id_of(std::string_view token) const override {
    for (size_t k = 0; k < kPieces.size(); ++k)
      if (kPieces[k] == token) return static_cast<int64_t>(256 + k);
    return std::nullopt;
  }
  bool is_special(int64_t id) const override { return id == 256 || id == 257; }
  const std::string& sha256() const override { return sha256_; }

 private:
  static constexpr std::array<std::string_view, 5> kPieces = {"<|im_start|>", "<|im_end|>", "\n\n",
                                                              "assistant", "user"};
  std::string sha256_ = sha256_hex("bytes");
};

}  // namespace decant::test
