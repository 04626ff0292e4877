#include "data_pipeline/sentencepiece_tokenizer.h"

#include <sentencepiece_processor.h>

#include <utility>

#include "core/error.h"
#include "core/hash.h"
#include "data_pipeline/tokenizer_added.h"
#include "data_pipeline/unicode.h"

namespace decant {

namespace {

constexpr size_t kMaxModel = size_t{256} << 20;

class SentencePieceTokenizer final : public Tokenizer {
 public:
  SentencePieceTokenizer(std::string_view model, const std::string& where) : sha256_(sha256_hex(model)) {
    check(!model.empty() && model.size() <= kMaxModel, where, ": ", model.size(),
          " bytes; a SentencePiece model has 1 to ", kMaxModel);
    const auto status = processor_.LoadFromSerializedProto(model);
    check(status.ok(), where, ": not a SentencePiece model: ", status.ToString());
    check(processor_.GetPieceSize() > 0, where, ": a SentencePiece model without pieces");
    std::vector<AddedToken> special;
    std::vector<std::string> texts;
    for (int id = 0; id < processor_.GetPieceSize(); ++id) {
      if (!is_special(id)) continue;
      AddedToken token;
      token.content = processor_.IdToPiece(id);
      token.id = static_cast<uint32_t>(id);
      token.special = true;
      if (token.content.empty()) continue;
      texts.push_back(token.content);
      special.push_back(std::move(token));
    }
    special_ = std::make_unique<AddedTokenMatcher>(std::move(special), texts);
  }

  using Tokenizer::encode;
  int64_t encode(std::string_view text, SpecialMode mode, std::vector<int64_t>& ids) const override {
    std::string repaired;
    if (valid_utf8_prefix(text) != text.size()) {
      repaired = repair_utf8(text);
      text = repaired;
    }
    int64_t lost = 0;
    if (mode == SpecialMode::kAsText) return encode_text(text, ids);
    std::vector<TextOrToken> spans;
    special_->split(text, false, spans);
    for (const TextOrToken& span : spans) {
      if (span.id >= 0)
        ids.push_back(span.id);
      else
        lost += encode_text(span.text, ids);
    }
    return lost;
  }

  std::string decode(const std::vector<int64_t>& ids, bool skip_special) const override {
    std::string text;
    std::vector<int> run;
    const auto flush = [&] {
      std::string part;
      const auto status = processor_.Decode(run, &part);
      check(status.ok(), "SentencePiece cannot decode: ", status.ToString());
      text += part;
      run.clear();
    };
    for (const int64_t id : ids) {
      if (id < 0 || id >= vocab_size())
        fail("the tokenizer has no token with id ", id, "; its ids go from 0 to ", vocab_size() - 1);
      if (!is_special(id)) {
        run.push_back(static_cast<int>(id));
        continue;
      }
      flush();
      if (!skip_special) text += processor_.IdToPiece(static_cast<int>(id));
    }
    flush();
    return text;
  }

  int64_t vocab_size() const override { return processor_.GetPieceSize(); }

  std::optional<int64_t> id_of(std::string_view token) const override {
    const int id = processor_.PieceToId(token);
    if (id < 0 || id >= vocab_size() || processor_.IdToPiece(id) != token) return std::nullopt;
    return id;
  }

  bool is_special(int64_t id) const override {
    return id >= 0 && id < vocab_size() &&
           (processor_.IsControl(static_cast<int>(id)) || processor_.IsUnknown(static_cast<int>(id)));
  }

  const std::string& sha256() const override { return sha256_; }

 private:
  int64_t encode_text(std::string_view text, std::vector<int64_t>& ids) const {
    std::vector<int> found;
    const auto status = processor_.Encode(text, &found);
    check(status.ok(), "SentencePiece cannot encode a text: ", status.ToString());
    bool unknown = false;
    for (const int id : found) {
      ids.push_back(id);
      unknown = unknown || processor_.IsUnknown(id);
    }
    if (!unknown) return 0;
    int64_t lost = 0;
    const auto detailed = processor_.EncodeAsImmutableProto(text);
    for (const auto& piece : detailed.pieces())
      if (processor_.IsUnknown(static_cast<int>(piece.id()))) lost += piece.end() - piece.begin();
    return lost;
  }

  sentencepiece::SentencePieceProcessor processor_;
  std::unique_ptr<AddedTokenMatcher> special_;
  std::string sha256_;
};

}  // namespace

std::unique_ptr<Tokenizer> sentencepiece_tokenizer(std::string_view model, const std::string& where) {
  return std::make_unique<SentencePieceTokenizer>(model, where);
}

}  // namespace decant
