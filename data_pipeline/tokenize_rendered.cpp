#include <algorithm>

#include "data_pipeline/chat_template.h"

namespace decant {

namespace {

// Text between two special tokens, with the weight of each of its bytes.
struct Segment {
  std::string text;
  std::vector<uint8_t> weight;
};

uint8_t weight_byte(double weight) { return static_cast<uint8_t>(std::clamp(weight, 0.0, 1.0) * 255 + 0.5); }

// Weight of ids[begin ..]: the largest among the bytes that a token stands for. Tokens give their bytes one
// by one; where these do not add up to the text (a normaliser changed it, bytes were lost), the weight
// changes are placed by encoding the text before them.
void weigh(const Segment& segment, const Tokenizer& tokenizer, size_t begin, TokenizedDocument& document) {
  const auto& ids = document.tokens;
  document.loss_weight.resize(ids.size(), 0);
  const auto& w = segment.weight;
  if (std::all_of(w.begin(), w.end(), [&](uint8_t x) { return x == w[0]; })) {
    std::fill(document.loss_weight.begin() + static_cast<std::ptrdiff_t>(begin), document.loss_weight.end(),
              w[0]);
    return;
  }
  std::vector<size_t> end(ids.size() - begin);
  size_t at = 0;
  for (size_t k = 0; k < end.size(); ++k) end[k] = at += tokenizer.decoded_bytes(ids[begin + k]);
  std::vector<uint8_t> weight = w;
  if (at != w.size()) {
    weight.clear();
    for (size_t i = 0; i < w.size();) {  // runs of equal weight, mapped into the decoded text
      size_t j = i;
      while (j < w.size() && w[j] == w[i]) ++j;
      const auto before = tokenizer.encode(std::string_view(segment.text).substr(0, j), SpecialMode::kAsText);
      size_t length = 0;
      for (const int64_t id : before) length += tokenizer.decoded_bytes(id);
      weight.resize(std::clamp(j == w.size() ? at : length, weight.size(), at), w[i]);
      i = j;
    }
  }
  for (size_t k = 0, from = 0; k < end.size(); from = end[k++]) {
    uint8_t largest = 0;
    for (size_t i = from; i < end[k]; ++i) largest = std::max(largest, weight[i]);
    document.loss_weight[begin + k] = largest;
  }
}

}  // namespace

TokenizedDocument tokenize_rendered(const Rendered& rendered, const Tokenizer& tokenizer) {
  TokenizedDocument document;
  Segment segment;
  const auto close_segment = [&] {
    if (segment.text.empty()) return;
    const size_t begin = document.tokens.size();
    document.lost_bytes += tokenizer.encode(segment.text, SpecialMode::kAsText, document.tokens);
    weigh(segment, tokenizer, begin, document);
    segment.text.clear();
    segment.weight.clear();
  };
  const auto add_text = [&](std::string_view text, uint8_t weight) {
    segment.text += text;
    segment.weight.resize(segment.text.size(), weight);
  };
  const auto& pieces = rendered.pieces;
  for (size_t k = 0; k < pieces.size();) {
    if (!pieces[k].from_template()) {
      const uint8_t weight = weight_byte(pieces[k].loss_weight);
      add_text(std::string_view(rendered.text).substr(pieces[k].begin, pieces[k].end - pieces[k].begin),
               weight);
      if (weight > 0) document.target_bytes += static_cast<int64_t>(pieces[k].end - pieces[k].begin);
      ++k;
      continue;
    }
    // The special tokens of the template's own text, in order; they may be written in several pieces
    // ('<|' + role + '|>').
    const size_t first = k, begin = pieces[k].begin;
    while (k < pieces.size() && pieces[k].from_template()) ++k;
    const size_t end = pieces[k - 1].end;
    const auto weight_of = [&](size_t from, size_t to) {
      double weight = 0;
      for (size_t p = first; p < k; ++p)
        if (pieces[p].begin < to && pieces[p].end > from)
          weight = std::max<double>(weight, pieces[p].loss_weight);
      return weight_byte(weight);
    };
    const auto add_markup = [&](size_t from, size_t to) {
      for (size_t p = first; p < k; ++p) {
        const size_t b = std::max<size_t>(from, pieces[p].begin), e = std::min<size_t>(to, pieces[p].end);
        if (b < e)
          add_text(std::string_view(rendered.text).substr(b, e - b), weight_byte(pieces[p].loss_weight));
      }
    };
    const std::string_view markup = std::string_view(rendered.text).substr(begin, end - begin);
    size_t at = 0;
    for (const int64_t id : tokenizer.encode(markup, SpecialMode::kMatch)) {
      if (!tokenizer.is_special(id)) continue;
      const std::string text = tokenizer.decode({id});
      const size_t place = markup.find(text, at);
      if (text.empty() || place == std::string::npos) continue;
      add_markup(begin + at, begin + place);
      close_segment();
      document.tokens.push_back(id);
      document.loss_weight.push_back(weight_of(begin + place, begin + place + text.size()));
      at = place + text.size();
    }
    add_markup(begin + at, end);
  }
  close_segment();
  if (!document.loss_weight.empty()) document.loss_weight[0] = 0;
  return document;
}

}  // namespace decant
