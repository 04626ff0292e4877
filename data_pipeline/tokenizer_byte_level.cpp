#include "data_pipeline/tokenizer_byte_level.h"

#include <algorithm>
#include <array>
#include <utility>

#include "core/error.h"

namespace decant {

namespace {

struct ByteAlphabet {
  std::array<uint16_t, 256> point;  // of a byte
  std::array<int16_t, 512> byte;    // of a code point, or -1
  ByteAlphabet() {
    byte.fill(-1);
    uint16_t other = 256;
    for (int b = 0; b < 256; ++b) {
      const bool printable = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
      point[static_cast<size_t>(b)] = printable ? static_cast<uint16_t>(b) : other++;
      byte[point[static_cast<size_t>(b)]] = static_cast<int16_t>(b);
    }
  }
};

const ByteAlphabet& alphabet() {
  static const ByteAlphabet made;
  return made;
}

class ByteLevelTokenizer final : public Tokenizer {
 public:
  explicit ByteLevelTokenizer(ByteLevelParts parts)
      : bpe_(std::move(parts.bpe)),
        others_(std::move(parts.other_tokens)),
        raw_(matcher(parts, false)),
        normalized_(matcher(parts, true)),
        normal_forms_(std::move(parts.normal_forms)),
        steps_(std::move(parts.steps)),
        add_prefix_space_(parts.add_prefix_space),
        sha256_(std::move(parts.sha256)) {
    for (const AddedToken& token : parts.added)
      if (!bpe_.tokens().has(token.id)) others_.add(token.content, token.id);
    end_id_ = std::max(bpe_.tokens().end_id(), others_.end_id());
    special_.resize(end_id_);
    for (const AddedToken& token : parts.added) special_[token.id] = token.special;
  }

  using Tokenizer::encode;
  int64_t encode(std::string_view text, SpecialMode mode, std::vector<int64_t>& ids) const override {
    std::string repaired;
    const bool ascii = is_ascii(text);
    if (!ascii && !is_valid_utf8(text)) {
      repaired = repair_utf8(text);
      text = repaired;
    }
    const bool as_text = mode == SpecialMode::kAsText;
    thread_local std::vector<TextOrToken> outer, inner;
    outer.clear();
    raw_.split(text, as_text, outer);
    int64_t lost = 0;
    std::string buffers[2];
    for (size_t i = 0; i < outer.size(); ++i) {
      if (outer[i].id >= 0) {
        ids.push_back(outer[i].id);
        continue;
      }
      std::string_view plain = outer[i].text;
      size_t which = 0;
      for (const NormalForm form : normal_forms_) {
        if (ascii) break;  // it is in all of them
        const std::string_view before = plain;
        plain = normalize(before, form, buffers[which]);
        if (plain.data() != before.data()) which ^= 1;
      }
      if (normalized_.empty()) {
        lost += encode_text(plain, ids);
        continue;
      }
      inner.clear();
      normalized_.split(plain, as_text, inner);
      for (const TextOrToken& span : inner) {
        if (span.id >= 0)
          ids.push_back(span.id);
        else
          lost += encode_text(span.text, ids);
      }
    }
    return lost;
  }

  // As Hugging Face's ByteLevel decoder: a token of the byte alphabet is bytes, any other is its own text.
  std::string decode(const std::vector<int64_t>& ids, bool skip_special) const override {
    std::string text, bytes;
    for (const int64_t id : ids) {
      const auto token = static_cast<uint32_t>(id);
      const bool of_bytes = id >= 0 && id < vocab_size() && bpe_.tokens().has(token);
      const bool other = !of_bytes && id >= 0 && id < vocab_size() && others_.has(token);
      if (!of_bytes && !other)
        fail("the tokenizer has no token with id ", id, "; its ids go from 0 to ", vocab_size() - 1);
      if (skip_special && special_[token]) continue;
      if (of_bytes) {
        text += bpe_.tokens().bytes(token);
      } else {
        const std::string_view written = others_.bytes(token);
        text += byte_level_bytes(written, bytes) ? std::string_view(bytes) : written;
      }
    }
    return text;
  }

