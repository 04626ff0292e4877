#include "data_pipeline/tokenizer_byte_level.h"

#include <array>
#include <unordered_map>
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
      : bpe_(parts.bpe),
        raw_(matcher(parts, false)),
        normalized_(matcher(parts, true)),
        normal_forms_(std::move(parts.normal_forms)),
        steps_(std::move(parts.steps)),
        add_prefix_space_(parts.add_prefix_space),
        sha256_(std::move(parts.sha256)) {
    ids_.reserve(parts.vocabulary.size() + parts.added.size());
    for (auto& [text, id] : parts.vocabulary) add(text, id);
    for (const AddedToken& token : parts.added) {
      add(token.content, token.id);
      tokens_[token.id].special = token.special;
    }
  }

  using Tokenizer::encode;
  int64_t encode(std::string_view text, SpecialMode mode, std::vector<int64_t>& ids) const override {
    std::string repaired;
    if (valid_utf8_prefix(text) != text.size()) {
      repaired = repair_utf8(text);
      text = repaired;
    }
    const bool as_text = mode == SpecialMode::kAsText;
    thread_local std::vector<Span> outer, inner;
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
      for (const Span& span : inner) {
        if (span.id >= 0)
          ids.push_back(span.id);
        else
          lost += encode_text(span.text, ids);
      }
    }
    return lost;
  }

  std::string decode(const std::vector<int64_t>& ids, bool skip_special) const override {
    std::string text;
    for (const int64_t id : ids) {
      const bool known = id >= 0 && id < vocab_size() && tokens_[static_cast<size_t>(id)].defined;
      if (!known)
        fail("the tokenizer has no token with id ", id, "; its ids go from 0 to ", vocab_size() - 1);
      const Entry& entry = tokens_[static_cast<size_t>(id)];
      if (!(skip_special && entry.special)) text += entry.bytes;
    }
    return text;
  }

  int64_t vocab_size() const override { return static_cast<int64_t>(tokens_.size()); }

  std::optional<int64_t> id_of(std::string_view token) const override {
    const auto found = ids_.find(std::string(token));
    if (found == ids_.end()) return std::nullopt;
    return found->second;
  }

  bool is_special(int64_t id) const override {
    return id >= 0 && id < vocab_size() && tokens_[static_cast<size_t>(id)].special;
  }

  const std::string& sha256() const override { return sha256_; }

 private:
  struct Entry {
    std::string bytes;
    bool defined = false, special = false;
  };

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

  // As Hugging Face's ByteLevel decoder: a token of the byte alphabet is bytes, any other is its own text.
  void add(const std::string& text, uint32_t id) {
    if (id >= tokens_.size()) tokens_.resize(id + 1);
    tokens_[id].bytes = byte_level_bytes(text).value_or(text);
    tokens_[id].defined = true;
    ids_.emplace(text, id);
  }

  int64_t encode_text(std::string_view text, std::vector<int64_t>& ids) const {
    thread_local Pieces pieces, finer;
    pieces.assign(1, text);
    for (size_t s = 0; s < steps_.size(); ++s) {
      std::string changed;
      if (add_prefix_space_ && s + 1 == steps_.size()) {
        // The views are taken when `changed` has its final size.
        std::vector<size_t> ends;
        for (const std::string_view piece : pieces) {
          if (piece.front() != ' ') changed += ' ';
          changed += piece;
          ends.push_back(changed.size());
        }
        size_t start = 0;
        for (size_t i = 0; i < pieces.size(); ++i) {
          pieces[i] = std::string_view(changed).substr(start, ends[i] - start);
          start = ends[i];
        }
        finer.clear();
        for (const std::string_view piece : pieces) steps_[s]->split(piece, finer);
        return encode_pieces(finer, ids);
      }
      finer.clear();
      for (const std::string_view piece : pieces) steps_[s]->split(piece, finer);
      pieces.swap(finer);
    }
    return encode_pieces(pieces, ids);
  }

  int64_t encode_pieces(const Pieces& pieces, std::vector<int64_t>& ids) const {
    int64_t lost = 0;
    for (const std::string_view piece : pieces) lost += bpe_.encode(piece, ids);
    return lost;
  }

  Bpe bpe_;
  AddedTokenMatcher raw_, normalized_;
  std::vector<NormalForm> normal_forms_;
  std::vector<std::unique_ptr<PreTokenizerStep>> steps_;
  bool add_prefix_space_;
  std::string sha256_;
  std::vector<Entry> tokens_;  // by id
  std::unordered_map<std::string, uint32_t> ids_;
};

}  // namespace

std::string byte_level_text(std::string_view bytes) {
  std::string text;
  for (const char c : bytes) append_utf8(text, alphabet().point[static_cast<unsigned char>(c)]);
  return text;
}

std::optional<std::string> byte_level_bytes(std::string_view text) {
  std::string bytes;
  bytes.reserve(text.size());
  for (const char *p = text.data(), *end = p + text.size(); p != end;) {
    const uint32_t c = next_code_point(p);
    if (c >= alphabet().byte.size() || alphabet().byte[c] < 0) return std::nullopt;
    bytes += static_cast<char>(alphabet().byte[c]);
  }
  return bytes;
}

std::unique_ptr<Tokenizer> make_byte_level_tokenizer(ByteLevelParts parts) {
  return std::make_unique<ByteLevelTokenizer>(std::move(parts));
}

}  // namespace decant