  size_t decoded_bytes(int64_t id) const override {
    const bool of_bytes = id >= 0 && id < vocab_size() && bpe_.tokens().has(static_cast<uint32_t>(id));
    return of_bytes ? bpe_.tokens().bytes(static_cast<uint32_t>(id)).size() : Tokenizer::decoded_bytes(id);
  }

  int64_t vocab_size() const override { return static_cast<int64_t>(end_id_); }

  std::optional<int64_t> id_of(std::string_view token) const override {
    int64_t id = others_.find(token);
    std::string bytes;
    if (id < 0 && byte_level_bytes(token, bytes)) id = bpe_.tokens().find(bytes);
    if (id < 0) return std::nullopt;
    return id;
  }

  bool is_special(int64_t id) const override {
    return id >= 0 && id < vocab_size() && special_[static_cast<size_t>(id)];
  }

  const std::string& sha256() const override { return sha256_; }

 private:
  static AddedTokenMatcher matcher(const ByteLevelParts& parts, bool normalized) {
    std::vector<AddedToken> tokens;
    std::vector<std::string> texts;
    for (const AddedToken& token : parts.added) {
      if (token.normalized != normalized) continue;
      std::string text = token.content;
      if (normalized)
        for (const NormalForm form : parts.normal_forms) {
          std::string buffer;
          text = std::string(normalize(text, form, buffer));
        }
      tokens.push_back(token);
      texts.push_back(std::move(text));
    }
    return AddedTokenMatcher(std::move(tokens), texts);
  }

  int64_t encode_text(std::string_view text, std::vector<int64_t>& ids) const {
    if (steps_.size() == 1 && !add_prefix_space_) return steps_[0]->encode(text, bpe_, ids);
    thread_local Pieces pieces, finer;
    pieces.assign(1, text);
    std::string changed;
    for (size_t s = 0; s < steps_.size(); ++s) {
      finer.clear();
      if (add_prefix_space_ && s + 1 == steps_.size()) {
        changed.reserve(text.size() + pieces.size());
        for (std::string_view& piece : pieces) {
          const size_t start = changed.size();
          if (piece.front() != ' ') changed += ' ';
          changed += piece;
          piece = std::string_view(changed).substr(start);
        }
        text = changed;
      }
      for (const std::string_view piece : pieces) steps_[s]->split(piece, finer);
      pieces.swap(finer);
    }
    return bpe_.encode(pieces, text.data() + text.size(), ids);
  }

  Bpe bpe_;
  TokenTable others_;  // added tokens, and what of the vocabulary is not of the byte alphabet
  AddedTokenMatcher raw_, normalized_;
  std::vector<NormalForm> normal_forms_;
  std::vector<std::unique_ptr<PreTokenizerStep>> steps_;
  bool add_prefix_space_;
  std::string sha256_;
  std::vector<bool> special_;  // by id
  size_t end_id_ = 0;
};

}  // namespace

std::string byte_level_text(std::string_view bytes) {
  std::string text;
  for (const char c : bytes) append_utf8(text, alphabet().point[static_cast<unsigned char>(c)]);
  return text;
}

bool byte_level_bytes(std::string_view text, std::string& bytes) {
  const auto& byte_of = alphabet().byte;
  bytes.resize(text.size());
  char* out = bytes.data();
  for (const char *p = text.data(), *end = p + text.size(); p != end;) {
    const uint32_t c = next_code_point(p);
    if (c >= byte_of.size() || byte_of[c] < 0) return false;
    *out++ = static_cast<char>(byte_of[c]);
  }
  bytes.resize(static_cast<size_t>(out - bytes.data()));
  return true;
}

std::unique_ptr<Tokenizer> make_byte_level_tokenizer(ByteLevelParts parts) {
  return std::make_unique<ByteLevelTokenizer>(std::move(parts));
}

}  // namespace decant
